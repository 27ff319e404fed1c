"""Which terms a subscription had when, and when it ended: lived through, change by change. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from apps.backoffice.simulation.facts import ChangeFact, Document, SubscriptionFact
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
_STANDINGS: Final = {"pause": "paused", "suspend": "suspended", "resume": "active"}

Pace = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stay:
    """A phase of a plan in its time. ``anchor`` is what its billing periods are counted from."""

    plan: Document
    position: int  # of the phase in the plan
    phase: Mapping[str, Any]
    starts: datetime
    ends: datetime | None
    anchor: datetime
    began: datetime | None = None  # from when its plan's phases are counted, of an add-on

    @property
    def place(self) -> tuple[str, int]:
        """Which phase of which plan it is."""
        return (self.plan["key"], self.position)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What somebody asked for, whatever the phase."""

    quantity: int
    price_list: str | None
    standing: str = "active"

    @property
    def idle(self) -> bool:
        """Whether nothing is paid: it is paused, or an add-on that is gone."""
        return self.standing in {"paused", "gone"}


@dataclass(frozen=True, slots=True)
class Spell:
    """A stay, or a part of one, on the same terms; what recurs is paid by them from ``paid_from``."""

    stay: Stay
    agreed: Agreed
    paid_from: datetime

    @property
    def terms(self) -> tuple[object, ...]:
        """What tells spells apart, other than their time."""
        return (self.stay.place, self.stay.anchor, self.agreed, self.stay.began)


@dataclass(frozen=True, slots=True)
class Life:
    """All spells of a subscription, one after the other, and how its end settles a period."""

    spells: Sequence[Spell]
    settlement: str

    @property
    def ends(self) -> datetime | None:
        """When it is over; None for one that goes on, or never began."""
        return self.spells[-1].stay.ends if self.spells else None

    def at(self, at: datetime) -> Spell | None:
        """Return the spell in which an instant lies."""
        for one in self.spells:
            if one.stay.starts <= at and (one.stay.ends is None or at < one.stay.ends):
                return one
        return None


def life(fact: SubscriptionFact, until: datetime) -> Life:
    """Return the life with every change, and every end, whose time had come by ``until``."""
    return Living(fact).through([one for one in told_by(fact, until) if one.add_on is None])


def told_by(fact: SubscriptionFact, until: datetime) -> list[ChangeFact]:
    """Return every change, and every end, whose time had come by ``until``, those of add-ons too."""
    return [one for one in _in_order(fact) if _has_come(fact, one, until)]


def _has_come(fact: SubscriptionFact, change: ChangeFact, until: datetime) -> bool:
    # what is ended before it begins never does
    never_begins = change.verb == "cancel" and change.at <= fact.started_at
    return never_begins or change.at <= until


def _in_order(fact: SubscriptionFact) -> list[ChangeFact]:
    """Return all changes by when they hold; the end of a term comes before what is due with it."""
    asked = sorted(fact.changes, key=lambda one: one.at)
    over = term_end(fact)
    if over is None or fact.auto_renew:
        return asked
    end = ChangeFact(fact.id, "cancel", over, "prorate")
    return [
        *(one for one in asked if one.at < over),
        end,
        *(one for one in asked if one.at >= over),
    ]


class Walk:
    """Spells up to some instant, and the stays that would follow if nothing changed."""

    def __init__(self, fact: SubscriptionFact, agreed: Agreed, ahead: list[Stay]) -> None:
        self.fact, self.agreed, self.ahead = fact, agreed, ahead
        self.paid_from: datetime | None = None  # of the next stay, unless from its start
        self.past: list[Spell] = []
        self.unjoined: list[Spell] = []

    def pass_to(self, at: datetime) -> None:
        """Let time pass."""
        while self.ahead and self.ahead[0].starts < at:
            stay = self.ahead.pop(0)
            if stay.ends is not None and stay.ends <= at:
                self.remember(stay)
            else:
                self.remember(replace(stay, ends=at))
                self.ahead.insert(0, replace(stay, starts=at))

    def remember(self, stay: Stay) -> None:
        """Let a stay be past."""
        spell = Spell(stay, self.agreed, self.paid_from or stay.starts)
        self.paid_from = None
        self.unjoined.append(spell)
        if self.past and self.past[-1].terms == spell.terms:
            before = self.past[-1]
            self.past[-1] = replace(before, stay=replace(before.stay, ends=stay.ends))
        else:
            self.past.append(spell)

    def follow(self, agreed: Agreed, ahead: list[Stay], paid_from: datetime | None) -> None:
        """Go on with what a change makes of it, if that is anything else."""
        if (agreed, _shape(ahead)) == (self.agreed, _shape(self.ahead)):
            return
        self.agreed, self.ahead = agreed, ahead
        if self.past:
            self.paid_from = paid_from

    def to_its_end(self, settlement: str) -> Life:
        """Live all that lies ahead."""
        for stay in self.ahead:
            self.remember(stay)
        return Life(self.past, settlement)

    def paid_by(self, change: ChangeFact) -> datetime | None:
        """Return from when the new terms are paid; None for the change itself."""
        if change.settlement == "prorate" or not self.unjoined:
            return None
        held = self.unjoined[-1]
        paces = recurring_paces(held.stay.phase)
        if held.agreed.idle or not paces:
            return None
        reached = [period_until(self.fact, held.stay.anchor, pace, change.at) for pace in paces]
        # of periods that end together, the shortest
        start, end = min(reached, key=lambda one: (one[1], one[1] - one[0]))
        if change.settlement == "none" or end == change.at:
            return end
        since = held
        for one in reversed(self.unjoined):
            if one.terms[:2] != held.terms[:2] or one.agreed.idle:
                break
            since = one
        return min(max(start, since.paid_from), change.at)


class Living(Walk):
    """The life of a subscription itself."""

    def __init__(self, fact: SubscriptionFact) -> None:
        self.phases = phases_of(fact.plan, fact.trial_days)
        laid = laid_out(fact.plan, self.phases, fact.started_at, fact.zone)
        super().__init__(fact, Agreed(fact.quantity, fact.price_list), laid)

    def through(self, changes: Sequence[ChangeFact]) -> Life:
        """Live through changes to the end."""
        settlement = "prorate"
        for change in changes:
            self.pass_to(change.at)
            if not self.ahead:
                break
            if change.verb == "cancel":
                settlement = change.settlement
                self.ahead = []
                break
            self.make(change)
        return self.to_its_end(settlement)

    def make(self, change: ChangeFact) -> None:
        """Change what follows."""
        agreed, ahead, phases = self.agreed, self.ahead, self.phases
        paid_from = self.paid_by(change)
        # new periods are counted from when the new terms are paid, if that comes later
        anew = max(change.at, paid_from or change.at)
        match change.verb:
            case "change_quantity":
                agreed = replace(agreed, quantity=change.quantity or 0)
            case "change_prices":
                agreed = replace(agreed, price_list=change.price_list)
            case "extend_trial":
                ahead = self._trial_until(change.trial_ends_at or change.at)
            case "change_plan":
                agreed = replace(agreed, quantity=change.quantity or agreed.quantity)
                phases, ahead = self._on_plan(change, anew)
            case verb if _STANDINGS[verb] != agreed.standing:
                agreed = replace(agreed, standing=_STANDINGS[verb])
                if verb == "resume" and change.counts_anew:
                    ahead = _counted_from(anew, ahead)
            case _:
                pass
        self.phases = phases
        self.follow(agreed, ahead, paid_from)

    def _trial_until(self, ends: datetime) -> list[Stay]:
        held = self.ahead[0]
        if held.phase["kind"] != "trial" or ends <= held.starts:
            return self.ahead
        paid = [(place, phase) for place, phase in self.phases if phase["kind"] != "trial"]
        following = laid_out(held.plan, paid, ends, self.fact.zone)
        return [replace(held, ends=ends), *following]

    def _on_plan(
        self, change: ChangeFact, anew: datetime
    ) -> tuple[list[tuple[int, Document]], list[Stay]]:
        plan = change.plan or {}
        phases = phases_of(plan, None)
        since = change.at if change.from_change else self.fact.started_at
        laid = laid_out(plan, phases, since, self.fact.zone)
        coming = [one for one in laid if one.ends is None or one.ends > change.at]
        coming[0] = replace(coming[0], starts=change.at)
        held = self.ahead[0]
        over = held.phase["kind"] == "trial" != coming[0].phase["kind"]
        return phases, _counted_from(anew if change.counts_anew or over else held.anchor, coming)


def _shape(ahead: Sequence[Stay]) -> list[object]:
    return [(one.place, one.anchor, one.ends, one.began) for one in ahead]


def _counted_from(anchor: datetime, ahead: Sequence[Stay]) -> list[Stay]:
    """Return stays with the first one's periods, and those that go on with them, counted anew."""
    was = ahead[0].anchor
    return [replace(one, anchor=anchor) if one.anchor == was else one for one in ahead]


def phases_of(plan: Document, trial_days: int | None) -> list[tuple[int, Document]]:
    """Return the phases with their places, the trial as long as was agreed."""
    phases: list[tuple[int, Document]] = list(enumerate(plan["phases"]))
    if trial_days is None:
        return phases
    first = next(place for place, phase in phases if phase["kind"] == "trial")
    trial = {**plan["phases"][first], "duration": {"unit": "day", "count": trial_days}}
    paid = [(place, phase) for place, phase in phases if phase["kind"] != "trial"]
    return [(first, trial), *paid] if trial_days else paid


def laid_out(
    plan: Document, phases: Sequence[tuple[int, Document]], since: datetime, zone: str
) -> list[Stay]:
    """Return the phases as they follow one another from an instant on."""
    found: list[Stay] = []
    starts = base = since
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
            ends = months_on(base, months, zone)
        elif length is not None:
            wall = shown(starts, zone)
            ends = base = first_instant(wall + timedelta(days=days_of(length)), zone)
            months = 0
        found.append(Stay(plan, position, phase, starts, ends, anchor or since))
        if ends is None:
            break
        starts = ends
    return found


def stays_on(
    fact: SubscriptionFact, plan: Document, at: datetime, *, from_change: bool
) -> Stay | None:
    """Return the stay that a change to a plan begins with; None if all its phases are over."""
    since = at if from_change else fact.started_at
    laid = laid_out(plan, phases_of(plan, None), since, fact.zone)
    return next((one for one in laid if one.ends is None or one.ends > at), None)


def is_alive(fact: SubscriptionFact, at: datetime) -> bool:
    """Say whether something can still be changed at an instant."""
    found = life(fact, at)
    return bool(found.spells) and (found.ends is None or found.ends > at)


def term_end(fact: SubscriptionFact) -> datetime | None:
    """Return when the term ends, after all renewals by hand; None without a term."""
    if fact.term_months is None:
        return None
    ends = months_on(fact.started_at, fact.term_months, fact.zone)
    for at in fact.renewed:
        turn = 0
        while months_on(fact.started_at, fact.term_months * (turn + 1), fact.zone) <= max(
            at, fact.started_at
        ):
            turn += 1
        ends = max(ends, months_on(fact.started_at, fact.term_months * (turn + 2), fact.zone))
    return ends


def recurring_paces(phase: Mapping[str, Any]) -> list[Pace]:
    """Return the billing periods of what recurs in a phase."""
    charges = phase.get("charges", [])
    return [one["period"] for one in charges if "meter" not in one and one.get("kind") != "fixed"]


def leading_pace(phase: Mapping[str, Any]) -> Pace | None:
    """Return the billing period that sets the pace of a phase: the shortest; None without any."""
    paces = recurring_paces(phase)
    paces = paces or [one["period"] for one in phase.get("charges", []) if "meter" in one]
    return min(
        paces,
        key=lambda one: (days_of(one) + months_of(one) * _DAYS_A_MONTH, one["unit"]),
        default=None,
    )


def end_of_period(fact: SubscriptionFact, found: Life, at: datetime) -> datetime:
    """Return the end of the billing period in which an instant lies."""
    here = found.at(at)
    if here is None:
        return at
    pace = leading_pace(here.stay.phase)
    if pace is None:
        return here.stay.ends or at
    _, end = period_at(fact, here.stay.anchor, pace, at)
    last = [one for one in found.spells if one.stay.anchor == here.stay.anchor][-1].stay.ends
    return end if last is None else min(end, last)


def period_at(fact: SubscriptionFact, anchor: datetime, pace: Pace, at: datetime) -> Span:
    """Return the billing period in which an instant lies."""
    return next(one for one in periods(fact, anchor, pace, since=at, until=at) if at < one[1])


def period_until(fact: SubscriptionFact, anchor: datetime, pace: Pace, at: datetime) -> Span:
    """Return the billing period in which the moment before an instant lies."""
    return period_at(fact, anchor, pace, at - timedelta(microseconds=1))


def periods(
    fact: SubscriptionFact, anchor: datetime, pace: Pace, *, since: datetime, until: datetime
) -> list[Span]:
    """Return the billing periods, whole, from the one of ``since`` to the one of ``until``."""
    grid = boundaries(
        anchor,
        pace,
        fact.zone,
        calendar_aligned=fact.calendar_aligned,
        anchor_day=fact.anchor_day,
        since=since,
        until=until,
    )
    return [(starts, ends) for starts, ends in pairwise(grid) if starts < ends]


def months_on(at: datetime, months: int, zone: str) -> datetime:
    """Return the same local time so many months later, or that month's last day."""
    wall = shown(at, zone)
    day = months_later(wall.date(), months, wall.day)
    return first_instant(datetime.combine(day, wall.time()), zone)
