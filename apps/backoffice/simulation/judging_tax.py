"""Comparing the tax of documents with what it should be."""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.judging_parts import in_parts, taxed_like
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.oracle.levies import Levying, Paper, PaperLine
from apps.core.models import AuditEvent
from apps.invoicing.domain import LineKind
from apps.invoicing.models import Invoice, InvoiceLine

_ISSUED: Final = "invoice.issued"
_CANCELED: Final = "invoice.canceled"


@dataclass(slots=True)
class TaxVerdict:
    """What is wrong with tax, and what customers should pay of it, by whom and currency."""

    differences: list[str] = field(default_factory=list)
    owed: dict[tuple[UUID, str], Fraction] = field(default_factory=lambda: defaultdict(Fraction))


def judge_tax(tenant_id: UUID, facts: Facts, *, per_line: bool) -> TaxVerdict:
    """Tax every document again, customer by customer."""
    verdict = TaxVerdict()
    lines: dict[UUID, list[PaperLine]] = defaultdict(list)
    like = taxed_like(tenant_id)
    for one in InvoiceLine.objects.filter(tenant=tenant_id).order_by("position"):
        lines[one.invoice_id].append(
            PaperLine(
                one.id,
                like.get(one.id, one.corrects_id),
                one.service_start,
                one.service_end,
                Fraction(one.amount),
                is_free=(one.id in like and like[one.id] is None)
                or (one.kind == LineKind.CREDIT and not facts.taxes_credit),
            )
        )
    papers: dict[UUID, list[Paper]] = defaultdict(list)
    documents = Invoice.objects.filter(tenant=tenant_id, issued_at__isnull=False)
    # at one instant something may be issued and something else canceled
    rows = AuditEvent.objects.filter(tenant_id=tenant_id, type__in=[_ISSUED, _CANCELED])
    told = rows.order_by("at", "id").values_list("type", "object_id")
    order = {one: number for number, one in enumerate(told)}
    for document in documents.order_by("issued_at", "id"):
        canceled = order.get((_CANCELED, document.public_id))
        tax = Fraction(document.tax.amount)
        papers[document.customer_id].append(
            Paper(
                id=document.id,
                name=str(document),
                places=DECIMALS[document.currency],
                issued=order[_ISSUED, document.public_id],
                canceled=canceled,
                tax=tax,
                lines=lines[document.id],
            )
        )
        if canceled is None:
            verdict.owed[document.customer_id, document.currency] += tax
    for customer, found in papers.items():
        place = facts.places.get(customer)
        if place is None:
            wrong = [f"{one.name} has a tax of {float(one.tax)}" for one in found if one.tax]
        else:
            wrong = list(Levying(facts.levies, place, per_line=per_line).differences(found))
        verdict.differences += [f"tax of {customer}: {one}" for one in wrong]
    verdict.differences += in_parts(tenant_id)
    return verdict
