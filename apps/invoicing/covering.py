"""What prepaid credit is told of documents that are issued, and of those that sell it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import Q

from apps.catalog.models import Charge
from apps.core.events import Happening, record_all
from apps.core.ids import encode
from apps.invoicing.domain import DocumentKind, InvoiceStatus, LineKind
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.tax_facts import line_tax, rows_of, stored_taxes
from apps.invoicing.taxing import TaxedLine, least_tax, tax_shares
from apps.tenants.domain import CreditTaxed
from apps.tenants.models import Tenant
from apps.wallets.domain import EntryKind, Thing, WalletStatus
from apps.wallets.models import CreditTransaction, UsageSettlement, Wallet
from apps.wallets.operations.asking import Asking, Line
from apps.wallets.operations.covering import cover_invoices

_ZERO: Final = Decimal(0)
_USAGE: Final = frozenset({LineKind.USAGE, LineKind.MINIMUM, LineKind.MAXIMUM})


def cover_drafts(
    invoice_ids: Sequence[UUID], *, tenant_id: UUID, actor: str, at: datetime
) -> dict[UUID, Decimal]:
    """Let prepaid credit pay what it may of drafts that are about to be issued, and say how much.

    The caller holds the locks of their customers, so that the drafts stay what they are, and none
    of the drafts themselves: wallets are locked first. Credit pays lines with their tax, unless
    it was taxed when it was bought. Of corrections it is what comes back as credit, below zero.
    Where nobody has credit it is one query.
    """
    drafts = list(
        Invoice.objects.filter(
            ~Q(total=0),
            id__in=invoice_ids,
            tenant_id=tenant_id,
            status=InvoiceStatus.DRAFT,
            sells_credit=False,
            credits=None,
            customer__in=Wallet.objects.exclude(status=WalletStatus.CLOSED).values("customer"),
        ).order_by("id")
    )
    if not drafts:
        return {}
    lines: dict[UUID, list[InvoiceLine]] = defaultdict(list)
    for line in InvoiceLine.objects.filter(invoice__in=drafts).order_by("position"):
        lines[line.invoice_id].append(line)
    earlier = _earlier([line for listed in lines.values() for line in listed])
    charges = _charges({one.charge_id for listed in lines.values() for one in listed})
    taxes = stored_taxes([one.id for one in drafts])
    taxed = Tenant.objects.get(id=tenant_id).credit_taxed if taxes else CreditTaxed.ON_USE
    asks = {
        one.id: _asks(one, lines[one.id], taxes.get(one.id, ()), CreditTaxed(taxed))
        for one in drafts
    }
    asking = [
        Asking(
            invoice_id=draft.id,
            invoice=draft.public_id,
            customer_id=draft.customer_id,
            currency=draft.currency,
            total=asks[draft.id].total,
            lines=tuple(
                _line(
                    line,
                    charges[line.charge_id],
                    tax=asks[draft.id].taxes.get(line.id, _ZERO),
                    earlier=earlier.get(line.corrects_id, ()) if line.amount < 0 else (),
                )
                for line in lines[draft.id]
                if line.charge_id is not None and line.charge_id in charges
            ),
        )
        for draft in drafts
    ]
    return cover_invoices(asking, tenant_id=tenant_id, actor=actor, at=at)


def covered_by_line(invoice_ids: Iterable[UUID]) -> dict[UUID, Decimal]:
    """Return what credit pays of the lines of documents, by line; below zero what came back."""
    wanted = list(invoice_ids)
    found: dict[UUID, Decimal] = defaultdict(Decimal)
    used = CreditTransaction.objects.filter(
        invoice_id__in=wanted, kind__in=[EntryKind.CONSUME, EntryKind.RETURN]
    )
    settled = UsageSettlement.objects.filter(invoice_id__in=wanted)
    for line_id, amount in (
        *used.values_list("line_id", "covers"),
        *settled.values_list("line_id", "amount"),
    ):
        if line_id is not None:
            found[line_id] += amount
    return dict(found)


class _Asks(NamedTuple):
    """The most that credit pays of a draft, and the tax that it pays with each line."""

    total: Decimal
    taxes: Mapping[UUID, Decimal]


def _asks(
    draft: Invoice,
    lines: Sequence[InvoiceLine],
    taxes: Sequence[InvoiceTax],
    taxed: CreditTaxed,
) -> _Asks:
    """Say what a draft asks of credit: lines with their tax, or without where credit had it."""
    if not taxes:
        return _Asks(draft.total.amount, {})
    known = [
        TaxedLine(one.id, one.amount, line_tax(one.tax_scope_id, one.tax_rates)) for one in lines
    ]
    rows = rows_of(taxes)
    if taxed is CreditTaxed.ON_USE:
        return _Asks(draft.total.amount, tax_shares(known, rows, draft.currency))
    net = draft.subtotal.amount - draft.discount.amount
    if draft.kind == DocumentKind.CREDIT_MEMO:
        return _Asks(net, {})
    return _Asks(max(net + least_tax(rows, known, draft.currency), _ZERO), {})


def tell_of_credit_sold(
    invoice_ids: Iterable[UUID], *, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Record of invoices that sell credit that they are paid: a reaction gives the credit."""
    record_all(
        [
            Happening("invoice.credit_paid", tenant_id, Invoice.ID_PREFIX, one, {})
            for one in invoice_ids
        ],
        actor=actor,
        at=at,
    )


def _charges(charge_ids: set[UUID | None]) -> dict[UUID, dict[str, Any]]:
    found = Charge.objects.filter(id__in=[one for one in charge_ids if one is not None])
    rows = found.values(
        "id",
        "key",
        "meter_version__meter_id",
        "meter_version__meter__key",
        "phase__version__plan__product__key",
    )
    return {row["id"]: dict(row) for row in rows}


def _earlier(lines: Sequence[InvoiceLine]) -> dict[UUID | None, tuple[UUID, ...]]:
    """Return the lines that stand of each key that gives money back, by the first of them."""
    firsts = {one.corrects_id for one in lines if one.amount < 0 and one.corrects_id is not None}
    if not firsts:
        return {}
    standing = InvoiceLine.objects.filter(
        Q(id__in=firsts) | Q(corrects__in=firsts), Q(invoice__issued_at__isnull=False)
    ).exclude(invoice__status=InvoiceStatus.CANCELED)
    found: dict[UUID | None, tuple[UUID, ...]] = {}
    for line_id, corrects in standing.order_by("id").values_list("id", "corrects"):
        first = corrects or line_id
        found[first] = (*found.get(first, ()), line_id)
    return found


def _line(
    line: InvoiceLine, charge: dict[str, Any], *, tax: Decimal, earlier: tuple[UUID, ...]
) -> Line:
    if line.subscription_id is None or line.charge_id is None:
        raise ValueError(f"{encode(InvoiceLine.ID_PREFIX, line.id)} is of no charge")
    return Line(
        id=line.id,
        amount=line.amount + tax,
        is_usage=line.kind in _USAGE,
        thing=Thing(
            product=charge["phase__version__plan__product__key"] or "",
            meter=charge["meter_version__meter__key"] or "",
            charge=charge["key"],
        ),
        charge_id=line.charge_id,
        subscription_id=line.subscription_id,
        meter_id=charge["meter_version__meter_id"],
        service_start=line.service_start,
        service_end=line.service_end,
        earlier=earlier,
    )
