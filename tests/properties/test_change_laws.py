"""Whatever happens to a subscription, whenever it is billed: the sum is what each hour costs.

The model on the other side is slow and knows nothing of segments, windows or differences: it walks
through every hour, asks by which terms it is paid, and adds up fractions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from typing import Final
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.catalog.domain import ChargeKind, ChargeTerms, PhaseKind, PriceTerms, Timing
from apps.invoicing.assembly import propose
from apps.invoicing.lines import Billed, LineKey, ProposedLine
from apps.invoicing.slicing import in_window, reach_of, slices_due
from apps.rating.periods import Alignment, Cadence, Schedule, Unit
from apps.rating.pricing import parse_pricing
from apps.rating.proration import Basis
from apps.subscriptions.domain import (
    Anchoring,
    Change,
    ChangeVerb,
    Laid,
    Opening,
    PhaseLength,
    Settlement,
    Standing,
    SubscriptionTerms,
    concerned_since,
    replay,
)

HOUR: Final = timedelta(hours=1)
START: Final = datetime(2024, 1, 31, 10, tzinfo=UTC)
LENGTH: Final = 24 * 100  # hours
ZONES: Final = (
    "UTC", "America/New_York", "Europe/Berlin", "Australia/Sydney", "Asia/Kathmandu",
    "Pacific/Kiritimati",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    version_id: UUID
    phase: PhaseLength
    charge: ChargeTerms
    price: Fraction


def plan(price: str, cadence: Cadence, timing: Timing, proration: Basis | None = None) -> Plan:
    pricing = parse_pricing({"model": "per_unit", "unit_price": price}, currency="USD")
    charge = ChargeTerms(
        id=uuid4(),
        key="seats",
        name="Seats",
        kind=ChargeKind.RECURRING,
        cadence=cadence,
        timing=timing,
        prorated=True,
        meter=None,
        included_quantity=Decimal(0),
        prices={(None, "USD"): PriceTerms(pricing)},
        proration=proration,
    )
    phase = PhaseLength(uuid4(), PhaseKind.EVERGREEN, None)
    return Plan(uuid4(), phase, charge, Fraction(price))


PLANS: Final = (
    plan("31.00", Cadence(Unit.MONTH), Timing.ADVANCE),
    plan("47.53", Cadence(Unit.MONTH), Timing.ARREARS),
    plan("365.00", Cadence(Unit.YEAR), Timing.ADVANCE),
    plan("9.99", Cadence(Unit.WEEK), Timing.ARREARS),
    plan("62.00", Cadence(Unit.MONTH), Timing.ADVANCE, Basis.DAY),
)
ADD_ONS: Final = (
    plan("3.10", Cadence(Unit.MONTH), Timing.ADVANCE),
    plan("0.77", Cadence(Unit.WEEK), Timing.ARREARS, Basis.MONTH_30),
)
BY_VERSION: Final = {one.version_id: one for one in PLANS + ADD_ONS}
CHARGES: Final = {one.phase.id: (one.charge,) for one in PLANS + ADD_ONS}


OF_ADD_ONS: Final = (
    ChangeVerb.ADD_ADD_ON,
    ChangeVerb.CHANGE_ADD_ON,
    ChangeVerb.REMOVE_ADD_ON,
)


@dataclass(frozen=True)
class Asked:
    """A change, and the hour in which it was asked for."""

    change: Change
    hour: int


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, Basis, list[Asked], list[int]]:
    """Return a zone, how days are told, changes as they were asked for, and the hours of runs."""
    hours = st.integers(0, LENGTH - 1)
    asked: list[Asked] = []
    for hour in sorted(draw(st.lists(hours, max_size=7))):
        verb = draw(
            st.sampled_from(
                [
                    ChangeVerb.CHANGE_PLAN,
                    ChangeVerb.CHANGE_QUANTITY,
                    ChangeVerb.PAUSE,
                    ChangeVerb.SUSPEND,
                    ChangeVerb.RESUME,
                    ChangeVerb.CANCEL,
                    *OF_ADD_ONS,
                ]
            )
        )
        to = draw(st.sampled_from(PLANS))
        change = Change(
            verb=verb,
            effective_at=START + HOUR * draw(hours),
            settlement=draw(st.sampled_from(Settlement)),
            anchoring=draw(st.sampled_from(Anchoring)),
        )
        if verb is ChangeVerb.CHANGE_PLAN:
            drops = draw(st.frozensets(st.sampled_from([one.version_id for one in ADD_ONS])))
            change = replace(change, plan_version_id=to.version_id, phases=(to.phase,), drops=drops)
        if verb is ChangeVerb.CHANGE_QUANTITY or verb in OF_ADD_ONS:
            change = replace(change, quantity=Decimal(draw(st.integers(1, 5))))
        if verb in OF_ADD_ONS:
            extra = draw(st.sampled_from(ADD_ONS))
            change = replace(change, add_on_id=extra.version_id)
            if verb is ChangeVerb.ADD_ADD_ON:
                change = replace(change, plan_version_id=extra.version_id, phases=(extra.phase,))
        asked.append(Asked(change, hour))
    over = Change(ChangeVerb.CANCEL, START + HOUR * LENGTH)
    asked.append(Asked(over, LENGTH))
    zone, basis = draw(st.sampled_from(ZONES)), draw(st.sampled_from(Basis))
    return zone, basis, asked, sorted(draw(st.lists(hours, max_size=6)))


def opening(zone: str) -> Opening:
    return Opening(
        started_at=START,
        zone=zone,
        alignment=Alignment.ANNIVERSARY,
        anchor_day=None,
        plan_version_id=PLANS[0].version_id,
        phases=(PLANS[0].phase,),
        quantity=Decimal(2),
        price_list_id=None,
    )


# --- the engine ---------------------------------------------------------------------------------


def terms(zone: str, laid: Laid) -> SubscriptionTerms:
    return SubscriptionTerms(
        id=UUID(int=1),
        tenant_id=UUID(int=2),
        customer_id=UUID(int=3),
        external_id=None,
        currency="USD",
        zone=zone,
        alignment=Alignment.ANNIVERSARY,
        anchor_day=None,
        started_at=START,
        billed_until=None,
        changed_from=None,
        segments=laid.segments,
        add_ons=laid.add_ons,
    )


def by_the_engine(zone: str, basis: Basis, asked: Sequence[Asked], runs: Sequence[int]) -> Decimal:
    """Return what all documents add up to, with runs at those hours and one at the end."""
    billed: dict[LineKey, Billed] = {}
    billed_until: datetime | None = None
    seen: set[int] = set()
    before = replay(opening(zone), (), CHARGES)
    for hour in [*runs, LENGTH + 24 * 800]:
        cutoff = START + HOUR * hour
        visible = [
            (number, one.change)
            for number, one in enumerate(asked)
            if one.hour <= hour and one.change.effective_at <= cutoff
        ]
        laid = replay(opening(zone), [change for _, change in visible], CHARGES)
        fresh = {change.effective_at for number, change in visible if number not in seen}
        seen |= {number for number, _ in visible}
        changed = [concerned_since(one, before.all(), laid.all()) for one in fresh]
        before = laid
        now = replace(
            terms(zone, laid),
            billed_until=billed_until,
            changed_from=min(changed, default=None),
        )
        for line in bill(now, cutoff, billed, basis):
            past = billed.get(line.key)
            billed[line.key] = as_billed(line, past)
        billed_until = cutoff
    return sum((past.amount for past in billed.values()), Decimal(0))


def bill(
    now: SubscriptionTerms, cutoff: datetime, billed: Mapping[LineKey, Billed], basis: Basis
) -> list[ProposedLine]:
    reach = reach_of(now, cutoff, usage_since=None, reopened=None)
    slices = slices_due([now], CHARGES, reaches={now.id: reach}, basis=basis)
    within = {
        key: past
        for key, past in billed.items()
        if in_window(key.period_start, past.period_end, reach.window)
    }
    lines = propose(slices, {}, within, price_lists={})
    for line in lines:
        before = billed[line.key].amount if line.key in billed else Decimal(0)
        assert before + line.amount >= 0  # nothing is credited that was not billed
    return lines


def as_billed(line: ProposedLine, past: Billed | None) -> Billed:
    return Billed(
        amount=line.amount + (past.amount if past else 0),
        currency=line.currency,
        count=(past.count if past else 0) + 1,
        first_line_id=past.first_line_id if past else uuid4(),
        period_end=line.period_end,
        service_start=line.service.start,
        service_end=line.service.end,
        description=line.description,
        unit=line.unit,
    )


# --- the model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """Terms from a change on: they relieve others at ``paid_from``, and cost from ``begins`` on.

    They have been charged for on their grid since ``since``.
    """

    plan: Plan
    quantity: int
    standing: Standing
    anchor: datetime
    paid_from: datetime
    since: datetime
    begins: datetime
    absent: bool = False

    @property
    def idle(self) -> bool:
        return self.absent or self.standing is Standing.PAUSED


def period_of(state: State, zone: str, at: datetime) -> tuple[datetime, datetime]:
    """Return the billing period in which an hour lies."""
    assert state.plan.charge.cadence is not None
    return period_on(state.anchor, state.plan.charge.cadence, zone, at)


@cache
def period_on(
    anchor: datetime, cadence: Cadence, zone: str, at: datetime
) -> tuple[datetime, datetime]:
    schedule = Schedule(anchor, cadence, zone)
    period = schedule.period(schedule.index_at(at))
    return period.start, period.end


@cache
def mark(basis: Basis, zone: str, at: datetime) -> int:
    """Return how many hours, days, or days of months of thirty have gone by at an instant."""
    day = at.astimezone(ZoneInfo(zone)).date()
    match basis:
        case Basis.SECOND:
            return (at - START) // HOUR
        case Basis.DAY:
            return day.toordinal()
        case Basis.MONTH_30:
            return (day.year * 12 + day.month) * 30 + min(day.day, 30)


STANDINGS: Final = {
    ChangeVerb.PAUSE: Standing.PAUSED,
    ChangeVerb.SUSPEND: Standing.SUSPENDED,
    ChangeVerb.RESUME: Standing.ACTIVE,
}


def changed(change: Change, state: State, anew: datetime) -> State:
    """Return the terms with a change; periods that are counted anew begin at ``anew``."""
    resets = change.anchoring is Anchoring.RESET
    match change.verb:
        case ChangeVerb.CHANGE_QUANTITY:
            assert change.quantity is not None
            return replace(state, quantity=int(change.quantity))
        case ChangeVerb.CHANGE_PLAN:
            assert change.plan_version_id is not None
            to = BY_VERSION[change.plan_version_id]
            return replace(state, plan=to, anchor=anew if resets else state.anchor)
        case verb if verb in OF_ADD_ONS or state.standing is STANDINGS[verb]:
            return state
        case verb:
            resets = resets and verb is ChangeVerb.RESUME
            anchor = anew if resets else state.anchor
            return replace(state, standing=STANDINGS[verb], anchor=anchor)


def with_add_on(change: Change, base: State, state: State, _anew: datetime) -> State:
    """Return the terms of an add-on with a change of it or of its subscription."""
    version_id = state.plan.version_id
    own = change.verb in OF_ADD_ONS and change.add_on_id == version_id
    if (own and change.verb is ChangeVerb.REMOVE_ADD_ON) or version_id in change.drops:
        return replace(state, absent=True)
    if own and change.verb is ChangeVerb.ADD_ADD_ON:
        state = replace(state, absent=False)
    if state.absent:
        return state
    if own:
        assert change.quantity is not None
        state = replace(state, quantity=int(change.quantity))
    return replace(state, standing=base.standing, anchor=base.anchor)


class States:
    """The terms from each instant at which they change; the last change there settles it."""

    def __init__(self, zone: str, first: State) -> None:
        self.zone = zone
        self.all = [first]
        self.instants = [first.paid_from]

    def step(self, change: Change, now_at: Callable[[State, datetime], State]) -> None:
        at = change.effective_at
        held = next(
            (
                one
                for one, since in zip(self.all[::-1], self.instants[::-1], strict=True)
                if since < at
            ),
            None,
        )
        paid_from = anew = at
        if held is not None and not held.idle:
            start, end = period_of(held, self.zone, at - HOUR)
            if change.settlement is Settlement.NONE:
                paid_from = anew = end
            elif change.settlement is Settlement.FULL_CREDIT and end > at:
                paid_from = min(max(start, held.since), at)
        now = now_at(self.all[-1], anew)
        if now == self.all[-1]:
            return
        goes_on = (
            held is not None
            and (held.plan, held.anchor) == (now.plan, now.anchor)
            and not held.idle
            and not now.idle
        )
        since = held.since if held is not None and goes_on else paid_from
        if at == self.instants[-1]:
            self.all.pop()
            self.instants.pop()
        begins = max(paid_from, at) if now.anchor == at else paid_from
        self.all.append(replace(now, paid_from=paid_from, since=since, begins=begins))
        self.instants.append(at)


def all_states(changes: Sequence[Change], zone: str) -> list[list[State]]:
    """Return the terms of the subscription and of each of its add-ons."""
    base = States(zone, State(PLANS[0], 2, Standing.ACTIVE, START, START, START, START))
    extras: dict[UUID, States] = {}
    for change in changes:
        base.step(change, partial(changed, change))
        now = base.all[-1]
        for extra in extras.values():
            extra.step(change, partial(with_add_on, change, now))
        if change.verb is ChangeVerb.ADD_ADD_ON and change.add_on_id not in extras:
            assert change.add_on_id is not None
            assert change.quantity is not None
            at, of = change.effective_at, BY_VERSION[change.add_on_id]
            first = State(of, int(change.quantity), now.standing, now.anchor, at, at, at)
            extras[change.add_on_id] = States(zone, first)
    return [base.all, *(one.all for one in extras.values())]


def by_the_hour(zone: str, basis: Basis, asked: Sequence[Asked]) -> Decimal:
    """Return what all hours cost, each part of a period rounded once."""
    changes = sorted((one.change for one in asked), key=lambda one: one.effective_at)
    end = next(one for one in changes if one.verb is ChangeVerb.CANCEL)
    earlier = [one for one in changes if one.effective_at < end.effective_at]
    if end.effective_at == START:
        return Decimal(0)
    walks = [Walk(zone, states, end) for states in all_states(earlier, zone)]
    return sum((cost_of(walk, zone, basis) for walk in walks), Decimal(0))


def cost_of(walk: "Walk", zone: str, basis: Basis) -> Decimal:
    parts: dict[tuple[int, datetime], Fraction] = {}
    stretch = 0
    before = None
    for number in range(LENGTH + 24 * 370):
        hour = START + HOUR * number
        paying = walk.payer(hour)
        now = alike(paying)
        stretch += now != before
        before = now
        if paying is not None:
            start, ends = period_of(paying, zone, hour)
            by = paying.plan.charge.proration or basis
            goes_by = mark(by, zone, hour + HOUR) - mark(by, zone, hour)
            share = Fraction(goes_by, mark(by, zone, ends) - mark(by, zone, start))
            cost = paying.plan.price * paying.quantity * share
            parts[stretch, start] = parts.get((stretch, start), Fraction(0)) + cost
    return sum((half_up(part) for part in parts.values()), Decimal(0))


class Walk:
    """Tells by which terms an hour is paid."""

    def __init__(self, zone: str, states: Sequence[State], end: Change) -> None:
        self.states = states
        self.end = end
        self.last = self.agreed(end.effective_at - HOUR)
        self.closes: datetime | None = None  # when the last period would have ended
        self.opens: datetime | None = None  # from when it is given back
        if self.last is not None:
            start, closes = period_of(self.last, zone, end.effective_at - HOUR)
            if end.settlement is Settlement.NONE:
                self.closes = closes
            if end.settlement is Settlement.FULL_CREDIT and closes > end.effective_at:
                self.opens = start
        while self.opens is not None and not self.is_last_from(self.opens):
            self.opens += HOUR

    def is_last_from(self, at: datetime) -> bool:
        hours = (self.end.effective_at - at) // HOUR
        paid = (self.agreed(at + HOUR * n) for n in range(hours))
        return all(alike(one) == alike(self.last) for one in paid)

    def agreed(self, at: datetime) -> State | None:
        """Return the last that were agreed of all terms that are paid by then."""
        found = next((one for one in reversed(self.states) if one.paid_from <= at), None)
        if found is None or found.idle or at < found.begins:
            return None
        return found

    def payer(self, at: datetime) -> State | None:
        if at < self.end.effective_at:
            return None if self.opens is not None and at >= self.opens else self.agreed(at)
        goes_on = self.closes is not None and at < self.closes and self.agreed(at) is self.last
        return self.last if goes_on else None


def alike(state: State | None) -> tuple[object, ...] | None:
    return None if state is None else (state.plan, state.quantity, state.anchor)


def half_up(amount: Fraction) -> Decimal:
    return Decimal(int(amount * 100 + Fraction(1, 2))) / 100


def to_plan(number: int, hour: int, settlement: Settlement) -> Change:
    to = PLANS[number]
    return Change(
        ChangeVerb.CHANGE_PLAN,
        START + HOUR * hour,
        settlement,
        plan_version_id=to.version_id,
        phases=(to.phase,),
    )


REACHING_LESS_FAR_BACK: Final = (
    # what is told at last lets a full credit, billed from hour 0, begin at hour 369
    "Asia/Kathmandu",
    Basis.SECOND,
    [
        Asked(to_plan(3, 369, Settlement.FULL_CREDIT), 312),
        Asked(to_plan(2, 227, Settlement.NONE), 860),
        Asked(Change(ChangeVerb.CANCEL, START + HOUR * LENGTH), LENGTH),
    ],
    [446, 1559],
)


@settings(max_examples=100)
@given(histories())
@example(REACHING_LESS_FAR_BACK)
def test_any_changes_billed_at_any_time_cost_what_each_hour_costs(
    history: tuple[str, Basis, list[Asked], list[int]],
) -> None:
    zone, basis, asked, runs = history
    expected = by_the_hour(zone, basis, asked)
    assert by_the_engine(zone, basis, asked, ()) == expected
    assert by_the_engine(zone, basis, asked, runs) == expected
