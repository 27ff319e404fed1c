"""What prepaid credit is told of documents that are issued, and of those that sell it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from apps.catalog.models import Charge
from apps.core.events import Happening, record_all
from apps.core.ids import encode
from apps.invoicing.domain import DocumentKind, InvoiceStatus, LineKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.wallets.domain import Thing, WalletStatus
from apps.wallets.models import Wallet
from apps.wallets.operations.covering import Asking, Line, cover_invoices

_USAGE: Final = frozenset({LineKind.USAGE, LineKind.MINIMUM, LineKind.MAXIMUM})


def cover_drafts(
    invoice_ids: Sequence[UUID], *, tenant_id: UUID, actor: str, at: datetime
) -> dict[UUID, Decimal]:
    """Let prepaid credit pay what it may of drafts that are about to be issued, and say how much.

    The caller holds the locks of their customers, so that the drafts stay what they are, and none
    of the drafts themselves: wallets are locked first. Where nobody has credit it is one query.
    """
    drafts = list(
        Invoice.objects.filter(
            id__in=invoice_ids,
            tenant_id=tenant_id,
            status=InvoiceStatus.DRAFT,
            kind=DocumentKind.INVOICE,
            sells_credit=False,
            total__gt=0,
            customer__in=Wallet.objects.exclude(status=WalletStatus.CLOSED).values("customer"),
        ).order_by("id")
    )
    if not drafts:
        return {}
    lines: dict[UUID, list[InvoiceLine]] = defaultdict(list)
    for line in InvoiceLine.objects.filter(invoice__in=drafts).order_by("position"):
        lines[line.invoice_id].append(line)
    charges = _charges({one.charge_id for listed in lines.values() for one in listed})
    asking = [
        Asking(
            invoice_id=draft.id,
            invoice=draft.public_id,
            customer_id=draft.customer_id,
            currency=draft.currency,
            total=draft.total.amount,
            lines=tuple(
                _line(line, charges[line.charge_id])
                for line in lines[draft.id]
                if line.charge_id is not None and line.charge_id in charges
            ),
        )
        for draft in drafts
    ]
    return cover_invoices(asking, tenant_id=tenant_id, actor=actor, at=at)


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


def _line(line: InvoiceLine, charge: dict[str, Any]) -> Line:
    if line.subscription_id is None or line.charge_id is None:
        raise ValueError(f"{encode(InvoiceLine.ID_PREFIX, line.id)} is of no charge")
    return Line(
        id=line.id,
        amount=line.amount,
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
    )
