"""Documents under many hands: real connections, real commits."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection, transaction
from moneyed import Money

from apps.core.errors import BillingError
from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice, NumberSequence
from apps.invoicing.operations import billing
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.invoicing.operations.drafts import issue_due
from apps.invoicing.operations.issuing import issue_invoice
from apps.invoicing.operations.payments_received import record_payment
from apps.ledger.models import JournalEntry
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import credit_of, fresh, make_draft, make_issued, make_waiting
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db(transaction=True)


class _RolledBack(Exception):
    pass


def together(*calls: Callable[[], object]) -> list[object]:
    """Begin all calls at once, each on its own connection; return results and refusals."""
    start = Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        try:
            start.wait(timeout=20)
            return call()
        except (BillingError, _RolledBack) as refused:
            return refused
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def refusals(results: Sequence[object]) -> list[str]:
    return [one.reason for one in results if isinstance(one, BillingError)]


def test_twenty_times_issue_is_one_number() -> None:
    draft = make_draft(make_customer())

    def issue() -> object:
        return issue_invoice(draft.id, tenant_id=draft.tenant_id, actor=ACTOR, at=AT).number

    assert together(*[issue] * 20) == [1] * 20
    assert NumberSequence.objects.get().last_number == 1
    assert JournalEntry.objects.filter(kind="invoice_issued").count() == 1


@pytest.mark.holds("I4")
def test_numbers_have_no_gaps_however_many_roll_back() -> None:
    tenant = make_tenant()
    drafts = [make_draft(make_customer(tenant)) for _ in range(40)]
    dice = random.Random(7)  # noqa: S311 -- any choice will do
    lucky = [dice.random() < 0.5 for _ in drafts]

    def issue(draft: Invoice, *, keep: bool) -> object:
        with transaction.atomic():
            issue_invoice(draft.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
            if not keep:
                raise _RolledBack
        return None

    for first in range(0, len(drafts), 10):
        together(
            *(
                lambda draft=draft, keep=keep: issue(draft, keep=keep)
                for draft, keep in zip(
                    drafts[first : first + 10], lucky[first : first + 10], strict=True
                )
            )
        )
    numbers = Invoice.objects.exclude(number=None).order_by("number")
    assert list(numbers.values_list("number", flat=True)) == list(range(1, sum(lucky) + 1))
    assert NumberSequence.objects.get().last_number == sum(lucky)


def test_one_memo_pays_two_invoices_only_once() -> None:
    customer = make_customer()
    make_issued(customer, ["-10.00"])
    drafts = [make_draft(customer, ["10.00"])]
    results = together(
        *[
            lambda: (
                issue_invoice(drafts[0].id, tenant_id=customer.tenant_id, actor=ACTOR, at=AT).status
            )
        ]
        * 5
    )
    assert results == [InvoiceStatus.PAID] * 5
    assert make_issued(customer, ["10.00"]).balance_applied.amount == 0
    assert credit_of(customer) == {}


@pytest.mark.parametrize("turn", range(5))
def test_issue_and_cancel_at_once(turn: int) -> None:
    draft = make_draft(make_customer())

    def issue() -> object:
        return issue_invoice(draft.id, tenant_id=draft.tenant_id, actor=ACTOR, at=AT)

    def cancel() -> object:
        return cancel_invoice(draft.id, tenant_id=draft.tenant_id, actor=ACTOR, at=AT)

    refused = refusals(together(issue, cancel))
    document = fresh(draft)
    assert document.number == 1
    assert (document.status, refused) in [
        (InvoiceStatus.ISSUED, ["illegal_transition"]),
        (InvoiceStatus.CANCELED, []),
    ]


@pytest.mark.parametrize("turn", range(5))
def test_pay_cancel_and_write_off_at_once(turn: int) -> None:
    invoice = make_issued(make_customer(), ["10.00"])
    tenant_id = invoice.tenant_id

    def pay() -> object:
        return record_payment(
            invoice.id, Money("10.00", "USD"), tenant_id=tenant_id, actor=ACTOR, at=AT
        )

    def cancel() -> object:
        return cancel_invoice(invoice.id, tenant_id=tenant_id, actor=ACTOR, at=AT)

    def write_off() -> object:
        return write_off_invoice(invoice.id, reason="x", tenant_id=tenant_id, actor=ACTOR, at=AT)

    refused = sorted(refusals(together(pay, cancel, write_off, pay)))
    status = fresh(invoice).status
    assert (status, refused) in [
        (
            InvoiceStatus.CANCELED,
            ["invoice_not_collectable", "invoice_not_collectable", "invoice_not_collectable"],
        ),
        # paid first, or written off and then paid after all
        (
            InvoiceStatus.PAID,
            ["illegal_transition", "invoice_not_collectable", "invoice_not_collectable"],
        ),
        (InvoiceStatus.PAID, ["illegal_transition", "invoice_not_collectable"]),
    ]
    issued_, canceled, reinstated, written = (
        JournalEntry.objects.filter(kind=kind).count()
        for kind in (
            "invoice_issued",
            "invoice_canceled",
            "invoice_reinstated",
            "invoice_written_off",
        )
    )
    assert issued_ == 1
    assert canceled == (status == InvoiceStatus.CANCELED)
    assert reinstated == written


def test_sweeps_side_by_side_issue_every_draft_once() -> None:
    tenant = make_tenant()
    drafts = [make_waiting(make_customer(tenant)) for _ in range(12)]
    results = together(*[lambda: issue_due(AT, actor=ACTOR)] * 4)
    assert sum(int(str(one)) for one in results) == 12
    numbers = sorted(str(fresh(one).number) for one in drafts)
    assert numbers == sorted(str(number) for number in range(1, 13))


def due_customers(count: int) -> list[Customer]:
    """New customers of one tenant whose base fee came due at ``AT``."""
    tenant = make_tenant()
    plan = make_plan(tenant)
    customers = [make_customer(tenant) for _ in range(count)]
    for customer in customers:
        make_subscription(customer, plan, at=AT)
    return customers


def close_all() -> int:
    return close_due(AT, actor=ACTOR).documents


def test_closing_runs_side_by_side_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "CHUNK", 2)
    customers = due_customers(15)
    results = together(*[close_all] * 3)
    assert sum(int(str(one)) for one in results) == 15
    assert sorted(Invoice.objects.values_list("customer_id", flat=True)) == sorted(
        customer.id for customer in customers
    )
    assert set(Invoice.objects.values_list("number", flat=True)) == set(range(1, 16))


def test_a_closing_run_passes_over_whom_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing, "CHUNK", 2)
    customers = due_customers(5)
    with transaction.atomic():
        for customer in customers[:3]:
            lock_row(Customer, customer.id, tenant_id=customer.tenant_id)
        (documents,) = together(close_all)
    assert documents == 2
    assert close_all() == 3
