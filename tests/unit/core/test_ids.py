"""Identifiers: their text, their order, and what is none."""

import time
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.ids import IdMalformed, decode, encode, is_id, new_id, new_ids


def test_the_examples_of_the_specification() -> None:
    known = {
        "00000000000000000000000000": UUID(int=0),
        "00000000000000000000000001": UUID(int=1),
        "0000000000000000000000000g": UUID(int=16),
        "7zzzzzzzzzzzzzzzzzzzzzzzzz": UUID(int=2**128 - 1),
        "01h455vb4pex5vsknk084sn02q": UUID("01890a5d-ac96-774b-bcce-b302099a8057"),
    }
    assert {text: decode("inv", f"inv_{text}") for text in known} == known
    assert {text: encode("inv", number) for text, number in known.items()} == {
        text: f"inv_{text}" for text in known
    }


@given(st.uuids(), st.sampled_from(["cus", "inv", "a_b"]))
def test_text_and_back(identifier: UUID, prefix: str) -> None:
    text = encode(prefix, identifier)
    assert decode(prefix, text) == identifier
    assert is_id(prefix, text)
    assert len(text) == len(prefix) + 27


@given(st.uuids(), st.uuids())
def test_text_sorts_as_the_number_does(one: UUID, other: UUID) -> None:
    assert (encode("cus", one) < encode("cus", other)) == (one.int < other.int)


def test_new_ids_are_version_7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    made = []
    for _ in range(5):
        made.append(new_id())
        time.sleep(0.002)
    after = time.time_ns() // 1_000_000
    assert made == sorted(made)
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}
    assert before <= made[0].int >> 80 <= made[-1].int >> 80 <= after
    assert len({new_id() for _ in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cus",
        "cus_",
        "01h455vb4pex5vsknk084sn02q",
        "inv_01h455vb4pex5vsknk084sn02q",
        "cus_01H455VB4PEX5VSKNK084SN02Q",
        "cus_81h455vb4pex5vsknk084sn02q",
        "cus_01h455vb4pex5vsknk084sn02",
        "cus_01h455vb4pex5vsknk084sn02qq",
        "cus_01h455vb4pex5vsknk084sn02i",
        "cus_01h455vb4pex5vsknk084sn0\uff12q",
        "cus__01h455vb4pex5vsknk084sn02q",
        " cus_01h455vb4pex5vsknk084sn02q",
        "cus_01h455vb4pex5vsknk084sn02q\n",
    ],
)
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(IdMalformed) as raised:
        decode("cus", text, field="customer")
    assert [(one.field, one.code) for one in raised.value.errors] == [("customer", "id_malformed")]
    assert not is_id("cus", text)


def test_the_refusal_quotes_at_most_64_characters() -> None:
    with pytest.raises(IdMalformed) as raised:
        decode("cus", "x" * 1000)
    assert len(raised.value.detail) < 150


def test_many_ids_of_one_instant_ascend_and_come_after_what_was_made_before() -> None:
    before = new_id()
    made = new_ids(1000)
    after = new_id()
    assert sorted({after, before, *made}) == [before, *made, after]
    assert {(one.version, one.variant) for one in made} == {(7, RFC_4122)}
    assert new_ids(0) == []
