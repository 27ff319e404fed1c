"""Documents for tests: drafts written straight into the tables, issued by the operation."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import DocumentKind, LineKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.issuing import issue_invoice
from apps.invoicing.queries import open_credit
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.scope import in_its_scope
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT

DERIVATION: dict[str, Any] = {
    "price_list": "",
    "price_list_id": None,
    "share": [1, 1],
    "included": "0",
    "measured": {"quantity": "1"},
    "rated": None,
    "exact": "0",
    "expected": "0",
    "already_billed": "0",
}


@in_its_scope
def make_draft(
    customer: Customer,
    amounts: Sequence[str] = ("100.00", "49.00"),
    *,
    at: datetime = AT,
    descriptions: Sequence[str] = (),
    **values: Any,
) -> Invoice:
    """Return a new draft with a line per amount: a credit memo if they add up below zero."""
    currency = values.pop("currency", customer.currency)
    total = sum((Decimal(amount) for amount in amounts), Decimal(0))
    draft = Invoice.objects.create(
        tenant_id=customer.tenant_id,
        customer=customer,
        currency=currency,
        kind=DocumentKind.CREDIT_MEMO if total < 0 else DocumentKind.INVOICE,
        created_at=at,
        **{
            "cutoff_at": at,
            "period_start": at - timedelta(days=30),
            "period_end": at,
            "subtotal": total,
            "discount": 0,
            "tax": 0,
            "total": total,
            "balance_applied": 0,
            "amount_paid": 0,
            "zone": customer.zone,
            **values,
        },
    )
    make_lines(draft, amounts, at=at, descriptions=descriptions)
    return draft


@in_its_scope
def make_lines(
    draft: Invoice,
    amounts: Sequence[str],
    *,
    at: datetime = AT,
    descriptions: Sequence[str] = (),
    first: int = 0,
    **values: Any,
) -> list[InvoiceLine]:
    """Return new recurring lines of the draft, each of a subscription of its own."""
    start = at - timedelta(days=30)
    return InvoiceLine.objects.bulk_create(
        InvoiceLine(
            tenant_id=draft.tenant_id,
            invoice=draft,
            position=position,
            kind=LineKind.RECURRING,
            subscription_id=new_id(),
            charge_id=new_id(),
            period_start=start,
            period_end=at,
            service_start=start,
            service_end=at,
            segment_start=start,
            sequence=0,
            description=descriptions[position - first] if descriptions else f"Line {position + 1}",
            quantity=1,
            amount=Decimal(amount),
            derivation=DERIVATION,
            **{"currency": draft.currency, **values},
        )
        for position, amount in enumerate(amounts, first)
    )


def make_issued(
    customer: Customer, amounts: Sequence[str] = ("149.00",), *, at: datetime = AT, **values: Any
) -> Invoice:
    """Return a new issued invoice or credit memo of the customer."""
    return issued(make_draft(customer, amounts, at=at, **values), at=at)


@in_its_scope
def issued(draft: Invoice, *, at: datetime = AT) -> Invoice:
    """Issue the draft and return it."""
    return issue_invoice(draft.id, tenant_id=draft.tenant_id, actor=ACTOR, at=at)


def fresh(document: Invoice | UUID) -> Invoice:
    """Return the document as the database has it."""
    if isinstance(document, UUID):
        return Invoice.objects.get(pk=document)
    with tenant_scope(document.tenant_id):
        return Invoice.objects.get(pk=document.pk)


@in_its_scope
def make_waiting(customer: Customer, *, issue_after: datetime | None = AT) -> Invoice:
    """Return the draft of a base fee whose grace ends at ``issue_after`` (None: never)."""
    day = timedelta(days=1)
    tenant = customer.tenant
    tenant.grace_period = day
    tenant.save()
    fee = {**BASE_FEE, "timing": "arrears"}
    cutoff = (issue_after or AT) - day
    make_subscription(customer, make_plan(tenant, [fee]), at=cutoff - 40 * day)
    (draft,) = bill_customer(
        customer.id,
        tenant_id=tenant.id,
        request_id=new_id(),
        cutoff=cutoff,
        issue=issue_after is not None,
        actor=ACTOR,
        at=cutoff,
    )
    return draft


@in_its_scope
def credit_of(customer: Customer) -> dict[str, Decimal]:
    """Return by currency what the customer's credit memos have left for his next invoices."""
    return {
        currency: sum((memo.left for memo in memos), Decimal(0))
        for (_, currency), memos in open_credit([customer.id], tenant_id=customer.tenant_id).items()
    }
