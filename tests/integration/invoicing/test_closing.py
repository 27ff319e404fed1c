"""Canceling, writing off, and becoming overdue."""

from datetime import timedelta
from decimal import Decimal

import pytest
from moneyed import Money

from apps.core.errors import BillingError, NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, mark_overdue, write_off_invoice
from apps.invoicing.operations.payments_received import record_payment
from apps.ledger.models import Posting
from apps.tenants.domain import Mode
from tests.make.customers import make_customer
from tests.make.invoicing import credit_of, fresh, make_draft, make_issued
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db

DUE = AT + timedelta(days=30)


def cancel(document: Invoice) -> Invoice:
    return cancel_invoice(document.id, tenant_id=document.tenant_id, actor=ACTOR, at=AT)


def write_off(document: Invoice) -> Invoice:
    return write_off_invoice(
        document.id, reason="bankrupt", tenant_id=document.tenant_id, actor=ACTOR, at=AT
    )


def pay(document: Invoice, amount: str) -> Money:
    return record_payment(
        document.id,
        Money(amount, document.currency),
        tenant_id=document.tenant_id,
        actor=ACTOR,
        at=AT,
    )


def balances(document: Invoice) -> dict[str, Decimal]:
    """What the tenant's accounts hold, by kind, where it is not zero."""
    found: dict[str, Decimal] = {}
    for kind, amount in Posting.objects.filter(tenant_id=document.tenant_id).values_list(
        "account__kind", "amount"
    ):
        found[kind] = found.get(kind, Decimal(0)) + amount
    return {kind: amount for kind, amount in found.items() if amount}


@pytest.mark.holds("I5")
def test_a_canceled_invoice_keeps_its_number_and_asks_for_nothing() -> None:
    invoice = cancel(make_issued(make_customer()))
    stored = fresh(invoice)
    assert (stored.status, stored.number, stored.closed_at) == (InvoiceStatus.CANCELED, 1, AT)
    assert stored.amount_due.amount == 0
    assert balances(invoice) == {}


def test_canceling_gives_applied_balance_back() -> None:
    customer = make_customer()
    make_issued(customer, ["-30.00"])
    invoice = make_issued(customer, ["100.00"])
    assert credit_of(customer) == {}
    cancel(invoice)
    assert credit_of(customer) == {"USD": Decimal(30)}
    assert balances(invoice) == {"revenue": Decimal(30), "customer_balance": Decimal(-30)}
    again = make_issued(customer, ["100.00"])
    assert again.amount_due.amount == Decimal(70)
    assert balances(invoice) == {"revenue": Decimal(-70), "receivable": Decimal(70)}


def test_an_overdue_invoice_can_be_canceled() -> None:
    invoice = make_issued(make_customer())
    mark_overdue(DUE, actor=ACTOR)
    assert cancel(invoice).status == InvoiceStatus.CANCELED


@pytest.mark.parametrize(
    ("amounts", "before", "reason"),
    [
        (["100.00"], ["partly"], "invoice_has_payments"),
        (["100.00"], ["paid"], "illegal_transition"),
        (["100.00"], ["cancel"], "illegal_transition"),
        (["100.00"], ["write_off"], "illegal_transition"),
        (["0.00"], [], "illegal_transition"),
        (["-5.00"], [], "not_an_invoice"),
    ],
)
def test_what_cannot_be_canceled(amounts: list[str], before: list[str], reason: str) -> None:
    invoice = make_issued(make_customer(), amounts)
    _prepare(invoice, before)
    was, books = fresh(invoice).status, balances(invoice)
    with pytest.raises(BillingError) as refused:
        cancel(invoice)
    assert refused.value.reason == reason
    assert (fresh(invoice).status, balances(invoice)) == (was, books)


def _prepare(invoice: Invoice, before: list[str]) -> None:
    for step in before:
        match step:
            case "partly":
                pay(invoice, "1.00")
            case "paid":
                pay(invoice, "100.00")
            case "cancel":
                cancel(invoice)
            case _:
                write_off(invoice)


def test_a_draft_is_neither_canceled_nor_written_off() -> None:
    draft = make_draft(make_customer())
    with pytest.raises(BillingError) as refused:
        cancel(draft)
    assert refused.value.reason == "illegal_transition"
    with pytest.raises(BillingError) as refused:
        write_off(draft)
    assert refused.value.reason == "invoice_not_collectable"


def test_nobody_elses_invoice_is_found() -> None:
    invoice = make_issued(make_customer())
    stranger = make_tenant()
    with pytest.raises(NotFound):
        cancel_invoice(invoice.id, tenant_id=stranger.id, actor=ACTOR, at=AT)
    with pytest.raises(NotFound):
        write_off_invoice(new_id(), reason="x", tenant_id=stranger.id, actor=ACTOR, at=AT)
    with pytest.raises(NotFound):
        record_payment(invoice.id, Money(1, "USD"), tenant_id=stranger.id, actor=ACTOR, at=AT)


def test_what_is_written_off_becomes_bad_debt() -> None:
    invoice = make_issued(make_customer(), ["100.00"])
    pay(invoice, "40.00")
    written = write_off(invoice)
    assert (written.status, written.closed_at) == (InvoiceStatus.WRITTEN_OFF, AT)
    assert written.amount_due.amount == 0
    # the payment itself is posted by who received it
    assert balances(invoice) == {
        "receivable": Decimal(40),
        "revenue": Decimal(-100),
        "bad_debt": Decimal(60),
    }
    event = AuditEvent.objects.get(object_id=invoice.public_id, type="invoice.written_off")
    assert event.data == {
        "was": "partially_paid",
        "reason": "bankrupt",
        "amount": "60.00",
        "currency": "USD",
    }


def test_writing_off_twice_changes_nothing() -> None:
    invoice = make_issued(make_customer())
    write_off(invoice)
    books = balances(invoice)
    assert write_off(invoice).status == InvoiceStatus.WRITTEN_OFF
    assert balances(invoice) == books


def test_money_for_a_written_off_invoice_reinstates_it() -> None:
    invoice = make_issued(make_customer(), ["100.00"])
    write_off(invoice)
    assert pay(invoice, "30.00") == Money("30.00", "USD")
    stored = fresh(invoice)
    assert (stored.status, stored.closed_at) == (InvoiceStatus.PARTIALLY_PAID, None)
    assert balances(invoice) == {"receivable": Decimal(100), "revenue": Decimal(-100)}
    write_off(invoice)
    assert balances(invoice)["bad_debt"] == Decimal(70)
    pay(invoice, "70.00")
    assert (fresh(invoice).status, fresh(invoice).closed_at) == (InvoiceStatus.PAID, AT)
    assert "bad_debt" not in balances(invoice)


@pytest.mark.parametrize(
    ("amounts", "before"), [(["100.00"], ["paid"]), (["100.00"], ["cancel"]), (["0.00"], [])]
)
def test_what_is_over_is_not_written_off(amounts: list[str], before: list[str]) -> None:
    invoice = make_issued(make_customer(), amounts)
    _prepare(invoice, before)
    with pytest.raises(BillingError) as refused:
        write_off(invoice)
    assert refused.value.reason == "invoice_not_collectable"


def test_a_credit_memo_is_not_written_off() -> None:
    with pytest.raises(BillingError) as refused:
        write_off(make_issued(make_customer(), ["-1.00"]))
    assert refused.value.reason == "not_an_invoice"


def test_invoices_become_overdue_when_their_term_ends() -> None:
    tenant = make_tenant()
    open_, partly, paid, canceled, written = (make_issued(make_customer(tenant)) for _ in range(5))
    memo = make_issued(make_customer(tenant), ["-1.00"])
    pay(partly, "1.00")
    pay(paid, "149.00")
    cancel(canceled)
    write_off(written)
    assert mark_overdue(DUE - timedelta(microseconds=1), actor=ACTOR) == 0
    assert mark_overdue(DUE, actor=ACTOR) == 2
    assert mark_overdue(DUE, actor=ACTOR) == 0
    documents = (open_, partly, paid, canceled, written, memo)
    assert [fresh(one).status for one in documents] == [
        InvoiceStatus.OVERDUE,
        InvoiceStatus.OVERDUE,
        InvoiceStatus.PAID,
        InvoiceStatus.CANCELED,
        InvoiceStatus.WRITTEN_OFF,
        InvoiceStatus.ISSUED,
    ]


def test_invoices_of_customers_on_a_clock_follow_the_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    make_issued(make_customer(tenant))
    there = make_issued(make_customer(tenant, test_clock_id=clock.id))
    assert mark_overdue(DUE, actor=ACTOR, tenant_id=make_tenant().id) == 0
    assert mark_overdue(DUE, actor=ACTOR, clock_id=clock.id) == 1
    assert fresh(there).status == InvoiceStatus.OVERDUE
    assert mark_overdue(DUE, actor=ACTOR) == 1
