"""Facts as events are made of them, and the answers to requests by looking at each of them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.db import connection
from hypothesis import strategies as st
from msgspec import structs

from apps.core.ids import new_id
from apps.core.money import plain
from apps.customers.models import Customer
from apps.metering.domain import Measurement, MeterTerms, UsageRequest, UsageSpan
from apps.metering.intake import event_id
from apps.rating.aggregation import Aggregation, RoundingMode, Usage, aggregate
from apps.rating.decimals import parse_decimal
from apps.rating.filters import matches
from apps.rating.periods import Span
from apps.rating.pricing import Measured, Need, TimeOfDay, band_of, parse_pricing

START = datetime(2026, 3, 30, tzinfo=UTC)
ZERO = Decimal(0)
CARRYING = {Aggregation.SUM, Aggregation.LATEST, Aggregation.WEIGHTED_SUM}
_bands = parse_pricing(
    {
        "model": "time_of_day",
        "zone": "Asia/Kolkata",
        "bands": [{"from": "22:15", "to": "06:30", "unit_price": "1"}],
        "default_unit_price": "2",
    },
    currency="USD",
)
assert isinstance(_bands, TimeOfDay)
BANDS: TimeOfDay = _bands

numbers = st.decimals(-1000, 1000, places=2).map(lambda number: f"{number:f}")
instants = st.builds(
    lambda hours, rest: START + timedelta(hours=hours) + rest,
    st.integers(0, 96),
    st.one_of(
        st.just(timedelta(0)),
        st.sampled_from([timedelta(microseconds=1), timedelta(microseconds=-1)]),
        st.timedeltas(timedelta(0), timedelta(hours=1)),
    ),
)
properties = st.fixed_dictionaries(
    {},
    optional={
        "region": st.sampled_from(["eu", "us", 5, Decimal("5.0"), True, None]),
        "tier": st.sampled_from(["a", "b"]),
        "price_point": st.sampled_from(["vip", "wholesale"]),
        "price": numbers,
        "size": st.one_of(numbers, st.integers(-50, 50), st.just("many")),
    },
)


@dataclass(frozen=True)
class Fact:
    """An event as the test remembers it; ``whose`` is 0 for the customer, 1 or 2 for his subs."""

    at: datetime
    whose: int
    value: str
    properties: dict[str, Any]


facts = st.builds(Fact, instants, st.integers(0, 2), numbers, properties)


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    aggregation = draw(st.sampled_from(list(Aggregation)))
    values: dict[str, Any] = {
        "aggregation": aggregation,
        "recurring": draw(st.booleans()),
        "group_by": draw(st.sampled_from([[], ["region"], ["tier", "region"]])),
        "filters": draw(
            st.sampled_from(
                [
                    [],
                    [{"property": "tier", "op": "ne", "value": "b"}],
                    [{"property": "region", "op": "in", "value": ["eu", 5]}],
                    [{"property": "size", "op": "gt", "value": "-10"}],
                ]
            )
        ),
    }
    if aggregation == Aggregation.PERCENTILE:
        values["percentile"] = draw(st.sampled_from([Decimal(95), Decimal("33.333"), Decimal(100)]))
    if aggregation == Aggregation.UNIQUE_COUNT:
        values["value_property"] = draw(st.sampled_from(["region", "size"]))
    elif aggregation != Aggregation.COUNT:
        values["value_property"] = draw(st.sampled_from(["", "size"]))
    if draw(st.booleans()):
        values |= {"rounding": RoundingMode.UP, "rounding_places": draw(st.integers(-1, 1))}
    return values


@st.composite
def questions(draw: st.DrawFn) -> tuple[int | None, tuple[UsageSpan, ...], Need]:
    """Draw whose usage is asked for, in which spans, and what is needed."""
    ends = sorted(draw(st.lists(instants, min_size=2, max_size=6, unique=True)))
    flag = draw(st.booleans())
    spans = [UsageSpan(start, end, flag) for start, end in zip(ends[::2], ends[1::2], strict=False)]
    return draw(st.sampled_from([None, 1, 2])), tuple(spans), draw(st.sampled_from(list(Need)))


class Counter:
    """Answers requests by looking at every event."""

    def __init__(self, terms: MeterTerms, subs: list[UUID | None], sent: list[Fact]) -> None:
        self.terms, self.rule = terms, terms.rule
        self.carries = terms.rule.recurring and terms.rule.aggregation in CARRYING
        self.counted = [
            (fact, self._usage(number, fact))
            for number, fact in enumerate(sent)
            if matches(terms.filters, fact.properties)
        ]
        self.subs = subs

    def _usage(self, number: int, fact: Fact) -> Usage | None:
        name = self.terms.value_property
        value = parse_decimal(fact.properties.get(name) if name else fact.value)
        match self.rule.aggregation:
            case Aggregation.COUNT:
                return Usage(fact.at, number, value or ZERO)
            case Aggregation.UNIQUE_COUNT:
                item = text(fact.properties.get(name))
                return None if item is None else Usage(fact.at, number, ZERO, item)
            case _:
                return None if value is None else Usage(fact.at, number, value)

    def answer(self, request: UsageRequest) -> list[Measurement]:
        unassigned = request.spans[0].unassigned
        mine = [
            (fact, usage)
            for fact, usage in self.counted
            if usage is not None
            and fact.at < request.spans[-1].end
            and (
                request.subscription_id is None
                or self.subs[fact.whose] == request.subscription_id
                or (unassigned and fact.whose == 0)
            )
        ]
        seen = [
            (fact, usage)
            for fact, usage in mine
            if self.carries or any(one.start <= fact.at < one.end for one in request.spans)
        ]
        points = {""} | {fact.properties.get("price_point", "") for fact, _ in seen}
        return [
            Measurement(
                point,
                self._measured(
                    request,
                    [(f, u) for f, u in seen if f.properties.get("price_point", "") == point],
                ),
            )
            for point in sorted(points)
        ]

    def _measured(self, request: UsageRequest, seen: list[tuple[Fact, Usage]]) -> Measured:
        within = [
            (fact, usage)
            for fact, usage in seen
            if any(one.start <= fact.at < one.end for one in request.spans)
        ]
        need = request.need
        groups = {self._key(fact) for fact, _ in seen} if need == Need.GROUPS else set()
        bands = {band_of(BANDS, f.at) for f, _ in within} if need == Need.BANDS else set()
        prices = [parse_decimal(fact.properties.get("price")) or ZERO for fact, _ in within]
        return Measured(
            quantity=self._quantity(request, [usage for _, usage in seen]),
            count=len(within),
            groups=tuple(
                (key, self._quantity(request, [u for f, u in seen if self._key(f) == key]))
                for key in groups
            ),
            transactions=tuple(usage.value for _, usage in within)
            if need == Need.TRANSACTIONS
            else (),
            priced=sum(prices, ZERO) if need == Need.PRICED else ZERO,
            bands=tuple(
                (
                    band,
                    self._quantity(
                        request,
                        [u for f, u in within if band_of(BANDS, f.at) == band],
                    ),
                )
                for band in sorted(bands)
            ),
        )

    def _key(self, fact: Fact) -> tuple[str | None, ...]:
        return tuple(text(fact.properties.get(name)) for name in self.terms.group_by)

    def _quantity(self, request: UsageRequest, seen: list[Usage]) -> Decimal:
        whole = Span(request.spans[0].start, request.spans[-1].end)
        within = [
            usage for usage in seen if any(one.start <= usage.at < one.end for one in request.spans)
        ]
        if self.rule.aggregation == Aggregation.WEIGHTED_SUM:
            quantity = self._level(request, seen if self.carries else within)
            rounding = self.rule.rounding
            return quantity if rounding is None else rounding.apply(quantity)
        if self.carries:
            return aggregate(replace(self.rule, recurring=False), seen, whole)
        return aggregate(self.rule, within, whole)

    def _level(self, request: UsageRequest, changes: list[Usage]) -> Decimal:
        """Integrate the level over the spans, piece by piece."""
        area = Fraction(0)
        length = Fraction(0)
        for span in request.spans:
            length += seconds(span.end - span.start)
            for change in changes:
                if change.at < span.end:
                    held = span.end - max(change.at, span.start)
                    area += Fraction(change.value) * seconds(held)
        exact = area / length
        rounded = Decimal(int(abs(exact) * 10**12 + Fraction(1, 2))).scaleb(-12)
        return -rounded if exact < 0 else rounded


def seconds(length: timedelta) -> Fraction:
    return Fraction(length // timedelta(microseconds=1), 1_000_000)


def text(found: object) -> str | None:
    match found:
        case None:
            return None
        case bool():
            return str(found).lower()
        case int() | Decimal():
            return plain(Decimal(found))
        case _:
            return str(found)


def tidy(found: Iterable[Measurement]) -> list[Measurement]:
    """Return measurements with their groups in one order."""
    return [
        replace(
            one,
            measured=structs.replace(
                one.measured,
                groups=tuple(sorted(one.measured.groups, key=lambda group: str(group[0]))),
            ),
        )
        for one in found
    ]


def store(customer: Customer, subs: list[UUID | None], name: str, batch: list[Fact]) -> list[str]:
    """Store events in one transaction, also such as ingestion would refuse; return their keys."""
    keys = [new_id().hex for _ in batch]
    rows = [
        (
            customer.tenant_id,
            event_id(customer.tenant_id, key),
            customer.pk,
            subs[fact.whose],
            name,
            fact.at,
            Decimal(fact.value),
            json.dumps(fact.properties, default=float),
            key,
            START,
        )
        for key, fact in zip(keys, batch, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO metering_usageeventkey (id, fingerprint, occurred_at) VALUES (%s, %s, %s)",
            [(row[1], row[1], row[5]) for row in rows],
        )
        cursor.executemany(
            "INSERT INTO metering_usageevent (tenant_id, id, customer_id, subscription_id,"
            " event_name, occurred_at, value, properties, key, received_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s)",
            rows,
        )
    return keys
