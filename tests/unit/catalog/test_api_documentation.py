"""The documented fields of catalog documents are those that are read."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.serializers import Serializer

from apps.catalog.api import serializers
from apps.catalog.documents.drafts import Known
from apps.catalog.documents.reading import Reader
from apps.rating.documents import Fields

UNKNOWN = "unknown_field"


def version(reader: Reader, fields: Fields) -> None:
    reader.version(fields)
    fields.flag("publish", default=True)
    fields.close()


def plan(reader: Reader, fields: Fields) -> None:
    reader.plan(fields)
    fields.close()


def charge(reader: Reader, fields: Fields) -> None:
    reader.version(reader.fields({"currency": "USD", "charges": [given(fields)]}))


def price(reader: Reader, fields: Fields) -> None:
    reader.version(reader.fields({"charges": [{"key": "a", "prices": [given(fields)]}]}))


def phase(reader: Reader, fields: Fields) -> None:
    reader.version(reader.fields({"phases": [given(fields)]}))


def field_names(documented: type[Serializer[Any]]) -> list[str]:
    return [name for name, _ in documented().fields.items()]


def given(fields: Fields) -> dict[str, object]:
    return {name: fields.take(name) for name in NAMES if fields.gives(name)}


READ: dict[type[Serializer[Any]], Callable[[Reader, Fields], object]] = {
    serializers.PlanDocument: plan,
    serializers.VersionDocument: version,
    serializers.PhaseDocument: phase,
    serializers.ChargeDocument: charge,
    serializers.PriceDocument: price,
    serializers.ProductDocument: Reader.product,
    serializers.PriceListDocument: Reader.price_list,
    serializers.MeterDocument: Reader.meter,
}
NAMES = sorted({name for one in READ for name in field_names(one)})


@pytest.mark.parametrize("documented", READ, ids=lambda one: one.__name__)
def test_every_documented_field_is_read_and_no_other(documented: type[Serializer[Any]]) -> None:
    read = set()
    for name in NAMES:
        reader = Reader(Known())
        READ[documented](reader, reader.fields({name: None}))
        refused = {
            error.field.rpartition(".")[2] for error in reader.errors if error.code == UNKNOWN
        }
        if name not in refused:
            read.add(name)

    assert read == set(field_names(documented))
