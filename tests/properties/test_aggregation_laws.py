"""Laws of aggregation: any order, any partition, and the slow way give the same quantity."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import EXACT
from apps.rating.aggregation import (
    ROLLED_UP,
    Aggregation,
    AggregationRule,
    QuantityRounding,
    RoundingMode,
    Totals,
    Usage,
    aggregate,
    from_totals,
)
from apps.rating.periods import Span
from tests.properties.rating_strategies import numbers, usage_in_a_span

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

roundings = st.none() | st.builds(
    QuantityRounding, st.sampled_from(RoundingMode), st.integers(-3, 12)
)


@st.composite
def rules(
    draw: st.DrawFn, aggregations: frozenset[Aggregation] = frozenset(Aggregation)
) -> AggregationRule:
    aggregation = draw(st.sampled_from(sorted(aggregations)))
    percentile = None
    if aggregation is Aggregation.PERCENTILE:
        percentile = draw(st.integers(1, 10_000).map(lambda p: Decimal(p).scaleb(-2)))
    return AggregationRule(aggregation, percentile, draw(roundings), draw(st.booleans()))


def half_up(number: Fraction) -> Fraction:
    unit = Fraction(1, 10**12)
    magnitude = floor(abs(number) / unit + Fraction(1, 2)) * unit
    return magnitude if number >= 0 else -magnitude


def slow_latest(events: list[Usage], level: Fraction) -> Fraction:
    newest = None
    for event in events:
        if newest is None or (event.at, event.seq) > (newest.at, newest.seq):
            newest = event
    return level if newest is None else Fraction(newest.value)


def slow_weighted(events: list[Usage], span: Span, level: Fraction) -> Fraction:
    held = (Fraction(e.value) * Span(e.at, span.end).microseconds() for e in events)
    return half_up(sum(held, Fraction(0)) / span.microseconds() + level)


def slow_percentile(values: list[Fraction], percentile: Decimal) -> Fraction:
    """The smallest value such that enough of all values are not above it."""
    enough = ceil(Fraction(percentile) / 100 * len(values))
    reaching = (v for v in sorted(values) if sum(w <= v for w in values) >= enough)
    return next(reaching, Fraction(0))


def slowly(rule: AggregationRule, events: list[Usage], span: Span, carried: Decimal) -> Fraction:
    """The quantity by the definition of each aggregation, in fractions, unrounded by the rule."""
    values = [Fraction(event.value) for event in events]
    level = Fraction(carried) if rule.recurring else Fraction(0)
    nothing = Fraction(0)
    return {
        Aggregation.COUNT: Fraction(len(events)),
        Aggregation.SUM: sum(values, level),
        Aggregation.MAX: max(values, default=nothing),
        Aggregation.MIN: min(values, default=nothing),
        Aggregation.UNIQUE_COUNT: Fraction(len({event.item for event in events})),
        Aggregation.LATEST: slow_latest(events, level),
        Aggregation.AVERAGE: half_up(sum(values, nothing) / max(len(values), 1)),
        Aggregation.WEIGHTED_SUM: slow_weighted(events, span, level),
        Aggregation.PERCENTILE: slow_percentile(values, rule.percentile or Decimal(100)),
    }[rule.aggregation]


def rounded(rule: AggregationRule, quantity: Fraction) -> Fraction:
    if rule.rounding is None:
        return quantity
    unit = Fraction(10) ** -rule.rounding.precision
    steps = abs(quantity) / unit
    count = {
        RoundingMode.UP: ceil(steps),
        RoundingMode.DOWN: floor(steps),
        RoundingMode.HALF_UP: floor(steps + Fraction(1, 2)),
    }[rule.rounding.mode]
    return count * unit if quantity >= 0 else -count * unit


@given(rules(), usage_in_a_span(), numbers(-100, 100))
def test_aggregations_equal_their_definitions(
    rule: AggregationRule, usage: tuple[Span, list[Usage]], carried: Decimal
) -> None:
    span, events = usage
    expected = rounded(rule, slowly(rule, events, span, carried))
    assert Fraction(aggregate(rule, events, span, carried)) == expected


@given(rules(), usage_in_a_span(), numbers(-100, 100), st.randoms(use_true_random=False))
@pytest.mark.holds("U5")
def test_the_order_of_events_does_not_matter(
    rule: AggregationRule,
    usage: tuple[Span, list[Usage]],
    carried: Decimal,
    random: Random,
) -> None:
    span, events = usage
    shuffled = list(events)
    random.shuffle(shuffled)
    assert aggregate(rule, shuffled, span, carried) == aggregate(rule, events, span, carried)


@given(rules(ROLLED_UP), usage_in_a_span(), numbers(-100, 100), st.data())
def test_totals_of_any_partition_give_what_the_events_give(
    rule: AggregationRule,
    usage: tuple[Span, list[Usage]],
    carried: Decimal,
    data: st.DataObject,
) -> None:
    span, events = usage
    buckets: dict[int, list[Usage]] = {}
    for event in events:
        buckets.setdefault(data.draw(st.integers(0, 4)), []).append(event)
    merged = Totals()
    for bucket in data.draw(st.permutations(list(buckets))):
        merged = merged.merge(Totals.of(buckets[bucket]))
    assert merged == Totals.of(events)
    expected = aggregate(rule, events, span, carried)
    assert from_totals(rule, merged, span, carried) == expected


@given(usage_in_a_span())
def test_the_moment_is_exact(usage: tuple[Span, list[Usage]]) -> None:
    _, events = usage
    microseconds = sum(
        Fraction(event.value) * ((event.at - EPOCH).days * 86_400_000_000)
        + Fraction(event.value) * ((event.at - EPOCH).seconds * 1_000_000)
        + Fraction(event.value) * (event.at - EPOCH).microseconds
        for event in events
    )
    assert Fraction(Totals.of(events).moment) == microseconds / 1_000_000


@given(usage_in_a_span(), numbers(-100, 100))
def test_a_level_carried_over_a_cut_is_the_level(
    usage: tuple[Span, list[Usage]], carried: Decimal
) -> None:
    """The time-weighted sum of a span is the weighted mean of those of its halves."""
    span, events = usage
    middle = span.start + (span.end - span.start) // 2
    halves = [Span(span.start, middle), Span(middle, span.end)]
    weighted = AggregationRule(Aggregation.WEIGHTED_SUM, recurring=True)
    area, level = Fraction(0), carried
    for half in halves:
        inside = [event for event in events if half.contains(event.at)]
        area += Fraction(aggregate(weighted, inside, half, level)) * half.microseconds()
        level = EXACT.add(level, Totals.of(inside).total)
    whole = Fraction(aggregate(weighted, events, span, carried)) * span.microseconds()
    tolerance = Fraction(span.microseconds(), 10**12)
    assert abs(area - whole) <= tolerance
