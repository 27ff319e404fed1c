"""Prepaid credit follows the money that had bought it: taken when that is disputed, or given back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.core.failpoints import failpoint
from apps.core.money import ARITHMETIC, EXACT, round_money
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.queries import creditable
from apps.payments.domain import DisputeStatus
from apps.payments.models import Allocation, Dispute
from apps.payments.operations.disputing import lock_dispute
from apps.wallets.operations.disputing import (
    forfeit_credit,
    reinstate_credit,
    take_disputed_credit,
)
from apps.wallets.queries import grants_sold_by


@dataclass(frozen=True, slots=True)
class _Sold:
    """Credit that disputed money had bought, and for how much, without tax."""

    grant_id: UUID
    invoice_id: UUID
    price: Decimal


@transaction.atomic
def follow_dispute(dispute_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Dispute:
    """Bring prepaid credit in line with how a dispute stands now; a repeat changes nothing.

    Opened or lost: what was sold for the disputed money is taken. Won: it is given back. Lost: it
    stays gone. Safe in any order of news. Raises ``NotFound``.
    """
    dispute = lock_dispute(dispute_id, tenant_id=tenant_id)
    told: dict[str, Any] = {
        "source": dispute.public_id,
        "tenant_id": tenant_id,
        "actor": actor,
        "at": at,
    }
    if dispute.credit_settled_at is not None:
        return dispute
    paid = _paid_for_credit(dispute)
    if dispute.credit_taken_at is None:
        if dispute.status == DisputeStatus.WON:
            return dispute
        sold = list(_sold(dispute, paid))
        for one in sold:
            take_disputed_credit(one.grant_id, price=one.price, sold_by=one.invoice_id, **told)
        if not sold:
            return dispute
        dispute.credit_taken_at = at
        dispute.save(update_fields=["credit_taken_at"])
        failpoint("payments.dispute.after_credit")
    if dispute.status != DisputeStatus.OPENED:
        end = reinstate_credit if dispute.status == DisputeStatus.WON else forfeit_credit
        for grant_id in grants_sold_by(one.invoice_id for one in paid).values():
            end(grant_id, **told)
        dispute.credit_settled_at = at
        dispute.save(update_fields=["credit_settled_at"])
    return dispute


def follow_disputes_of(invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> None:
    """Bring credit that an invoice has now sold in line with disputes of what had paid part of it.

    They found it unpaid and its credit not given. Safe to repeat, as ``follow_dispute`` is.
    """
    disputes = Dispute.objects.filter(
        tenant_id=tenant_id, payment__allocations__invoice=invoice_id
    ).order_by("opened_at", "id")
    for dispute_id in disputes.values_list("id", flat=True):
        follow_dispute(dispute_id, tenant_id=tenant_id, actor=actor, at=at)


def _paid_for_credit(dispute: Dispute) -> list[Allocation]:
    """Return what of the payment paid invoices, those paid last first, as refunds go back."""
    paid = Allocation.objects.filter(payment=dispute.payment_id).select_related("invoice")
    return list(paid.order_by("-allocated_at", "-id"))


def _sold(dispute: Dispute, paid: Sequence[Allocation]) -> Iterator[_Sold]:
    """Yield what the disputed money had bought; credit whose invoice is not paid was never given."""
    grants = grants_sold_by(one.invoice_id for one in paid)
    room = creditable([one.invoice for one in paid])
    rest = dispute.amount.amount - dispute.from_account
    for one in paid:
        invoice = one.invoice
        part = min(room[invoice.id], one.amount, rest)
        rest -= part
        if part > 0 and invoice.id in grants and invoice.status == InvoiceStatus.PAID:
            net = EXACT.multiply(invoice.total.amount - invoice.tax.amount, part)
            price = round_money(ARITHMETIC.divide(net, invoice.total.amount), invoice.currency)
            yield _Sold(grants[invoice.id], invoice.id, price)
