"""Random lives of a subscription: plans, add-ons, changes as they were asked for, usage, coupons."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID, uuid4

from hypothesis import strategies as st

from apps.catalog.domain import (
    ChargeKind,
    ChargeTerms,
    CouponTerms,
    MeterTerms,
    PhaseKind,
    PriceTerms,
    Timing,
)
from apps.rating.aggregation import Aggregation, AggregationRule
from apps.rating.periods import Alignment, Cadence, Schedule, Unit
from apps.rating.pricing import parse_pricing
from apps.rating.proration import Basis
from apps.subscriptions.domain import (
    Anchoring,
    Change,
    ChangeVerb,
    DiscountTerms,
    Opening,
    PhaseLength,
    Settlement,
)

SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)
ZONES: Final = (
    "UTC", "America/New_York", "Europe/Berlin", "Australia/Sydney", "Asia/Kathmandu",
    "Pacific/Kiritimati",
)  # fmt: skip
METER: Final = MeterTerms(
    version_id=UUID(int=9),
    key="calls",
    name="Calls",
    unit="",
    rule=AggregationRule(Aggregation.SUM),
    group_by=(),
)


def examples(count: int) -> int:
    """Return how many examples to try: many more with ``HYPOTHESIS_PROFILE=long``."""
    return count * 50 if os.environ.get("HYPOTHESIS_PROFILE") == "long" else count


@dataclass(frozen=True, eq=False)
class Plan:
    """Seats at a price, of which some may be included, and calls, of which some may be."""

    version_id: UUID
    phase: PhaseLength
    seats: ChargeTerms
    price: Fraction
    calls: ChargeTerms | None
    call_price: Fraction

    @property
    def charges(self) -> tuple[ChargeTerms, ...]:
        """What its phase charges for."""
        return (self.seats,) if self.calls is None else (self.seats, self.calls)


def plan(
    price: str,
    cadence: Cadence,
    timing: Timing,
    proration: Basis | None = None,
    *,
    included: int = 0,
    call_price: str = "",
    included_calls: int = 0,
) -> Plan:
    """Return a plan of one phase without end; without ``call_price`` it does not charge for calls."""

    def charge(kind: ChargeKind, unit_price: str, free: int) -> ChargeTerms:
        is_usage = kind is ChargeKind.USAGE
        pricing = parse_pricing({"model": "per_unit", "unit_price": unit_price}, currency="USD")
        return ChargeTerms(
            id=uuid4(),
            key=kind.value,
            name=kind.value,
            kind=kind,
            cadence=cadence,
            timing=Timing.ARREARS if is_usage else timing,
            prorated=True,
            meter=METER if is_usage else None,
            included_quantity=Decimal(free),
            prices={(None, "USD"): PriceTerms(pricing)},
            proration=proration,
        )

    return Plan(
        version_id=uuid4(),
        phase=PhaseLength(uuid4(), PhaseKind.EVERGREEN, None),
        seats=charge(ChargeKind.RECURRING, price, included),
        price=Fraction(price),
        calls=charge(ChargeKind.USAGE, call_price, included_calls) if call_price else None,
        call_price=Fraction(call_price or 0),
    )


@dataclass(frozen=True, eq=False)
class World:
    """A time in which things happen, in steps: every change and event falls on one of them.

    Within ``length`` steps of the start the subscription ends; ``tail`` is how far a period can
    reach beyond, and after ``last`` everything is due.
    """

    step: timedelta
    start: datetime
    length: int
    tail: int
    last: int
    plans: tuple[Plan, ...]
    add_ons: tuple[Plan, ...]

    def at(self, number: int) -> datetime:
        """Return the instant of a step."""
        return self.start + self.step * number

    def number(self, at: datetime) -> int:
        """Return the step of an instant, which must be one."""
        number, rest = divmod(at - self.start, self.step)
        assert not rest
        return number

    def version(self, version_id: UUID) -> Plan:
        """Return the plan or add-on of a version."""
        return next(one for one in self.plans + self.add_ons if one.version_id == version_id)

    @property
    def charges(self) -> dict[UUID, tuple[ChargeTerms, ...]]:
        """What each phase charges for."""
        return {one.phase.id: one.charges for one in self.plans + self.add_ons}

    def opening(self, zone: str) -> Opening:
        """Return two seats of the first plan, from the start on."""
        return Opening(
            started_at=self.start,
            zone=zone,
            alignment=Alignment.ANNIVERSARY,
            anchor_day=None,
            plan_version_id=self.plans[0].version_id,
            phases=(self.plans[0].phase,),
            quantity=Decimal(2),
            price_list_id=None,
        )


@dataclass(frozen=True)
class Asked:
    """A change, and the step in which it was asked for."""

    change: Change
    step: int


@dataclass(frozen=True)
class Call:
    """So many calls in a step, known since another."""

    step: int
    value: int
    known: int


@dataclass(frozen=True)
class History:
    """All that happens to a subscription, and the steps at which it is billed in between."""

    zone: str
    basis: Basis
    asked: Sequence[Asked]
    runs: Sequence[int]
    calls: Sequence[Call] = ()
    coupons: Sequence[DiscountTerms] = ()


OF_ADD_ONS: Final = (
    ChangeVerb.ADD_ADD_ON,
    ChangeVerb.CHANGE_ADD_ON,
    ChangeVerb.REMOVE_ADD_ON,
)
_VERBS: Final = (
    ChangeVerb.CHANGE_PLAN,
    ChangeVerb.CHANGE_QUANTITY,
    ChangeVerb.PAUSE,
    ChangeVerb.SUSPEND,
    ChangeVerb.RESUME,
    ChangeVerb.CANCEL,
    *OF_ADD_ONS,
)


def steps_of(world: World) -> st.SearchStrategy[int]:
    """Return steps: any, or those at, before and after the ends of days, where periods end too."""
    a_day = DAY // world.step
    edges = [
        number + beside
        for number in range(0, world.length, a_day)
        for beside in (-1, 0, 1)
        if 0 <= number + beside < world.length
    ]
    return st.integers(0, world.length - 1) | st.sampled_from(edges)


@st.composite
def histories(draw: st.DrawFn, world: World, least: int = 0) -> History:
    """Return what may happen in a world, with at least so many changes and runs."""
    steps = steps_of(world)
    asked: list[Asked] = []
    for step in sorted(draw(st.lists(steps, min_size=least, max_size=least + 7))):
        verb = draw(st.sampled_from(_VERBS))
        to = draw(st.sampled_from(world.plans))
        change = Change(
            verb=verb,
            effective_at=world.at(draw(steps)),
            settlement=draw(st.sampled_from(Settlement)),
            anchoring=draw(st.sampled_from(Anchoring)),
        )
        if verb is ChangeVerb.CHANGE_PLAN:
            versions = [one.version_id for one in world.add_ons]
            drops = draw(st.frozensets(st.sampled_from(versions)))
            change = replace(change, plan_version_id=to.version_id, phases=(to.phase,), drops=drops)
        if verb is ChangeVerb.CHANGE_QUANTITY or verb in OF_ADD_ONS:
            change = replace(change, quantity=Decimal(draw(st.integers(1, 5))))
        if verb in OF_ADD_ONS:
            extra = draw(st.sampled_from(world.add_ons))
            change = replace(change, add_on_id=extra.version_id)
            if verb is ChangeVerb.ADD_ADD_ON:
                change = replace(change, plan_version_id=extra.version_id, phases=(extra.phase,))
        asked.append(Asked(change, step))
    asked.append(Asked(Change(ChangeVerb.CANCEL, world.at(world.length)), world.length))
    calls = [
        Call(step, value, max(step, known))
        for step, value, known in draw(
            st.lists(st.tuples(steps, st.integers(1, 60), steps), max_size=6)
        )
    ]
    return History(
        zone=draw(st.sampled_from(ZONES)),
        basis=draw(st.sampled_from(Basis)),
        asked=asked,
        runs=sorted(draw(st.lists(steps, min_size=least, max_size=least + 6))),
        calls=calls,
        coupons=[draw(coupons(world, steps, number)) for number in range(draw(st.integers(0, 2)))],
    )


@st.composite
def coupons(
    draw: st.DrawFn, world: World, steps: st.SearchStrategy[int], number: int
) -> DiscountTerms:
    """Return a percentage off periods that begin at or after a step, and before another or ever."""
    begins, ends = draw(steps), draw(st.none() | steps)
    starts_at = world.at(begins)
    return discount(
        UUID(int=number + 100),
        Decimal(draw(st.sampled_from(["7", "33.3", "100"]))),
        starts_at,
        None if ends is None else max(starts_at, world.at(ends)),
    )


def discount(
    name: UUID, percentage: Decimal, starts_at: datetime, ends_at: datetime | None = None
) -> DiscountTerms:
    """Return so many per cent off the periods that begin in ``[starts_at, ends_at)``, or for ever."""
    coupon = CouponTerms(
        id=name,
        key=str(name),
        name=str(name),
        percentage=percentage,
        amounts={},
        priority=0,
        products=frozenset(),
        charges=frozenset(),
    )
    return DiscountTerms(
        id=name,
        public_id=str(name),
        coupon=coupon,
        subscription_id=None,
        starts_at=starts_at,
        ends_at=ends_at,
        rhythm=Schedule(starts_at, Cadence(Unit.MONTH), "UTC"),
    )


_HOUR: Final = timedelta(hours=1)
_MONTH, _YEAR, _WEEK = Cadence(Unit.MONTH), Cadence(Unit.YEAR), Cadence(Unit.WEEK)

# a hundred days by the hour, of months, weeks and years
HOURS: Final = World(
    step=_HOUR,
    start=datetime(2024, 1, 31, 10, tzinfo=UTC),
    length=24 * 100,
    tail=24 * 370,
    last=24 * 900,
    plans=(
        plan("31.00", _MONTH, Timing.ADVANCE, call_price="0.37", included_calls=40),
        plan("47.53", _MONTH, Timing.ARREARS, included=1),
        plan("365.00", _YEAR, Timing.ADVANCE),
        plan("9.99", _WEEK, Timing.ARREARS, call_price="0.11", included_calls=15),
        plan("62.00", _MONTH, Timing.ADVANCE, Basis.DAY),
    ),
    add_ons=(
        plan("3.10", _MONTH, Timing.ADVANCE),
        plan("0.77", _WEEK, Timing.ARREARS, Basis.MONTH_30),
    ),
)

_TWO_DAYS, _THREE_DAYS = Cadence(Unit.DAY, 2), Cadence(Unit.DAY, 3)


def seconds_from(start: datetime) -> World:
    """Return two days by the second, of periods of one day to three."""
    a_day = DAY // SECOND
    return World(
        step=SECOND,
        start=start,
        length=2 * a_day,
        tail=3 * a_day + 3700,
        last=12 * a_day,
        plans=(
            plan("864.00", Cadence(Unit.DAY), Timing.ADVANCE, call_price="0.37", included_calls=40),
            plan("1728.53", _TWO_DAYS, Timing.ARREARS, included=1),
            plan("86400.00", _THREE_DAYS, Timing.ADVANCE),
            plan("99.99", Cadence(Unit.DAY), Timing.ARREARS, call_price="1.1", included_calls=15),
            plan("6200.00", _TWO_DAYS, Timing.ADVANCE, Basis.DAY),
        ),
        add_ons=(
            plan("310.00", _TWO_DAYS, Timing.ADVANCE),
            plan("77.77", Cadence(Unit.DAY), Timing.ARREARS, Basis.MONTH_30),
        ),
    )


# a quiet time, and the days around which clocks are changed in New York, Berlin and Sydney
SECONDS: Final = tuple(
    seconds_from(start)
    for start in (
        datetime(2024, 2, 28, 21, 7, 13, tzinfo=UTC),
        datetime(2024, 3, 9, 17, 43, 11, tzinfo=UTC),
        datetime(2024, 3, 30, 10, 59, 59, tzinfo=UTC),
        datetime(2024, 10, 5, 8, 0, 1, tzinfo=UTC),
    )
)
