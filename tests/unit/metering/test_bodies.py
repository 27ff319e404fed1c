"""The fast reader of bodies gives what the slow one gives, or its refusal."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.web.parsing import BodyInvalid, read_json
from apps.metering.api.bodies import read_body

texts = st.text(st.sampled_from('ab:{}[]"\\é,1 \t'), max_size=6)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**45), 10**45), texts,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)


def outcome(read: Any, body: bytes) -> tuple[str, str]:
    """Return the value, or the codes of the refusal: equal texts mean equal outcomes."""
    try:
        return "value", repr(read(body))
    except BodyInvalid as error:
        return "refused", repr([(one.field, one.code) for one in error.errors])


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_both_readers_agree(value: Any, escaped: bool, indent: int | None) -> None:  # noqa: FBT001 -- drawn
    body = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    assert outcome(read_body, body) == outcome(read_json, body)


@given(
    st.binary(max_size=12) | st.text(st.sampled_from('{}[]":,1a.e-\\'), max_size=12).map(str.encode)
)
def test_both_readers_agree_on_anything(body: bytes) -> None:
    assert outcome(read_body, body) == outcome(read_json, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": 1, "a" : 1}',
        b'{"events": [{"properties": {"a": ":", "a": "::"}}]}',
        b'{"events": [{"properties": {"\\u0061": 1, "a": 1}}]}',
        b'[{"a": {"b": 1, "b": {"c": ":"}}}]',
        b"1e41",
        b"1e99999999999999999999",
        b"[1e-41]",
        b"1" * 41,
        b'{"events": [' + b'{"properties": ' * 10 + b"[" * 9 + b"]" * 9 + b"}" * 10 + b"]}",
        b'{"events": [{"properties": 1, "x": ' + b"[" * 18 + b"]" * 18 + b"}]}",
        b"[" * 30 + b"]" * 30,
    ],
)
def test_what_the_fast_decoder_would_let_pass(body: bytes) -> None:
    assert outcome(read_body, body)[0] == "refused"
    assert outcome(read_body, body) == outcome(read_json, body)
