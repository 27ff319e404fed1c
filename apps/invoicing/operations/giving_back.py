"""Giving money of an invoice back by a credit memo, and paying out what credit memos have left.

A memo made here corrects nothing that was computed: the invoice keeps its lines, and the next run
bills nothing anew because of it. What refunds take of memos is kept here too, so that no memo
gives its money twice.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import encode, new_id
from apps.core.locks import lock_rows
from apps.core.money import plain, round_money
from apps.invoicing.derivation import as_asked, encode_derivation
from apps.invoicing.domain import (
    CreditExceedsInvoice,
    CreditExceedsLeft,
    DocumentKind,
    InvoiceStatus,
    LineKind,
    NotACreditMemo,
    NotAnInvoice,
    NotCollectable,
    OpenCredit,
    amount_text,
    refuse_amount,
)
from apps.invoicing.models import CreditPaidOut, Invoice, InvoiceLine
from apps.invoicing.operations.drafting import store_taxes
from apps.invoicing.operations.issuing import issue_documents
from apps.invoicing.operations.selling import next_sequence
from apps.invoicing.parting import part_of
from apps.invoicing.queries import creditable, memos_of, open_credit
from apps.wallets.operations.clawing import claw_back

_ZERO: Final = Decimal(0)
_UNCREDITABLE: Final = frozenset({InvoiceStatus.DRAFT, InvoiceStatus.CANCELED})


@transaction.atomic
def credit_invoices(
    parts: Mapping[UUID, Decimal],
    *,
    request_id: UUID,
    reason: str,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> list[Invoice]:
    """Issue a credit memo per issued invoice that gives an amount of it back; return the memos.

    ``parts`` says how much of which invoice, in its currency. The amounts include tax, by difference
    as corrections have it (``invoicing.parting``). The money is the customer's:
    whoever calls pays it out, or it pays his next invoices. Prepaid credit that an invoice sold is
    clawed back by a reaction. The caller holds the customer's lock, and calls this once for
    what ``request_id`` names. Raises ``NotFound``, ``NotAnInvoice``, ``NotCollectable`` for a
    draft and for what is canceled, what ``refuse_amount`` raises, and ``CreditExceedsInvoice``.
    """
    invoices = lock_rows(Invoice, parts, tenant_id=tenant_id)
    if len(invoices) < len(parts):
        raise NotFound("There is no such invoice.")
    room = creditable(invoices)
    memos = []
    for invoice in invoices:
        _refuse_to_credit(invoice, parts[invoice.id], room[invoice.id])
        memos.append(
            _write(
                invoice,
                parts[invoice.id],
                room[invoice.id],
                request_id=request_id,
                reason=reason,
                actor=actor,
                at=at,
            )
        )
    failpoint("invoicing.give_back.after_draft")
    issue_documents([one.id for one in memos], tenant_id=tenant_id, actor=actor, at=at)
    for invoice, memo in zip(invoices, memos, strict=True):
        if invoice.sells_credit:
            record("invoice.credit_taken_back", memo, actor=actor, at=at, invoice=invoice.public_id)
    return list(Invoice.objects.filter(id__in=[one.id for one in memos]).order_by("id"))


def _refuse_to_credit(invoice: Invoice, amount: Decimal, left: Decimal) -> None:
    if invoice.kind != DocumentKind.INVOICE:
        raise NotAnInvoice(f"{invoice} is a credit memo; nothing of it can be given back.")
    if invoice.status in _UNCREDITABLE:
        raise NotCollectable(f"{invoice} is {invoice.status}; nothing was asked for.")
    money = Money(amount, invoice.currency)
    refuse_amount(money, document=str(invoice), currency=invoice.currency)
    if amount > left:
        raise CreditExceedsInvoice(
            f"{amount_text(money)} {invoice.currency} is more than can be given back of {invoice}:"
            f" {plain(left)}."
        )


@transaction.atomic
def pay_out_credit(
    memo_id: UUID,
    amount: Money,
    *,
    refund_id: UUID,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> CreditPaidOut:
    """Take ``amount`` of what a credit memo has left for a refund: no invoice can use it any more.

    The caller holds the customer's lock, and calls this once per refund and memo. Raises
    ``NotFound``, ``NotACreditMemo``, what ``refuse_amount`` raises, and ``CreditExceedsLeft``.
    """
    memo = memo_named(memo_id, tenant_id=tenant_id)
    refuse_amount(amount, document=str(memo), currency=memo.currency)
    left = credit_left(memo)
    if amount.amount > left:
        raise CreditExceedsLeft(
            f"{amount_text(amount)} {memo.currency} is more than {memo} has left: {plain(left)}."
        )
    taken = CreditPaidOut.objects.create(
        id=new_id(),
        tenant_id=tenant_id,
        credit_memo=memo,
        refund_id=refund_id,
        amount=amount.amount,
        currency=memo.currency,
        taken_at=at,
    )
    told = {"amount": amount_text(amount), "refund": encode("ref", refund_id)}
    record("invoice.credit_paid_out", memo, actor=actor, at=at, **told)
    return taken


@transaction.atomic
def release_credit(refund_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> None:
    """Give back to credit memos what a refund that failed had taken; a repeat does nothing."""
    taken = CreditPaidOut.objects.filter(
        refund_id=refund_id, tenant_id=tenant_id, released_at=None
    ).select_related("credit_memo")
    for part in taken.order_by("credit_memo_id"):
        part.released_at = at
        part.save(update_fields=["released_at"])
        told = {"amount": plain(part.amount), "refund": encode("ref", refund_id)}
        record("invoice.credit_released", part.credit_memo, actor=actor, at=at, **told)


@transaction.atomic
def claw_back_credit(memo_id: UUID, *, actor: str, at: datetime) -> None:
    """Take prepaid credit back whose money a credit memo gives back; a repeat does nothing."""
    memo = Invoice.objects.get(id=memo_id)
    line = InvoiceLine.objects.get(invoice=memo, kind=LineKind.CREDIT)
    if line.grant_id is None or line.corrects_id is None or memo.credits_id is None:
        raise ValueError(f"{memo} takes no credit back")
    claw_back(
        line.grant_id,
        price=-memo.subtotal.amount,
        source=memo.public_id,
        sold_by=memo.credits_id,
        tenant_id=memo.tenant_id,
        actor=actor,
        at=at,
    )


def credit_left(memo: Invoice) -> Decimal:
    """Return what a credit memo has left, in its currency; ``NotACreditMemo`` for others."""
    if memo.kind != DocumentKind.CREDIT_MEMO or memo.status != InvoiceStatus.ISSUED:
        raise NotACreditMemo(f"{memo} is no issued credit memo; it has nothing to give.")
    open_ = open_credit([memo.customer_id], tenant_id=memo.tenant_id)
    mine = [
        one for one in open_.get((memo.customer_id, memo.currency), ()) if one.memo_id == memo.id
    ]
    return mine[0].left if mine else _ZERO


def credit_about(
    invoice_ids: Iterable[UUID], customer_id: UUID, currency: str, *, tenant_id: UUID
) -> list[OpenCredit]:
    """Return what credit memos have left that give back or correct these invoices, oldest first."""
    wanted = memos_of(invoice_ids, tenant_id=tenant_id)
    open_ = open_credit([customer_id], tenant_id=tenant_id).get((customer_id, currency), ())
    return [one for one in open_ if one.memo_id in wanted]


def memo_named(memo_id: UUID, *, tenant_id: UUID) -> Invoice:
    """Return the credit memo; ``NotFound``, or ``NotACreditMemo``."""
    memo = Invoice.objects.filter(id=memo_id, tenant_id=tenant_id).first()
    if memo is None:
        raise NotFound("There is no such credit memo.")
    if memo.kind != DocumentKind.CREDIT_MEMO:
        raise NotACreditMemo(f"{memo} is an invoice.")
    return memo


def _write(
    invoice: Invoice,
    amount: Decimal,
    left: Decimal,
    *,
    request_id: UUID,
    reason: str,
    actor: str,
    at: datetime,
) -> Invoice:
    memo_id = new_id()
    parts, tax = part_of(invoice, amount, left=left, memo_id=memo_id)
    memo = Invoice.objects.create(
        id=memo_id,
        tenant_id=invoice.tenant_id,
        customer_id=invoice.customer_id,
        kind=DocumentKind.CREDIT_MEMO,
        currency=invoice.currency,
        sells_credit=invoice.sells_credit,
        credits=invoice,
        request_id=request_id,
        cutoff_at=at,
        period_start=invoice.period_start,
        period_end=invoice.period_end,
        subtotal=-sum((one.amount for one in parts), _ZERO),
        discount=_ZERO,
        tax=tax.total,
        total=-amount,
        balance_applied=_ZERO,
        amount_paid=_ZERO,
        zone=invoice.zone,
        created_at=at,
    )
    sold = InvoiceLine.objects.get(invoice=invoice) if invoice.sells_credit else None
    words = f"Refund of {invoice.display_number}: {reason}"[:500]
    for position, part in enumerate(parts):
        taxed = tax.lines.get(part.id)
        line = InvoiceLine(
            id=part.id,
            tenant_id=invoice.tenant_id,
            invoice=memo,
            position=position,
            kind=LineKind.REFUND,
            period_start=at,
            period_end=at,
            service_start=at,
            service_end=at,
            segment_start=at,
            group=f"{memo.public_id} {position}",
            sequence=0,
            description=words,
            quantity=Decimal(1),
            amount=-part.amount,
            currency=invoice.currency,
            tax_scope_id=taxed.scope_id if taxed else None,
            tax_rates=[str(one) for one in taxed.rates] if taxed else None,
            derivation=json.loads(encode_derivation(as_asked(-part.amount))),
        )
        if sold is not None and sold.grant_id is not None and not position:
            line.kind, line.grant_id, line.corrects = LineKind.CREDIT, sold.grant_id, sold
            line.sequence, line.group = next_sequence(sold.grant_id), sold.group
            line.period_start, line.period_end = sold.period_start, sold.period_end
            line.segment_start = sold.segment_start
        line.save(force_insert=True)
    store_taxes(memo.tenant_id, [(memo.id, memo.currency, tax)])
    record(
        "invoice.drafted",
        memo,
        actor=actor,
        at=at,
        total=plain(round_money(-amount, invoice.currency)),
        currency=invoice.currency,
    )
    return memo
