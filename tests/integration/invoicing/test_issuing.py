"""Issuing: number, snapshots, balance, books, and what a repeat does."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.locks import lock_rows
from apps.core.models import AuditEvent, Job
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceCanceled, InvoiceEmpty, InvoiceStatus
from apps.invoicing.models import BalanceApplication, Invoice, IssuedLogo, NumberSequence
from apps.invoicing.operations.closing import cancel_invoice
from apps.invoicing.operations.drafts import issue_due
from apps.invoicing.operations.issuing import issue_documents, issue_invoice
from apps.ledger.models import JournalEntry, Posting
from apps.subscriptions.models import Subscription
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.books import unguarded
from tests.make.customers import make_customer
from tests.make.invoicing import credit_of, fresh, issued, make_draft, make_issued, make_waiting
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db


def events_of(document: Invoice) -> list[str]:
    events = AuditEvent.objects.filter(object_id=document.public_id).order_by("id")
    return list(events.values_list("type", flat=True))


def postings_of(document: Invoice) -> dict[str, dict[str, Decimal]]:
    """What the entries about the document post: kind -> account kind -> amount."""
    found: dict[str, dict[str, Decimal]] = {}
    rows = Posting.objects.filter(entry__source_key__startswith=document.public_id)
    for kind, account, amount in rows.values_list("entry__kind", "account__kind", "amount"):
        found.setdefault(kind, {})[account] = amount
    return found


def test_an_issued_invoice_has_its_number_and_its_terms() -> None:
    customer = make_customer()
    invoice = issued(make_draft(customer, ["100.00", "49.00"]))
    assert invoice == fresh(invoice)
    stored = fresh(invoice)
    assert stored.display_number == "INV-000001"
    assert stored.status == InvoiceStatus.ISSUED
    assert (stored.issued_at, stored.due_at) == (AT, AT + timedelta(days=30))
    assert stored.amount_due.amount == Decimal(149)
    assert stored.closed_at is None
    assert events_of(stored) == ["invoice.issued"]
    assert Job.objects.filter(arguments={"subject": str(invoice.id)}).count() == 1


def test_numbers_follow_each_other_within_a_series() -> None:
    customer = make_customer()
    documents = [make_issued(customer, [amount]) for amount in ("1.00", "-2.00", "3.00", "-4.00")]
    assert [str(one) for one in documents] == [
        "INV-000001",
        "CM-000001",
        "INV-000002",
        "CM-000002",
    ]


def test_kinds_may_share_a_series() -> None:
    tenant = make_tenant()
    Tenant.objects.filter(pk=tenant.pk).update(credit_memo_prefix="INV")
    customer = make_customer(tenant)
    drafts = [make_draft(customer, ["1.00"]), make_draft(customer, ["-2.00"], currency="EUR")]
    with transaction.atomic():
        lock_rows(Customer, [customer.id], tenant_id=tenant.id)
        issue_documents([one.id for one in drafts], tenant_id=tenant.id, actor=ACTOR, at=AT)
    assert [str(fresh(one)) for one in drafts] == ["INV-000001", "INV-000002"]


@pytest.mark.usefixtures("all_tenants")
def test_another_tenant_has_its_own_numbers() -> None:
    assert str(make_issued(make_customer())) == "INV-000001"
    assert str(make_issued(make_customer())) == "INV-000001"
    assert NumberSequence.objects.count() == 2


def test_seller_and_buyer_are_written_down() -> None:
    tenant = make_tenant(name="Acme")
    Tenant.objects.filter(pk=tenant.pk).update(
        legal_name="Acme GmbH",
        address="Hauptstr. 1\n10115 Berlin",
        email="billing@acme.example",
        tax_ids=[{"kind": "eu_vat", "value": "DE136695976"}],
        logo="data:image/png;base64,AAAA",
    )
    customer = make_customer(
        tenant, name="Globex", external_id="glx-1", address={"line1": "1 Way", "country": "US"}
    )
    invoice = make_issued(customer)
    Tenant.objects.filter(pk=tenant.pk).update(legal_name="Other")
    Customer.objects.filter(pk=customer.pk).update(name="Other")
    stored = fresh(invoice)
    logo = IssuedLogo.objects.get()
    assert logo.image == "data:image/png;base64,AAAA"
    assert stored.seller == {
        "name": "Acme GmbH",
        "address": "Hauptstr. 1\n10115 Berlin",
        "email": "billing@acme.example",
        "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}],
        "logo": logo.sha256,
    }
    assert stored.buyer == {
        "name": "Globex",
        "email": "billing@globex.example",
        "external_id": "glx-1",
        "address": {"line1": "1 Way", "country": "US"},
        "tax_ids": [],
        "tax_exempt": "none",
        "tax_exempt_reason": "",
    }
    make_issued(customer)
    assert IssuedLogo.objects.count() == 1


def test_the_books_know_an_issued_invoice() -> None:
    invoice = make_issued(make_customer(), ["149.00"])
    assert postings_of(invoice) == {
        "invoice_issued": {"receivable": Decimal(149), "revenue": Decimal(-149)}
    }


def test_the_books_know_an_issued_credit_memo() -> None:
    memo = make_issued(make_customer(), ["-30.00", "10.00"])
    assert memo.status == InvoiceStatus.ISSUED
    assert memo.amount_due.amount == 0
    assert postings_of(memo) == {
        "credit_memo_issued": {"revenue": Decimal(20), "customer_balance": Decimal(-20)}
    }


def test_an_invoice_of_nothing_is_paid_at_once() -> None:
    invoice = make_issued(make_customer(), ["0.00"])
    assert fresh(invoice).status == InvoiceStatus.PAID
    assert fresh(invoice).closed_at == AT
    assert events_of(invoice) == ["invoice.issued", "invoice.paid"]
    assert not JournalEntry.objects.exists()


def test_credit_pays_the_next_invoice_the_oldest_first() -> None:
    customer = make_customer()
    memos = [make_issued(customer, [amount]) for amount in ("-10.00", "-20.00", "-30.00")]
    assert credit_of(customer) == {"USD": Decimal(60)}
    invoice = make_issued(customer, ["25.00"])
    assert (invoice.status, invoice.balance_applied.amount) == (InvoiceStatus.PAID, Decimal(25))
    rows = BalanceApplication.objects.order_by("amount").values_list("credit_memo_id", "amount")
    assert list(rows) == [(memos[0].id, Decimal(10)), (memos[1].id, Decimal(15))]
    assert credit_of(customer) == {"USD": Decimal(35)}
    entries = JournalEntry.objects.filter(kind="balance_applied")
    assert entries.count() == 2
    second = make_issued(customer, ["50.00"])
    assert (second.status, second.amount_due.amount) == (InvoiceStatus.ISSUED, Decimal(15))
    assert credit_of(customer) == {}


def test_credit_stays_in_its_currency_and_with_its_customer() -> None:
    customer = make_customer()
    make_issued(customer, ["-10.00"])
    assert make_issued(customer, ["5.00"], currency="EUR").balance_applied.amount == 0
    assert make_issued(make_customer(customer.tenant), ["5.00"]).balance_applied.amount == 0


@pytest.mark.holds("I6")
def test_issuing_twice_keeps_the_number() -> None:
    invoice = make_issued(make_customer())
    again = issue_invoice(
        invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT + timedelta(days=1)
    )
    assert (again.number, again.issued_at) == (1, AT)
    assert events_of(invoice) == ["invoice.issued"]
    assert NumberSequence.objects.get().last_number == 1


def test_what_cannot_be_issued() -> None:
    customer = make_customer()
    with pytest.raises(InvoiceEmpty):
        issued(make_draft(customer, []))
    assert NumberSequence.objects.count() == 0
    canceled = make_issued(make_customer())
    with tenant_scope(canceled.tenant_id):
        cancel_invoice(canceled.id, tenant_id=canceled.tenant_id, actor=ACTOR, at=AT)
    with pytest.raises(InvoiceCanceled):
        issued(canceled)
    with pytest.raises(NotFound):
        issue_invoice(new_id(), tenant_id=customer.tenant_id, actor=ACTOR, at=AT)
    with pytest.raises(NotFound):
        issue_invoice(canceled.id, tenant_id=customer.tenant_id, actor=ACTOR, at=AT)


@pytest.mark.parametrize("count", [3, 30])
def test_a_block_takes_the_same_statements_however_many(count: int) -> None:
    tenant = make_tenant()
    warm = make_customer(tenant)
    make_issued(warm, ["-1.00"])
    make_issued(warm, ["1.00"])
    customers = [make_customer(tenant) for _ in range(count)]
    for customer in customers:
        make_issued(customer, ["-5.00"])
    drafts = [make_draft(customer, ["5.00", "1.00"]).id for customer in customers]
    zero = make_draft(warm, ["0.00"])
    with transaction.atomic():
        lock_rows(Customer, [one.id for one in [*customers, warm]], tenant_id=tenant.id)
        with CaptureQueriesContext(connection) as queries:
            issue_documents([*drafts, zero.id], tenant_id=tenant.id, actor=ACTOR, at=AT)
    assert len(queries) == 23
    numbers = Invoice.objects.filter(id__in=drafts).order_by("id").values_list("number", flat=True)
    assert list(numbers) == list(range(2, count + 2))
    assert fresh(zero).number == count + 2


def test_drafts_are_issued_when_their_grace_ends() -> None:
    tenant = make_tenant()
    due = make_waiting(make_customer(tenant))
    later = make_waiting(make_customer(tenant), issue_after=AT + timedelta(seconds=1))
    by_hand = make_waiting(make_customer(tenant), issue_after=None)
    assert issue_due(AT, actor=ACTOR) == 1
    assert issue_due(AT, actor=ACTOR) == 0
    statuses = [fresh(one).status for one in (due, later, by_hand)]
    assert statuses == [InvoiceStatus.ISSUED, InvoiceStatus.DRAFT, InvoiceStatus.DRAFT]


@pytest.mark.holds("J7", "F61")
def test_a_draft_that_cannot_be_issued_stops_no_other(caplog: Any) -> None:
    tenant = make_tenant()
    bad = make_waiting(make_customer(tenant))
    with unguarded("subscriptions_subscription"):
        Subscription.objects.filter(customer=bad.customer).update(currency="JPY")
    good = make_waiting(make_customer(tenant))
    assert issue_due(AT, actor=ACTOR) == 1
    assert [fresh(one).status for one in (bad, good)] == [
        InvoiceStatus.DRAFT,
        InvoiceStatus.ISSUED,
    ]
    assert f"draft {bad.id} could not be issued" in caplog.text


def test_drafts_of_customers_on_a_clock_follow_the_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    here = make_waiting(make_customer(tenant))
    there = make_waiting(make_customer(tenant, test_clock_id=clock.id))
    other = make_waiting(make_customer())
    assert issue_due(AT, actor=ACTOR, tenant_id=tenant.id) == 1
    assert fresh(there).status == InvoiceStatus.DRAFT
    assert issue_due(AT, actor=ACTOR, clock_id=clock.id) == 1
    assert [fresh(one).status for one in (here, there, other)] == [
        InvoiceStatus.ISSUED,
        InvoiceStatus.ISSUED,
        InvoiceStatus.DRAFT,
    ]
