"""Issuing drafts: balance applied, books posted, frozen for ever, numbered last."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.locks import lock_row, lock_rows
from apps.core.states import move_all
from apps.customers.models import Customer
from apps.invoicing.domain import (
    INVOICE_TRANSITIONS,
    DocumentKind,
    InvoiceCanceled,
    InvoiceEmpty,
    InvoiceStatus,
    use_credit,
)
from apps.invoicing.models import BalanceApplication, Invoice, IssuedLogo
from apps.invoicing.numbering import take_numbers
from apps.invoicing.queries import buyers_of, open_credit, seller_of
from apps.ledger.domain import Amount, Fact, FactKind, NewEntry, entry_for
from apps.ledger.operations import post_all
from apps.tenants.models import Tenant

_FROZEN: Final = ("series", "number", "seller", "buyer", "balance_applied", "issued_at", "due_at")


@transaction.atomic
def issue_invoice(invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Invoice:
    """Issue one draft, as ``issue_documents`` does, and return it.

    A document that is issued already is returned as it is: it keeps its number. Raises
    ``NotFound``, ``InvoiceEmpty`` for a draft without lines, and ``InvoiceCanceled``.
    """
    draft = Invoice.objects.filter(id=invoice_id, tenant_id=tenant_id).first()
    if draft is None:
        raise NotFound("There is no such invoice.")
    lock_row(Customer, draft.customer_id, tenant_id=tenant_id)
    (document,) = issue_documents([invoice_id], tenant_id=tenant_id, actor=actor, at=at)
    if document.status == InvoiceStatus.CANCELED:
        raise InvoiceCanceled(f"{document} was issued and then canceled.")
    return document


@transaction.atomic
def issue_documents(
    invoice_ids: Iterable[UUID], *, tenant_id: UUID, actor: str, at: datetime
) -> list[Invoice]:
    """Issue those documents of the tenant that are drafts, and return all of them, by id.

    The caller holds the locks of their customers. For each draft: what credit memos of the
    customer have left in its currency is applied, the oldest first; who sells and who buys is
    written down; the books are posted; and as the last step it gets its number, in the order of
    ids and without gaps. From then on only what is paid of it changes. An invoice that leaves
    nothing to pay is paid at once. The number of statements does not depend on how many there
    are. Documents that are issued already stay as they are. Raises ``InvoiceEmpty`` and issues
    nothing if one has no lines.
    """
    documents = lock_rows(Invoice, invoice_ids, tenant_id=tenant_id)
    drafts = [one for one in documents if one.status == InvoiceStatus.DRAFT]
    if not drafts:
        return documents
    _refuse_empty(drafts)
    tenant = Tenant.objects.get(id=tenant_id)
    applied = _apply_credit(drafts, tenant_id, at)
    _write_down(drafts, tenant, at)
    post_all(_entries(drafts, applied, at), at=at)
    _number(drafts, tenant)
    move_all(
        drafts,
        to=InvoiceStatus.ISSUED,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also=_FROZEN,
    )
    settled = [
        one for one in drafts if one.kind == DocumentKind.INVOICE and not one.open_amount.amount
    ]
    for invoice in settled:
        invoice.closed_at = at
    move_all(
        settled,
        to=InvoiceStatus.PAID,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also=("closed_at",),
    )
    return documents


def _refuse_empty(drafts: Sequence[Invoice]) -> None:
    empty = Invoice.objects.filter(id__in=[one.id for one in drafts], lines=None).first()
    if empty is not None:
        raise InvoiceEmpty(f"The draft {empty.public_id} has no lines; there is nothing to issue.")


def _apply_credit(
    drafts: Sequence[Invoice], tenant_id: UUID, at: datetime
) -> list[BalanceApplication]:
    asking = [one for one in drafts if one.kind == DocumentKind.INVOICE and one.total.amount]
    credit = open_credit({one.customer_id for one in asking}, tenant_id=tenant_id)
    applied = []
    for invoice in asking:
        # a customer has at most one draft per currency, so no memo is asked twice
        used = use_credit(
            invoice.total.amount, credit.get((invoice.customer_id, invoice.currency), ())
        )
        invoice.balance_applied = sum((one.left for one in used), Decimal(0))
        applied += [
            BalanceApplication(
                tenant_id=tenant_id,
                credit_memo_id=one.memo_id,
                invoice=invoice,
                amount=one.left,
                currency=invoice.currency,
                applied_at=at,
            )
            for one in used
        ]
    return BalanceApplication.objects.bulk_create(applied)


def _write_down(drafts: Sequence[Invoice], tenant: Tenant, at: datetime) -> None:
    seller = seller_of(tenant)
    if seller["logo"]:
        logo = IssuedLogo(tenant=tenant, sha256=seller["logo"], image=tenant.logo)
        IssuedLogo.objects.bulk_create([logo], ignore_conflicts=True)
    buyers = buyers_of({one.customer_id for one in drafts})
    for document in drafts:
        document.seller = seller
        document.buyer = buyers[document.customer_id]
        document.issued_at = at
        asks = document.kind == DocumentKind.INVOICE
        document.due_at = at + tenant.payment_term if asks else at


def _entries(
    drafts: Sequence[Invoice], applied: Sequence[BalanceApplication], at: datetime
) -> list[NewEntry]:
    entries = [entry_for(_issued_fact(document, at)) for document in drafts]
    entries += [
        entry_for(
            Fact(
                kind=FactKind.BALANCE_APPLIED,
                tenant_id=one.tenant_id,
                source_key=one.public_id,
                effective_at=at,
                currency=one.currency,
                customer_id=one.invoice.customer_id,
                amounts={Amount.MOVED: one.amount},
            )
        )
        for one in applied
    ]
    return entries


def _issued_fact(document: Invoice, at: datetime) -> Fact:
    asks = document.kind == DocumentKind.INVOICE
    sign = 1 if asks else -1
    net = document.subtotal.amount - document.discount.amount
    return Fact(
        kind=FactKind.INVOICE_ISSUED if asks else FactKind.CREDIT_MEMO_ISSUED,
        tenant_id=document.tenant_id,
        source_key=document.public_id,
        effective_at=at,
        currency=document.currency,
        customer_id=document.customer_id,
        amounts={
            Amount.TOTAL: sign * document.total.amount,
            Amount.NET: sign * net,
            Amount.TAX: sign * document.tax.amount,
        },
    )


def _number(drafts: Iterable[Invoice], tenant: Tenant) -> None:
    prefixes: Mapping[str, str] = {
        DocumentKind.INVOICE: tenant.invoice_prefix,
        DocumentKind.CREDIT_MEMO: tenant.credit_memo_prefix,
    }
    by_series: dict[str, list[Invoice]] = defaultdict(list)
    for document in drafts:
        by_series[prefixes[document.kind]].append(document)
    for series, documents in sorted(by_series.items()):
        numbers = take_numbers(tenant.id, series, len(documents))
        for document, number in zip(documents, numbers, strict=True):
            document.series, document.number = series, number
