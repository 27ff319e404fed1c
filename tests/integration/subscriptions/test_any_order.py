"""Whatever is asked of a subscription through its operations, and whenever it is billed.

The sum of all documents is what each second costs, and running the engine in between changes only
when it is billed: with drafts that wait, late calls and the corrections that both bring.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from apps.backoffice.books import breaches
from apps.catalog.domain import CouponDuration, ProductKind
from apps.catalog.models import PlanVersion
from apps.catalog.operations.lists import create_product
from apps.core.errors import Conflict
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.core.web.fields import instant_text
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.drafts import issue_due
from apps.subscriptions.domain import (
    Behaviour,
    CancelMode,
    Change,
    ChangeVerb,
    DiscountTerms,
    Settlement,
    Wish,
    settlement_of,
)
from apps.subscriptions.models import CouponRedemption
from apps.subscriptions.operations import (
    apply_due_changes,
    cancel_subscription,
    change_subscription,
)
from apps.tenants.operations import change_tenant
from tests.make.catalog import make_offer, make_plan
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_tenant
from tests.properties.histories import (
    SECONDS,
    Asked,
    Call,
    History,
    Plan,
    World,
    discount,
    examples,
    histories,
)
from tests.properties.stepping import step_by_step

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Story:
    """A history, how each change is to be billed, how it ends, and what is taken off."""

    history: History
    behaviours: tuple[Behaviour, ...]
    end: Settlement
    percentage: Decimal | None
    grace: timedelta


@st.composite
def stories(draw: st.DrawFn, world: World) -> Story:
    history = draw(histories(world, least=6))
    asked = [one for one in history.asked if one.change.verb is not ChangeVerb.CANCEL]
    return Story(
        replace(history, asked=asked, coupons=()),
        tuple(draw(st.sampled_from(Behaviour)) for _ in asked),
        draw(st.sampled_from(Settlement)),
        draw(st.none() | st.sampled_from([Decimal(7), Decimal("33.3")])),
        draw(st.sampled_from([timedelta(0), timedelta(hours=5)])),
    )


def plain(price: Fraction) -> str:
    return f"{Decimal(price.numerator) / price.denominator:f}"


def document(one: Plan) -> list[dict[str, Any]]:
    """Return the charges of a plan as a caller describes them."""
    found = []
    for charge, price in zip(one.charges, (one.price, one.call_price), strict=False):
        assert charge.cadence is not None
        said: dict[str, Any] = {
            "key": charge.key,
            "period": {"unit": charge.cadence.unit.value, "count": charge.cadence.count},
            "pricing": {"model": "per_unit", "unit_price": plain(price)},
            "included_quantity": str(charge.included_quantity),
        }
        if charge.meter is not None:
            said["meter"] = "calls"
        else:
            said["timing"] = charge.timing.value
        if charge.proration is not None:
            said["proration"] = charge.proration.value
        found.append(said)
    return found


class Company:
    """A tenant of its own, with the plans of a world and the subscription that the story is of."""

    def __init__(self, world: World, story: Story, *, grace: timedelta) -> None:
        self.world, self.story = world, story
        at = world.start
        self.tenant = make_tenant()
        with tenant_scope(self.tenant.id):
            basis = story.history.basis
            change_tenant(
                self.tenant.id, proration_basis=basis, grace_period=grace, actor=ACTOR, at=at
            )
            make_meter(self.tenant, key="calls", at=at)
            self.versions: dict[object, Any] = {}
            self.plans: dict[object, Any] = {}
            for number, one in enumerate(world.plans):
                self._sell(one, f"plan-{number}")
            for number, one in enumerate(world.add_ons):
                name = f"extra-{number}"
                create_product(
                    self.tenant.id,
                    id=new_id(),
                    key=name,
                    name=name,
                    kind=ProductKind.ADD_ON,
                    actor=ACTOR,
                    at=at,
                )
                self._sell(one, f"pack-{number}", product=name)
                for base in range(len(world.plans)):
                    make_offer(self.tenant, {"plan": f"plan-{base}"}, name)
            self.customer = make_customer(self.tenant, at=at, zone=story.history.zone)
            first = PlanVersion.objects.get(pk=self.versions[world.plans[0].version_id])
            self.subscription = make_subscription(self.customer, first, at=at, quantity=Decimal(2))
            if story.percentage is not None:
                coupon = make_coupon(
                    self.tenant,
                    at=at,
                    percentage=story.percentage,
                    duration=CouponDuration.FOREVER,
                )
                redeem(self.subscription, coupon, at)

    def _sell(self, one: Plan, key: str, **values: Any) -> None:
        made = make_plan(self.tenant, document(one), key=key, at=self.world.start, **values)
        self.versions[one.version_id] = made.id
        self.plans[one.version_id] = made.plan_id

    def tell(self, runs: Sequence[int]) -> list[Asked]:
        """Let the story happen, billed at those steps and at the end; return what was changed."""
        history, world = self.story.history, self.world
        steps: list[tuple[int, int, Callable[[], None]]] = []
        accepted: list[Asked] = []
        for one, behaviour in zip(history.asked, self.story.behaviours, strict=True):
            steps.append((one.step, 0, partial(self._ask, one, behaviour, accepted)))
        steps += [(one.known, 1, partial(self._call, one)) for one in history.calls]
        steps += [(one, 2, partial(self._bill, one)) for one in runs]
        steps += [
            (world.length, 3, self._cancel),
            (world.last, 4, partial(self._bill, world.last)),
            (world.last + world.length, 5, partial(self._bill, world.last + world.length)),
        ]
        with tenant_scope(self.tenant.id):
            for _, _, act in sorted(steps, key=lambda one: one[:2]):
                act()
        end = Change(ChangeVerb.CANCEL, world.at(world.length), self.story.end)
        return [*accepted, Asked(end, world.length)]

    def _ask(self, one: Asked, behaviour: Behaviour, accepted: list[Asked]) -> None:
        change, at = one.change, self.world.at(one.step)
        version, add_on = change.plan_version_id, change.add_on_id
        may_reset = change.verb in {ChangeVerb.CHANGE_PLAN, ChangeVerb.RESUME}
        wish = Wish(
            verb=change.verb,
            effective_at=change.effective_at,
            behaviour=behaviour,
            quantity=None if change.verb is ChangeVerb.REMOVE_ADD_ON else change.quantity,
            plan_version_id=self.versions[version] if version else None,
            anchoring=change.anchoring if may_reset else None,
            add_on_id=self.plans[add_on] if add_on else None,
        )
        try:
            made = change_subscription(
                self.subscription.pk, wish, change_id=new_id(), actor=ACTOR, at=at
            )
        except Conflict:
            return  # there is nothing to change, or nothing that could be
        agreed = replace(
            change,
            effective_at=made.effective_at,
            settlement=settlement_of(behaviour),
            drops=frozenset(),
        )
        accepted.append(Asked(agreed, one.step))

    def _call(self, one: Call) -> None:
        event = {
            "meter": "calls",
            "subscription": self.subscription.public_id,
            "timestamp": instant_text(self.world.at(one.step)),
            "value": one.value,
        }
        (receipt,) = send(self.tenant, [event], at=self.world.at(one.known))
        assert receipt.status == "accepted"
        count_all()

    def _cancel(self) -> None:
        at = self.world.at(self.world.length)
        apply_due_changes(at, tenant_id=self.tenant.id)
        cancel_subscription(
            self.subscription.pk,
            mode=CancelMode.NOW,
            settlement=self.story.end,
            change_id=new_id(),
            actor=ACTOR,
            at=at,
        )

    def _bill(self, step: int) -> None:
        at = self.world.at(step)
        apply_due_changes(at, tenant_id=self.tenant.id)
        issue_due(at, actor=ACTOR, tenant_id=self.tenant.id)
        close_due(at, actor=ACTOR, tenant_id=self.tenant.id)

    def billed(self) -> Decimal:
        """Return what all documents come to; none of them is a draft any more."""
        with tenant_scope(self.tenant.id):
            found = list(Invoice.objects.filter(tenant=self.tenant))
            assert InvoiceStatus.DRAFT not in {one.status for one in found}
            assert list(breaches(self.tenant.id)) == []
        return sum((one.total.amount for one in found), Decimal(0))

    def coupons(self) -> list[DiscountTerms]:
        """Return what was redeemed, as the model knows it."""
        with tenant_scope(self.tenant.id):
            found = CouponRedemption.objects.filter(subscription=self.subscription)
            return [
                discount(one.pk, self.story.percentage, one.starts_at)
                for one in found
                if self.story.percentage is not None
            ]


@settings(
    max_examples=examples(8),
    phases=[Phase.generate],  # each example is a company, so there is no shrinking
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_any_order_of_verbs_and_runs_costs_what_each_second_costs(data: st.DataObject) -> None:
    world = data.draw(st.sampled_from(SECONDS))
    story = data.draw(stories(world))
    at_once = Company(world, story, grace=timedelta(0))
    asked = at_once.tell([])
    in_between = Company(world, story, grace=story.grace)
    assert in_between.tell(story.history.runs) == asked
    history = replace(story.history, asked=asked, coupons=at_once.coupons())
    expected = step_by_step(world, history)
    assert (at_once.billed(), in_between.billed()) == (expected, expected)
