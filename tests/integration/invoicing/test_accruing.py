"""Usage billed before its period is over, once it reaches a threshold; its end bills the rest."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError

from apps.backoffice.books import breaches
from apps.core.ids import new_id
from apps.core.web.fields import instant_text
from apps.invoicing.explaining import explain, verify
from apps.invoicing.models import AccrualLook, Invoice, InvoiceLine
from apps.invoicing.operations import accruing
from apps.invoicing.operations.accruing import bill_accrued
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.subscriptions.domain import CancelMode, ChangeVerb, Settlement, Wish
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import (
    cancel_subscription,
    change_subscription,
    withdraw_change,
)
from apps.subscriptions.operations.contracting import WantedCommitment
from apps.tenants.domain import LateUsagePolicy
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.contracts import make_contract
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS = {
    "meter": "calls",
    "key": "calls",
    "name": "Calls",
    "pricing": {
        "model": "graduated",
        "tiers": [{"up_to": "1000", "unit_price": "0.02"}, {"up_to": None, "unit_price": "0.01"}],
    },
    "billing_threshold": "50.00",
    "minimum": "5.00",
}


@pytest.fixture(autouse=True)
def _everything_adds_up() -> Iterator[None]:
    """Whatever was billed explains itself, is computed again to the cent, and is in the books."""
    yield
    for line in InvoiceLine.objects.select_related("invoice"):
        assert verify(line).differences == ()
        assert explain(line).sentences
    assert list(breaches(None)) == []


def subscribed(*charges: Any) -> Subscription:
    """Return a new customer's subscription to a base fee of 49.00, ahead, and calls."""
    customer = make_customer()
    make_meter(customer.tenant, key="calls", at=APRIL)
    version = make_plan(customer.tenant, charges or [BASE_FEE, CALLS])
    subscription = make_subscription(customer, version, at=APRIL)
    close_due(APRIL, actor=ACTOR)
    return subscription


def use(subscription: Subscription, key: str, occurred_at: datetime, value: str) -> None:
    event = {
        "idempotency_key": key,
        "meter": "calls",
        "customer": subscription.customer.public_id,
        "timestamp": instant_text(occurred_at),
        "value": value,
    }
    (receipt,) = send(subscription.customer.tenant, [event], at=occurred_at)
    assert receipt.status == "accepted"
    count_all()


def documents() -> list[list[str]]:
    """Return what each document says, the oldest first."""
    return [
        [
            f"{line.service_start:%b %d} to {line.service_end:%b %d}"
            f" {line.description} {line.amount:.2f}"
            for line in one.lines.order_by("position")
        ]
        for one in Invoice.objects.order_by("id")
    ]


def sweep(at: datetime) -> int:
    return bill_accrued(at, actor=ACTOR)


FIRST = ["Apr 01 to May 01 Base fee 49.00"]


def test_what_reaches_the_threshold_is_billed_once_and_the_rest_at_the_end() -> None:
    subscription = subscribed()
    use(subscription, "a", APRIL + DAY, "2000")
    assert sweep(APRIL + 2 * DAY) == 0  # 20 + 10 = 30
    use(subscription, "b", APRIL + 3 * DAY, "2000")
    assert sweep(APRIL + 4 * DAY) == 1  # 20 + 30 = 50
    assert sweep(APRIL + 4 * DAY) == 0
    use(subscription, "c", APRIL + 5 * DAY, "4999")
    assert sweep(APRIL + 6 * DAY) == 0  # 49.99 more
    use(subscription, "d", APRIL + 7 * DAY, "1")
    assert sweep(APRIL + 8 * DAY) == 1
    use(subscription, "e", APRIL + 9 * DAY, "100")
    assert sweep(APRIL + 10 * DAY) == 0
    close_due(MAY, actor=ACTOR)
    assert documents() == [
        FIRST,
        ["Apr 01 to Apr 05 Calls 50.00"],
        ["Apr 01 to Apr 09 Calls 50.00"],
        ["May 01 to Jun 01 Base fee 49.00", "Apr 01 to May 01 Calls 1.00"],
    ]
    assert not InvoiceLine.objects.filter(corrects__isnull=False).exists()


def test_a_sweep_that_was_away_catches_up() -> None:
    subscription = subscribed()
    for day in (1, 5, 9):
        use(subscription, f"{day}", APRIL + day * DAY, "5000")
    assert sweep(APRIL + 20 * DAY) == 1
    assert documents()[1:] == [["Apr 01 to Apr 21 Calls 160.00"]]


def test_a_minimum_waits_for_the_end_and_discounts_do_not() -> None:
    subscription = subscribed({**CALLS, "minimum": "80.00"})
    redeem(subscription, make_coupon(subscription.tenant, key="tenth"), APRIL)
    use(subscription, "a", APRIL + DAY, "4500")
    assert sweep(APRIL + 2 * DAY) == 0  # 55.00 less 5.50
    use(subscription, "b", APRIL + 3 * DAY, "500")
    assert sweep(APRIL + 4 * DAY) == 1
    close_due(MAY, actor=ACTOR)
    assert documents() == [
        ["Apr 01 to Apr 05 Calls 60.00", "Apr 01 to Apr 05 Calls: discount tenth -6.00"],
        ["Apr 01 to May 01 Calls: to the minimum 26.00"],
    ]


def test_what_was_billed_early_stays_while_another_bill_is_made() -> None:
    subscription = subscribed()
    redeem(subscription, make_coupon(subscription.tenant, key="tenth"), APRIL)
    use(subscription, "a", APRIL + DAY, "5000")
    assert sweep(APRIL + 2 * DAY) == 1
    other = make_plan(subscription.tenant, [{**BASE_FEE, "key": "other", "name": "Other"}])
    make_subscription(subscription.customer, other, at=APRIL + 10 * DAY)
    close_due(APRIL + 11 * DAY, actor=ACTOR)
    assert documents()[2:] == [["Apr 11 to May 11 Other 49.00"]]


@pytest.mark.parametrize("used", [True, False])
def test_usage_that_another_bill_has_taken_up_is_looked_at_once(*, used: bool) -> None:
    subscription = subscribed()
    if used:
        use(subscription, "a", APRIL + 9 * DAY, "5000")
    else:
        use(subscription, "a", APRIL + 9 * DAY, "100")
        assert sweep(APRIL + 9 * DAY + timedelta(hours=1)) == 0
    other = make_plan(subscription.tenant, [{**BASE_FEE, "key": "other", "name": "Other"}])
    make_subscription(subscription.customer, other, at=APRIL + 10 * DAY)
    close_due(APRIL + 11 * DAY, actor=ACTOR)
    looks = AccrualLook.objects.filter(customer=subscription.customer_id)
    assert [one.mark is None for one in looks] == [used]
    assert sweep(APRIL + 11 * DAY) == used
    assert [one.mark for one in looks.all()] != [None]
    assert sweep(APRIL + 12 * DAY) == 0
    assert documents()[2:] == ([["Apr 01 to Apr 12 Calls 60.00"]] if used else [])


def test_a_commitment_counts_what_is_billed_early_of_a_longer_period() -> None:
    quarterly = {**CALLS, "minimum": None, "period": {"unit": "month", "count": 3}}
    subscription = subscribed(BASE_FEE, quarterly)
    make_contract(subscription, at=APRIL, commitment=WantedCommitment(Decimal("200.00")))
    use(subscription, "a", APRIL + DAY, "5000")
    assert sweep(APRIL + 2 * DAY) == 1
    close_due(MAY, actor=ACTOR)
    use(subscription, "b", MAY + DAY, "5000")
    assert sweep(MAY + 2 * DAY) == 1
    close_due(JUNE, actor=ACTOR)
    close_due(JULY, actor=ACTOR)
    assert documents()[1:] == [
        ["Apr 01 to Apr 03 Calls 60.00"],
        ["May 01 to Jun 01 Base fee 49.00", "Apr 01 to May 01 To the commitment 91.00"],
        [
            "Apr 01 to May 03 Calls 50.00",
            "Apr 01 to May 01 Correction: To the commitment -50.00",
        ],
        ["Jun 01 to Jul 01 Base fee 49.00", "May 01 to Jun 01 To the commitment 151.00"],
        ["Jul 01 to Aug 01 Base fee 49.00", "Jun 01 to Jul 01 To the commitment 151.00"],
    ]


@pytest.mark.parametrize(
    ("error", "again"), [(OperationalError("deadlock"), 1), (ArithmeticError("too large"), 0)]
)
def test_what_only_the_database_hindered_is_done_by_the_next_run(
    monkeypatch: pytest.MonkeyPatch, error: Exception, again: int
) -> None:
    subscription = subscribed()
    use(subscription, "a", APRIL + DAY, "5000")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(accruing, "bill_locked", fail)
        assert sweep(APRIL + 2 * DAY) == 0
    assert sweep(APRIL + 2 * DAY) == again
    use(subscription, "b", APRIL + 3 * DAY, "5000")
    assert sweep(APRIL + 4 * DAY) == 1
    close_due(MAY, actor=ACTOR)
    assert sum(line.amount for line in InvoiceLine.objects.filter(kind="usage")) == 110


@pytest.mark.parametrize(("day", "total"), [(20, "61.00"), (0, "0.00")])
def test_an_end_in_mid_period_bills_the_rest_and_an_end_before_takes_all_back(
    day: int, total: str
) -> None:
    subscription = subscribed(CALLS)
    use(subscription, "a", APRIL + DAY, "5000")
    assert sweep(APRIL + 2 * DAY) == 1
    use(subscription, "b", APRIL + 3 * DAY, "100")
    cancel_subscription(
        subscription.pk,
        mode=CancelMode.DATE,
        ends_at=APRIL + day * DAY,
        settlement=Settlement.PRORATE,
        change_id=new_id(),
        actor=ACTOR,
        at=APRIL + 20 * DAY,
    )
    close_due(APRIL + 20 * DAY, actor=ACTOR)
    billed = InvoiceLine.objects.filter(subscription_id=subscription.pk)
    assert f"{sum((line.amount for line in billed), Decimal(0)):.2f}" == total


@pytest.mark.parametrize("policy", LateUsagePolicy)
def test_whatever_the_policy_for_late_usage_the_end_bills_the_rest(policy: LateUsagePolicy) -> None:
    subscription = subscribed(CALLS)
    subscription.tenant.late_usage = policy
    subscription.tenant.save()
    use(subscription, "a", APRIL + DAY, "5000")
    assert sweep(APRIL + 2 * DAY) == 1
    use(subscription, "late", APRIL + DAY, "300")
    close_due(APRIL + 3 * DAY, actor=ACTOR)
    close_due(MAY, actor=ACTOR)
    found = InvoiceLine.objects.filter(subscription_id=subscription.pk).order_by("id")
    assert [f"{line.description} {line.amount:.2f}" for line in found] == [
        "Calls 60.00",
        "Calls 3.00",
    ]


@pytest.mark.parametrize(
    ("threshold", "lines"),
    [("50.00", ["60.00", "1.00"]), (None, ["60.00", "-60.00", "61.00"])],
)
def test_a_part_that_is_over_no_more_is_taken_back_unless_it_may_be_billed_early(
    threshold: str | None, lines: list[str]
) -> None:
    subscription = subscribed({**CALLS, "billing_threshold": threshold, "minimum": None})
    use(subscription, "a", APRIL + DAY, "5000")
    pause = new_id()
    change_subscription(
        subscription.pk,
        Wish(ChangeVerb.PAUSE),
        change_id=pause,
        actor=ACTOR,
        at=APRIL + 9 * DAY,
    )
    close_due(APRIL + 9 * DAY, actor=ACTOR)
    withdraw_change(pause, actor=ACTOR, at=APRIL + 11 * DAY)
    bill_customer(
        subscription.customer_id,
        tenant_id=subscription.tenant_id,
        request_id=new_id(),
        cutoff=APRIL + 11 * DAY,
        issue=True,
        actor=ACTOR,
        at=APRIL + 11 * DAY,
    )
    use(subscription, "b", APRIL + 12 * DAY, "100")
    close_due(MAY, actor=ACTOR)
    found = InvoiceLine.objects.filter(subscription_id=subscription.pk).order_by("id")
    assert [f"{line.amount:.2f}" for line in found] == lines


def test_without_a_threshold_nobody_is_looked_at() -> None:
    subscription = subscribed({**CALLS, "billing_threshold": None})
    use(subscription, "a", APRIL + DAY, "500000")
    assert sweep(APRIL + 2 * DAY) == 0
    assert documents() == []
