"""Billing customers against the real database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.invoicing.models import Invoice, ParkedCustomer
from apps.invoicing.operations.billing import (
    CutoffInFuture,
    bill_customer,
    close_due,
    preview_customer,
)
from apps.subscriptions.models import Subscription
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
IN_ARREARS = {**BASE_FEE, "timing": "arrears"}


def subscribe(customer: Customer, *charges: dict[str, Any], at: datetime = APRIL) -> Subscription:
    version = make_plan(customer.tenant, list(charges) or [IN_ARREARS])
    return make_subscription(customer, version, at=at)


def bill(customer: Customer, cutoff: datetime, **values: Any) -> list[Invoice]:
    values = {"issue": True, "at": cutoff, "request_id": new_id(), **values}
    return bill_customer(
        customer.id, tenant_id=customer.tenant_id, cutoff=cutoff, actor=ACTOR, **values
    )


def totals(customer: Customer) -> list[tuple[str, str, Decimal]]:
    found = Invoice.objects.filter(customer=customer).order_by("number")
    return [(one.status, one.display_number, one.total.amount) for one in found]


@pytest.mark.holds("P3")
def test_a_period_is_billed_once_whoever_asks_and_how_often() -> None:
    customer = make_customer()
    subscribe(customer)
    (invoice,) = bill(customer, MAY)
    assert invoice.total.amount == Decimal("49.00")
    assert bill(customer, MAY) == []
    assert close_due(MAY, actor=ACTOR).documents == 0
    assert totals(customer) == [("issued", "INV-000001", Decimal("49.00"))]


def test_a_repeated_request_finds_its_documents() -> None:
    customer = make_customer()
    subscribe(customer)
    request = new_id()
    assert bill(customer, MAY, request_id=request) == bill(customer, MAY, request_id=request)
    assert Invoice.objects.count() == 1


def test_a_cutoff_in_the_future_is_refused_and_can_be_previewed() -> None:
    customer = make_customer()
    subscribe(customer)
    with pytest.raises(CutoffInFuture):
        bill(customer, MAY, at=MAY - timedelta(seconds=1))
    (document,) = preview_customer(customer.id, tenant_id=customer.tenant_id, cutoff=JUNE)
    assert document.total == Decimal("98.00")
    assert Invoice.objects.count() == 0


@pytest.mark.holds("P4", "F31")
def test_missed_periods_are_billed_in_order_one_document_each() -> None:
    customer = make_customer()
    subscribe(customer)
    summary = close_due(datetime(2026, 8, 15, tzinfo=UTC), actor=ACTOR)
    assert (summary.documents, summary.parked) == (4, 0)
    found = Invoice.objects.filter(customer=customer).order_by("number")
    assert [one.cutoff_at.month for one in found] == [5, 6, 7, 8]


def test_a_draft_waits_its_grace_and_is_replaced_by_the_next_run() -> None:
    customer = make_customer()
    customer.tenant.grace_period = timedelta(days=3)
    customer.tenant.save()
    subscribe(customer)
    (draft,) = bill(customer, MAY)
    assert (draft.status, draft.issue_after) == ("draft", MAY + timedelta(days=3))
    (again,) = bill(customer, JUNE)
    assert (again.id, again.total.amount, again.lines.count()) == (draft.id, Decimal(98), 2)


@pytest.mark.holds("J7", "F61", "I12")
def test_a_customer_that_cannot_be_billed_stops_nobody_else() -> None:
    good = make_customer()
    subscribe(good)
    bad = make_customer(good.tenant, currency="USD")
    broken = subscribe(bad)
    with unguarded("subscriptions_subscription"):
        Subscription.objects.filter(id=broken.id).update(currency="JPY")
    summary = close_due(MAY, actor=ACTOR)
    assert (summary.documents, summary.parked) == (1, 1)
    parked = ParkedCustomer.objects.get()
    assert parked.customer_id == bad.id
    assert parked.reason == "price_missing: The charge base has no price in JPY."
    with unguarded("subscriptions_subscription"):
        Subscription.objects.filter(id=broken.id).update(currency="USD")
    assert close_due(MAY + timedelta(minutes=1), actor=ACTOR).documents == 0
    assert close_due(MAY + timedelta(hours=2), actor=ACTOR).documents == 1
    assert ParkedCustomer.objects.count() == 0


def test_the_number_of_queries_does_not_grow_with_the_customers(
    django_assert_num_queries: Any,
) -> None:
    first = make_customer()
    version = make_plan(first.tenant, [IN_ARREARS])
    make_subscription(first, version, at=APRIL)
    counts = []
    for extra in (0, 4):
        for _ in range(extra):
            make_subscription(make_customer(first.tenant), version, at=APRIL)
        with django_assert_num_queries(1000, exact=False) as found:
            assert close_due(MAY, actor=ACTOR).documents == (extra or 1)
        counts.append(len(found))
    assert counts[0] == counts[1]
