"""Coupons on documents: which periods, how much, corrected by difference, explained to the cent."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from apps.backoffice.books import breaches
from apps.catalog.domain import CouponDuration, CouponTarget
from apps.core.ids import new_id
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.agreements import agreements_for, own_terms_of
from apps.invoicing.explaining import explain, verify
from apps.invoicing.invariants import discounts_are_within_what_they_discount
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.closing import cancel_invoice
from apps.subscriptions.domain import Behaviour, CancelMode, ChangeVerb, Wish
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription, change_subscription, end_discount
from apps.subscriptions.queries import timelines
from apps.tenants.domain import BoundsApplied
from apps.tenants.operations import change_tenant
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan
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
YEARLY = {
    "key": "support",
    "name": "Support",
    "period": "yearly",
    "pricing": {"model": "flat", "amount": "120.00"},
}
QUARTERLY = {
    "key": "support",
    "name": "Support",
    "period": {"unit": "month", "count": 3},
    "pricing": {"model": "flat", "amount": "91.00"},
}
FOREVER = CouponDuration.FOREVER


@pytest.fixture(autouse=True)
def _everything_adds_up() -> Iterator[None]:
    """Whatever was billed explains itself, is computed again to the cent, and is in the books."""
    yield
    for line in InvoiceLine.objects.select_related("invoice"):
        assert verify(line).differences == ()
        assert explain(line).sentences
    assert list(breaches(None)) == []


def subscribed(*charges: Any, at: datetime = APRIL, **values: Any) -> Subscription:
    """Return a new customer's subscription to a base fee of 49.00, ahead, unless told otherwise."""
    customer = make_customer()
    make_meter(customer.tenant, key="calls", at=APRIL)
    version = make_plan(customer.tenant, charges or [BASE_FEE])
    return make_subscription(customer, version, at=at, **values)


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


def cancel(subscription: Subscription, *, ends_at: datetime, at: datetime) -> None:
    cancel_subscription(subscription.pk, mode=CancelMode.DATE, ends_at=ends_at, actor=ACTOR, at=at)


def documents(customer: Customer) -> list[list[str]]:
    """Return what each document of the customer says, the oldest first."""
    return [
        [
            f"{line.service_start:%b} {line.description} {line.amount:.2f}"
            for line in one.lines.order_by("position")
        ]
        for one in Invoice.objects.filter(customer=customer).order_by("id")
    ]


def totals(customer: Customer) -> list[str]:
    found = Invoice.objects.filter(customer=customer).order_by("id")
    return [f"{one.total.amount:.2f}" for one in found]


def test_a_percentage_is_taken_off_so_many_periods() -> None:
    subscription = subscribed()
    coupon = make_coupon(
        subscription.tenant, duration=CouponDuration.PERIODS, periods=2, key="tenth"
    )
    redemption = redeem(subscription, coupon, APRIL)
    assert (redemption.starts_at, redemption.ends_at) == (APRIL, JUNE)
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00", "Apr Base fee: discount tenth -4.90"],
        ["May Base fee 49.00", "May Base fee: discount tenth -4.90"],
        ["Jun Base fee 49.00"],
        ["Jul Base fee 49.00"],
    ]


def test_usage_of_a_discounted_period_is_discounted_however_late() -> None:
    subscription = subscribed(BASE_FEE, CALLS)
    redeem(subscription, make_coupon(subscription.tenant, key="tenth"), APRIL)
    use(subscription, "a", APRIL + DAY, "1000")
    close_due(MAY, actor=ACTOR)
    use(subscription, "late", APRIL + 2 * DAY, "500")
    use(subscription, "b", MAY + DAY, "700")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00", "Apr Base fee: discount tenth -4.90"],
        ["May Base fee 49.00", "Apr Calls 10.00", "Apr Calls: discount tenth -1.00"],
        [
            "Jun Base fee 49.00",
            "Apr Correction: Calls 5.00",
            "Apr Correction: Calls: discount tenth -0.50",
            "May Calls 7.00",
        ],
    ]


def test_an_amount_is_taken_off_once_in_a_period_by_what_is_due_first() -> None:
    subscription = subscribed(BASE_FEE, CALLS)
    coupon = make_coupon(subscription.tenant, amount="60.00", duration=FOREVER, key="sixty")
    redeem(subscription, coupon, APRIL)
    use(subscription, "a", APRIL + DAY, "2000")
    use(subscription, "b", MAY + DAY, "100")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00", "Apr Base fee: discount sixty -49.00"],
        [
            "May Base fee 49.00",
            "May Base fee: discount sixty -49.00",
            "Apr Calls 20.00",
            "Apr Calls: discount sixty -11.00",
        ],
        [
            "Jun Base fee 49.00",
            "Jun Base fee: discount sixty -49.00",
            "May Calls 1.00",
            "May Calls: discount sixty -1.00",
        ],
    ]
    assert totals(subscription.customer) == ["0.00", "9.00", "0.00"]


@pytest.mark.holds("B72")
def test_an_amount_above_the_plan_takes_all_of_it_and_no_more() -> None:
    subscription = subscribed()
    redeem(subscription, make_coupon(subscription.tenant, amount="500.00"), at=APRIL)

    close_due(APRIL, actor=ACTOR)

    (invoice,) = Invoice.objects.filter(customer=subscription.customer_id)
    assert [one.amount for one in invoice.lines.order_by("position")] == [49, -49]
    assert (invoice.kind, invoice.total.amount, invoice.status) == ("invoice", 0, "paid")
    close_due(MAY, actor=ACTOR)
    assert totals(subscription.customer) == ["0.00", "49.00"]


def test_what_another_pace_has_used_of_an_amount_stays_used() -> None:
    subscription = subscribed(YEARLY, CALLS)
    coupon = make_coupon(subscription.tenant, amount="130.00", key="much")
    redeem(subscription, coupon, APRIL)
    use(subscription, "a", APRIL + DAY, "2000")
    close_due(JUNE, actor=ACTOR)
    # what recurs has the pace of a year, so once is the year, with all usage that begins in it
    assert documents(subscription.customer) == [
        ["Apr Support 120.00", "Apr Support: discount much -120.00"],
        ["Apr Calls 20.00", "Apr Calls: discount much -10.00"],
    ]
    use(subscription, "late", MAY + DAY, "300")
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer)[2:] == [["May Calls 3.00"]]


def test_what_a_cancellation_leaves_of_an_amount_goes_to_what_was_due_after() -> None:
    subscription = subscribed(QUARTERLY, CALLS)
    redeem(subscription, make_coupon(subscription.tenant, amount="100.00", key="much"), APRIL)
    use(subscription, "a", APRIL + DAY, "2000")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Support 91.00", "Apr Support: discount much -91.00"],
        ["Apr Calls 20.00", "Apr Calls: discount much -9.00"],
    ]
    # 60 of 91 days, at 1.00 each: 40.00 of the amount are left for April's usage
    cancel(subscription, ends_at=MAY + 30 * DAY, at=JUNE)
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer)[2:] == [
        [
            "Apr Correction: Support -31.00",
            "Apr Correction: Support: discount much 31.00",
            "Apr Correction: Calls: discount much -11.00",
        ],
    ]
    close_due(JULY, actor=ACTOR)
    assert len(documents(subscription.customer)) == 3


def test_what_one_subscription_leaves_of_an_amount_goes_to_the_other() -> None:
    one = subscribed(QUARTERLY)
    customer = one.customer
    make_subscription(customer, make_plan(customer.tenant, [BASE_FEE], key="other"), at=APRIL)
    coupon = make_coupon(
        customer.tenant, amount="140.00", target=CouponTarget.CUSTOMER, key="ours", duration=FOREVER
    )
    redeem(customer, coupon, APRIL)
    close_due(JUNE, actor=ACTOR)
    assert totals(customer) == ["0.00", "49.00", "49.00"]
    cancel(one, ends_at=APRIL + DAY, at=JUNE)
    close_due(JUNE, actor=ACTOR)
    assert documents(customer)[3:] == [
        [
            "Apr Correction: Support -90.00",
            "Apr Correction: Support: discount ours 90.00",
            "May Base fee: discount ours -49.00",
            "Jun Base fee: discount ours -41.00",
        ],
    ]


def test_redeemed_in_mid_period_it_discounts_the_whole_period() -> None:
    subscription = subscribed()
    close_due(APRIL, actor=ACTOR)
    coupon = make_coupon(subscription.tenant, percentage=50, key="half")
    redeem(subscription, coupon, APRIL + 10 * DAY)
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00"],
        ["Apr Base fee: discount half -24.50", "May Base fee 49.00"],
        ["Jun Base fee 49.00"],
    ]


def test_redeemed_ahead_it_discounts_from_then_on() -> None:
    subscription = subscribed()
    coupon = make_coupon(subscription.tenant, percentage=50, key="half", duration=FOREVER)
    redeem(subscription, coupon, APRIL, starts_at=JUNE + DAY)
    close_due(JULY, actor=ACTOR)
    assert totals(subscription.customer) == ["49.00", "49.00", "24.50", "24.50"]


def test_an_ended_discount_is_taken_back_from_its_end_on() -> None:
    subscription = subscribed()
    coupon = make_coupon(subscription.tenant, percentage=50, key="half", duration=FOREVER)
    redemption = redeem(subscription, coupon, APRIL)
    close_due(MAY, actor=ACTOR)
    end_discount(
        redemption.pk,
        tenant_id=redemption.tenant_id,
        ends_at=MAY,
        actor=ACTOR,
        at=MAY + DAY,
    )
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00", "Apr Base fee: discount half -24.50"],
        ["May Base fee 49.00", "May Base fee: discount half -24.50"],
        ["Jun Base fee 49.00", "May Correction: Base fee: discount half 24.50"],
    ]


def test_a_customers_coupon_is_for_all_that_he_has() -> None:
    subscription = subscribed()
    customer = subscription.customer
    other = make_plan(customer.tenant, [{**BASE_FEE, "key": "other", "name": "Other"}])
    coupon = make_coupon(
        customer.tenant, amount="58.00", target=CouponTarget.CUSTOMER, key="ours", duration=FOREVER
    )
    redeem(customer, coupon, APRIL)
    make_subscription(customer, other, at=APRIL)
    close_due(MAY, actor=ACTOR)
    assert documents(customer) == [
        [
            "Apr Base fee 49.00",
            "Apr Base fee: discount ours -29.00",
            "Apr Other 49.00",
            "Apr Other: discount ours -29.00",
        ],
        [
            "May Base fee 49.00",
            "May Base fee: discount ours -29.00",
            "May Other 49.00",
            "May Other: discount ours -29.00",
        ],
    ]


def test_coupons_limited_to_charges_and_products() -> None:
    subscription = subscribed(BASE_FEE, YEARLY)
    product = subscription.plan_version.plan.product.key
    tenant = subscription.tenant
    redeem(subscription, make_coupon(tenant, charges=["base"], key="base-only"), APRIL)
    redeem(subscription, make_coupon(tenant, products=[product], key="all-of-it"), APRIL)
    close_due(APRIL, actor=ACTOR)
    assert documents(subscription.customer) == [
        [
            "Apr Base fee 49.00",
            "Apr Base fee: discount base-only -4.90",
            "Apr Base fee: discount all-of-it -4.41",
            "Apr Support 120.00",
            "Apr Support: discount all-of-it -12.00",
        ]
    ]


def test_an_upgrade_in_mid_period_keeps_the_discount_of_the_period() -> None:
    subscription = subscribed()
    coupon = make_coupon(subscription.tenant, percentage=50, key="half")
    redeem(subscription, coupon, APRIL)
    close_due(APRIL, actor=ACTOR)
    dear = make_plan(
        subscription.tenant,
        [{"key": "pro", "name": "Pro", "pricing": {"model": "flat", "amount": "99.00"}}],
    )
    wish = Wish(ChangeVerb.CHANGE_PLAN, behaviour=Behaviour.INVOICE_NOW, plan_version_id=dear.pk)
    change_subscription(subscription.pk, wish, change_id=new_id(), actor=ACTOR, at=APRIL + 15 * DAY)
    close_due(MAY, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Base fee 49.00", "Apr Base fee: discount half -24.50"],
        [
            "Apr Correction: Base fee -24.50",
            "Apr Correction: Base fee: discount half 12.25",
            "Apr Pro 49.50",
            "Apr Pro: discount half -24.75",
        ],
        ["May Pro 99.00"],
    ]


def test_minimums_are_for_what_discounts_leave() -> None:
    subscription = subscribed({**CALLS, "minimum": "9.50", "maximum": "15.00"})
    redeem(subscription, make_coupon(subscription.tenant, key="tenth", duration=FOREVER), APRIL)
    use(subscription, "a", APRIL + DAY, "1000")
    use(subscription, "b", MAY + DAY, "2000")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 10.00", "Apr Calls: discount tenth -1.00", "Apr Calls: to the minimum 0.50"],
        [
            "May Calls 20.00",
            "May Calls: discount tenth -2.00",
            "May Calls: above the maximum -3.00",
        ],
    ]


def test_minimums_may_come_before_discounts() -> None:
    subscription = subscribed({**CALLS, "minimum": "9.50", "maximum": "15.00"})
    before = {"bounds_applied": BoundsApplied.BEFORE_DISCOUNTS}
    change_tenant(subscription.tenant_id, actor=ACTOR, at=APRIL, **before)
    redeem(subscription, make_coupon(subscription.tenant, key="tenth", duration=FOREVER), APRIL)
    use(subscription, "a", APRIL + DAY, "300")
    use(subscription, "b", MAY + DAY, "2000")
    close_due(JUNE, actor=ACTOR)
    assert documents(subscription.customer) == [
        ["Apr Calls 3.00", "Apr Calls: to the minimum 6.50", "Apr Calls: discount tenth -0.95"],
        [
            "May Calls 20.00",
            "May Calls: above the maximum -5.00",
            "May Calls: discount tenth -1.50",
        ],
    ]
    use(subscription, "c", APRIL + DAY, "700")
    close_due(JULY, actor=ACTOR)
    assert documents(subscription.customer)[2] == [
        "Apr Correction: Calls 7.00",
        "Apr Correction: Calls: to the minimum -6.50",
        "Apr Correction: Calls: discount tenth -0.05",
        "Jun Calls: to the minimum 9.50",
        "Jun Calls: discount tenth -0.95",
    ]


def test_a_canceled_invoice_is_billed_again_with_its_discount() -> None:
    subscription = subscribed()
    coupon = make_coupon(subscription.tenant, amount="20.00", key="twenty")
    redeem(subscription, coupon, APRIL)
    close_due(APRIL, actor=ACTOR)
    (invoice,) = Invoice.objects.all()
    cancel_invoice(invoice.pk, tenant_id=invoice.tenant_id, actor=ACTOR, at=APRIL + DAY)
    close_due(MAY, actor=ACTOR)
    assert documents(subscription.customer)[1:] == [
        ["Apr Base fee 49.00", "Apr Base fee: discount twenty -20.00", "May Base fee 49.00"]
    ]


def test_it_begins_with_what_is_paid_after_a_trial() -> None:
    customer = make_customer()
    version = make_plan(
        customer.tenant,
        phases=[
            {"kind": "trial", "duration": "monthly", "charges": []},
            {"kind": "evergreen", "charges": [BASE_FEE]},
        ],
    )
    subscription = make_subscription(customer, version, at=APRIL)
    redemption = redeem(subscription, make_coupon(customer.tenant, key="tenth"), APRIL)
    assert (redemption.starts_at, redemption.ends_at) == (MAY, JUNE)
    close_due(JUNE, actor=ACTOR)
    assert totals(customer) == ["44.10", "49.00"]


def test_who_has_no_coupon_is_not_asked_for_it(django_assert_num_queries: Any) -> None:
    """One query for all customers tells who has agreed on anything."""
    subscription = subscribed()
    close_due(APRIL, actor=ACTOR)

    everybody = timelines([subscription.customer_id])
    with django_assert_num_queries(1):
        own = own_terms_of(everybody)
    with django_assert_num_queries(0):
        assert agreements_for(own, everybody, {}, {}, bounds_first=False) == {}


@pytest.mark.parametrize("assignment", ["amount = -50", "amount = 1"])
def test_a_discount_beyond_its_charge_is_seen(assignment: str) -> None:
    subscription = subscribed()
    redeem(subscription, make_coupon(subscription.tenant), APRIL)
    close_due(APRIL, actor=ACTOR)
    with unguarded("invoicing_invoiceline"), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE invoicing_invoiceline SET {assignment} WHERE kind = 'discount'"  # noqa: S608 -- ours
        )
    assert len(list(discounts_are_within_what_they_discount(None))) == 1
    assert len(list(discounts_are_within_what_they_discount(subscription.tenant_id))) == 1
    with unguarded("invoicing_invoiceline"), connection.cursor() as cursor:
        cursor.execute("UPDATE invoicing_invoiceline SET amount = -4.90 WHERE kind = 'discount'")
    assert list(discounts_are_within_what_they_discount(None)) == []
