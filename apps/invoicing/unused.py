"""What credit memos give back of time that was billed ahead and is not had.

Of subscriptions that were canceled with a refund: what was paid of it goes back to the payments.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.core.events import Happening, record_all
from apps.core.money import allocate, round_money
from apps.invoicing.domain import DocumentKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.subscriptions.queries import refunded_ends

_ZERO: Final = Decimal(0)


def tell_of_unused(memo_ids: Iterable[UUID], *, tenant_id: UUID, actor: str, at: datetime) -> None:
    """Record of credit memos that give such time back that it is to be paid back.

    In the transaction that issues them. One query for any number of memos, and two more where they
    correct what subscriptions were billed.
    """
    wanted = list(memo_ids)
    if not wanted:
        return
    told = {invoice_id for invoice_id, _, _ in _corrections(wanted)}
    happenings = [
        Happening("invoice.refund_wanted", tenant_id, Invoice.ID_PREFIX, one, {})
        for one in sorted(told)
    ]
    record_all(happenings, actor=actor, at=at)


def unused_of(memo: Invoice) -> dict[UUID, Decimal]:
    """Return what a credit memo gives back of such time, tax included, by the invoice that billed it."""
    nets: dict[UUID, Decimal] = defaultdict(Decimal)
    for _, invoice_id, amount in _corrections([memo.id]):
        nets[invoice_id] -= amount
    return _with_tax(
        nets, memo.subtotal.amount - memo.discount.amount, memo.total.amount, memo.currency
    )


def unused_foreseen(
    subscription_id: UUID,
    ended_at: datetime,
    lines: Iterable[tuple[UUID, Decimal]],
    *,
    net: Decimal,
    total: Decimal,
    currency: str,
) -> dict[UUID, Decimal]:
    """Return what ``unused_of`` would, of a memo over ``net`` and with tax ``total``, if it were made.

    ``lines`` are its corrections: the line that each corrects, and its amount.
    """
    corrections = list(lines)
    billed = InvoiceLine.objects.filter(
        id__in=[corrected for corrected, _ in corrections],
        subscription_id=subscription_id,
        period_end__gt=ended_at,
        invoice__kind=DocumentKind.INVOICE,
    )
    invoices = dict(billed.values_list("id", "invoice_id"))
    nets: dict[UUID, Decimal] = defaultdict(Decimal)
    for corrected, amount in corrections:
        if corrected in invoices:
            nets[invoices[corrected]] -= amount
    return _with_tax(nets, net, total, currency)


def _corrections(memo_ids: list[UUID]) -> list[tuple[UUID, UUID, Decimal]]:
    """Return the memo, the invoice and the amount of each correction of such time."""
    lines = list(
        InvoiceLine.objects.filter(
            invoice__in=memo_ids,
            subscription_id__isnull=False,
            corrects__invoice__kind=DocumentKind.INVOICE,
        ).values_list(
            "invoice_id", "subscription_id", "period_end", "corrects__invoice_id", "amount"
        )
    )
    if not lines:
        return []
    ends = refunded_ends({owner for _, owner, _, _, _ in lines if owner is not None})
    return [
        (memo_id, invoice_id, amount)
        for memo_id, owner, period_end, invoice_id, amount in lines
        if owner in ends and period_end > ends[owner]
    ]


def _with_tax(
    nets: Mapping[UUID, Decimal], net: Decimal, total: Decimal, currency: str
) -> dict[UUID, Decimal]:
    """Split what a memo over ``total`` gives in proportion to what of it concerns each invoice."""
    given = {one: amount for one, amount in nets.items() if amount > 0}
    unused = sum(given.values(), _ZERO)
    if not unused or total >= 0 or net >= 0:
        return {}
    # what was billed beside it has used up some of it already
    gross = -total if unused >= -net else round_money(-total * unused / -net, currency)
    return dict(zip(given, allocate(gross, list(given.values()), currency), strict=True))
