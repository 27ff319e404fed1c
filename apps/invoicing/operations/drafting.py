"""Writing down what is to be billed: drafts and their lines, many customers at once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import json

from apps.core.bulk import Column, Same, insert_rows
from apps.core.events import Happening, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import new_id, new_ids
from apps.core.money import round_money
from apps.customers.models import Customer
from apps.invoicing.derivation import encode_derivation
from apps.invoicing.domain import DocumentKind, InvoiceStatus, refuse_senseless
from apps.invoicing.gathering import Gathered
from apps.invoicing.lines import ProposedLine
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.operations.issuing import Draft
from apps.invoicing.tax_facts import tax_facts
from apps.invoicing.taxing import UNTAXED, DocumentTax, LineTax, TaxableLine, TaxFacts, tax_document
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
    """Store a draft per customer and currency in which money moves, with its tax; return them.

    In the transaction of the caller, who holds the customers' locks and has deleted the drafts that
    these replace, given by customer and currency: theirs keep the id. The number of statements does
    not depend on how many there are. Raises ``DocumentBeyondSense``.
    """
    found = [
        (customer_id, currency, proposed, net)
        for customer_id, due in gathered.by_customer.items()
        for currency, proposed, net in by_currency(due.lines)
    ]
    if not found:
        return []
    facts = facts_for(tenant, {one: due.lines for one, due in gathered.by_customer.items()})
    made: list[_Made] = []
    for customer_id, currency, proposed, net in found:
        before = replaced.get((customer_id, currency))
        document_id = before.id if before else new_id()
        line_ids = new_ids(len(proposed))
        lines = zip(line_ids, proposed, strict=True)
        tax = tax_proposed(document_id, customer_id, currency, lines, facts)
        total = net + tax.total
        refuse_senseless(
            total,
            currency,
            len(proposed),
            largest=tenant.largest_document,
            most_lines=tenant.most_document_lines,
        )
        kind = kind_of(total)
        draft = Draft(
            document_id,
            customer_id,
            kind,
            currency,
            net,
            _ZERO,
            tax.total,
            total,
            waits=_waits(tenant, proposed),
        )
        made.append(_Made(draft, proposed, line_ids, tax, before))
    _store_documents(tenant, gathered.usage_snapshot, cutoffs, made, order)
    failpoint("invoicing.store.between_tables")
    _store_lines(tenant.id, made)
    store_taxes(tenant.id, [(one.draft.id, one.draft.currency, one.tax) for one in made])
    _record(tenant.id, made, order)
    return [one.draft for one in made]


class _Made(NamedTuple):
    """A draft to be stored, its lines with their ids, its tax, and the one it replaces."""

    draft: Draft
    lines: Sequence[ProposedLine]
    line_ids: Sequence[UUID]
    tax: DocumentTax
    before: Invoice | None


def facts_for(tenant: Tenant, proposed: Mapping[UUID, Sequence[ProposedLine]]) -> TaxFacts:
    """Return what decides the tax of proposed lines, given by customer."""
    lines = [line for listed in proposed.values() for line in listed]
    return tax_facts(
        tenant,
        customers=proposed.keys(),
        charges=(line.key.charge_id for line in lines if line.key.charge_id is not None),
        corrected=[line.corrects for line in lines if line.corrects is not None],
    )


def tax_proposed(
    document_id: UUID,
    customer_id: UUID,
    currency: str,
    lines: Iterable[tuple[UUID, ProposedLine]],
    facts: TaxFacts,
) -> DocumentTax:
    """Return the tax of a document of proposed lines, each with the id that it is to have."""
    if facts.are_none:
        return UNTAXED
    taxable = [
        TaxableLine(
            id=line_id,
            corrects=line.corrects,
            charge_id=line.key.charge_id,
            service_start=line.service.start,
            service_end=line.service.end,
            amount=line.amount,
        )
        for line_id, line in lines
    ]
    return tax_document(document_id, customer_id, currency, taxable, facts)


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
            "subtotal": [one.subtotal for one in drafts],
            "discount": Same(_ZERO),
            "tax": [one.tax for one in drafts],
            "total": [one.total for one in drafts],
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
    return None if order.by_hand or made.draft.waits else order.at + tenant.grace_period


def _waits(tenant: Tenant, lines: Sequence[ProposedLine]) -> bool:
    """Say whether an operator is to be asked before lines are issued: one of them is a correction."""
    return tenant.late_usage == LateUsagePolicy.ASK and any(line.corrects for line in lines)


def _store_lines(tenant_id: UUID, made: Sequence[_Made]) -> None:
    lines = [line for one in made for line in one.lines]
    keys = [line.key for line in lines]
    ids = [line_id for one in made for line_id in one.line_ids]
    insert_rows(
        InvoiceLine,
        {
            "id": ids,
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
            **_tax_columns(made, ids),
        },
    )


def _tax_columns(made: Sequence[_Made], ids: Sequence[UUID]) -> dict[str, Column]:
    taxes: dict[UUID, LineTax] = {}
    for one in made:
        taxes.update(one.tax.lines)
    if not taxes:
        return {"tax_scope_id": Same(None), "tax_rates": Same(None)}
    found = [taxes.get(one) for one in ids]
    return {
        "tax_scope_id": [one.scope_id if one else None for one in found],
        "tax_rates": [json.encode(one.rates) if one else None for one in found],
    }


def store_taxes(tenant_id: UUID, documents: Sequence[tuple[UUID, str, DocumentTax]]) -> None:
    """Store the tax of drafts that were just made, each given with its currency."""
    rows = [(one, currency, row) for one, currency, tax in documents for row in tax.rows]
    if not rows:
        return
    insert_rows(
        InvoiceTax,
        {
            "id": new_ids(len(rows)),
            "tenant": Same(tenant_id),
            "invoice": [document_id for document_id, _, _ in rows],
            "scope_id": [row.scope_id for _, _, row in rows],
            "rate": [row.rate_id for _, _, row in rows],
            "name": [row.name for _, _, row in rows],
            "percentage": [row.percentage for _, _, row in rows],
            "rounding": [row.rounding for _, _, row in rows],
            "taxable": [row.taxable for _, _, row in rows],
            "amount": [row.amount for _, _, row in rows],
            "covered": Same(_ZERO),
            "taxable_before": [row.taxable_before for _, _, row in rows],
            "amount_before": [row.amount_before for _, _, row in rows],
            "currency": [currency for _, currency, _ in rows],
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
        for draft, before in ((one.draft, one.before) for one in made)
    ]
    record_all(happenings, actor=order.actor, at=order.at)
