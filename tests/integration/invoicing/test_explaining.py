"""Every line explains itself, and computing it again from the events gives the same."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from apps.catalog.models import PriceList
from apps.core.ids import new_id
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.explaining import NoUsageBehind, explain, usage_behind, verify
from apps.invoicing.models import InvoiceLine
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.closing import cancel_invoice
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription, mark_changed
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan, make_price_list
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
TIERS = {
    "model": "graduated",
    "tiers": [
        {"up_to": "100000", "unit_price": "0"},
        {"up_to": "1000000", "unit_price": "0.0001"},
        {"up_to": None, "unit_price": "0.00005"},
    ],
}
PRICES_BY_LIST = [
    {"currency": "USD", "pricing": {"model": "per_unit", "unit_price": "0.02"}},
    {
        "currency": "USD",
        "price_list": "partner",
        "pricing": {"model": "per_unit", "unit_price": "0.01"},
    },
]
CALLS = {"meter": "calls", "key": "calls", "name": "API calls"}


def subscribed(*charges: Mapping[str, Any], **values: Any) -> tuple[Customer, Subscription]:
    """A customer on a plan with the charges, and a meter of calls, from 1 April."""
    customer = make_customer()
    make_meter(customer.tenant, key="calls", unit="calls", at=APRIL)
    make_price_list(customer.tenant, "partner")
    version = make_plan(customer.tenant, charges)
    return customer, make_subscription(customer, version, at=APRIL, **values)


def use(customer: Customer, *values: str, at: datetime = APRIL, **given: Any) -> None:
    events = [
        {
            "meter": "calls",
            "customer": customer.public_id,
            "timestamp": instant_text(at + timedelta(hours=hour)),
            "value": value,
            **given,
        }
        for hour, value in enumerate(values, 1)
    ]
    assert {one.status for one in send(customer.tenant, events, at=MAY)} == {"accepted"}


def look_again(subscription: Subscription) -> None:
    """Have the next run look at everything: what the reader of usage does for late events."""
    mark_changed({subscription.id: APRIL})


def bill(customer: Customer, cutoff: datetime = MAY) -> list[InvoiceLine]:
    documents = bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=cutoff,
        issue=True,
        actor=ACTOR,
        at=cutoff,
    )
    lines = InvoiceLine.objects.filter(invoice__in=documents).select_related("invoice")
    return list(lines.order_by("invoice_id", "position"))


def test_tiers_are_told_one_by_one() -> None:
    customer, _ = subscribed({**CALLS, "pricing": TIERS})
    use(customer, "700000", "500000")
    (line,) = bill(customer)
    assert line.amount == Decimal(100)
    explanation = explain(line)
    assert explanation.sentences == [
        "API calls, 1 Apr 2026 – 30 Apr 2026 (UTC).",
        "1,200,000 calls: the sum of 2 events of the meter calls, version 1.",
        "Tier 1: 100,000 × 0.00 = 0.00 USD.",
        "Tier 2: 900,000 × 0.0001 = 90.00 USD.",
        "Tier 3: 200,000 × 0.00005 = 10.00 USD.",
        "Together: 0.00 + 90.00 + 10.00 = 100.00 USD.",
    ]
    assert (explanation.model["model"], len(explanation.steps)) == ("graduated", 3)
    checked = verify(line)
    assert (checked.verified, checked.amount, checked.quantity) == (
        True,
        Decimal(100),
        Decimal(1200000),
    )


def test_a_late_event_changes_no_line_that_did_not_see_it() -> None:
    customer, subscription = subscribed({**CALLS, "pricing": TIERS})
    use(customer, "1000000")
    (first,) = bill(customer)
    use(customer, "100000.01")
    look_again(subscription)
    correction = bill(customer, JUNE)[0]
    assert correction.amount == Decimal("5.00")
    assert correction.corrects_id == first.id
    assert explain(correction).sentences[-2:] == [
        "Rounded once, half up: 95.0000005 is 95.00 USD.",
        (
            "It should come to 95.00; 90.00 were billed before (INV-000001); this line is the"
            " difference: 5.00 USD."
        ),
    ]
    assert [verify(one).verified for one in (first, correction)] == [True, True]
    assert verify(first).quantity == Decimal(1000000)
    assert verify(correction).already_billed == Decimal(90)


def test_the_events_behind_a_line_are_those_it_counted() -> None:
    customer, _ = subscribed({**CALLS, "pricing": TIERS}, BASE_FEE)
    use(customer, "1", "2", "3")
    lines = {line.kind: line for line in bill(customer, JUNE)}
    use(customer, "4")
    usage = InvoiceLine.objects.select_related("invoice").get(kind="usage", period_start=APRIL)
    values = [one.value for one in usage_behind(usage, after=0, limit=10)]
    assert values == [1, 2, 3]
    first, second = usage_behind(usage, after=0, limit=2)
    (third,) = usage_behind(usage, after=second.seq, limit=2)
    assert [one.value for one in (first, second, third)] == [1, 2, 3]
    with pytest.raises(NoUsageBehind):
        usage_behind(lines["recurring"], after=0, limit=10)


def test_a_part_of_a_period_is_told_and_verified() -> None:
    seats = {
        "key": "seats",
        "name": "Seats",
        "kind": "recurring",
        "timing": "arrears",
        "pricing": {"model": "per_unit", "unit_price": "10.00"},
    }
    customer, subscription = subscribed(seats, quantity=Decimal(3))
    cancel_subscription(
        subscription.id,
        mode=CancelMode.DATE,
        ends_at=APRIL + timedelta(days=10),
        settlement=Settlement.PRORATE,
        actor=ACTOR,
        at=APRIL + timedelta(days=10),
    )
    (line,) = bill(customer)
    assert line.amount == Decimal(10)
    assert explain(line).sentences == [
        "Seats, 1 Apr 2026 – 10 Apr 2026 (UTC).",
        "Units: 3 × 10.00 = 30.00 USD.",
        "For 33.3333 % of the period, by the second: 10.00 USD.",
    ]
    assert verify(line).verified


def test_a_period_that_is_cut_short_afterwards_is_credited() -> None:
    customer, subscription = subscribed({**BASE_FEE, "timing": "advance"})
    (charged,) = bill(customer, APRIL)
    cancel_subscription(
        subscription.id,
        mode=CancelMode.DATE,
        ends_at=APRIL + timedelta(days=15),
        settlement=Settlement.PRORATE,
        actor=ACTOR,
        at=APRIL + timedelta(days=15),
    )
    (credited,) = bill(customer, MAY)
    assert (charged.amount, credited.amount) == (Decimal(49), Decimal("-24.50"))
    assert [verify(one).verified for one in (charged, credited)] == [True, True]


def test_included_units_are_told() -> None:
    charge = {
        **CALLS,
        "included_quantity": "100",
        "pricing": {"model": "per_unit", "unit_price": "0.01"},
    }
    customer, _ = subscribed(charge)
    use(customer, "350")
    (line,) = bill(customer)
    assert explain(line).sentences[2:] == [
        "100 calls are included in the price.",
        "Units: 250 × 0.01 = 2.50 USD.",
    ]
    assert verify(line).verified


def test_what_a_part_of_a_period_includes_is_verified() -> None:
    charge = {
        **CALLS,
        "included_quantity": "100",
        "pricing": {"model": "per_unit", "unit_price": "0.01"},
    }
    customer, subscription = subscribed(charge)
    use(customer, "350")
    end = APRIL + timedelta(days=15)
    cancel_subscription(subscription.id, mode=CancelMode.DATE, ends_at=end, actor=ACTOR, at=end)
    (line,) = bill(customer, end)
    assert explain(line).sentences[2:] == [
        "50 calls are included in the price.",
        "Units: 300 × 0.01 = 3.00 USD.",
    ]
    assert explain(line).share == Fraction(1, 2)
    assert verify(line).verified


def test_minimum_and_maximum_are_verified() -> None:
    price = {"model": "per_unit", "unit_price": "0.01"}
    customer, subscription = subscribed(
        {
            **CALLS,
            "prices": [
                {"currency": "USD", "pricing": price, "minimum": "10.00", "maximum": "20.00"}
            ],
        }
    )
    use(customer, "400")
    usage, minimum = bill(customer)
    assert (usage.amount, minimum.amount) == (Decimal(4), Decimal(6))
    assert explain(minimum).sentences[1] == "The minimum of a whole period is 10.00 USD."
    use(customer, "2600")
    look_again(subscription)
    later = {line.kind: line for line in bill(customer, JUNE) if line.period_start == APRIL}
    assert {kind: line.amount for kind, line in later.items()} == {
        "usage": Decimal(26),
        "minimum": Decimal(-6),
        "maximum": Decimal(-10),
    }
    for line in (usage, minimum, *later.values()):
        assert verify(line).differences == ()


def test_named_prices_are_verified_by_themselves() -> None:
    customer, _ = subscribed({**CALLS, "prices": PRICES_BY_LIST})
    use(customer, "100")
    use(customer, "300", properties={"price_point": "partner"})
    standard, partner = sorted(bill(customer), key=lambda line: line.group)
    assert (standard.amount, partner.amount) == (Decimal(2), Decimal(3))
    assert explain(partner).sentences[1].endswith("version 1, at the prices of partner.")
    assert [verify(one).differences for one in (standard, partner)] == [(), ()]


def test_a_line_keeps_the_price_list_it_was_made_with() -> None:
    customer, subscription = subscribed({**CALLS, "prices": PRICES_BY_LIST})
    partner = PriceList.objects.get(tenant=customer.tenant, key="partner")
    subscription.segments.update(price_list=partner)
    use(customer, "100")
    (line,) = bill(customer)
    subscription.segments.update(price_list=None)
    assert line.amount == Decimal(1)
    assert explain(line).model["unit_price"] == "0.01"
    assert verify(line).differences == ()


def test_what_was_billed_anew_after_a_cancellation_is_verified() -> None:
    customer, _ = subscribed({**CALLS, "pricing": TIERS})
    use(customer, "1000000")
    (first,) = bill(customer)
    cancel_invoice(first.invoice_id, tenant_id=customer.tenant_id, actor=ACTOR, at=MAY)
    (again,) = bill(customer)
    assert (again.amount, again.sequence) == (Decimal(90), 1)
    for line in (first, again):
        line.refresh_from_db()
        assert verify(line).differences == ()


def test_a_line_that_was_tampered_with_is_not_verified() -> None:
    customer, _ = subscribed({**CALLS, "pricing": TIERS})
    use(customer, "1000000")
    (line,) = bill(customer)
    with unguarded("invoicing_invoiceline"):
        InvoiceLine.objects.filter(pk=line.pk).update(amount=Decimal("90.01"), quantity=999999)
    changed = InvoiceLine.objects.select_related("invoice").get(pk=line.pk)
    assert verify(changed).differences == (
        "The quantity is 1,000,000, not 999,999.",
        "The amount of the line is 90.00 USD, not 90.01.",
    )
    assert not verify(changed).verified
