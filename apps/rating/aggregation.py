"""Turning the usage of a span into one quantity. Pure.

Some aggregations can be computed from partial totals that are kept and merged (``ROLLED_UP``); the
others need the events themselves. Neither depends on the order in which events are given.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal, localcontext
from enum import StrEnum
from typing import Final, Self, assert_never

from apps.core.errors import Invalid
from apps.core.money import ARITHMETIC, EXACT
from apps.rating.periods import Span

QUANTITY_DECIMALS: Final = 12
"""Quotients (averages, time-weighted sums) are rounded half up to as many decimals."""

_ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class AggregationInvalid(Invalid):
    """The parts of an aggregation rule do not go together."""

    reason = "aggregation_invalid"


class Aggregation(StrEnum):
    """How the events of a span become one quantity.

    ``count``: how many events. ``sum``, ``max``, ``min``, ``average``: of their values.
    ``unique_count``: how many different items. ``latest``: the value of the last event, by time and
    then by arrival. ``weighted_sum``: values are changes of a level; the level on average over the
    span, by the second. ``percentile``: the smallest value that is not exceeded by at least so many
    per cent of the values (nearest rank).
    """

    COUNT = "count"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    UNIQUE_COUNT = "unique_count"
    LATEST = "latest"
    AVERAGE = "average"
    WEIGHTED_SUM = "weighted_sum"
    PERCENTILE = "percentile"


ROLLED_UP: Final = frozenset(Aggregation) - {Aggregation.UNIQUE_COUNT, Aggregation.PERCENTILE}
"""The aggregations that ``Totals`` suffice for."""


class RoundingMode(StrEnum):
    """``up`` is away from zero and ``down`` towards it, for negative quantities too."""

    UP = "up"
    DOWN = "down"
    HALF_UP = "half_up"


_DECIMAL_MODES: Final = {
    RoundingMode.UP: ROUND_UP,
    RoundingMode.DOWN: ROUND_DOWN,
    RoundingMode.HALF_UP: ROUND_HALF_UP,
}


@dataclass(frozen=True, slots=True)
class QuantityRounding:
    """How the quantity of a whole span is rounded, once, before it is priced.

    ``precision`` is a number of decimals; a negative one rounds to tens, hundreds and so on.
    Raises ``AggregationInvalid`` unless it is from -12 to 12.
    """

    mode: RoundingMode
    precision: int = 0

    def __post_init__(self) -> None:
        if not -QUANTITY_DECIMALS <= self.precision <= QUANTITY_DECIMALS:
            raise AggregationInvalid(
                f"a precision of {self.precision} is not one of -12 to 12",
                field="rounding.precision",
            )

    def apply(self, quantity: Decimal) -> Decimal:
        """Return the rounded quantity."""
        unit = Decimal(1).scaleb(-self.precision, EXACT)
        rounded = quantity.quantize(unit, _DECIMAL_MODES[RoundingMode(self.mode)], ARITHMETIC)
        return EXACT.add(rounded, _ZERO)


@dataclass(frozen=True, slots=True)
class AggregationRule:
    """What a meter says about its events.

    ``percentile`` is above 0 and at most 100, and given for that aggregation alone. ``recurring``:
    what was reported before a span still holds in it (seats, storage), and is carried in.
    Raises ``AggregationInvalid``.
    """

    aggregation: Aggregation
    percentile: Decimal | None = None
    rounding: QuantityRounding | None = None
    recurring: bool = False

    def __post_init__(self) -> None:
        if (self.aggregation == Aggregation.PERCENTILE) != (self.percentile is not None):
            raise AggregationInvalid(
                "a percentile is given with the aggregation percentile, and only with it",
                field="percentile",
            )
        if self.percentile is not None and not 0 < self.percentile <= _HUNDRED:
            raise AggregationInvalid(
                f"a percentile of {self.percentile} is not above 0 and at most 100",
                field="percentile",
            )


@dataclass(frozen=True, slots=True)
class Usage:
    """One event as its meter sees it: when, its place in the order of arrival, how much, of what.

    ``item`` is what ``unique_count`` tells apart; the other aggregations do not look at it.
    """

    at: datetime
    seq: int
    value: Decimal
    item: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """What is kept of any number of events; two of disjoint events merge into one.

    ``moment`` is the sum of value times seconds since 1970, exact to the microsecond. Without events
    all sums are zero and the rest is None; what is None is not known, and a merge leaves it out.
    """

    count: int = 0
    total: Decimal = _ZERO
    moment: Decimal = _ZERO
    low: Decimal | None = None
    high: Decimal | None = None
    last_at: datetime | None = None
    last_seq: int | None = None
    last_value: Decimal | None = None

    @classmethod
    def of(cls, events: Iterable[Usage]) -> Self:
        """Return the totals of events given in any order."""
        listed = list(events)
        if not listed:
            return cls()
        last = max(listed, key=lambda event: (event.at, event.seq))
        with localcontext(EXACT):
            return cls(
                count=len(listed),
                total=sum((event.value for event in listed), _ZERO),
                moment=sum((event.value * epoch_seconds(event.at) for event in listed), _ZERO),
                low=min(event.value for event in listed),
                high=max(event.value for event in listed),
                last_at=last.at,
                last_seq=last.seq,
                last_value=last.value,
            )

    def merge(self, other: "Totals") -> "Totals":
        """Return the totals of the events of both."""
        if other.count == 0:
            return self
        if self.count == 0:
            return other
        last = max(self, other, key=_arrival)
        return Totals(
            count=self.count + other.count,
            total=EXACT.add(self.total, other.total),
            moment=EXACT.add(self.moment, other.moment),
            low=min((t.low for t in (self, other) if t.low is not None), default=None),
            high=max((t.high for t in (self, other) if t.high is not None), default=None),
            last_at=last.last_at,
            last_seq=last.last_seq,
            last_value=last.last_value,
        )


def aggregate(
    rule: AggregationRule, events: Iterable[Usage], span: Span, carried: Decimal = _ZERO
) -> Decimal:
    """Return the quantity of the events that lie in a span, in whatever order they are given.

    ``carried`` is, for a recurring rule, the level before the span: of ``sum`` and ``weighted_sum``
    the sum of all values before it, of ``latest`` the last one; it is not looked at otherwise.
    Without events and without a level the quantity is zero. Quotients are rounded half up to 12
    decimals, then the rule's own rounding is applied.
    """
    listed = list(events)
    match rule.aggregation:
        case Aggregation.UNIQUE_COUNT:
            return _rounded(rule, Decimal(len({event.item for event in listed})))
        case Aggregation.PERCENTILE:
            return _rounded(rule, _nearest_rank(rule, [event.value for event in listed]))
        case _:
            return from_totals(rule, Totals.of(listed), span, carried)


def from_totals(
    rule: AggregationRule, totals: Totals, span: Span, carried: Decimal = _ZERO
) -> Decimal:
    """Return the quantity that ``aggregate`` gives for the events that the totals were made of.

    An aggregation outside ``ROLLED_UP`` needs the events: ``ValueError``.
    """
    level = carried if rule.recurring else _ZERO
    match rule.aggregation:
        case Aggregation.COUNT:
            quantity = Decimal(totals.count)
        case Aggregation.SUM:
            quantity = EXACT.add(totals.total, level)
        case Aggregation.MAX:
            quantity = _ZERO if totals.high is None else totals.high
        case Aggregation.MIN:
            quantity = _ZERO if totals.low is None else totals.low
        case Aggregation.LATEST:
            quantity = level if totals.last_value is None else totals.last_value
        case Aggregation.AVERAGE:
            quantity = _quotient(totals.total, Decimal(totals.count)) if totals.count else _ZERO
        case Aggregation.WEIGHTED_SUM:
            quantity = _time_weighted(totals, span, level)
        case Aggregation.UNIQUE_COUNT | Aggregation.PERCENTILE:
            raise ValueError(f"{rule.aggregation} cannot be told from totals")
        case _:
            assert_never(rule.aggregation)
    return _rounded(rule, quantity)


def epoch_seconds(at: datetime) -> Decimal:
    """Return the seconds since 1970 at an instant, exact to the microsecond."""
    return Decimal((at - _EPOCH) // _MICROSECOND).scaleb(-6, EXACT)


def _arrival(totals: Totals) -> tuple[datetime, int]:
    return (totals.last_at or _EARLIEST, totals.last_seq or 0)


def _rounded(rule: AggregationRule, quantity: Decimal) -> Decimal:
    return quantity if rule.rounding is None else rule.rounding.apply(quantity)


def _time_weighted(totals: Totals, span: Span, level: Decimal) -> Decimal:
    """Return the average level: each change counts from its instant to the end of the span."""
    if span.is_empty():
        return level
    with localcontext(EXACT):
        area = totals.total * epoch_seconds(span.end) - totals.moment + level * span.seconds()
    return _quotient(area, span.seconds())


def _nearest_rank(rule: AggregationRule, values: list[Decimal]) -> Decimal:
    """Return the value at rank p/100 of N, rounded up, among the ascending values, counted from 1."""
    if not values or rule.percentile is None:
        return _ZERO
    rank = EXACT.multiply(rule.percentile, Decimal(len(values))).scaleb(-2, EXACT)
    return sorted(values)[int(rank.to_integral_value(ROUND_CEILING)) - 1]


def _quotient(numerator: Decimal, divisor: Decimal) -> Decimal:
    """Divide, rounding half up to the decimals of a quantity, once, from the exact quotient."""
    with localcontext(EXACT):
        units, rest = divmod(abs(numerator).scaleb(QUANTITY_DECIMALS), divisor)
        if rest * 2 >= divisor:
            units += 1
        quotient = units.scaleb(-QUANTITY_DECIMALS)
        return -quotient if numerator < 0 else quotient
