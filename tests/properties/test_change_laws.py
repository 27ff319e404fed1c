"""Whatever happens to a subscription, whenever it is billed: the sum is what each second costs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid4

from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.invoicing.assembly import propose
from apps.invoicing.discounting import Discounts
from apps.invoicing.domain import LineKind
from apps.invoicing.lines import Billed, LineKey, ProposedLine
from apps.invoicing.slicing import Slice, in_window, reach_of, slices_due
from apps.metering.domain import Measurement
from apps.rating.periods import Alignment
from apps.rating.pricing import Measured
from apps.rating.proration import Basis
from apps.subscriptions.domain import (
    Change,
    ChangeVerb,
    Laid,
    Settlement,
    SubscriptionTerms,
    concerned_since,
    replay,
)
from tests.properties.histories import (
    HOURS,
    SECONDS,
    Asked,
    Call,
    History,
    World,
    examples,
    histories,
)
from tests.properties.stepping import step_by_step


def terms(world: World, zone: str, laid: Laid) -> SubscriptionTerms:
    return SubscriptionTerms(
        id=UUID(int=1),
        tenant_id=UUID(int=2),
        customer_id=UUID(int=3),
        external_id=None,
        currency="USD",
        zone=zone,
        alignment=Alignment.ANNIVERSARY,
        anchor_day=None,
        started_at=world.start,
        billed_until=None,
        changed_from=None,
        segments=laid.segments,
        add_ons=laid.add_ons,
    )


def by_the_engine(world: World, history: History, runs: list[int]) -> Decimal:
    """Return what all documents add up to, with those runs and one at the end."""
    opening, charges = world.opening(history.zone), world.charges
    billed: dict[LineKey, Billed] = {}
    billed_until: datetime | None = None
    seen: set[int] = set()
    known: list[Call] = []
    before = replay(opening, (), charges)
    for run in [*runs, world.last]:
        cutoff = world.at(run)
        visible = [
            (number, one.change)
            for number, one in enumerate(history.asked)
            if one.step <= run and one.change.effective_at <= cutoff
        ]
        laid = replay(opening, [change for _, change in visible], charges)
        fresh = {change.effective_at for number, change in visible if number not in seen}
        seen |= {number for number, _ in visible}
        changed = [concerned_since(one, before.all(), laid.all()) for one in fresh]
        before = laid
        now = replace(
            terms(world, history.zone, laid),
            billed_until=billed_until,
            changed_from=min(changed, default=None),
        )
        calls = [one for one in history.calls if one.known <= run]
        late = [world.at(one.step) for one in calls if one not in known]
        known = calls
        for line in bill(world, history, now, cutoff, billed, calls, min(late, default=None)):
            billed[line.key] = as_billed(line, billed.get(line.key))
        billed_until = cutoff
    return sum((past.amount for past in billed.values()), Decimal(0))


def bill(  # noqa: PLR0917 -- all that a run goes by
    world: World,
    history: History,
    now: SubscriptionTerms,
    cutoff: datetime,
    billed: Mapping[LineKey, Billed],
    calls: list[Call],
    usage_since: datetime | None,
) -> list[ProposedLine]:
    reach = reach_of(now, cutoff, usage_since=usage_since, reopened=None)
    slices = slices_due([now], world.charges, reaches={now.id: reach}, basis=history.basis)
    within = {
        key: past
        for key, past in billed.items()
        if in_window(key.period_start, past.period_end, reach.window)
    }
    lines = propose(
        slices,
        {number: measured(world, one, calls) for number, one in enumerate(slices) if one.usage},
        within,
        price_lists={},
        discounts=Discounts(history.coupons, {}),
    )
    for line in lines:
        whole = (billed[line.key].amount if line.key in billed else Decimal(0)) + line.amount
        # nothing is credited that was not billed, nor a discount taken back that was not given
        assert whole <= 0 if line.key.kind is LineKind.DISCOUNT else whole >= 0
    return lines


def measured(world: World, one: Slice, calls: list[Call]) -> list[Measurement]:
    counted = (
        call.value
        for call in calls
        if any(span.start <= world.at(call.step) < span.end for span in one.usage)
    )
    return [Measurement("", Measured(Decimal(sum(counted))))]


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


def to_plan(number: int, hour: int, settlement: Settlement) -> Change:
    to = HOURS.plans[number]
    return Change(
        ChangeVerb.CHANGE_PLAN,
        HOURS.at(hour),
        settlement,
        plan_version_id=to.version_id,
        phases=(to.phase,),
    )


REACHING_LESS_FAR_BACK: Final = History(
    # what is told at last lets a full credit, billed from hour 0, begin at hour 369
    "Asia/Kathmandu",
    Basis.SECOND,
    [
        Asked(to_plan(3, 369, Settlement.FULL_CREDIT), 312),
        Asked(to_plan(2, 227, Settlement.NONE), 860),
        Asked(Change(ChangeVerb.CANCEL, HOURS.at(HOURS.length)), HOURS.length),
    ],
    [446, 1559],
)


@settings(max_examples=examples(100))
@given(histories(HOURS))
@example(REACHING_LESS_FAR_BACK)
def test_any_changes_of_months_and_years_cost_what_each_hour_costs(history: History) -> None:
    expected = step_by_step(HOURS, history)
    assert by_the_engine(HOURS, history, []) == expected
    assert by_the_engine(HOURS, history, list(history.runs)) == expected


@settings(max_examples=examples(40))
@given(st.data())
def test_any_changes_to_the_second_cost_what_each_second_costs(data: st.DataObject) -> None:
    world = data.draw(st.sampled_from(SECONDS))
    history = data.draw(histories(world))
    expected = step_by_step(world, history)
    assert by_the_engine(world, history, []) == expected
    assert by_the_engine(world, history, list(history.runs)) == expected
