"""Items read together are read as each by itself."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.metering.domain import MeterTerms
from apps.metering.intake import (
    EventReader,
    Events,
    Expectations,
    Refusal,
    is_undemanding,
    window_at,
)
from apps.metering.intake.columns import Doubtful, read_columns
from apps.rating.aggregation import Aggregation, AggregationRule

TENANT = UUID(int=7)
AT = datetime(2026, 5, 1, tzinfo=UTC)
WINDOW = window_at(AT, max_age=timedelta(days=30), max_ahead=timedelta(hours=1))


def terms(name: str, aggregation: Aggregation, **values: Any) -> MeterTerms:
    rule = AggregationRule(aggregation)
    return MeterTerms(
        **{
            "version_id": UUID(int=1),
            "event_name": name,
            "rule": rule,
            "value_property": "",
            "filters": (),
            "group_by": (),
            **values,
        }
    )


BY_EVENT = {
    "calls": [terms("calls", Aggregation.COUNT)],
    "traffic": [terms("traffic", Aggregation.SUM)],
    "sizes": [terms("sizes", Aggregation.MAX, value_property="size", refuses_negative=True)],
}
EXPECTED = Expectations(
    stamp=1,
    by_event=BY_EVENT,
    undemanding=frozenset(name for name, meters in BY_EVENT.items() if is_undemanding(meters)),
    by_key={"call_meter": "calls", "old": "gone"},
    archived=frozenset({"gone"}),
)

Outcome = tuple[list[tuple[Any, ...]], list[tuple[int, str | None, str]]]


def outcome(found: tuple[Events, list[Refusal]]) -> Outcome:
    """Return the events row by row, and what is refused, where and why."""
    events, refusals = found
    rows = zip(*(getattr(events, name) for name in Events.__slots__), strict=True)
    return list(rows), [(one.place, one.why.field, one.why.code) for one in refusals]


def read(items: list[Any]) -> Outcome:
    return outcome(EventReader(TENANT, EXPECTED, WINDOW, at=AT).read(items))


def read_singly(items: list[Any]) -> Outcome:
    rows, refused = [], []
    for place, item in enumerate(items):
        found, refusals = read([item])
        rows += [(place, *row[1:]) for row in found]
        refused += [(place, field, code) for _, field, code in refusals]
    return rows, refused


good: dict[str, st.SearchStrategy[Any]] = {
    "idempotency_key": st.text("ab-:~!", min_size=1, max_size=8),
    "timestamp": st.sampled_from(
        [
            "2026-04-30T00:00:00Z",
            "2026-04-30t12:34:56.789z",
            "2026-04-30 23:59:59.999999+00:00",
            "2026-05-01T01:00:00-00:00",
        ]
    ),
    "value": st.sampled_from(["1", "0", "-2.5", "0.5", "12345678901234567890", 7, -3]),
    "properties": st.dictionaries(
        st.sampled_from(["size", "region", "price_point", "a" * 100]),
        st.sampled_from(["1", "eu", 5, Decimal("1.5"), -1]),
        max_size=3,
    ),
}
odd: dict[str, st.SearchStrategy[Any]] = {
    "idempotency_key": st.sampled_from([None, "", " ", "ä", "x" * 256, 5, "a\n", "a\x7f"]),
    "timestamp": st.sampled_from(
        [
            None,
            "2026-04-30T00:00:00",
            "2026-04-30T00:00:60Z",
            "2026-02-30T00:00:00Z",
            "2026-04-30T24:00:00Z",
            "2026-04-30T00:00:00.1234567Z",
            "2026-04-30T00:00:00+0200",
            "2026-04-30T02:00:00+02:00",
            "2026-04-30T00:00:00Z\n2026-04-30T00:00:00Z",
            "٢026-04-30T00:00:00Z",
            "2020-01-01T00:00:00Z",
            "2026-05-01T01:00:00.000001Z",
            "0001-01-01T00:00:00Z",
            1_777_777_777,
        ]
    ),
    "value": st.sampled_from(
        [
            *(None, True, "-0", "0.10", "1e3", "1\n2", "٣", "", "1.", " 1", 10**20, -(10**19)),
            *("123456789012345678901", "0.1234567890123", Decimal("1.50"), Decimal(0), [], "-"),
        ]
    ),
    "properties": st.sampled_from(
        [
            *(None, [], "x", {"": 1}, {"a" * 101: 1}, {"size": "many"}, {"size": -1}),
            *({"x": "y" * 16_385}, {f"p{n}": n for n in range(101)}, {"x": {"": '"":'}}),
            {"price_point": ""},
        ]
    ),
}
subjects: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(
        st.sampled_from(["customer", "subscription", "subject"]), st.sampled_from(["c-1", "c-2"])
    ),
    st.tuples(st.sampled_from(["customer_id", "nobody"]), st.sampled_from([None, "", "ü", 3])),
)
names: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.just("event_name"), st.sampled_from(["calls", "traffic", "sizes"])),
    st.tuples(st.just("meter"), st.sampled_from(["call_meter", "calls"])),
    st.tuples(
        st.sampled_from(["event_name", "metric_key"]),
        st.sampled_from([None, "unknown", "gone", "old", "", "a b", 4, "x" * 101, []]),
    ),
)


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Draw items like those of one caller, among which a few may be odd."""
    fields = draw(st.lists(st.sampled_from([*good]), unique=True, max_size=4))
    size = draw(st.integers(5, 12))
    oddities = draw(st.integers(0, 2))
    plain = st.tuples(
        st.tuples(st.just("customer"), st.sampled_from(["c-1", "c-2"])),
        st.tuples(st.just("event_name"), st.sampled_from(["calls", "traffic"])),
    )
    items: list[Any] = []
    for place in range(size):
        is_odd = place < oddities
        subject, name = draw(st.tuples(subjects, names) if is_odd else plain)
        item = {"idempotency_key": draw(good["idempotency_key"]), **dict([subject, name])}
        for field in fields:
            item[field] = draw(st.one_of(good[field], odd[field]) if is_odd else good[field])
        items.append(draw(st.sampled_from([item, item, item, [], None, 5])) if is_odd else item)
    return draw(st.permutations(items))


@given(batches())
def test_together_as_each_by_itself(items: list[Any]) -> None:
    assert read(items) == read_singly(items)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("timestamp", "2026-04-30T00:00:00.5+00:00"),
        ("value", 5),
        ("value", "5.25"),
        ("value", Decimal("5.250")),
        ("properties", {"price_point": "vip"}),
        ("properties", None),
        ("meter", "call_meter"),
    ],
)
def test_plain_items_are_read_together(field: str, value: object) -> None:
    name = {} if field == "meter" else {"event_name": "calls"}
    items = [
        {"idempotency_key": f"k-{number}", "customer": "c", **name, field: value}
        for number in range(9)
    ]
    read(items[:1])
    assert read_columns(items, EXPECTED, WINDOW, at=AT).keys == [f"k-{n}" for n in range(9)]


def test_what_was_never_met_is_doubtful() -> None:
    items = [{"idempotency_key": "k", "customer": "c", "event_name": "unknown"}] * 9
    with pytest.raises(Doubtful):
        read_columns(items, EXPECTED, WINDOW, at=AT)


def test_the_same_payload_has_one_fingerprint() -> None:
    base = {"idempotency_key": "k", "customer": "c", "event_name": "calls"}
    same = [
        {**base, "value": "5", "timestamp": "2026-04-30T00:00:00Z"},
        {**base, "value": 5, "timestamp": "2026-04-30T02:00:00+02:00"},
        {**base, "value": Decimal("5.0"), "timestamp": "2026-04-30 00:00:00.000Z"},
    ]
    other = [
        {**base, "value": 5},
        {**base, "value": 6, "timestamp": "2026-04-30T00:00:00Z"},
        {**base, "value": 5, "timestamp": "2026-04-30T00:00:00Z", "properties": {"a": 1}},
        {"idempotency_key": "k", "subject": "c", "event_name": "calls", "value": 5},
        {"idempotency_key": "k", "customer": "c", "meter": "calls", "value": 5},
    ]
    events, refused = EventReader(TENANT, EXPECTED, WINDOW, at=AT).read([*same, *other])
    assert refused == []
    assert len(set(events.fingerprints[:3])) == 1
    assert len(set(events.fingerprints)) == 1 + len(other)
