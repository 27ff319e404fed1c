"""From events to lines: late usage, corrections and replay against the real database."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.domain import DocumentBeyondSense, refuse_senseless
from apps.invoicing.models import Invoice, InvoiceLine, ParkedCustomer
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.drafts import issue_due
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.domain import LateUsagePolicy
from apps.tenants.operations import change_tenant
from tests.make.api import Api
from tests.make.catalog import make_plan, make_price_list
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_key

pytestmark = pytest.mark.django_db(transaction=True)

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
VOLUME = {
    "model": "volume",
    "tiers": [
        {"up_to": "1000", "unit_price": "0.02"},
        {"up_to": None, "unit_price": "0.01"},
    ],
}


def subscribed(pricing: Mapping[str, object] | None = None) -> tuple[Customer, Subscription]:
    customer = make_customer()
    make_meter(customer.tenant, key="calls", at=APRIL)
    price = pricing or {"model": "per_unit", "unit_price": "0.01"}
    version = make_plan(customer.tenant, [{"meter": "calls", "name": "Calls", "pricing": price}])
    return customer, make_subscription(customer, version, at=APRIL)


def use(customer: Customer, key: str, occurred_at: datetime, value: str, at: datetime) -> None:
    event = {
        "idempotency_key": key,
        "meter": "calls",
        "customer": customer.public_id,
        "timestamp": instant_text(occurred_at),
        "value": value,
    }
    (receipt,) = send(customer.tenant, [event], at=at)
    assert receipt.status == "accepted"


def lines(customer: Customer) -> list[tuple[str, str, Decimal]]:
    found = InvoiceLine.objects.filter(invoice__customer=customer).order_by("id")
    return [(line.invoice.kind, line.description, line.amount) for line in found]


def test_an_event_that_nobody_has_counted_yet_is_billed_all_the_same() -> None:
    customer, _ = subscribed()
    use(customer, "a", APRIL + timedelta(days=3), "100", APRIL + timedelta(days=3))
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls", Decimal("1.00"))]
    count_all()
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls", Decimal("1.00"))]


@pytest.mark.holds("U4")
def test_late_usage_comes_with_the_next_invoice_and_names_the_first_line() -> None:
    customer, _ = subscribed()
    use(customer, "a", APRIL + timedelta(days=3), "100", APRIL + timedelta(days=3))
    close_due(MAY, actor=ACTOR)
    use(customer, "late", APRIL + timedelta(days=4), "50", MAY + timedelta(days=2))
    use(customer, "b", MAY + timedelta(days=4), "10", MAY + timedelta(days=4))
    count_all()
    assert close_due(MAY + timedelta(days=5), actor=ACTOR).documents == 0
    close_due(JUNE, actor=ACTOR)
    assert lines(customer) == [
        ("invoice", "Calls", Decimal("1.00")),
        ("invoice", "Correction: Calls", Decimal("0.50")),
        ("invoice", "Calls", Decimal("0.10")),
    ]
    first, correction, _ = InvoiceLine.objects.filter(invoice__customer=customer).order_by("id")
    assert correction.corrects == first
    assert (correction.period_start, correction.period_end) == (APRIL, MAY)


def test_late_usage_after_the_end_is_billed_without_waiting() -> None:
    customer, subscription = subscribed()
    cancel_subscription(
        subscription.id,
        mode=CancelMode.DATE,
        ends_at=APRIL + timedelta(days=10),
        settlement=Settlement.PRORATE,
        actor=ACTOR,
        at=APRIL + timedelta(days=10),
    )
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == []
    use(customer, "late", APRIL + timedelta(days=4), "50", MAY + timedelta(days=2))
    count_all()
    close_due(MAY + timedelta(days=3), actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls", Decimal("0.50"))]
    close_due(MAY + timedelta(days=4), actor=ACTOR)
    assert len(lines(customer)) == 1


def test_where_more_usage_costs_less_the_difference_is_a_credit_memo() -> None:
    customer, _ = subscribed(VOLUME)
    customer.tenant.late_usage = LateUsagePolicy.CREDIT_MEMO
    customer.tenant.save()
    use(customer, "a", APRIL + timedelta(days=3), "1000", APRIL + timedelta(days=3))
    close_due(MAY, actor=ACTOR)
    use(customer, "late", APRIL + timedelta(days=4), "1", MAY + timedelta(days=2))
    count_all()
    close_due(MAY + timedelta(days=3), actor=ACTOR)
    assert lines(customer) == [
        ("invoice", "Calls", Decimal("20.00")),
        ("credit_memo", "Correction: Calls", Decimal("-9.99")),
    ]
    numbers = [one.display_number for one in Invoice.objects.order_by("id")]
    assert numbers == ["INV-000001", "CM-000001"]


def test_usage_that_arrives_during_the_grace_is_on_the_invoice() -> None:
    customer, _ = subscribed()
    customer.tenant.grace_period = timedelta(days=3)
    customer.tenant.save()
    use(customer, "a", APRIL + timedelta(days=3), "100", APRIL + timedelta(days=3))
    close_due(MAY, actor=ACTOR)
    use(customer, "late", APRIL + timedelta(days=4), "50", MAY + timedelta(days=2))
    assert issue_due(MAY + timedelta(days=2), actor=ACTOR) == 0
    assert issue_due(MAY + timedelta(days=3), actor=ACTOR) == 1
    assert lines(customer) == [("invoice", "Calls", Decimal("1.50"))]
    count_all()
    close_due(MAY + timedelta(days=4), actor=ACTOR)
    assert len(lines(customer)) == 1


def test_a_price_point_whose_price_looks_closer_at_usage_than_the_standard_one() -> None:
    customer = make_customer()
    make_meter(customer.tenant, key="calls", at=APRIL)
    make_price_list(customer.tenant, "partner", at=APRIL)
    prices = [
        {"pricing": {"model": "per_unit", "unit_price": "0.01"}},
        {
            "price_list": "partner",
            "pricing": {"model": "percentage", "rate": "10", "fixed_fee": "0.50"},
        },
    ]
    version = make_plan(customer.tenant, [{"meter": "calls", "name": "Calls", "prices": prices}])
    make_subscription(customer, version, at=APRIL)
    for key, value in (("a", "20"), ("b", "30")):
        event = {
            "idempotency_key": key,
            "meter": "calls",
            "customer": customer.public_id,
            "timestamp": instant_text(APRIL + timedelta(days=3)),
            "value": value,
            "properties": {"price_point": "partner"},
        }
        (receipt,) = send(customer.tenant, [event], at=APRIL + timedelta(days=3))
        assert receipt.status == "accepted"
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls (partner)", Decimal("6.00"))]


def test_a_backdated_end_hands_usage_of_the_customer_to_another_subscription() -> None:
    customer, first = subscribed()
    dear = {"model": "per_unit", "unit_price": "0.03"}
    version = make_plan(customer.tenant, [{"meter": "calls", "name": "Dear", "pricing": dear}])
    make_subscription(customer, version, at=APRIL, started_at=APRIL + timedelta(days=1))
    use(customer, "a", APRIL + timedelta(days=3), "100", APRIL + timedelta(days=3))
    use(customer, "b", APRIL + timedelta(days=20), "1000", APRIL + timedelta(days=20))
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls", Decimal("11.00"))]

    # told in May: it ended on 11 April, so what was used later is the other's
    cancel_subscription(
        first.id,
        mode=CancelMode.DATE,
        ends_at=APRIL + timedelta(days=10),
        actor=ACTOR,
        at=MAY + timedelta(days=2),
    )
    close_due(MAY + timedelta(days=2), actor=ACTOR)
    assert sorted(lines(customer)[1:]) == [
        ("invoice", "Correction: Calls", Decimal("-10.00")),
        ("invoice", "Dear", Decimal("30.00")),
    ]
    close_due(JUNE, actor=ACTOR)
    assert len(lines(customer)) == 3


def test_a_backdated_start_takes_usage_of_the_customer_from_another_subscription() -> None:
    customer, _ = subscribed()
    dear = {"model": "per_unit", "unit_price": "0.03"}
    version = make_plan(customer.tenant, [{"meter": "calls", "name": "Dear", "pricing": dear}])
    use(customer, "a", APRIL + timedelta(days=3), "100", APRIL + timedelta(days=3))
    close_due(MAY, actor=ACTOR)
    assert lines(customer) == [("invoice", "Calls", Decimal("1.00"))]

    make_subscription(
        customer, version, at=MAY + timedelta(days=2), started_at=APRIL - timedelta(days=1)
    )
    close_due(MAY + timedelta(days=2), actor=ACTOR)
    assert sorted(lines(customer)[1:]) == [
        ("credit_memo", "Correction: Calls", Decimal("-1.00")),
        ("invoice", "Dear", Decimal("3.00")),
    ]


@pytest.mark.holds("I13", "S41")
def test_a_document_beyond_all_sense_is_parked_until_somebody_has_looked_at_it() -> None:
    sane, _ = subscribed()
    tenant = sane.tenant
    wild = make_customer(tenant)
    make_subscription(wild, SubscriptionSegment.objects.get().plan_version, at=APRIL)
    use(sane, "sane", APRIL, "1000", APRIL)
    use(wild, "wild", APRIL, "9000000000000000", APRIL)  # a timestamp for a count, say
    count_all()

    summary = close_due(MAY, actor=ACTOR)

    assert (summary.documents, summary.parked) == (1, 1)
    parked = ParkedCustomer.objects.get()
    assert parked.customer_id == wild.id
    assert parked.reason == (
        "document_beyond_sense: It would come to 90000000000000 USD, more than the 1000000000000 of"
        " largest_document."
    )
    assert not Invoice.objects.filter(customer=wild).exists()
    change_tenant(tenant.id, largest_document=Decimal(10**14), actor=ACTOR, at=MAY)
    assert close_due(MAY + timedelta(hours=2), actor=ACTOR).documents == 1
    assert lines(wild) == [("invoice", "Calls", Decimal(9 * 10**13))]
    assert not ParkedCustomer.objects.exists()


@pytest.mark.holds("I13")
def test_a_person_is_told_why_and_too_many_lines_are_beyond_sense_too() -> None:
    customer, _ = subscribed()
    tenant = customer.tenant
    use(customer, "one", APRIL, "1000", APRIL)
    count_all()
    api = Api(make_key(tenant))
    body = {"customer": customer.public_id, "cutoff": "2026-05-01T00:00:00Z"}
    change_tenant(tenant.id, largest_document=Decimal("9.99"), actor=ACTOR, at=MAY)
    answer = api.post("/invoices", body)
    assert (answer.status_code, answer.json()["reason"]) == (409, "document_beyond_sense")
    change_tenant(tenant.id, largest_document=Decimal(10), actor=ACTOR, at=MAY)
    assert [one["total"] for one in api.post("/invoices", body).json()["data"]] == ["10.00"]
    for total, count in (("10.01", 1), ("-10.01", 1), ("10", 3)):
        with pytest.raises(DocumentBeyondSense):
            refuse_senseless(Decimal(total), "USD", count, largest=Decimal(10), most_lines=2)
    refuse_senseless(Decimal(-10), "USD", 2, largest=Decimal(10), most_lines=2)
