"""What a history costs, slowly: each step of time by itself, and each call.

This knows nothing of segments, windows or differences: it walks through every step, asks by which
terms it is paid, and adds up fractions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from typing import Final
from zoneinfo import ZoneInfo

from apps.rating.periods import Cadence, Schedule
from apps.rating.proration import Basis
from apps.subscriptions.domain import Anchoring, Change, ChangeVerb, Settlement, Standing
from tests.properties.histories import OF_ADD_ONS, SECOND, History, Plan, World

_QUARTER: Final = SECOND * 900  # no zone's day begins but at one


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
    """Return the billing period in which an instant lies."""
    assert state.plan.seats.cadence is not None
    return period_on(state.anchor, state.plan.seats.cadence, zone, at)


@cache
def schedule_on(anchor: datetime, cadence: Cadence, zone: str) -> Schedule:
    return Schedule(anchor, cadence, zone)


def period_on(
    anchor: datetime, cadence: Cadence, zone: str, at: datetime
) -> tuple[datetime, datetime]:
    schedule = schedule_on(anchor, cadence, zone)
    period = schedule.period(schedule.index_at(at))
    return period.start, period.end


def mark(basis: Basis, zone: str, at: datetime) -> int:
    """Return how many days, or days of months of thirty, have begun by an instant."""
    day = at.astimezone(ZoneInfo(zone)).date()
    if basis is Basis.DAY:
        return day.toordinal()
    return (day.year * 12 + day.month) * 30 + min(day.day, 30)


@cache
def passing(world: World, basis: Basis, zone: str) -> Sequence[int]:
    """Return what goes by in each step: one second or hour, or a day in the step that ends it."""
    steps = world.length + world.tail
    if basis is Basis.SECOND:
        return [1] * steps
    found = [0] * steps
    at = datetime.fromtimestamp(world.start.timestamp() // 900 * 900, world.start.tzinfo) + _QUARTER
    while at <= world.at(steps):
        number = -((world.start - at) // world.step) - 1
        found[number] += mark(basis, zone, at) - mark(basis, zone, at - _QUARTER)
        at += _QUARTER
    return found


def length_of(world: World, basis: Basis, zone: str, period: tuple[datetime, datetime]) -> int:
    """Return how much goes by in a whole period."""
    start, end = period
    if basis is Basis.SECOND:
        return (end - start) // world.step
    return mark(basis, zone, end) - mark(basis, zone, start)


STANDINGS: Final = {
    ChangeVerb.PAUSE: Standing.PAUSED,
    ChangeVerb.SUSPEND: Standing.SUSPENDED,
    ChangeVerb.RESUME: Standing.ACTIVE,
}


def changed(world: World, change: Change, state: State, anew: datetime) -> State:
    """Return the terms with a change; periods that are counted anew begin at ``anew``."""
    resets = change.anchoring is Anchoring.RESET
    match change.verb:
        case ChangeVerb.CHANGE_QUANTITY:
            assert change.quantity is not None
            return replace(state, quantity=int(change.quantity))
        case ChangeVerb.CHANGE_PLAN:
            assert change.plan_version_id is not None
            to = world.version(change.plan_version_id)
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
            start, end = period_of(held, self.zone, at - SECOND)
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


def all_states(world: World, changes: Sequence[Change], zone: str) -> list[States]:
    """Return the terms of the subscription and of each of its add-ons."""
    start = world.start
    base = States(zone, State(world.plans[0], 2, Standing.ACTIVE, start, start, start, start))
    extras: dict[object, States] = {}
    for change in changes:
        base.step(change, partial(changed, world, change))
        now = base.all[-1]
        for extra in extras.values():
            extra.step(change, partial(with_add_on, change, now))
        if change.verb is ChangeVerb.ADD_ADD_ON and change.add_on_id not in extras:
            assert change.add_on_id is not None
            assert change.quantity is not None
            at, of = change.effective_at, world.version(change.add_on_id)
            first = State(of, int(change.quantity), now.standing, now.anchor, at, at, at)
            extras[change.add_on_id] = States(zone, first)
    return [base, *extras.values()]


def step_by_step(world: World, history: History) -> Decimal:
    """Return what all steps and calls cost, each part of a period rounded once, less coupons."""
    changes = sorted((one.change for one in history.asked), key=lambda one: one.effective_at)
    end = next(one for one in changes if one.verb is ChangeVerb.CANCEL)
    earlier = [one for one in changes if one.effective_at < end.effective_at]
    if end.effective_at == world.start:
        return Decimal(0)
    total = Decimal(0)
    for number, states in enumerate(all_states(world, earlier, history.zone)):
        walk = Walk(world, history.zone, states, end)
        total += sum(left(history, world, *part) for part in paid_parts(walk, history.basis))
        if not number:
            total += sum(left(history, world, *part) for part in called_parts(walk, history))
    return total


def left(history: History, world: World, period_start: datetime, amount: Fraction) -> Decimal:
    """Return what coupons leave of a part of a period, rounded before and after each."""
    rest = half_up(amount)
    begins = max(period_start, world.start)
    for one in history.coupons:
        if one.starts_at <= begins and (one.ends_at is None or begins < one.ends_at):
            assert one.coupon.percentage is not None
            rest -= half_up(Fraction(rest) * Fraction(one.coupon.percentage) / 100)
    return rest


class Walk:
    """Tells by which terms each step is paid, and by which it is used."""

    def __init__(self, world: World, zone: str, states: States, end: Change) -> None:
        self.world, self.zone, self.states = world, zone, states.all
        self.instants = [world.number(one) for one in states.instants]
        self.steps = world.length + world.tail
        self.end = world.number(end.effective_at)
        agreed = list(self._agreed())
        last = agreed[self.end - 1]
        closes, opens = self.end, self.end
        if last is not None:
            period = period_of(last, zone, end.effective_at - SECOND)
            start, ends = (world.number(one) for one in period)
            if end.settlement is Settlement.NONE:
                closes = ends
            if end.settlement is Settlement.FULL_CREDIT and ends > self.end:
                while opens > max(start, 0) and alike(agreed[opens - 1]) == alike(last):
                    opens -= 1
        self.paying = [
            (one if t < opens or (self.end <= t < closes and one is last) else None)
            for t, one in enumerate(agreed)
        ]

    def _agreed(self) -> Iterator[State | None]:
        """Yield for each step the last that were agreed of all terms that are paid by then."""
        arrivals: dict[int, int] = {}
        for number, one in enumerate(self.states):
            paid_from = max(self.world.number(one.paid_from), 0)
            arrivals[paid_from] = max(arrivals.get(paid_from, -1), number)
        current, state, begins = -1, None, 0
        for t in range(self.steps):
            if t in arrivals and arrivals[t] > current:
                current = arrivals[t]
                found = self.states[current]
                state = None if found.idle else found
                begins = self.world.number(found.begins)
            yield state if t >= begins else None

    def used(self) -> Iterator[State | None]:
        """Yield for each step the terms that hold, whoever pays for it; None once it has ended."""
        current = -1
        for t in range(self.steps):
            while current + 1 < len(self.instants) and self.instants[current + 1] <= t:
                current += 1
            state = self.states[current] if current >= 0 and t < self.end else None
            yield None if state is None or state.idle else state


def alike(state: State | None) -> tuple[object, ...] | None:
    return None if state is None else (state.plan, state.quantity, state.anchor)


def stretches(
    walk: Walk,
    terms: Sequence[State | None],
    same: Callable[[State | None], tuple[object, ...] | None],
) -> Iterator[tuple[State, tuple[datetime, datetime], int, int]]:
    """Yield the terms of each part of a period, the period, and its first and last step.

    A part ends where the period does, and where other terms begin.
    """
    begun, held, ends, period = 0, None, -1, (walk.world.start, walk.world.start)
    for t, state in enumerate([*terms, None]):
        if state is held and t < ends:
            continue
        goes_on = state is not None and held is not None and same(state) == same(held) and t < ends
        if held is not None and not goes_on:
            yield held, period, begun, t - 1
        if state is None:
            ends = -1
        elif not goes_on:
            begun = t
            period = period_of(state, walk.zone, walk.world.at(t))
            ends = walk.world.number(period[1])
        held = state


def share_of(
    walk: Walk, basis: Basis, period: tuple[datetime, datetime], first: int, last: int
) -> Fraction:
    """Return the share of a period that the steps from the first to the last make up."""
    world, zone = walk.world, walk.zone
    whole = length_of(world, basis, zone, period)
    if not whole:  # a period without a day, which is shared by the second
        basis = Basis.SECOND
        whole = length_of(world, basis, zone, period)
    goes_by = passing(world, basis, zone)
    return Fraction(sum(goes_by[t] for t in range(first, last + 1)), whole)


def paid_parts(walk: Walk, basis: Basis) -> Iterator[tuple[datetime, Fraction]]:
    """Yield what the seats cost in each part of a period, with the start of the period."""
    for state, period, first, last in stretches(walk, walk.paying, alike):
        charge = state.plan.seats
        share = share_of(walk, charge.proration or basis, period, first, last)
        seats = max(state.quantity - int(charge.included_quantity), 0)
        yield period[0], state.plan.price * seats * share


def called_parts(walk: Walk, history: History) -> Iterator[tuple[datetime, Fraction]]:
    """Yield what the calls cost in each part of a period; a change of the seats makes no parts."""
    values: Mapping[int, int] = {
        step: sum(one.value for one in history.calls if one.step == step)
        for step in {one.step for one in history.calls}
    }
    for state, period, first, last in stretches(walk, list(walk.used()), of_calls):
        charge = state.plan.calls
        if charge is None:
            continue
        made = sum(values[t] for t in values if first <= t <= last)
        share = share_of(walk, charge.proration or history.basis, period, first, last)
        free = int(charge.included_quantity) * share
        yield period[0], state.plan.call_price * max(made - free, Fraction(0))


def of_calls(state: State | None) -> tuple[object, ...] | None:
    return None if state is None else (state.plan, state.anchor)


def half_up(amount: Fraction) -> Decimal:
    return Decimal(int(amount * 100 + Fraction(1, 2))) / 100
