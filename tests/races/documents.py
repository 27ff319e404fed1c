"""Races for documents: billing, issuing, canceling, giving up, numbering."""

from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine, NumberSequence
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.invoicing.operations.closing import cancel_invoice, mark_overdue, write_off_invoice
from apps.invoicing.operations.drafts import issue_due
from apps.invoicing.operations.issuing import issue_invoice
from apps.ledger.models import JournalEntry
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued, make_waiting
from tests.make.metering import count_all, make_meter
from tests.make.races import counted, refusals, winners
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.races.course import Race

DAY = timedelta(days=1)
LATER = AT + 40 * DAY


def told(document: Invoice, **more: Any) -> dict[str, Any]:
    return {"tenant_id": document.tenant_id, "actor": ACTOR, "at": AT, **more}


def entries(kind: str, document: Invoice) -> int:
    """Return how many facts of a kind the tenant of the document has in its books."""
    return JournalEntry.objects.filter(kind=kind, tenant_id=document.tenant_id).count()


def close_by_close() -> Race:
    tenant = make_tenant()
    customers = [make_customer(tenant) for _ in range(4)]
    plan = make_plan(tenant)
    for customer in customers:
        make_subscription(customer, plan)

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        assert sum(results) == 4
        assert Invoice.objects.filter(tenant=tenant).count() == 4

    return Race([lambda: close_due(AT, actor=ACTOR, tenant_id=tenant.id).documents] * 4, judge)


def close_by_ingest() -> Race:
    customer = _user()
    sender = sender_of(customer.tenant)

    def ingest(first: int) -> int:
        receipts = ingest_batch(
            sender,
            [
                {
                    "idempotency_key": f"{customer.id}-{number}",
                    "event_name": "calls",
                    "customer": customer.public_id,
                    "timestamp": (AT + number * timedelta(minutes=1)).isoformat(),
                    "value": "1",
                }
                for number in range(first, first + 20)
            ],
            at=AT + 32 * DAY,
        )
        return sum(one.status == "accepted" for one in receipts)

    def close() -> int:
        return close_due(AT + 32 * DAY, actor=ACTOR, tenant_id=customer.tenant_id).documents

    def judge(results: list[Any]) -> None:
        assert results[:4] == [20] * 4
        count_all()
        bill_customer(
            customer.id,
            tenant_id=customer.tenant_id,
            request_id=new_id(),
            cutoff=LATER,
            issue=True,
            actor=ACTOR,
            at=LATER,
        )
        lines = InvoiceLine.objects.filter(invoice__customer=customer)
        assert sum(line.amount for line in lines) == Decimal("0.80")

    return Race([*(partial(ingest, first) for first in (0, 20, 40, 60)), close, close], judge)


def close_by_hand() -> Race:
    customer = make_customer()
    make_subscription(customer, make_plan(customer.tenant))

    def bill() -> int:
        return len(
            bill_customer(
                customer.id,
                tenant_id=customer.tenant_id,
                request_id=new_id(),
                cutoff=AT,
                issue=True,
                actor=ACTOR,
                at=AT,
            )
        )

    def close() -> int:
        return close_due(AT, actor=ACTOR, tenant_id=customer.tenant_id).documents

    def judge(results: list[Any]) -> None:
        assert sum(results) == 1
        assert [one.total.amount for one in Invoice.objects.filter(customer=customer)] == [49]

    return Race([bill, close] * 3, judge)


def one_request_by_itself() -> Race:
    customer = make_customer()
    make_subscription(customer, make_plan(customer.tenant))
    request = new_id()

    def bill() -> list[Any]:
        made = bill_customer(
            customer.id,
            tenant_id=customer.tenant_id,
            request_id=request,
            cutoff=AT,
            issue=True,
            actor=ACTOR,
            at=AT,
        )
        return [one.id for one in made]

    def judge(results: list[Any]) -> None:
        document = Invoice.objects.get(customer=customer)
        assert results == [[document.id]] * 6

    return Race([bill] * 6, judge)


def issue_by_issue() -> Race:
    draft = make_draft(make_customer())

    def judge(results: list[Any]) -> None:
        assert results == [1] * 10
        assert entries("invoice_issued", draft) == 1

    return Race([lambda: issue_invoice(draft.id, **told(draft)).number] * 10, judge)


def issue_by_close() -> Race:
    """A draft is issued by hand while a run computes it anew with what has come due since."""
    customer = make_customer()
    make_subscription(customer, make_plan(customer.tenant))
    (draft,) = bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=AT,
        issue=False,
        actor=ACTOR,
        at=AT,
    )

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        close_due(LATER, actor=ACTOR, tenant_id=draft.tenant_id)  # whom the other held
        for left in Invoice.objects.filter(customer=customer, status=InvoiceStatus.DRAFT):
            issue_invoice(left.id, **told(left, at=LATER))
        billed = Invoice.objects.filter(customer=customer)
        assert sum(one.total.amount for one in billed) == 98

    return Race(
        [
            lambda: issue_invoice(draft.id, **told(draft)).status,
            lambda: close_due(LATER, actor=ACTOR, tenant_id=draft.tenant_id).documents,
        ]
        * 2,
        judge,
    )


def sweep_by_sweep() -> Race:
    tenant = make_tenant()
    drafts = [make_waiting(make_customer(tenant)) for _ in range(4)]

    def judge(results: list[Any]) -> None:
        assert sum(results) == 4
        assert sorted(fresh(one).number or 0 for one in drafts) == [1, 2, 3, 4]

    return Race([lambda: issue_due(AT, actor=ACTOR, tenant_id=tenant.id)] * 4, judge)


def fifty_numbers() -> Race:
    tenant = make_tenant()
    drafts = [make_draft(make_customer(tenant)) for _ in range(50)]

    def issue_two(first: int) -> list[Any]:
        return [
            issue_invoice(draft.id, **told(draft)).number for draft in drafts[first : first + 2]
        ]

    def judge(results: list[Any]) -> None:
        assert sorted(number for pair in results for number in pair) == list(range(1, 51))
        assert NumberSequence.objects.get(tenant=tenant).last_number == 50

    return Race([partial(issue_two, first) for first in range(0, 50, 2)], judge)


def cancel_by_cancel() -> Race:
    invoice = make_issued(make_customer())

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert refusals(results) == ["illegal_transition"] * 4
        assert entries("invoice_canceled", invoice) == 1

    return Race([lambda: cancel_invoice(invoice.id, **told(invoice)).status] * 5, judge)


def write_off_by_write_off() -> Race:
    invoice = make_issued(make_customer())

    def judge(results: list[Any]) -> None:
        assert results == [InvoiceStatus.WRITTEN_OFF] * 5
        assert entries("invoice_written_off", invoice) == 1

    return Race(
        [lambda: write_off_invoice(invoice.id, reason="x", **told(invoice)).status] * 5, judge
    )


def cancel_by_write_off() -> Race:
    invoice = make_issued(make_customer())

    def judge(results: list[Any]) -> None:
        canceled = fresh(invoice).status == InvoiceStatus.CANCELED
        refused = ["invoice_not_collectable"] if canceled else ["illegal_transition"]
        assert refusals(results) == refused
        assert entries("invoice_canceled", invoice) + entries("invoice_written_off", invoice) == 1

    return Race(
        [
            lambda: cancel_invoice(invoice.id, **told(invoice)),
            lambda: write_off_invoice(invoice.id, reason="x", **told(invoice)),
        ],
        judge,
    )


def overdue_by_overdue() -> Race:
    customer = make_customer()
    for _ in range(4):
        make_issued(customer)

    def judge(results: list[Any]) -> None:
        mark_overdue(LATER, actor=ACTOR, tenant_id=customer.tenant_id)
        assert sum(results) <= 4
        statuses = [one.status for one in Invoice.objects.filter(customer=customer)]
        assert counted(statuses) == {InvoiceStatus.OVERDUE: 4}

    return Race([lambda: mark_overdue(LATER, actor=ACTOR, tenant_id=customer.tenant_id)] * 4, judge)


def credit_by_credit() -> Race:
    """An invoice that used up a memo is canceled while the next one asks for the same credit."""
    customer = make_customer()
    make_issued(customer, ["-10.00"])
    first = make_issued(customer, ["25.00"])
    second = make_draft(customer, ["25.00"])
    assert first.balance_applied.amount == 10

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        third = make_issued(customer, ["25.00"])
        used = [fresh(one).balance_applied.amount for one in (second, third)]
        assert sorted(used) == [0, 10]

    return Race(
        [
            lambda: cancel_invoice(first.id, **told(first)),
            lambda: issue_invoice(second.id, **told(second)),
        ],
        judge,
    )


def _user() -> Customer:
    customer = make_customer()
    meter = make_meter(customer.tenant, key="calls")
    usage = {"meter": meter.key, "pricing": {"model": "per_unit", "unit_price": "0.01"}}
    make_subscription(customer, make_plan(customer.tenant, [usage]))
    return customer
