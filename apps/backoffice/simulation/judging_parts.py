"""Comparing credit memos that give money of right invoices back with the tax they should show."""

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from uuid import UUID

from django.db.models import F, Q, QuerySet, Sum

from apps.backoffice.simulation.offers import DECIMALS
from apps.invoicing.domain import InvoiceStatus, LineKind
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax

_NO_DOCUMENT = (InvoiceStatus.DRAFT, InvoiceStatus.CANCELED)
_ROUNDING = 4  # smallest units by which a share may differ, and one more for every line


def taxed_like(tenant_id: UUID) -> dict[UUID, UUID | None]:
    """Return for each line that gives money back a line that it says it is taxed like; None: none."""
    wanted = InvoiceLine.objects.filter(tenant=tenant_id, kind=LineKind.REFUND)
    found: dict[UUID, UUID | None] = {}
    for line in wanted.select_related("invoice"):
        found[line.id] = None
        if line.tax_scope_id is not None:
            same = InvoiceLine.objects.filter(
                invoice=line.invoice.credits_id,
                tax_scope_id=line.tax_scope_id,
                tax_rates=line.tax_rates,
            )
            found[line.id] = same.order_by("position").values_list("id", flat=True).first()
    return found


def in_parts(tenant_id: UUID) -> Iterator[str]:
    """Yield memos whose tax is not in proportion, and invoices given back whole that have tax left.

    Invoices of which lines were corrected are passed over: what is left of them is another sum.
    What an invoice itself corrects of others is given back with these, so it is no part of this.
    Passed over, too, are those on which something is taxed below zero: a new discount of what other
    documents have billed.
    """
    memos: dict[Invoice, list[Invoice]] = defaultdict(list)
    rows = Invoice.objects.filter(tenant=tenant_id, credits__isnull=False)
    standing = rows.exclude(status__in=_NO_DOCUMENT).select_related("credits")
    for memo in standing.order_by("issued_at", "number"):
        if memo.credits is not None and memo.credits.tax.amount:
            memos[memo.credits].append(memo)
    for invoice, found in memos.items():
        if InvoiceLine.objects.filter(
            corrects__invoice=invoice, invoice__credits__isnull=True
        ).exists():
            continue
        if _below_zero(invoice):
            continue
        total, tax = Fraction(invoice.total.amount), _own_tax(invoice)
        whole = max(total, _own_taxed(invoice) + tax)  # less is left where others are taken back
        unit = Fraction(1, 10 ** DECIMALS[invoice.currency])
        first = found[0]
        should, did = Fraction(first.total.amount) * tax / whole, Fraction(first.tax.amount)
        lines = InvoiceLine.objects.filter(invoice=first).count()
        if abs(should - did) > unit * (_ROUNDING + lines):
            yield f"{first} gives {float(did)} of tax back, in proportion it is {float(should)}"
        back = sum((Fraction(one.total.amount) for one in found), total)
        left = sum((Fraction(one.tax.amount) for one in found), tax)
        if not back and left and tax == Fraction(invoice.tax.amount):
            yield f"{invoice} was given back whole, {float(left)} of its tax is left"


def _below_zero(invoice: Invoice) -> bool:
    """Say whether what is taxed together on an invoice, without what it corrects, is below zero."""
    scopes = _own(invoice).values("tax_scope_id").annotate(total=Sum("amount")).order_by()
    return any(one["total"] < 0 for one in scopes)


def _own_tax(invoice: Invoice) -> Fraction:
    """Return the tax on what an invoice bills, without that of what it corrects."""
    own = [invoice.id, *InvoiceLine.objects.filter(invoice=invoice).values_list("id", flat=True)]
    taxes = InvoiceTax.objects.filter(invoice=invoice, scope_id__in=own)
    return sum((Fraction(one) for one in taxes.values_list("amount", flat=True)), Fraction(0))


def _own_taxed(invoice: Invoice) -> Fraction:
    """Return what an invoice bills that is taxed, without its tax and what it corrects."""
    amounts = _own(invoice).values_list("amount", flat=True)
    return sum((Fraction(one) for one in amounts), Fraction(0))


def _own(invoice: Invoice) -> QuerySet[InvoiceLine]:
    """Return the lines that are taxed here."""
    lines = InvoiceLine.objects.filter(invoice=invoice, tax_scope_id__isnull=False)
    return lines.filter(Q(tax_scope_id=invoice.id) | Q(tax_scope_id=F("id")))
