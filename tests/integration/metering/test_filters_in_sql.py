"""How SQL looks at an event is how Python does."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.metering.domain import filters_document, read_filters
from apps.rating.decimals import parse_decimal
from apps.rating.filters import Operator, matches, parse_filters

pytestmark = pytest.mark.django_db

digits = st.sampled_from(
    ["5", "5.0", "05", "-5", "0", "-0", "1e1", " 5", "5 ", "5.", ".5", "5\n", "1_0", "\u0665",
     "99999999999999999999", "999999999999999999999", "0.123456789012", "0.1234567890123"]
)  # fmt: skip
numbers = st.one_of(
    st.integers(-6, 6),
    st.sampled_from([Decimal("5.0"), Decimal("-0.5"), Decimal("1E+25"), 10**20, Decimal("1E-13")]),
)
scalars = st.one_of(digits, numbers, st.booleans(), st.sampled_from(["eu", "true", ""]))
found = st.one_of(scalars, st.none(), st.sampled_from([[], ["eu"], {"number": "5"}, {}]))
properties = st.dictionaries(st.sampled_from(["a", "b"]), found, max_size=2)
wanted_numbers = st.one_of(st.integers(-6, 6), st.sampled_from(["5", "5.0", "-1.5"]))


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(list(Operator)))
    scalar = st.one_of(
        st.integers(-6, 6), st.booleans(), st.sampled_from(["5", "5.0", "eu", "true", ""])
    )
    match op:
        case Operator.EXISTS:
            value: Any = draw(st.booleans())
        case Operator.IN:
            value = draw(st.lists(scalar, min_size=1, max_size=3))
        case Operator.EQ | Operator.NE:
            value = draw(scalar)
        case _:
            value = draw(wanted_numbers)
    return {"property": draw(st.sampled_from(["a", "b"])), "op": op, "value": value}


def as_json(value: Any) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(k)}:{as_json(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ",".join(as_json(one) for one in value) + "]"
        case Decimal():
            return str(value)
        case _:
            return json.dumps(value)


def ask(statement: str, *parameters: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(conditions(), max_size=2), properties)
def test_filters_agree(document: list[dict[str, Any]], given_properties: dict[str, Any]) -> None:
    filters = parse_filters(document)
    stored = filters_document(filters)
    assert read_filters(json.loads(json.dumps(stored))) == tuple(filters)
    assert ask(
        "SELECT metering_matches(%s::jsonb, %s::jsonb)",
        json.dumps(stored),
        as_json(given_properties),
    ) == matches(filters, given_properties)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found)
def test_numbers_agree(value: Any) -> None:
    assert ask("SELECT metering_number(%s::jsonb)", as_json(value)) == parse_decimal(value)


@pytest.mark.parametrize(
    ("properties", "group"),
    [
        ("{}", '["", null, null]'),
        ('{"price_point": "vip", "r": "eu"}', '["vip", "eu", null]'),
        ('{"r": 5.0, "s": true}', '["", "5", "true"]'),
        ('{"r": null, "s": [1, "a"]}', '["", null, "[1, \\"a\\"]"]'),
    ],
)
def test_groups_are_one_text(properties: str, group: str) -> None:
    assert ask("SELECT metering_group(ARRAY['r', 's'], %s::jsonb)", properties) == group
