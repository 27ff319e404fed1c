"""Conditions on the properties of events."""

from decimal import Decimal

import pytest

from apps.core.errors import FieldError, Invalid
from apps.rating.filters import Filter, Operator, Scalar, matches, parse_filters

D = Decimal


def one(op: str, value: Scalar | tuple[Scalar, ...]) -> list[Filter]:
    return [Filter("p", Operator(op), value)]


@pytest.mark.parametrize(
    ("op", "value", "found", "does"),
    [
        ("eq", "eu", "eu", True),
        ("eq", "eu", "EU", False),
        ("eq", "5", "5", True),
        ("eq", "5", "5.0", False),
        ("eq", "5", 5, True),
        ("eq", "5.0", 5, True),
        ("eq", D(5), "5.0", True),
        ("eq", D(5), 5.0, True),
        ("eq", D("0.1"), 0.1, True),
        ("eq", D(5), D("5.00"), True),
        ("eq", D(5), 6, False),
        ("eq", D(5), "five", False),
        ("eq", D(5), float("nan"), False),
        ("eq", D(5), D("NaN"), False),
        ("eq", True, True, True),
        ("eq", True, 1, False),
        ("eq", D(1), True, False),
        ("eq", True, "true", False),
        ("eq", False, False, True),
        ("eq", False, True, False),
        ("eq", "eu", ["eu"], False),
        ("ne", "eu", "us", True),
        ("ne", "eu", "eu", False),
        ("ne", D(5), "5", False),
        ("ne", D(5), "x", True),
        ("in", ("eu", "us"), "us", True),
        ("in", ("eu", "us"), "ap", False),
        ("in", (D(1), D(2)), 2, True),
        ("in", (), "us", False),
        ("gt", D(5), 6, True),
        ("gt", D(5), 5, False),
        ("gt", D(5), 10**25, True),
        ("gt", D(5), 4, False),
        ("gt", D(5), "5.000000000001", True),
        ("gte", D(5), 5, True),
        ("gte", D(5), 6, True),
        ("gte", D(5), 4.999, False),
        ("lt", D(5), 4, True),
        ("lt", D(5), 5, False),
        ("lt", D(5), 6, False),
        ("lte", D(5), 5, True),
        ("lte", D(5), 4, True),
        ("lte", D(5), 6, False),
        ("lt", D(5), "abc", False),
        ("gt", D(5), "abc", False),
        ("gt", D(5), True, False),
        ("gt", D(5), float("inf"), False),
        ("lt", "5", 4, True),
        ("lt", "b", "a", False),
        ("exists", True, "", True),
        ("exists", True, 0, True),
        ("exists", False, "", False),
    ],
)
def test_one_condition(
    op: str, value: Scalar | tuple[Scalar, ...], found: object, *, does: bool
) -> None:
    assert matches(one(op, value), {"p": found, "q": "other"}) is does


@pytest.mark.parametrize("properties", [{}, {"p": None}])
@pytest.mark.parametrize(
    ("op", "value", "does"),
    [
        ("eq", "eu", False),
        ("ne", "eu", True),
        ("in", ("eu",), False),
        ("gt", D(0), False),
        ("gte", D(0), False),
        ("lt", D(0), False),
        ("lte", D(0), False),
        ("exists", True, False),
        ("exists", False, True),
    ],
)
def test_an_absent_property_meets_only_ne_and_exists_false(
    op: str, value: Scalar | tuple[Scalar, ...], *, does: bool, properties: dict[str, object]
) -> None:
    assert matches(one(op, value), properties) is does


@pytest.mark.holds("U8")
def test_all_conditions_must_be_met() -> None:
    both = [Filter("region", Operator.EQ, "eu"), Filter("size", Operator.GTE, D(10))]
    assert matches(both, {"region": "eu", "size": 10})
    assert not matches(both, {"region": "eu", "size": 9})
    assert not matches(both, {"region": "us", "size": 10})
    assert matches([], {})


def test_parse_filters() -> None:
    document = [
        {"property": "region", "op": "eq", "value": "eu"},
        {"property": "size", "op": "ne", "value": 5},
        {"property": "size", "op": "gte", "value": "10.5"},
        {"property": "tier", "op": "in", "value": ["a", 2, True]},
        {"property": "debug", "op": "exists", "value": False},
        {"property": "live", "op": "eq", "value": False},
    ]
    assert parse_filters(document) == [
        Filter("region", Operator.EQ, "eu"),
        Filter("size", Operator.NE, D(5)),
        Filter("size", Operator.GTE, D("10.5")),
        Filter("tier", Operator.IN, ("a", D(2), True)),
        Filter("debug", Operator.EXISTS, value=False),
        Filter("live", Operator.EQ, value=False),
    ]
    assert parse_filters([]) == []


def test_parse_filters_reports_every_problem_with_its_path() -> None:
    with pytest.raises(Invalid) as caught:
        parse_filters(
            [
                {"property": "", "op": "eq", "value": "x"},
                {"property": "p", "op": "equals", "value": "x"},
                {"property": "p", "op": "eq"},
                {"property": "p", "op": "eq", "value": None},
                {"property": "p", "op": "ne", "value": 1.5},
                {"property": "p", "op": "in", "value": []},
                {"property": "p", "op": "in", "value": ["x", None]},
                {"property": "p", "op": "in", "value": "x"},
                {"property": "p", "op": "gt", "value": "1e5"},
                {"property": "p", "op": "lt", "value": True},
                {"property": "p", "op": "exists", "value": "true"},
                {"property": "p", "op": "eq", "valeu": "x"},
                "region = eu",
                {"value": 1},
            ],
            "meter.filters",
        )
    assert [(error.field, error.code) for error in caught.value.errors] == [
        ("meter.filters[12]", "invalid_type"),
        ("meter.filters[0].property", "invalid_type"),
        ("meter.filters[1].op", "unknown_choice"),
        ("meter.filters[2].value", "required"),
        ("meter.filters[3].value", "invalid_type"),
        ("meter.filters[4].value", "invalid_type"),
        ("meter.filters[5].value", "empty"),
        ("meter.filters[6].value", "invalid_type"),
        ("meter.filters[7].value", "invalid_type"),
        ("meter.filters[8].value", "number_format"),
        ("meter.filters[9].value", "invalid_type"),
        ("meter.filters[10].value", "invalid_type"),
        ("meter.filters[11].value", "required"),
        ("meter.filters[11].valeu", "unknown_field"),
        ("meter.filters[13].property", "required"),
        ("meter.filters[13].op", "required"),
    ]


def test_parse_filters_offers_the_word_that_was_meant() -> None:
    with pytest.raises(Invalid) as caught:
        parse_filters([{"propertys": "p", "op": "exist", "value": True}])
    assert caught.value.errors == (
        FieldError("filters[0].property", "required", "this field is required"),
        FieldError(
            "filters[0].op", "unknown_choice", "'exist' is not known; did you mean 'exists'?"
        ),
        FieldError(
            "filters[0].propertys",
            "unknown_field",
            "there is no such field; did you mean 'property'?",
        ),
    )


@pytest.mark.parametrize("document", [None, {}, "eq", 5])
def test_filters_are_a_list(document: object) -> None:
    with pytest.raises(Invalid) as caught:
        parse_filters(document, "filters")
    assert [(error.field, error.code) for error in caught.value.errors] == [
        ("filters", "invalid_type")
    ]
