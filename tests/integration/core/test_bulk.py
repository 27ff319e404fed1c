"""Writing many rows by columns."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import pytest
from django.db import DataError, IntegrityError, connection, models
from django.db.transaction import atomic
from django.test.utils import isolate_apps
from pytest_django import DjangoAssertNumQueries

from apps.core.bulk import Same, insert_rows, save_rows, update_rows
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

AT: Final = datetime(2026, 5, 1, 12, 0, 0, 1, UTC)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.fixture
def thing(db: None) -> Iterator[type[Any]]:
    """A model with a column of each kind, and its table, for one test."""
    with isolate_apps("apps.core"):

        class Thing(models.Model):
            id = models.UUIDField(primary_key=True)
            name = models.CharField(max_length=5)
            colour = models.CharField(max_length=4, default="")
            amount = models.DecimalField(max_digits=20, decimal_places=4, default=0)
            count = models.PositiveIntegerField(default=0)
            at = models.DateTimeField(null=True)
            of = models.ForeignKey("self", null=True, on_delete=models.PROTECT)
            data = models.JSONField(null=True)

            class Meta:
                app_label = "core"

            def __str__(self) -> str:
                return self.name

        with as_superuser(), connection.schema_editor() as editor:
            editor.create_model(Thing)
            editor.execute("GRANT ALL ON core_thing TO billing")
        yield Thing


def ids(count: int) -> list[UUID]:
    return [UUID(int=2**127 + number) for number in range(count)]


def test_rows_arrive_as_they_were_given_in_one_statement(
    thing: type[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    first, second, third = ids(3)
    with django_assert_num_queries(1):
        insert_rows(
            thing,
            {
                "id": [first, second, third],
                "name": ["a,b", '"q"\\', "ß→"],
                "colour": [Colour.RED, Colour.BLUE, Colour.RED],
                "amount": [Decimal("1.5"), Decimal("-1E+3"), Decimal(0)],
                "count": Same(7),
                "at": [AT, None, AT],
                "of": [None, first, first],
                "data": [b'{"a": "b\\"c"}', None, b"[]"],
            },
        )
    columns = ("id", "name", "colour", "amount", "count", "at", "of_id", "data")
    assert list(thing.objects.order_by("id").values_list(*columns)) == [
        (first, "a,b", "red", Decimal("1.5"), 7, AT, None, {"a": 'b"c'}),
        (second, '"q"\\', "blue", Decimal(-1000), 7, None, first, None),
        (third, "ß→", "red", Decimal(0), 7, AT, first, []),
    ]


def test_no_rows_are_no_rows(thing: type[Any]) -> None:
    given: dict[str, Any] = {"id": [], "name": [], "amount": [], "count": Same(0)}
    insert_rows(thing, {**given, "data": [], "colour": Same("")})
    assert not thing.objects.exists()
    assert update_rows(thing, [], {"name": []}, where={}) == 0


def test_the_database_refuses_what_it_would_refuse_one_by_one(thing: type[Any]) -> None:
    rest: dict[str, Any] = {"colour": Same(""), "amount": Same(Decimal(0)), "count": Same(0)}
    with pytest.raises(DataError, match="too long"), atomic():
        insert_rows(thing, {"id": ids(2), "name": ["short", "longer"], **rest})
    with pytest.raises(IntegrityError, match="null"), atomic():
        insert_rows(thing, {"id": ids(2), "name": ["short", None], **rest})
    with pytest.raises(ValueError, match="not of one length"):
        insert_rows(thing, {"id": ids(2), "name": ["short"], **rest})
    assert not thing.objects.exists()


def test_columns_change_where_the_guard_holds(thing: type[Any]) -> None:
    for number, one in enumerate(ids(3)):
        thing.objects.create(id=one, name=f"n{number}", colour="red" if number else "blue")
    changed = update_rows(
        thing,
        ids(3),
        {"amount": [Decimal(1), Decimal(2), Decimal(3)], "data": Same(b'{"x": 1}')},
        where={"colour": Colour.RED},
    )
    assert changed == 2
    assert list(thing.objects.order_by("id").values_list("amount", "data")) == [
        (Decimal(0), None),
        (Decimal(2), {"x": 1}),
        (Decimal(3), {"x": 1}),
    ]


def test_saving_rows_stores_what_is_named_alone(thing: type[Any]) -> None:
    rows = [thing.objects.create(id=one, name="old") for one in ids(2)]
    for number, row in enumerate(rows):
        row.name, row.count, row.data = f"n{number}", 9, {"n": number} if number else None
    save_rows(rows, ["name", "data"])
    save_rows([], ["name"])
    assert list(thing.objects.order_by("id").values_list("name", "count", "data")) == [
        ("n0", 0, None),
        ("n1", 0, {"n": 1}),
    ]
