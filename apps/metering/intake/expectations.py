"""What a tenant's meters expect of events."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from apps.core.money import plain
from apps.metering.domain import MeterTerms
from apps.metering.intake.refusals import refuse
from apps.rating.aggregation import Aggregation
from apps.rating.decimals import parse_decimal
from apps.rating.filters import matches


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a tenant's meters expect of events: what to check before one is stored.

    ``by_event`` has the newest version of each meter in use, by the name of its events, and
    ``by_key`` that name by the meter's key. For ``undemanding`` events any value will do. Of
    archived meters only ``archived`` knows.
    """

    stamp: int
    by_event: Mapping[str, Sequence[MeterTerms]]
    undemanding: frozenset[str]
    by_key: Mapping[str, str]
    archived: frozenset[str]


def check_fit(
    meters: Iterable[MeterTerms], digits: str | None, properties: Mapping[str, object]
) -> None:
    """Raise ``EventRefused`` where a meter that counts the event does not find what it needs."""
    for terms in meters:
        wanted = terms.value_property
        number = digits
        if wanted:
            found = parse_decimal(properties.get(wanted))
            number = None if found is None else plain(found)
        match terms.rule.aggregation:
            case Aggregation.COUNT:
                missing = False
            case Aggregation.UNIQUE_COUNT if wanted:
                missing = properties.get(wanted) is None
            case _:
                missing = number is None
        negative = terms.refuses_negative and number is not None and number.startswith("-")
        if (missing or negative) and matches(terms.filters, properties):
            _refuse_value(wanted, properties, negative=negative)


def is_undemanding(meters: Iterable[MeterTerms]) -> bool:
    """Tell whether events with a value fit all the meters, whatever the value."""
    return all(not terms.value_property and not terms.refuses_negative for terms in meters)


def terms_by_event(versions: Iterable[MeterTerms]) -> dict[str, list[MeterTerms]]:
    """Return versions by the name of the events that they count."""
    found: dict[str, list[MeterTerms]] = {}
    for terms in versions:
        found.setdefault(terms.event_name, []).append(terms)
    return found


def _refuse_value(wanted: str, properties: Mapping[str, object], *, negative: bool) -> NoReturn:
    field = f"properties.{wanted}" if wanted else "value"
    if negative:
        refuse(field, "value_negative", "This meter takes no negative values.")
    if not wanted:
        refuse(field, "required", "This meter needs a value.")
    if properties.get(wanted) is None:
        refuse(field, "property_missing", f"This meter needs {wanted!r}.")
    refuse(field, "property_missing", f"This meter needs a number in {wanted!r}.")
