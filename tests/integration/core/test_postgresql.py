"""Lists that go to the database, instants that come from it, and asking for many rows."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from django.db import DataError, connection
from django.db.models import QuerySet
from psycopg.types.datetime import TimestamptzLoader

from apps.core.postgresql.adapters import ArrayDumper, Documents, InstantLoader
from apps.core.postgresql.cursors import binding_cursor
from apps.customers.models import Customer
from apps.invoicing.domain import DocumentKind
from tests.make.customers import make_customer
from tests.make.tenants import make_tenant

pytestmark = pytest.mark.django_db

TEXTS = ["", "plain", "NULL", "null", ' "quoted" ', "back\\slash", '\\"', "{a,b}", "tab\t\n", "ß→"]
LISTS: list[tuple[str, list[Any]]] = [
    ("text", TEXTS),
    ("text", ["one"]),
    ("text", ['"']),
    ("text", [*TEXTS, None]),
    ("text", []),
    ("text", [None]),
    ("uuid", [UUID(int=1), UUID(int=2**128 - 1)]),
    ("uuid", [None, UUID(int=1), None]),
    ("bigint", [0, -1, 2**63 - 1, None]),
    ("boolean", [True, False, None]),
    ("numeric", [Decimal("1.50"), Decimal("-1E+3"), Decimal("1E-12"), None]),
    ("timestamptz", [datetime(2026, 5, 1, 12, 30, 0, 1, UTC), None]),
    ("bigint", [[1, 2], [3, 4]]),
    ("text", [DocumentKind.INVOICE, DocumentKind.CREDIT_MEMO]),
    ("jsonb", ['{"a": "b\\"c"}', "[]"]),
]


def read(statement: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


def test_connections_write_lists_and_read_instants_this_way() -> None:
    connection.ensure_connection()
    adapters = connection.connection.adapters

    assert adapters.get_dumper(list, psycopg.adapt.PyFormat.TEXT) is ArrayDumper
    assert (
        adapters.get_loader(psycopg.postgres.types["timestamptz"].oid, psycopg.pq.Format.TEXT)
        is InstantLoader
    )


@pytest.mark.parametrize(("kind", "values"), LISTS, ids=str)
def test_a_list_arrives_as_it_was(kind: str, values: list[Any]) -> None:
    found = read(f"SELECT %s::{kind}[]", values)

    assert found == values


@pytest.mark.parametrize(("kind", "values"), LISTS, ids=str)
def test_a_list_beside_the_statement_arrives_as_it_was(kind: str, values: list[Any]) -> None:
    with binding_cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[], %s::uuid", [values, UUID(int=7)])
        found = cursor.fetchone()

    assert found == (values, UUID(int=7))


def test_documents_arrive_as_they_were() -> None:
    texts = [b"{}", '{"a": ["ß", "\\"", null]}'.encode(), b"1", None]
    sent: Any = Documents(texts)
    with binding_cursor() as cursor:
        cursor.execute("SELECT %s::jsonb[]::text[]", [sent])
        (found,) = cursor.fetchone()

    assert found == ["{}", '{"a": ["ß", "\\"", null]}', "1", None]


def test_a_list_of_instants_in_other_zones_names_the_same_instants() -> None:
    instants = [
        datetime(2026, 5, 1, 2, tzinfo=ZoneInfo("Asia/Kathmandu")),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Vienna"), fold=1),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ]

    assert read("SELECT %s::timestamptz[]", instants) == [one.astimezone(UTC) for one in instants]


def test_a_text_with_nul_is_refused_in_a_list_as_anywhere() -> None:
    with pytest.raises(DataError, match="NUL"):
        read("SELECT %s::text[]", ["fine", "not\0fine"])


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01 00:00:00+00",
        "2026-05-01 12:34:56.7+00",
        "2026-05-01 12:34:56.000001+00",
        "0001-01-01 00:00:00+00",
        "9999-12-31 23:59:59.999999+00",
    ],
)
def test_an_instant_is_read_as_psycopg_reads_it(text: str) -> None:
    found = read("SELECT %s::timestamptz", text)
    connection.ensure_connection()
    oid = psycopg.postgres.types["timestamptz"].oid
    theirs = TimestamptzLoader(oid, connection.connection).load(text.encode())

    assert (found, found.tzinfo) == (theirs, UTC)


@pytest.mark.parametrize("text", ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC"])
def test_an_instant_that_python_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        read("SELECT %s::timestamptz", text)


def test_an_instant_is_right_where_the_session_has_another_zone() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL TIME ZONE 'Asia/Kathmandu'")
    shifted = timezone(timedelta(hours=5, minutes=45))

    assert read("SELECT '2026-05-01T00:00:00Z'::timestamptz") == datetime(
        2026, 5, 1, 5, 45, tzinfo=shifted
    )


def customers(count: int) -> list[Customer]:
    tenant = make_tenant()
    return [make_customer(tenant) for _ in range(count)]


def statement(rows: QuerySet[Any]) -> str:
    """What a query asks for, from WHERE on."""
    return str(rows.order_by().query).partition("WHERE ")[2]


def test_rows_are_asked_for_by_one_array_of_ids() -> None:
    first, second, third = customers(3)
    ids = {first.id, third.id}

    assert set(Customer.objects.filter(id__in=ids)) == {first, third}
    assert set(Customer.objects.filter(pk__in={first.id: 1})) == {first}
    assert set(Customer.objects.exclude(id__in=ids)) == {second}
    assert set(Customer.objects.filter(tenant_id__in=[first.tenant_id])) == {first, second, third}
    assert set(Customer.objects.filter(tenant__in=(first.tenant_id,)).filter(id__in=ids)) == {
        first,
        third,
    }
    assert statement(Customer.objects.filter(id__in=ids)).startswith(
        '"customers_customer"."id" = ANY('
    )
    assert statement(Customer.objects.filter(tenant__in=[first.tenant_id])).startswith(
        '"customers_customer"."tenant_id" = ANY('
    )


def test_whatever_else_is_asked_for_is_left_to_django() -> None:
    first, second = customers(2)

    assert set(Customer.objects.filter(id__in=[first.id, None])) == {first}
    assert set(Customer.objects.filter(id__in=[str(first.id)])) == {first}
    assert set(Customer.objects.filter(tenant__in=[first.tenant])) == {first, second}
    assert set(Customer.objects.filter(id__in=[])) == set()
    assert set(Customer.objects.exclude(id__in=())) == {first, second}
    subquery = Customer.objects.filter(id=second.id).values("tenant_id")
    assert set(Customer.objects.filter(tenant_id__in=subquery)) == {first, second}
    assert set(Customer.objects.filter(email__in=[first.email])) == {first, second}
