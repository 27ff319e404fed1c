"""Issuing drafts: balance applied, books posted, frozen for ever, numbered last."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from msgspec import json

from apps.core.bulk import Column, Same
from apps.core.errors import NotFound
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.locks import lock_row, lock_rows
from apps.core.states import move_rows
from apps.customers.models import Customer
from apps.invoicing.covering import cover_drafts, tell_of_credit_sold
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
from apps.invoicing.operations.credit_tax import tax_what_credit_leaves
from apps.invoicing.queries import buyers_of, open_credit, seller_of
from apps.invoicing.unused import tell_of_unused
from apps.ledger.domain import Amount, Fact, FactKind, NewEntry, entry_for
from apps.ledger.operations import post_all
from apps.tenants.domain import CreditTaxed
from apps.tenants.models import Tenant

_ZERO: Final = Decimal(0)


class Draft(NamedTuple):
    """What issuing must know of a draft; amounts in ``currency``."""

    id: UUID
    customer_id: UUID
    kind: DocumentKind
    currency: str
    subtotal: Decimal
    discount: Decimal
    tax: Decimal
    total: Decimal
    sells_credit: bool = False
    gives_back: bool = False  # beyond any correction
    waits: bool = False  # for an operator, to whom the tenant's policy leaves corrections


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
    issue_documents([invoice_id], tenant_id=tenant_id, actor=actor, at=at)
    document = Invoice.objects.get(id=invoice_id)
    if document.status == InvoiceStatus.CANCELED:
        raise InvoiceCanceled(f"{document} was issued and then canceled.")
    return document


@transaction.atomic
def issue_documents(
    invoice_ids: Iterable[UUID], *, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Issue those documents of the tenant that are drafts, as ``issue_drafts`` does.

    The caller holds the locks of their customers. Documents that are issued already stay as they
    are. Raises ``InvoiceEmpty`` and issues nothing if one has no lines.
    """
    wanted = list(invoice_ids)
    covered = cover_drafts(wanted, tenant_id=tenant_id, actor=actor, at=at)
    documents = lock_rows(Invoice, wanted, tenant_id=tenant_id)
    drafts = [_draft_of(one) for one in documents if one.status == InvoiceStatus.DRAFT]
    if drafts:
        _refuse_empty(drafts)
        tenant = Tenant.objects.get(id=tenant_id)
        issue_drafts(drafts, tenant=tenant, covered=covered, actor=actor, at=at)


def issue_drafts(
    drafts: Sequence[Draft],
    *,
    tenant: Tenant,
    covered: Mapping[UUID, Decimal] | None = None,
    actor: str,
    at: datetime,
) -> None:
    """Issue drafts that have lines and that the caller has locked, or made in his transaction.

    Whoever locks them must ask before what prepaid credit pays of them (``covered``): wallets are
    locked first. For each: what credit memos of the customer have left in its currency is applied, the oldest
    first; who sells and who buys is written down; the books are posted; and as the last step it
    gets its number, in the order of ids and without gaps. From then on only what is paid of it
    changes. An invoice that leaves nothing to pay is paid at once. The number of statements does
    not depend on how many there are.
    """
    if not drafts:
        return
    drafts = sorted(drafts, key=lambda one: one.id.int)
    if covered is None:
        covered = cover_drafts([one.id for one in drafts], tenant_id=tenant.id, actor=actor, at=at)
    if covered and tenant.credit_taxed == CreditTaxed.ON_PURCHASE:
        taxes = tax_what_credit_leaves(list(covered))
        drafts = [_taxed(one, taxes[one.id]) if one.id in taxes else one for one in drafts]
    used = _apply_credit(drafts, covered, tenant.id, at)
    failpoint("invoicing.issue.after_credit")
    frozen = _written_down(drafts, tenant, at)
    post_all(_entries(drafts, used, covered, tenant.id, at), at=at)
    failpoint("invoicing.issue.after_post")
    series, numbers = _number(drafts, tenant)
    failpoint("invoicing.issue.after_number")
    move_rows(
        Invoice,
        [one.id for one in drafts],
        tenant_id=tenant.id,
        was=InvoiceStatus.DRAFT,
        to=InvoiceStatus.ISSUED,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also={
            **frozen,
            "series": series,
            "number": numbers,
            "balance_applied": [used.applied(one.id) for one in drafts],
            "credit_applied": [covered.get(one.id, _ZERO) for one in drafts],
        },
    )
    failpoint("invoicing.issue.after_move")
    settled = [
        one.id
        for one in drafts
        if one.kind is DocumentKind.INVOICE
        and one.total == used.applied(one.id) + covered.get(one.id, _ZERO)
    ]
    move_rows(
        Invoice,
        settled,
        tenant_id=tenant.id,
        was=InvoiceStatus.ISSUED,
        to=InvoiceStatus.PAID,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also={"closed_at": Same(at)},
    )
    corrections = [
        one.id for one in drafts if one.kind is DocumentKind.CREDIT_MEMO and not one.gives_back
    ]
    tell_of_unused(corrections, tenant_id=tenant.id, actor=actor, at=at)
    selling = {one.id for one in drafts if one.sells_credit}
    tell_of_credit_sold(selling.intersection(settled), tenant_id=tenant.id, actor=actor, at=at)


def _taxed(draft: Draft, tax: Decimal) -> Draft:
    return draft._replace(tax=tax, total=draft.subtotal - draft.discount + tax)


def _draft_of(document: Invoice) -> Draft:
    return Draft(
        id=document.id,
        customer_id=document.customer_id,
        kind=DocumentKind(document.kind),
        currency=document.currency,
        subtotal=document.subtotal.amount,
        discount=document.discount.amount,
        tax=document.tax.amount,
        total=document.total.amount,
        sells_credit=document.sells_credit,
        gives_back=document.credits_id is not None,
    )


def _refuse_empty(drafts: Sequence[Draft]) -> None:
    empty = Invoice.objects.filter(id__in=[one.id for one in drafts], lines=None).first()
    if empty is not None:
        raise InvoiceEmpty(f"The draft {empty.public_id} has no lines; there is nothing to issue.")


class _Used:
    """The customers' balance that drafts use."""

    def __init__(self) -> None:
        self.rows: list[tuple[Draft, BalanceApplication]] = []
        self._by_draft: dict[UUID, Decimal] = {}

    def add(self, draft: Draft, row: BalanceApplication) -> None:
        self.rows.append((draft, row))
        self._by_draft[draft.id] = self.applied(draft.id) + row.amount

    def applied(self, draft_id: UUID) -> Decimal:
        return self._by_draft.get(draft_id, _ZERO)


def _apply_credit(
    drafts: Sequence[Draft], covered: Mapping[UUID, Decimal], tenant_id: UUID, at: datetime
) -> _Used:
    asking = [one for one in drafts if one.kind is DocumentKind.INVOICE and one.total]
    credit = open_credit({one.customer_id for one in asking}, tenant_id=tenant_id)
    used = _Used()
    for draft in asking if credit else ():
        # a customer has at most one draft per currency, so no memo is asked twice
        rest = draft.total - covered.get(draft.id, _ZERO)
        for memo in use_credit(rest, credit.get((draft.customer_id, draft.currency), ())):
            row = BalanceApplication(
                tenant_id=tenant_id,
                credit_memo_id=memo.memo_id,
                invoice_id=draft.id,
                amount=memo.left,
                currency=draft.currency,
                applied_at=at,
            )
            used.add(draft, row)
    BalanceApplication.objects.bulk_create([row for _, row in used.rows])
    return used


def _written_down(drafts: Sequence[Draft], tenant: Tenant, at: datetime) -> dict[str, Column]:
    """Return who sells, who buys and when, as columns."""
    seller = seller_of(tenant)
    if seller["logo"]:
        logo = IssuedLogo(tenant=tenant, sha256=seller["logo"], image=tenant.logo)
        IssuedLogo.objects.bulk_create([logo], ignore_conflicts=True)
    buyers = buyers_of({one.customer_id for one in drafts})
    due_at = {DocumentKind.INVOICE: at + tenant.payment_term, DocumentKind.CREDIT_MEMO: at}
    return {
        "seller": Same(json.encode(seller)),
        "buyer": [json.encode(buyers[one.customer_id]) for one in drafts],
        "issued_at": Same(at),
        "due_at": [due_at[one.kind] for one in drafts],
    }


def _entries(
    drafts: Sequence[Draft],
    used: _Used,
    covered: Mapping[UUID, Decimal],
    tenant_id: UUID,
    at: datetime,
) -> list[NewEntry]:
    entries = [entry_for(_issued_fact(one, tenant_id, at)) for one in drafts]
    # what a memo gives back as prepaid credit is not added to the customer's balance
    entries += [
        entry_for(
            Fact(
                kind=FactKind.BALANCE_APPLIED,
                tenant_id=tenant_id,
                source_key=f"{encode(Invoice.ID_PREFIX, one.id)}:credit",
                effective_at=at,
                currency=one.currency,
                customer_id=one.customer_id,
                amounts={Amount.MOVED: -covered[one.id]},
            )
        )
        for one in drafts
        if one.kind is DocumentKind.CREDIT_MEMO and covered.get(one.id)
    ]
    entries += [
        entry_for(
            Fact(
                kind=FactKind.BALANCE_APPLIED,
                tenant_id=tenant_id,
                source_key=row.public_id,
                effective_at=at,
                currency=row.currency,
                customer_id=draft.customer_id,
                amounts={Amount.MOVED: row.amount},
            )
        )
        for draft, row in used.rows
    ]
    return entries


def _issued_fact(draft: Draft, tenant_id: UUID, at: datetime) -> Fact:
    asks = draft.kind is DocumentKind.INVOICE
    net = draft.subtotal - draft.discount
    part = Amount.GIVEN_BACK if draft.gives_back else Amount.NET
    return Fact(
        kind=FactKind.INVOICE_ISSUED if asks else FactKind.CREDIT_MEMO_ISSUED,
        tenant_id=tenant_id,
        source_key=encode(Invoice.ID_PREFIX, draft.id),
        effective_at=at,
        currency=draft.currency,
        customer_id=draft.customer_id,
        amounts={
            Amount.TOTAL: draft.total if asks else -draft.total,
            Amount.CREDIT_SOLD if draft.sells_credit else part: net if asks else -net,
            Amount.TAX: draft.tax if asks else -draft.tax,
        },
    )


def _number(drafts: Sequence[Draft], tenant: Tenant) -> tuple[list[str], list[int]]:
    """Return the series of each draft and its number in it."""
    prefixes = {
        DocumentKind.INVOICE: tenant.invoice_prefix,
        DocumentKind.CREDIT_MEMO: tenant.credit_memo_prefix,
    }
    series = [prefixes[one.kind] for one in drafts]
    taken = {
        one: iter(take_numbers(tenant.id, one, count))
        for one, count in sorted(Counter(series).items())
    }
    return series, [next(taken[one]) for one in series]
