"""Strict JSON: what is read, what is refused, and that no input takes long."""

import json
from dataclasses import dataclass
from decimal import Decimal
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.web.parsing import MAX_DEPTH, BodyInvalid, read_json

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**30), max_value=10**30),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(
            st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=9
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)


STRICTER = {
    "json_duplicate_key",
    "json_depth",
    "json_nan",
    "number_too_long",
    "number_out_of_range",
}


@dataclass(frozen=True)
class Refused:
    code: str
    field: str


def outcome(body: bytes) -> object:
    """Return what is read, or how it was refused."""
    try:
        return read_json(body)
    except BodyInvalid as error:
        (found,) = error.errors
        return Refused(found.code, found.field)


def code_of(body: bytes) -> tuple[str, str]:
    found = outcome(body)
    assert isinstance(found, Refused)
    return found.code, found.field


@given(value=_VALUES, ascii_only=st.booleans())
def test_what_json_writes_is_read_back(*, value: object, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.decimals(min_value=-(10**15), max_value=10**15, places=6))
def test_numbers_with_a_point_are_exact(number: Decimal) -> None:
    read = read_json(f"[{number:f}]".encode())[0]
    assert isinstance(read, Decimal)
    assert read == number


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    found = outcome(body)
    assert found is not None or body.strip() == b"null"


@given(st.text(alphabet='[]{}",:\\ab01eE+-. \n', max_size=80))
def test_any_near_json_is_read_or_refused_as_json_itself_would(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = Refused
    found = outcome(text.encode())
    if isinstance(found, Refused):
        assert expected is Refused or found.code in STRICTER
    else:
        assert json.dumps(found, default=float) == json.dumps(expected)


def test_a_zero_with_an_exponent_is_zero() -> None:
    assert [repr(one) for one in read_json(b"[0e999999999, -0.0e5, 0.000]")] == ["Decimal('0')"] * 3


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"a":{"b":[1,{"c":"\\u0000"}]}}', "nul_character", "a.b[1].c"),
        (b'["\\ud800\\u0061"]', "invalid_unicode", "[0]"),
        (b'{"\\udc00":1}', "invalid_unicode", ""),
        (b'{"a":1,"b":2,"a":3}', "json_duplicate_key", "a"),
        (b"[1e41]", "number_out_of_range", ""),
        (b"[1e-41]", "number_out_of_range", ""),
        (b"[1e99999999999999999999]", "number_out_of_range", ""),
        (b"[" + b"9" * 41 + b"]", "number_too_long", ""),
    ],
)
def test_refusals_name_their_place(body: bytes, code: str, field: str) -> None:
    assert code_of(body) == (code, field)


def test_depth_counts_brackets_outside_text_only() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert read_json(deepest)
    assert code_of(b"[" + deepest + b"]") == ("json_depth", "")
    assert read_json(b'["' + b"[" * 50 + b'\\"' + b"{" * 50 + b'"]') == ["[" * 50 + '"' + "{" * 50]
    assert read_json(b"[" + b"[]," * 50 + b"[]]") == [[]] * 51


def test_a_surrogate_pair_is_a_character() -> None:
    assert read_json(b'["\\ud83d\\ude00"]') == ["😀"]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 21 + b'\\"' * 500_000,
        b"[" * 21 + b'"' * 1_000_000,
        b"[" * 21 + b'"\\' * 500_000,
        b"[" * 21 + b"\\" * 1_000_000,
        b'{"a":1,' + b",".join(b'"k%d":1' % n for n in range(90_000)) + b',"k89999":2}',
        b"[" + b"1," * 500_000,
        b'["' + b"\\u0041" * 170_000,
    ],
    ids=["quoted quotes", "quotes", "open escapes", "backslashes", "keys", "numbers", "escapes"],
)
def test_a_megabyte_of_anything_takes_a_moment(body: bytes) -> None:
    begun = perf_counter()
    with pytest.raises(BodyInvalid):
        read_json(body)
    assert perf_counter() - begun < 5
