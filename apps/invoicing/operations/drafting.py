"""Writing down what is to be billed: drafts and their lines, many customers at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from apps.core.bulk import Same, insert_rows
from apps.core.events import Happening, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import new_id, new_ids
from apps.core.money import round_money
from apps.customers.models import Customer
from apps.invoicing.assembly import ProposedLine
from apps.invoicing.derivation import encode_derivation
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.gathering import Gathered
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.issuing import Draft
from apps.tenants.domain import LateUsagePolicy
from apps.tenants.models import Tenant

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Order:
    """Who wants documents made, when, and what becomes of them."""

    request_id: UUID | None
    by_hand: bool  # drafts wait for an operator instead of being issued
    actor: str
    at: datetime
    keeps_time: bool = False  # a draft that is replaced is issued when it would have been
    waits: bool = False  # for customers that another transaction holds, instead of passing over


def store_drafts(
    tenant: Tenant,
    gathered: Gathered,
    cutoffs: Mapping[UUID, datetime],
    replaced: Mapping[tuple[UUID, str], Invoice],
    order: Order,
) -> list[Draft]:
    """Store a draft per customer and currency in which money moves, and return them.

    In the transaction of the caller, who holds the customers' locks and has deleted the drafts that
    these replace, given by customer and currency: theirs keep the id. The number of statements does
    not depend on how many there are.
    """
    made: list[_Made] = []
    for customer_id, due in gathered.by_customer.items():
        for currency, proposed, total in by_currency(due.lines):
            before = replaced.get((customer_id, currency))
            document_id = before.id if before else new_id()
            kind = kind_of(total)
            draft = Draft(document_id, customer_id, kind, currency, total, _ZERO, _ZERO, total)
            made.append(_Made(draft, proposed, before))
    if made:
        _store_documents(tenant, gathered.usage_snapshot, cutoffs, made, order)
        failpoint("invoicing.store.between_tables")
        _store_lines(tenant.id, made)
        _record(tenant.id, made, order)
    return [one.draft for one in made]


class _Made(NamedTuple):
    """A draft to be stored, its lines, and the one it replaces."""

    draft: Draft
    lines: Sequence[ProposedLine]
    before: Invoice | None


def by_currency(
    lines: Sequence[ProposedLine],
) -> list[tuple[str, list[ProposedLine], Decimal]]:
    """Return the lines of each currency with their total; nothing where no line moves money."""
    found: dict[str, list[ProposedLine]] = defaultdict(list)
    for line in lines:
        found[line.currency].append(line)
    return [
        (currency, alike, sum([line.amount for line in alike], _ZERO))
        for currency, alike in sorted(found.items())
        if any(line.amount for line in alike)
    ]


def kind_of(total: Decimal) -> DocumentKind:
    """Return what a document over an amount is: below zero, it gives money back."""
    return DocumentKind.CREDIT_MEMO if total < 0 else DocumentKind.INVOICE


def _store_documents(
    tenant: Tenant,
    usage_snapshot: str,
    cutoffs: Mapping[UUID, datetime],
    made: Sequence[_Made],
    order: Order,
) -> None:
    zones = dict(Customer.objects.filter(id__in=cutoffs).values_list("id", "zone"))
    drafts = [one.draft for one in made]
    totals = [one.total for one in drafts]
    insert_rows(
        Invoice,
        {
            "id": [one.id for one in drafts],
            "tenant": Same(tenant.id),
            "customer": [one.customer_id for one in drafts],
            "status": Same(InvoiceStatus.DRAFT.value),
            "kind": [one.kind for one in drafts],
            "currency": [one.currency for one in drafts],
            "series": Same(""),
            "cutoff_at": [cutoffs[one.customer_id] for one in drafts],
            "period_start": [min(line.service.start for line in one.lines) for one in made],
            "period_end": [max(line.service.end for line in one.lines) for one in made],
            "subtotal": totals,
            "discount": Same(_ZERO),
            "tax": Same(_ZERO),
            "total": totals,
            "balance_applied": Same(_ZERO),
            "amount_paid": Same(_ZERO),
            "credit_applied": Same(_ZERO),
            "sells_credit": Same(value=False),
            "seller": Same(b"{}"),
            "buyer": Same(b"{}"),
            "zone": [zones[one.customer_id] for one in drafts],
            "usage_snapshot": Same(usage_snapshot),
            "request_id": [
                one.before.request_id if one.before else order.request_id for one in made
            ],
            "created_at": [one.before.created_at if one.before else order.at for one in made],
            "issue_after": [_issue_after(tenant, one, order) for one in made],
            "pdf_sha256": Same(""),
        },
    )


def _issue_after(tenant: Tenant, made: _Made, order: Order) -> datetime | None:
    """Return when grace ends; None for a draft that waits for an operator."""
    if made.before and order.keeps_time:
        return made.before.issue_after
    asks = tenant.late_usage == LateUsagePolicy.ASK and any(line.corrects for line in made.lines)
    return None if order.by_hand or asks else order.at + tenant.grace_period


def _store_lines(tenant_id: UUID, made: Sequence[_Made]) -> None:
    lines = [line for one in made for line in one.lines]
    keys = [line.key for line in lines]
    insert_rows(
        InvoiceLine,
        {
            "id": new_ids(len(lines)),
            "tenant": Same(tenant_id),
            "invoice": [one.draft.id for one in made for _ in one.lines],
            "position": [position for one in made for position in range(len(one.lines))],
            "kind": [key.kind for key in keys],
            "subscription_id": [key.subscription_id for key in keys],
            "charge_id": [key.charge_id for key in keys],
            "period_start": [key.period_start for key in keys],
            "period_end": [line.period_end for line in lines],
            "service_start": [line.service.start for line in lines],
            "service_end": [line.service.end for line in lines],
            "segment_start": [key.segment_start for key in keys],
            "group": [key.group for key in keys],
            "sequence": [line.sequence for line in lines],
            "corrects": [line.corrects for line in lines],
            "description": [line.description for line in lines],
            "quantity": [line.quantity for line in lines],
            "unit": [line.unit for line in lines],
            "amount": [line.amount for line in lines],
            "currency": [line.currency for line in lines],
            "derivation": [encode_derivation(line.derivation) for line in lines],
        },
    )


def _record(tenant_id: UUID, made: Sequence[_Made], order: Order) -> None:
    happenings = [
        Happening(
            "invoice.refreshed" if before else "invoice.drafted",
            tenant_id,
            Invoice.ID_PREFIX,
            draft.id,
            {"total": str(round_money(draft.total, draft.currency)), "currency": draft.currency},
        )
        for draft, _, before in made
    ]
    record_all(happenings, actor=order.actor, at=order.at)
