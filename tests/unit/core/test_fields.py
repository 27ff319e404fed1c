"""The fields of strict serializers: what each takes and what it gives back."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import Field

from apps.core.ids import encode, new_id
from apps.core.web import fields


def code_of(field: Field[Any, Any, Any, Any], data: Any) -> str:
    with pytest.raises(ValidationError) as raised:
        field.run_validation(data)
    detail = raised.value.detail
    assert isinstance(detail, list)
    first = detail[0]
    assert isinstance(first, ErrorDetail)
    return str(first.code)


@pytest.mark.parametrize(
    ("data", "number"),
    [
        ("10.50", "10.50"),
        ("-0.000000000001", "-1E-12"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
        ("-0.00", "0"),
        (7, "7"),
        (Decimal("1.50"), "1.50"),
    ],
)
def test_decimals_are_exact(data: Any, number: str) -> None:
    read = fields.DecimalField().run_validation(data)
    assert str(read) == number


@pytest.mark.parametrize(
    "data",
    [
        "",
        "1e3",
        "\uff11\uff12",
        "1_000",
        "1,000.00",
        "+1",
        ".5",
        "5.",
        " 1",
        "1\n",
        "NaN",
        "0x1F",
        True,
        1.5,
        [],
        {},
        "9" * 21,
        "0." + "1" * 13,
        10**20,
    ],
)
def test_what_is_no_decimal(data: Any) -> None:
    assert code_of(fields.DecimalField(), data) == "number_format"


def test_limits_of_decimals() -> None:
    assert code_of(fields.DecimalField(minimum=Decimal(0)), "-0.01") == "number_too_small"
    assert code_of(fields.DecimalField(above=Decimal(0)), "0.00") == "number_too_small"
    assert fields.DecimalField(minimum=Decimal(0)).run_validation("-0") == 0


@given(
    st.decimals(
        min_value=-(10**19), max_value=10**19, allow_nan=False, allow_infinity=False, places=12
    )
)
def test_decimals_written_are_read_back(number: Decimal) -> None:
    field = fields.DecimalField()
    assert field.run_validation(field.to_representation(number)) == number


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-05-01T00:00:00Z", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01t00:00:00z", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01 02:00:00+02:00", datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T00:00:00.5-05:30", datetime(2026, 5, 1, 5, 30, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_instants_come_out_in_utc(text: str, instant: datetime) -> None:
    read = fields.InstantField().run_validation(text)
    assert (read, read.utcoffset()) == (instant, timedelta(0))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ("2026-05-01T00:00:00", "timestamp_zone_required"),
        ("2026-05-01", "timestamp_format"),
        ("2026-02-30T00:00:00Z", "timestamp_format"),
        ("2026-05-01T24:00:00Z", "timestamp_format"),
        ("2026-12-31T23:59:60Z", "timestamp_format"),
        ("2026-05-01T00:00:00+25:00", "timestamp_format"),
        ("2026-05-01T00:00:00.1234567Z", "timestamp_format"),
        ("1969-12-31T23:59:59Z", "timestamp_format"),
        ("9001-01-01T00:00:00Z", "timestamp_format"),
        ("0001-01-01T00:00:00+14:00", "timestamp_format"),
        ("\uff12\uff1026-05-01T00:00:00Z", "timestamp_format"),
        (1777593600, "timestamp_format"),
    ],
)
def test_what_is_no_instant(data: Any, code: str) -> None:
    assert code_of(fields.InstantField(), data) == code


def test_an_end_in_the_last_second_of_a_day_would_lose_it() -> None:
    for text in ("2026-05-31T23:59:59Z", "2026-05-31T23:59:59.999999+02:00"):
        assert code_of(fields.BoundaryField(), text) == "end_exclusive"
    # the last second of a day in UTC is no boundary of the caller's days
    assert fields.BoundaryField().run_validation("2026-06-01T01:59:59+02:00")


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_instants_written_are_read_back(naive: datetime) -> None:
    instant = naive.replace(tzinfo=timezone(timedelta(hours=5, minutes=45)))
    field = fields.InstantField()
    text = field.to_representation(instant)
    assert text.endswith("Z")
    assert field.run_validation(text) == instant


@pytest.mark.parametrize(
    ("field", "data", "code"),
    [
        (fields.CurrencyField(), "usd", "currency_unknown"),
        (fields.CurrencyField(), 840, "currency_unknown"),
        (fields.ZoneField(), "europe/berlin", "zone_unknown"),
        (fields.ZoneField(), "../../etc/passwd", "zone_unknown"),
        (fields.TextField(), 7, "string_expected"),
        (fields.TextField(), "a\x1bb", "control_character"),
        (fields.TextField(), "a\x85b", "control_character"),
        (fields.LineField(), "a\tb", "control_character"),
        (fields.KeyField(), "API", "key_format"),
        (fields.KeyField(), "a" * 101, "key_format"),
        (fields.ExternalIdField(), "a b", "external_id_format"),
        (fields.IdField("cus"), 7, "id_malformed"),
        (fields.NameField(), "a b", "id_malformed"),
        (fields.WholeField(), "7", "number_format"),
        (fields.WholeField(), True, "number_format"),
        (fields.WholeField(), Decimal("7.0"), "number_format"),
        (fields.FlagField(), "true", "flag_format"),
        (fields.FlagField(), 1, "flag_format"),
        (fields.MetadataField(), [], "metadata_format"),
        (fields.MetadataField(), {"": "x"}, "metadata_format"),
        (fields.MetadataField(), {"a": None}, "metadata_format"),
        (fields.MetadataField(), {"a": "x" * 501}, "metadata_format"),
    ],
)
def test_refusals(field: Field[Any, Any, Any, Any], data: Any, code: str) -> None:
    assert code_of(field, data) == code


def test_what_passes() -> None:
    identifier = new_id()
    passed = {
        "currency": fields.CurrencyField().run_validation("KWD"),
        "zone": fields.ZoneField().run_validation("America/Argentina/Buenos_Aires"),
        "text": fields.TextField().run_validation("  two\nlines\t"),
        "key": fields.KeyField().run_validation("api_calls.v2-eu"),
        "id": fields.IdField("cus").run_validation(encode("cus", identifier)),
        "flag": fields.FlagField().run_validation(data=False),
        "whole": fields.WholeField().run_validation(-3),
        "metadata": fields.MetadataField().run_validation({"a": ""}),
    }
    assert passed == {
        "currency": "KWD",
        "zone": "America/Argentina/Buenos_Aires",
        "text": "two\nlines",
        "key": "api_calls.v2-eu",
        "id": identifier,
        "flag": False,
        "whole": -3,
        "metadata": {"a": ""},
    }


class Inner(fields.StrictSerializer):
    amount = fields.DecimalField()


class Outer(fields.StrictSerializer):
    name = fields.LineField(max_length=5)
    parts = Inner(many=True, required=False)


def test_unknown_fields_are_refused_at_every_depth_together_with_all_other_errors() -> None:
    given_data = {"nam": "x", "parts": [{"amount": "1"}, {"amount": "x", "amout": "1"}]}
    outer = Outer(data=given_data)
    assert not outer.is_valid()
    assert {
        "name": [one.code for one in outer.errors["name"]],
        "nam": [str(one) for one in outer.errors["nam"]],
    } == {"name": ["required"], "nam": ["Unknown field 'nam'. Did you mean 'name'?"]}
    assert "amout" in str(outer.errors["parts"])
    assert "number_format" in repr(outer.errors["parts"])


@pytest.mark.parametrize("data", [[], "x", 1, None])
def test_only_objects_are_objects(data: Any) -> None:
    assert not Outer(data=data).is_valid()
