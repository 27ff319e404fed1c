"""Aggregations by example: from events, and from totals where they suffice."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.core.errors import Invalid
from apps.core.money import EXACT
from apps.rating.aggregation import (
    ROLLED_UP,
    Aggregation,
    AggregationInvalid,
    AggregationRule,
    QuantityRounding,
    RoundingMode,
    Totals,
    Usage,
    aggregate,
    epoch_seconds,
    from_totals,
)
from apps.rating.periods import Span

D = Decimal
DAY = Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))


def usage(hour: float, value: str, seq: int = 0, item: str = "") -> Usage:
    return Usage(DAY.start + timedelta(hours=hour), seq, Decimal(value), item)


EVENTS = [
    usage(6, "10", 1, "ada"),
    usage(0, "4", 2, "bob"),
    usage(12, "-2", 3, "ada"),
    usage(18, "4.5", 4, "cy"),
]


def rule(
    aggregation: Aggregation,
    *,
    rounding: QuantityRounding | None = None,
    recurring: bool = False,
) -> AggregationRule:
    percentile = D(50) if aggregation is Aggregation.PERCENTILE else None
    return AggregationRule(aggregation, percentile, rounding, recurring)


@pytest.mark.parametrize(
    ("aggregation", "quantity"),
    [
        (Aggregation.COUNT, "4"),
        (Aggregation.SUM, "16.5"),
        (Aggregation.MAX, "10"),
        (Aggregation.MIN, "-2"),
        (Aggregation.UNIQUE_COUNT, "3"),
        (Aggregation.LATEST, "4.5"),
        (Aggregation.AVERAGE, "4.125"),
        # 4 for 24 hours, 10 for 18, -2 for 12, 4.5 for 6
        (Aggregation.WEIGHTED_SUM, "11.625"),
        (Aggregation.PERCENTILE, "4"),
    ],
)
def test_each_aggregation(aggregation: Aggregation, quantity: str) -> None:
    assert aggregate(rule(aggregation), EVENTS, DAY) == D(quantity)
    assert aggregate(rule(aggregation), EVENTS[::-1], DAY) == D(quantity)
    if aggregation in ROLLED_UP:
        assert from_totals(rule(aggregation), Totals.of(EVENTS), DAY) == D(quantity)


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_no_usage_is_zero(aggregation: Aggregation) -> None:
    assert aggregate(rule(aggregation), [], DAY) == 0
    if aggregation in ROLLED_UP:
        assert from_totals(rule(aggregation), Totals(), DAY) == 0


def test_rolled_up_are_those_that_totals_suffice_for() -> None:
    assert set(Aggregation) - ROLLED_UP == {Aggregation.UNIQUE_COUNT, Aggregation.PERCENTILE}
    for aggregation in set(Aggregation) - ROLLED_UP:
        with pytest.raises(ValueError, match=aggregation.value):
            from_totals(rule(aggregation), Totals.of(EVENTS), DAY)


def test_max_of_negative_values_is_negative() -> None:
    events = [usage(1, "-5"), usage(2, "-3")]
    assert aggregate(rule(Aggregation.MAX), events, DAY) == -3
    assert aggregate(rule(Aggregation.MIN), events, DAY) == -5


@pytest.mark.holds("U7")
def test_latest_is_by_time_and_then_by_arrival() -> None:
    late = [usage(5, "1", seq=9), usage(6, "2", seq=3), usage(6, "3", seq=4), usage(6, "4", seq=2)]
    assert aggregate(rule(Aggregation.LATEST), late, DAY) == 3
    halves = Totals.of(late[2:]).merge(Totals.of(late[:2]))
    assert from_totals(rule(Aggregation.LATEST), halves, DAY) == 3


def test_the_first_arrivals_of_all_are_in_order_too() -> None:
    older, newer = Totals.of([usage(6, "1", seq=0)]), Totals.of([usage(6, "2", seq=1)])
    assert older.merge(newer).last_value == D(2)
    assert newer.merge(older).last_value == D(2)


def test_unique_count_looks_at_items_alone() -> None:
    events = [usage(1, "1", item=""), usage(2, "1", item=""), usage(3, "1", item="x")]
    assert aggregate(rule(Aggregation.UNIQUE_COUNT), events, DAY) == 2


@pytest.mark.parametrize(
    ("percentile", "quantity"),
    [
        ("0.001", "15"),
        ("5", "15"),
        ("20", "15"),
        ("20.0001", "20"),
        ("30", "20"),
        ("40", "20"),
        ("50", "35"),
        ("80", "40"),
        ("80.000001", "50"),
        ("100", "50"),
    ],
)
def test_percentiles_are_by_nearest_rank(percentile: str, quantity: str) -> None:
    events = [usage(1, value) for value in ("35", "50", "15", "40", "20")]
    ninetieth = AggregationRule(Aggregation.PERCENTILE, percentile=D(percentile))
    assert aggregate(ninetieth, events, DAY) == D(quantity)


@pytest.mark.parametrize("percentile", ["0", "-1", "100.0001"])
def test_a_percentile_is_above_0_and_at_most_100(percentile: str) -> None:
    with pytest.raises(AggregationInvalid) as caught:
        AggregationRule(Aggregation.PERCENTILE, percentile=D(percentile))
    assert caught.value.field == "percentile"


def test_a_percentile_goes_with_its_aggregation_only() -> None:
    with pytest.raises(AggregationInvalid):
        AggregationRule(Aggregation.SUM, percentile=D(50))
    with pytest.raises(AggregationInvalid) as caught:
        AggregationRule(Aggregation.PERCENTILE)
    assert isinstance(caught.value, Invalid)
    assert caught.value.reason == "aggregation_invalid"


@pytest.mark.parametrize(
    ("total", "count", "average"),
    [
        ("1", 3, "0.333333333333"),
        ("2", 3, "0.666666666667"),
        ("-2", 3, "-0.666666666667"),
        ("0.000000000001", 2, "0.000000000001"),
        ("-0.000000000001", 2, "-0.000000000001"),
        ("0.000000000001", 3, "0"),
        ("-0.000000000001", 3, "0"),
        ("0", 3, "0"),
        ("12345678901234567890", 7, "1763668414462081127.142857142857"),
    ],
)
def test_quotients_are_rounded_half_up_to_12_decimals(total: str, count: int, average: str) -> None:
    quantity = from_totals(rule(Aggregation.AVERAGE), Totals(count=count, total=D(total)), DAY)
    assert quantity == D(average)
    assert not (quantity == 0 and quantity.is_signed())


def test_a_tie_is_told_from_almost_a_tie_at_any_length() -> None:
    # 0.5 units of the last decimal, and just below it, seventy digits on
    tie = Totals(count=2, total=D("0.000000000001"))
    below = Totals(count=2 * 10**70, total=EXACT.subtract(D("1E+58"), D("1E-12")))
    assert from_totals(rule(Aggregation.AVERAGE), tie, DAY) == D("0.000000000001")
    assert from_totals(rule(Aggregation.AVERAGE), below, DAY) == 0


def test_the_weighted_sum_is_the_average_level() -> None:
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [usage(0, "7")], DAY) == 7
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [usage(18, "8")], DAY) == 2
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [usage(6, "8"), usage(12, "-8")], DAY) == 2
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [usage(16, "1")], DAY) == D("0.333333333333")


def test_the_weighted_sum_counts_microseconds() -> None:
    second = Span(DAY.start, DAY.start + timedelta(seconds=1))
    change = Usage(second.start + timedelta(microseconds=999_999), 1, D(1_000_000))
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [change], second) == 1


def test_a_recurring_rule_carries_the_level_in() -> None:
    carried = D(100)
    for aggregation, quantity in [
        (Aggregation.SUM, "116.5"),
        (Aggregation.WEIGHTED_SUM, "111.625"),
        (Aggregation.LATEST, "4.5"),
        (Aggregation.COUNT, "4"),
        (Aggregation.MAX, "10"),
        (Aggregation.MIN, "-2"),
        (Aggregation.AVERAGE, "4.125"),
        (Aggregation.UNIQUE_COUNT, "3"),
    ]:
        recurring = rule(aggregation, recurring=True)
        assert aggregate(recurring, EVENTS, DAY, carried) == D(quantity)
        once = rule(aggregation)
        assert aggregate(once, EVENTS, DAY, carried) == aggregate(once, EVENTS, DAY)


def test_a_rule_is_not_recurring_unless_it_says_so() -> None:
    assert AggregationRule(Aggregation.SUM) == rule(Aggregation.SUM, recurring=False)


def test_without_events_a_recurring_level_stays() -> None:
    for aggregation in (Aggregation.SUM, Aggregation.WEIGHTED_SUM, Aggregation.LATEST):
        assert aggregate(rule(aggregation, recurring=True), [], DAY, D("3.5")) == D("3.5")
    assert aggregate(rule(Aggregation.MAX, recurring=True), [], DAY, D("3.5")) == 0


def test_the_level_of_an_empty_span_is_the_one_carried_in() -> None:
    empty = Span(DAY.start, DAY.start)
    assert aggregate(rule(Aggregation.WEIGHTED_SUM, recurring=True), [], empty, D(3)) == 3
    assert aggregate(rule(Aggregation.WEIGHTED_SUM), [], empty, D(3)) == 0


@pytest.mark.parametrize(
    ("mode", "precision", "quantity", "rounded"),
    [
        (RoundingMode.UP, 0, "1.000000000001", "2"),
        (RoundingMode.UP, 0, "1", "1"),
        (RoundingMode.UP, 0, "-1.1", "-2"),
        (RoundingMode.DOWN, 0, "1.999999999999", "1"),
        (RoundingMode.DOWN, 0, "-1.9", "-1"),
        (RoundingMode.DOWN, 0, "-0.9", "0"),
        (RoundingMode.HALF_UP, 0, "2.5", "3"),
        (RoundingMode.HALF_UP, 0, "-2.5", "-3"),
        (RoundingMode.HALF_UP, 0, "2.499999999999", "2"),
        (RoundingMode.HALF_UP, 2, "2.345", "2.35"),
        (RoundingMode.DOWN, 12, "0.123456789012", "0.123456789012"),
        (RoundingMode.UP, -3, "1200001", "1201000"),
        (RoundingMode.HALF_UP, -12, "500000000000", "1000000000000"),
    ],
)
def test_rounding_of_quantities(
    mode: RoundingMode, precision: int, quantity: str, rounded: str
) -> None:
    applied = QuantityRounding(mode, precision).apply(D(quantity))
    assert str(applied) == rounded


def test_rounding_is_applied_once_to_the_quantity_of_the_span() -> None:
    up = QuantityRounding(RoundingMode.UP)
    summed = rule(Aggregation.SUM, rounding=up)
    assert aggregate(summed, [usage(1, "0.4"), usage(2, "0.4")], DAY) == 1
    assert from_totals(summed, Totals.of([usage(1, "0.4"), usage(2, "0.7")]), DAY) == 2
    half = AggregationRule(Aggregation.PERCENTILE, percentile=D(50), rounding=up)
    assert aggregate(half, [usage(1, "0.4")], DAY) == 1
    seats = rule(Aggregation.UNIQUE_COUNT, rounding=QuantityRounding(RoundingMode.UP, -1))
    assert aggregate(seats, EVENTS, DAY) == 10


@pytest.mark.parametrize("precision", [-13, 13])
def test_a_precision_has_at_most_12_digits(precision: int) -> None:
    with pytest.raises(AggregationInvalid) as caught:
        QuantityRounding(RoundingMode.UP, precision)
    assert caught.value.field == "rounding.precision"


def test_totals_of_events() -> None:
    noon = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
    events = [Usage(noon, 7, D("2.5")), Usage(DAY.start, 8, D(-1))]
    assert Totals.of(iter(events)) == Totals(
        count=2,
        total=D("1.5"),
        moment=D("2.5") * D("1772366400.000001") - D(1772323200),
        low=D(-1),
        high=D("2.5"),
        last_at=noon,
        last_seq=7,
        last_value=D("2.5"),
    )
    assert Totals.of([]) == Totals()


def test_merging_with_nothing_changes_nothing() -> None:
    totals = Totals.of(EVENTS)
    assert totals.merge(Totals()) == totals
    assert Totals().merge(totals) == totals
    assert Totals().merge(Totals()) == Totals()


def test_what_is_not_known_is_left_out_of_a_merge() -> None:
    sums = Totals(count=2, total=D(5))
    merged = sums.merge(Totals.of([usage(1, "3")]))
    assert (merged.count, merged.total) == (3, D(8))
    assert (merged.low, merged.high) == (D(3), D(3))
    assert merged.last_value == 3
    assert Totals.of([usage(1, "3")]).merge(sums).last_value == 3


def test_sums_keep_every_digit() -> None:
    large, small = "99999999999999999999.999999999999", "0.000000000001"
    events = [usage(1, large), usage(2, small)]
    assert (
        str(aggregate(rule(Aggregation.SUM), events, DAY)) == "100000000000000000000.000000000000"
    )
    merged = Totals.of(events[:1]).merge(Totals.of(events[1:]))
    assert merged.total == D(10) ** 20
    recurring = rule(Aggregation.SUM, recurring=True)
    assert aggregate(recurring, [usage(1, small)], DAY, D(large)) == D(10) ** 20


def test_epoch_seconds() -> None:
    assert epoch_seconds(datetime(1970, 1, 1, tzinfo=UTC)) == 0
    assert str(epoch_seconds(datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC))) == "1772323200.000005"
    assert epoch_seconds(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)) == -1
