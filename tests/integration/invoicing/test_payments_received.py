"""Money received for invoices."""

from datetime import timedelta
from decimal import Decimal

import pytest
from moneyed import Money

from apps.core.errors import BillingError
from apps.core.models import AuditEvent
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, mark_overdue
from apps.invoicing.operations.payments_received import record_payment
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db


def pay(invoice: Invoice, amount: str, currency: str = "USD") -> Money:
    return record_payment(
        invoice.id, Money(amount, currency), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
    )


def test_an_invoice_is_paid_in_parts() -> None:
    invoice = make_issued(make_customer(), ["149.00"])
    assert pay(invoice, "49.00") == Money("49.00", "USD")
    assert fresh(invoice).status == InvoiceStatus.PARTIALLY_PAID
    assert fresh(invoice).amount_due.amount == Decimal(100)
    pay(invoice, "0.01")
    assert fresh(invoice).status == InvoiceStatus.PARTIALLY_PAID
    pay(invoice, "99.99")
    stored = fresh(invoice)
    assert (stored.status, stored.closed_at) == (InvoiceStatus.PAID, AT)
    assert stored.amount_paid.amount == Decimal(149)
    events = AuditEvent.objects.filter(object_id=invoice.public_id).order_by("id")
    assert [(one.type, one.data) for one in events][1:] == [
        ("invoice.payment_received", {"amount": "49.00", "currency": "USD"}),
        ("invoice.partially_paid", {"was": "issued"}),
        ("invoice.payment_received", {"amount": "0.01", "currency": "USD"}),
        ("invoice.payment_received", {"amount": "99.99", "currency": "USD"}),
        ("invoice.paid", {"was": "partially_paid"}),
    ]


def test_part_of_an_overdue_invoice_leaves_it_overdue() -> None:
    invoice = make_issued(make_customer(), ["149.00"])
    mark_overdue(AT + timedelta(days=30), actor=ACTOR)
    pay(invoice, "49.00")
    assert fresh(invoice).status == InvoiceStatus.OVERDUE
    pay(invoice, "100.00")
    assert fresh(invoice).status == InvoiceStatus.PAID


def test_balance_applied_is_not_paid_again() -> None:
    customer = make_customer()
    make_issued(customer, ["-49.00"])
    invoice = make_issued(customer, ["149.00"])
    with pytest.raises(BillingError) as refused:
        pay(invoice, "100.01")
    assert refused.value.reason == "payment_exceeds_due"
    pay(invoice, "100.00")
    assert fresh(invoice).status == InvoiceStatus.PAID


@pytest.mark.parametrize(
    ("amount", "currency", "reason"),
    [
        ("0", "USD", "payment_not_positive"),
        ("-1", "USD", "payment_not_positive"),
        ("0.001", "USD", "currency_precision"),
        ("149.01", "USD", "payment_exceeds_due"),
        ("1", "EUR", "payment_currency"),
    ],
)
def test_amounts_that_are_refused(amount: str, currency: str, reason: str) -> None:
    invoice = make_issued(make_customer(), ["149.00"])
    with pytest.raises(BillingError) as refused:
        pay(invoice, amount, currency)
    assert refused.value.reason == reason
    assert fresh(invoice).amount_paid.amount == 0


def test_documents_that_are_not_paid() -> None:
    customer = make_customer()
    zero = make_issued(customer, ["0.00"])
    paid = make_issued(customer, ["1.00"])
    pay(paid, "1.00")
    canceled = make_issued(customer, ["1.00"])
    cancel_invoice(canceled.id, tenant_id=canceled.tenant_id, actor=ACTOR, at=AT)
    draft = make_draft(customer)
    for document in (zero, paid, canceled, draft):
        with pytest.raises(BillingError) as refused:
            pay(document, "1.00")
        assert refused.value.reason == "invoice_not_collectable"
    with pytest.raises(BillingError) as refused:
        pay(make_issued(make_customer(customer.tenant), ["-1.00"]), "1.00")
    assert refused.value.reason == "not_an_invoice"
