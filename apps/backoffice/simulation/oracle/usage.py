"""What a meter made of events, looked at one by one. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from apps.backoffice.simulation.facts import EventFact, MeterFact
from apps.backoffice.simulation.oracle.calendar import Span

_DECIMALS: Final = 12
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Counted:
    """An event as the meter sees it."""

    event: EventFact
    value: Fraction
    item: str


def counted(meter: MeterFact, events: Iterable[EventFact]) -> list[Counted]:
    """Return the events that the meter counts, in the order of their arrival."""
    found = []
    for event in sorted(events, key=lambda one: one.number):
        if event.name != meter.event_name or not _passes(meter, event.properties):
            continue
        given = _given(meter, event)
        if given is None and meter.aggregation != "count":
            continue
        item = str(given)
        if meter.aggregation in {"count", "unique_count"}:
            found.append(Counted(event, Fraction(0), item))
        else:
            found.append(Counted(event, Fraction(str(given)), item))
    return found


def _given(meter: MeterFact, event: EventFact) -> object:
    if meter.value_property:
        return event.properties.get(meter.value_property)
    return event.value


def _passes(meter: MeterFact, properties: Mapping[str, str]) -> bool:
    for condition in meter.filters:
        found, wanted = properties.get(condition["property"]), condition["value"]
        match condition["op"]:
            case "in":
                passed = found in wanted
            case "gte":
                passed = found is not None and Fraction(found) >= Fraction(wanted)
            case _:
                raise AssertionError(condition)
        if not passed:
            return False
    return True


def quantity(
    meter: MeterFact, within: Sequence[Counted], before: Sequence[Counted], span: Span
) -> Fraction:
    """Return what the events of a span add up to; ``before`` are those that came earlier."""
    if not meter.recurring:
        before = ()
    if meter.aggregation == "percentile":
        found = _percentile([one.value for one in within], Fraction(meter.percentile or 0))
    else:
        found = _AGGREGATIONS[meter.aggregation](within, before, span)
    if meter.rounding is None:
        return found
    return rounded(found, meter.rounding_places, meter.rounding)


_Events = Sequence[Counted]


def _sum(within: _Events, before: _Events, _span: Span) -> Fraction:
    return sum((one.value for one in (*before, *within)), Fraction(0))


def _average(within: _Events, _before: _Events, span: Span) -> Fraction:
    return rounded(_sum(within, (), span) / len(within), _DECIMALS) if within else Fraction(0)


def _latest(within: _Events, before: _Events, _span: Span) -> Fraction:
    ordered = sorted((*before, *within), key=lambda one: (one.event.at, one.event.number))
    return ordered[-1].value if ordered else Fraction(0)


def _level_on_average(within: _Events, before: _Events, span: Span) -> Fraction:
    starts, ends = span
    level = _sum(before, (), span)
    area = Fraction(0)
    since = starts
    for one in sorted(within, key=lambda one: one.event.at):
        area += level * ((one.event.at - since) // _TICK)
        level += one.value
        since = one.event.at
    area += level * ((ends - since) // _TICK)
    return rounded(area / ((ends - starts) // _TICK), _DECIMALS)


def _percentile(values: Sequence[Fraction], wanted: Fraction) -> Fraction:
    for value in sorted(values):
        reached = sum(1 for other in values if other <= value)
        if reached * 100 >= wanted * len(values):
            return value
    return Fraction(0)


_AGGREGATIONS: Final[Mapping[str, Callable[[_Events, _Events, Span], Fraction]]] = {
    "count": lambda within, _before, _span: Fraction(len(within)),
    "unique_count": lambda within, _before, _span: Fraction(len({one.item for one in within})),
    "sum": _sum,
    "max": lambda within, _before, _span: max((one.value for one in within), default=Fraction(0)),
    "min": lambda within, _before, _span: min((one.value for one in within), default=Fraction(0)),
    "average": _average,
    "latest": _latest,
    "weighted_sum": _level_on_average,
}


def rounded(number: Fraction, places: int, mode: str = "half_up") -> Fraction:
    """Return a number with so many decimals; ``up`` is away from zero, ``down`` towards it."""
    unit = Fraction(10) ** -places
    steps = abs(number) / unit
    modes: dict[str, Callable[[Any], int]] = {
        "up": ceil,
        "down": floor,
        "half_up": lambda exact: floor(exact + Fraction(1, 2)),
    }
    size = modes[mode](steps) * unit
    return -size if number < 0 else size


def points(events: Iterable[Counted]) -> set[str]:
    """Return the price points that events name, and the one of those that name none."""
    return {""} | {one.event.properties.get("price_point", "") for one in events}
