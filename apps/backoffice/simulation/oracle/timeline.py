"""Which phase of its plan a subscription was in when, and when it ended. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from apps.backoffice.simulation.facts import SubscriptionFact
from apps.backoffice.simulation.oracle.calendar import (
    Span,
    boundaries,
    days_of,
    first_instant,
    months_later,
    months_of,
    shown,
)

_DAYS_A_MONTH: Final = Decimal("30.436875")  # on average


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase in its time. ``anchor`` is what its billing periods are counted from."""

    position: int  # of the phase in the plan
    phase: Mapping[str, Any]
    starts: datetime
    ends: datetime | None
    anchor: datetime
    # the end cuts a period short that stays billed whole
    keeps_whole_period: bool = False


def laid_out(fact: SubscriptionFact) -> list[Stretch]:
    """Return the phases as they were to follow one another, had nobody ended anything."""
    phases = list(enumerate(fact.plan["phases"]))
    if fact.trial_days is not None:
        first = next(position for position, phase in phases if phase["kind"] == "trial")
        trial = dict(fact.plan["phases"][first])
        trial["duration"] = {"unit": "day", "count": fact.trial_days}
        phases = [(position, phase) for position, phase in phases if phase["kind"] != "trial"]
        if fact.trial_days:
            phases.insert(0, (first, trial))
    found: list[Stretch] = []
    starts = base = fact.started_at
    months = 0
    anchor = None
    for position, phase in phases:
        if phase["kind"] != "trial" and anchor is None:
            anchor = base = starts
            months = 0
        length = phase.get("duration")
        ends = None
        if length is not None and months_of(length):
            months += months_of(length)
            ends = _months_on(base, months, fact.zone)
        elif length is not None:
            wall = shown(starts, fact.zone)
            ends = base = first_instant(wall + timedelta(days=days_of(length)), fact.zone)
            months = 0
        found.append(Stretch(position, phase, starts, ends, anchor or fact.started_at))
        if ends is None:
            break
        starts = ends
    return found


def lived(fact: SubscriptionFact, until: datetime) -> list[Stretch]:
    """Return the phases as they came, with every end that had come by ``until``."""
    found = laid_out(fact)
    ends = []
    term = term_end(fact)
    if term is not None and not fact.auto_renew and term <= until:
        ends.append((term, False))
    # what is ended before it begins never does
    if fact.ended_at is not None and fact.ended_at <= max(until, fact.started_at):
        ends.append((fact.ended_at, fact.keeps_whole_period))
    if not ends:
        return found
    end, keeps = min(ends, key=lambda one: one[0])
    kept = [one for one in found if one.starts < end]
    if kept:
        last = kept[-1]
        if last.ends is None or last.ends > end:
            kept[-1] = Stretch(
                last.position, last.phase, last.starts, end, last.anchor, keeps_whole_period=keeps
            )
    return kept


def is_alive(fact: SubscriptionFact, at: datetime) -> bool:
    """Say whether a subscription can still be ended at an instant."""
    stretches = lived(fact, at)
    if not stretches:
        return False
    ends = stretches[-1].ends
    return ends is None or ends > at


def term_end(fact: SubscriptionFact) -> datetime | None:
    """Return when the term ends, after all renewals by hand; None without a term."""
    if fact.term_months is None:
        return None
    ends = _months_on(fact.started_at, fact.term_months, fact.zone)
    for at in fact.renewed:
        turn = 0
        while _months_on(fact.started_at, fact.term_months * (turn + 1), fact.zone) <= max(
            at, fact.started_at
        ):
            turn += 1
        ends = max(ends, _months_on(fact.started_at, fact.term_months * (turn + 2), fact.zone))
    return ends


def end_of_period(fact: SubscriptionFact, at: datetime) -> datetime:
    """Return the end of the billing period in which an instant lies."""
    stretches = lived(fact, at)
    here = next(
        one for one in stretches if one.starts <= at and (one.ends is None or at < one.ends)
    )
    charges = here.phase.get("charges", [])
    paces = [one["period"] for one in charges if "meter" not in one and one.get("kind") != "fixed"]
    paces = paces or [one["period"] for one in charges if "meter" in one]
    if not paces:
        return at if here.ends is None else here.ends
    pace = min(paces, key=lambda one: (days_of(one) + months_of(one) * _DAYS_A_MONTH, one["unit"]))
    grid = periods(fact, here, pace, until=at)
    end = next(ends for starts, ends in grid if starts <= at < ends)
    last = [one for one in stretches if one.anchor == here.anchor][-1].ends
    return end if last is None else min(end, last)


def periods(
    fact: SubscriptionFact, stretch: Stretch, pace: Mapping[str, Any], *, until: datetime
) -> list[Span]:
    """Return the billing periods, whole, from the one with the stretch's start to ``until``."""
    grid = boundaries(
        stretch.anchor,
        pace,
        fact.zone,
        calendar_aligned=fact.calendar_aligned,
        anchor_day=fact.anchor_day,
        until=until,
    )
    return [
        (starts, ends) for starts, ends in pairwise(grid) if starts < ends and ends > stretch.starts
    ]


def _months_on(at: datetime, months: int, zone: str) -> datetime:
    wall = shown(at, zone)
    day = months_later(wall.date(), months, wall.day)
    return first_instant(datetime.combine(day, wall.time()), zone)
