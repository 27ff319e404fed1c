"""Contracts on documents: negotiated prices, commitments, ramps; corrected and explained."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.backoffice.books import breaches
from apps.core.ids import new_id
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.explaining import explain, verify
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.subscriptions.domain import CancelMode, CommitmentPer, Settlement
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription, end_contract
from apps.subscriptions.operations.contracting import WantedCommitment, WantedPrice
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
    "pricing": {"model": "per_unit", "unit_price": "0.01"},
}


@pytest.fixture(autouse=True)
def _everything_adds_up() -> Iterator[None]:
    """Whatever was billed explains itself, is computed again to the cent, and is in the books."""
    yield
    for line in InvoiceLine.objects.select_related("invoice"):
        assert verify(line).differences == ()
        assert explain(line).sentences
    assert list(breaches(None)) == []


def subscribed(*charges: Any, at: datetime = APRIL, **values: Any) -> Subscription:
    """Return a new customer's subscription to a base fee of 49.00, ahead, and calls of a cent."""
    customer = make_customer()
    make_meter(customer.tenant, key="calls", at=APRIL)
    version = make_plan(customer.tenant, charges or [BASE_FEE, CALLS])
    return make_subscription(customer, version, at=at, **values)


def per_unit(price: str, **values: Any) -> WantedPrice:
    return WantedPrice("calls", {"model": "per_unit", "unit_price": price}, **values)


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


def documents(customer: Customer) -> list[list[str]]:
    """Return what each document of the customer says, the oldest first."""
    return [
        [
            f"{line.service_start:%b} {line.description} {line.amount:.2f}"
            for line in one.lines.order_by("position")
        ]
        for one in Invoice.objects.filter(customer=customer).order_by("id")
    ]


def test_negotiated_prices_hold_from_their_periods_on() -> None:
    subscription = subscribed(CALLS)
    make_contract(
        subscription, at=APRIL, prices=[per_unit("0.008"), per_unit("0.005", starts_at=JUNE)]
    )
    for month in (APRIL, MAY, JUNE):
        use(subscription, f"{month:%b}", month + DAY, "1000")
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 8.00"],
        ["May Calls 8.00"],
        ["Jun Calls 5.00"],
    ]


def test_a_price_agreed_on_later_corrects_what_was_billed() -> None:
    subscription = subscribed()
    use(subscription, "a", APRIL + DAY, "1000")
    close_due(MAY, actor=ACTOR)
    fee = WantedPrice("base", {"model": "flat", "amount": "40.00"})
    contract = make_contract(
        subscription, at=MAY + DAY, starts_at=APRIL, prices=[fee, per_unit("0.008")]
    )
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer)[2:] == [
        [
            "Apr Correction: Base fee -9.00",
            "May Correction: Base fee -9.00",
            "Jun Base fee 40.00",
            "Apr Correction: Calls -2.00",
        ]
    ]
    end_contract(
        contract.pk, tenant_id=contract.tenant_id, ends_at=JUNE, actor=ACTOR, at=JUNE + DAY
    )
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer)[3:] == [
        ["Jun Correction: Base fee 9.00", "Jul Base fee 49.00"]
    ]


def test_a_customers_contract_is_for_all_and_gives_way_to_a_subscriptions_own() -> None:
    subscription = subscribed(BASE_FEE)
    customer = subscription.customer
    other = make_subscription(customer, subscription.plan_version, at=APRIL)
    make_contract(
        customer, at=APRIL, prices=[WantedPrice("base", {"model": "flat", "amount": "45.00"})]
    )
    make_contract(
        other, at=APRIL, prices=[WantedPrice("base", {"model": "flat", "amount": "30.00"})]
    )
    close_due(APRIL, actor=ACTOR)
    assert documents(customer) == [["Apr Base fee 45.00", "Apr Base fee 30.00"]]


def test_a_negotiated_minimum_replaces_the_catalogs() -> None:
    subscription = subscribed({**CALLS, "minimum": "50.00"})
    make_contract(subscription, at=APRIL, prices=[per_unit("0.008", minimum=Decimal("10.00"))])
    use(subscription, "a", APRIL + DAY, "1000")
    close_due(MAY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 8.00", "Apr Calls: to the minimum 2.00"]
    ]


def test_a_commitment_per_period_is_topped_up_and_what_exceeds_it_is_dearer() -> None:
    subscription = subscribed()
    make_contract(
        subscription,
        at=APRIL,
        commitment=WantedCommitment(Decimal("100.00"), overage_factor=Decimal("1.5")),
    )
    use(subscription, "a", APRIL + DAY, "1000")
    use(subscription, "b", MAY + DAY, "7100")
    close_due(JUNE, actor=ACTOR)
    # April: 49 + 10 = 59, so 41 are missing; May: 49 + 71 = 120, of which 20 cost half as much again
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00"],
        ["May Base fee 49.00", "Apr Calls 10.00", "Apr To the commitment 41.00"],
        ["Jun Base fee 49.00", "May Calls 71.00", "May Above the commitment 10.00"],
    ]
    use(subscription, "late", APRIL + 2 * DAY, "5100")
    close_due(JULY, actor=ACTOR)
    # April: 49 + 10 + 51 = 110, so nothing is missing and 10 are dearer
    assert documents(subscription.customer)[3:] == [
        [
            "Jul Base fee 49.00",
            "Apr Correction: Calls 51.00",
            "Apr Correction: To the commitment -41.00",
            "Apr Above the commitment 5.00",
            "Jun To the commitment 51.00",
        ]
    ]


def test_a_commitment_for_the_term_is_settled_once_at_its_end() -> None:
    subscription = subscribed(CALLS)
    make_contract(
        subscription,
        at=APRIL,
        ends_at=JULY,
        commitment=WantedCommitment(Decimal("100.00"), per=CommitmentPer.TERM, charges=["calls"]),
    )
    for month in (APRIL, MAY, JUNE):
        use(subscription, f"{month:%b}", month + DAY, "2000")
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 20.00"],
        ["May Calls 20.00"],
        ["Jun Calls 20.00", "Apr To the commitment 40.00"],
    ]
    use(subscription, "late", MAY + 2 * DAY, "1500")
    close_due(JULY + 31 * DAY, actor=ACTOR)
    assert documents(subscription.customer)[3:] == [
        ["May Correction: Calls 15.00", "Apr Correction: To the commitment -15.00"]
    ]


def test_a_commitment_counts_what_discounts_leave() -> None:
    subscription = subscribed(CALLS)
    make_contract(subscription, at=APRIL, commitment=WantedCommitment(Decimal("25.00")))
    redeem(subscription, make_coupon(subscription.tenant, key="tenth"), APRIL)
    use(subscription, "a", APRIL + DAY, "2000")
    close_due(MAY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 20.00", "Apr Calls: discount tenth -2.00", "Apr To the commitment 7.00"]
    ]


def end_in_mid_april(subscription: Subscription) -> None:
    cancel_subscription(
        subscription.pk,
        mode=CancelMode.DATE,
        ends_at=APRIL + 15 * DAY,
        settlement=Settlement.PRORATE,
        change_id=new_id(),
        actor=ACTOR,
        at=APRIL + 15 * DAY,
    )


def test_the_end_of_a_subscription_settles_its_commitment_for_its_time() -> None:
    subscription = subscribed(CALLS)
    make_contract(subscription, at=APRIL, commitment=WantedCommitment(Decimal("60.00")))
    end_in_mid_april(subscription)
    use(subscription, "a", APRIL + DAY, "1000")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [["Apr Calls 10.00", "Apr To the commitment 20.00"]]


def test_a_commitment_stays_settled_for_the_period_in_which_its_contract_ends() -> None:
    subscription = subscribed()
    contract = make_contract(subscription, at=APRIL, commitment=WantedCommitment(Decimal("100.00")))
    close_due(MAY, actor=ACTOR)
    ends = APRIL + 10 * DAY
    end_contract(contract.pk, tenant_id=contract.tenant_id, ends_at=ends, actor=ACTOR, at=MAY + DAY)
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00"],
        ["May Base fee 49.00", "Apr To the commitment 51.00"],
        ["Jun Base fee 49.00"],
    ]


def test_what_was_settled_stays_though_its_contract_ends_earlier_afterwards() -> None:
    subscription = subscribed(CALLS)
    commitment = WantedCommitment(Decimal("60.00"), per=CommitmentPer.TERM)
    contract = make_contract(subscription, at=APRIL, ends_at=JULY, commitment=commitment)
    end_in_mid_april(subscription)
    use(subscription, "a", APRIL + DAY, "1000")
    for day in (15, 40, 45):
        bill_customer(
            subscription.customer_id,
            tenant_id=subscription.tenant_id,
            request_id=new_id(),
            cutoff=APRIL + day * DAY,
            issue=True,
            actor=ACTOR,
            at=APRIL + day * DAY,
        )
        end_contract(
            contract.pk,
            tenant_id=contract.tenant_id,
            ends_at=APRIL + 10 * DAY,
            actor=ACTOR,
            at=APRIL + day * DAY,
        )
    assert documents(subscription.customer) == [["Apr Calls 10.00", "Apr To the commitment 50.00"]]


def test_a_commitment_is_settled_again_when_a_longer_period_that_counts_is_cut_short() -> None:
    quarter = {"unit": "month", "count": 3}
    long = {**BASE_FEE, "key": "long", "period": quarter}
    long["pricing"] = {"model": "flat", "amount": "91.00"}
    subscription = subscribed(BASE_FEE, long)
    make_contract(subscription, at=APRIL, commitment=WantedCommitment(Decimal("120.00")))
    close_due(MAY, actor=ACTOR)
    assert not InvoiceLine.objects.filter(kind="true_up").exists()  # 49 + 91 = 140
    cancel_subscription(
        subscription.pk,
        mode=CancelMode.NOW,
        settlement=Settlement.PRORATE,
        change_id=new_id(),
        actor=ACTOR,
        at=JUNE,
    )
    close_due(JUNE, actor=ACTOR)
    # 30 of the 91 days are given back, so 10 are missing to 120 in April; in May there were 49
    assert {
        (line.period_start, line.amount) for line in InvoiceLine.objects.filter(kind="true_up")
    } == {(APRIL, Decimal(10)), (MAY, Decimal(71))}


def test_a_ramp_changes_quantities_when_their_time_has_come() -> None:
    seats = {"key": "seats", "name": "Seats", "pricing": {"model": "per_unit", "unit_price": "10"}}
    subscription = subscribed(seats)
    make_contract(
        subscription,
        at=APRIL,
        quantities=[(MAY, Decimal(5)), (JUNE, Decimal(10))],
        prices=[WantedPrice("seats", {"model": "per_unit", "unit_price": "9"}, starts_at=JUNE)],
    )
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Seats 10.00"],
        ["May Seats 50.00"],
        ["Jun Seats 90.00"],
    ]
