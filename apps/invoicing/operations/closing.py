"""Ending invoices that are not paid: canceled, written off; and noticing the overdue ones."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, Min, OuterRef, Q

from apps.core.errors import NotFound
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.locks import lock_row
from apps.core.states import move, move_all
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.invoicing.domain import (
    COLLECTABLE,
    INVOICE_TRANSITIONS,
    CreditGivenBack,
    DocumentKind,
    InvoiceHasPayments,
    InvoiceStatus,
    NotAnInvoice,
    NotCollectable,
    amount_text,
)
from apps.invoicing.models import BalanceApplication, Invoice, InvoiceLine
from apps.invoicing.queries import to_become_overdue
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all, reverse_entry
from apps.subscriptions.operations import mark_changed
from apps.wallets.domain import EntryKind
from apps.wallets.models import CreditTransaction
from apps.wallets.operations.covering import return_credit

CHUNK: Final = 500


@transaction.atomic
def cancel_invoice(invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Invoice:
    """Take an issued invoice back: it keeps its number and its lines, and asks for nothing.

    Its entry in the books is reversed; prepaid credit and customer balance that it used are the
    customer's again. Its lines no longer count as billed: what is still owed of them is billed again by the
    next run that looks at their periods. Raises ``NotFound``, ``NotAnInvoice`` for a credit memo
    (the next run bills the difference), ``InvoiceHasPayments`` once money was received,
    ``CreditGivenBack`` once credit came back for a correction that it bills or that corrects it, and
    ``IllegalTransition`` for a draft and for what is paid, written off or canceled.
    """
    _lock_customer(invoice_id, tenant_id)
    # wallets are locked before invoices; whether it can be canceled at all is found out below
    paid_by_credit = Invoice.objects.filter(
        ~Q(credit_applied=0) | Exists(CreditTransaction.objects.filter(invoice_id=OuterRef("pk"))),
        id=invoice_id,
        tenant_id=tenant_id,
        status__in=COLLECTABLE,
    )
    if paid_by_credit.exists():
        _refuse_given_back(invoice_id, tenant_id)
        name = encode(Invoice.ID_PREFIX, invoice_id)
        return_credit(invoice_id, name, tenant_id=tenant_id, actor=actor, at=at)
    invoice = _lock_invoice(invoice_id, tenant_id, verb="canceled")
    if invoice.amount_paid.amount and invoice.status != InvoiceStatus.PAID:
        raise InvoiceHasPayments(
            f"{amount_text(invoice.amount_paid)} {invoice.currency} were received for"
            f" {invoice}; it cannot be canceled."
        )
    billed = invoice.lines.values("subscription_id").annotate(since=Min("period_start"))
    rows = billed.order_by().values_list("subscription_id", "since")
    mark_changed({owner: since for owner, since in rows if owner is not None})
    invoice.closed_at = at
    move(
        invoice,
        to=InvoiceStatus.CANCELED,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also=("closed_at",),
    )
    failpoint("invoicing.cancel.after_move")
    if invoice.total.amount:
        reverse_entry(
            FactKind.INVOICE_CANCELED,
            invoice.public_id,
            tenant_id=tenant_id,
            effective_at=at,
            at=at,
        )
    for applied in BalanceApplication.objects.filter(invoice=invoice).order_by("id"):
        reverse_entry(
            FactKind.BALANCE_RELEASED,
            applied.public_id,
            tenant_id=tenant_id,
            effective_at=at,
            at=at,
        )
    return invoice


def _refuse_given_back(invoice_id: UUID, tenant_id: UUID) -> None:
    """Raise ``CreditGivenBack`` if credit came back for corrections on it, or of lines of it."""
    lines = InvoiceLine.objects.filter(invoice=invoice_id)
    of_keys = InvoiceLine.objects.filter(
        Q(invoice=invoice_id)
        | Q(corrects__in=lines.values("id"))
        | Q(corrects__in=lines.values("corrects"))
    )
    if CreditTransaction.objects.filter(
        tenant_id=tenant_id, kind=EntryKind.RETURN, covers__lt=0, line_id__in=of_keys.values("id")
    ).exists():
        raise CreditGivenBack(
            "Prepaid credit was given back for corrections of it; it cannot be canceled."
        )


@transaction.atomic
def write_off_invoice(
    invoice_id: UUID, *, reason: str = "", tenant_id: UUID, actor: str, at: datetime
) -> Invoice:
    """Give up what is open of an invoice: it becomes bad debt, and nobody asks for it any more.

    Its lines stay billed. Money that comes nevertheless is taken (``record_payment``). Writing
    off what is written off returns it as it is. Raises ``NotFound``, ``NotAnInvoice``, and
    ``NotCollectable`` for a draft and for what is paid or canceled.
    """
    invoice = _lock(invoice_id, tenant_id, verb="written off")
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return invoice
    if invoice.status not in COLLECTABLE:
        raise NotCollectable(f"{invoice} is {invoice.status}; there is nothing to write off.")
    fact = Fact(
        kind=FactKind.INVOICE_WRITTEN_OFF,
        tenant_id=tenant_id,
        source_key=write_off_key(invoice),
        effective_at=at,
        currency=invoice.currency,
        customer_id=invoice.customer_id,
        amounts={Amount.DUE: invoice.open_amount.amount},
    )
    post_all([entry_for(fact)], at=at)
    invoice.closed_at = at
    move(
        invoice,
        to=InvoiceStatus.WRITTEN_OFF,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also=("closed_at",),
        reason=reason,
        amount=amount_text(invoice.open_amount),
        currency=invoice.currency,
    )
    return invoice


def write_off_key(invoice: Invoice) -> str:
    """Return the books' name for the write-off of what is open now.

    A payment reopens what was written off, so an invoice may be written off again; but never
    twice with the same amount paid.
    """
    return f"{invoice.public_id}@{amount_text(invoice.amount_paid)}"


def mark_overdue(
    at: datetime, *, actor: str, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> int:
    """Mark every open invoice that had to be paid by ``at`` as overdue; return how many.

    Taken in chunks, one transaction each; a repeat finds nothing, and an invoice that is being
    paid or canceled at the moment is left to the next run. ``clock_id`` takes the invoices
    of customers on that test clock instead of those on real time.
    """
    marked = 0
    for owner in [tenant_id] if tenant_id else tenants_by("invoicing_tenants_with_overdue", at):
        with tenant_scope(owner):
            late = to_become_overdue(at, clock_id=clock_id, tenant_id=owner).order_by("id")
            ids = list(late.values_list("id", flat=True))
            for first in range(0, len(ids), CHUNK):
                marked += _mark_chunk(
                    ids[first : first + CHUNK], owner, actor, at, waits=clock_id is not None
                )
    return marked


@transaction.atomic
def _mark_chunk(ids: list[UUID], tenant_id: UUID, actor: str, at: datetime, *, waits: bool) -> int:
    """Mark those of the invoices that are still open; ``waits`` for those that others hold."""
    late = list(
        Invoice.objects.filter(
            id__in=ids,
            tenant_id=tenant_id,
            status__in=[InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID],
        )
        .order_by("id")
        .select_for_update(skip_locked=not waits, no_key=True, of=("self",))
    )
    move_all(late, to=InvoiceStatus.OVERDUE, allowed=INVOICE_TRANSITIONS, actor=actor, at=at)
    failpoint("invoicing.overdue.before_commit")
    return len(late)


def _lock_customer(invoice_id: UUID, tenant_id: UUID) -> None:
    known = Invoice.objects.filter(id=invoice_id, tenant_id=tenant_id).first()
    if known is None:
        raise NotFound("There is no such invoice.")
    lock_row(Customer, known.customer_id, tenant_id=tenant_id)


def _lock(invoice_id: UUID, tenant_id: UUID, *, verb: str) -> Invoice:
    _lock_customer(invoice_id, tenant_id)
    return _lock_invoice(invoice_id, tenant_id, verb=verb)


def _lock_invoice(invoice_id: UUID, tenant_id: UUID, *, verb: str) -> Invoice:
    invoice = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    if invoice.kind != DocumentKind.INVOICE:
        raise NotAnInvoice(f"{invoice} is a credit memo; it cannot be {verb}.")
    return invoice
