"""Tax on what prepaid credit leaves of documents, where the credit was taxed when it was bought."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import UUID

from apps.core.bulk import update_rows
from apps.invoicing.covering import covered_by_line
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.tax_facts import line_tax, rows_of, stored_taxes
from apps.invoicing.taxing import TaxedLine, TaxRow, without_covered


def tax_what_credit_leaves(invoice_ids: Sequence[UUID]) -> dict[UUID, Decimal]:
    """Lower the tax of drafts by that of what credit pays of them; return their tax as it is now.

    In the transaction that issues them, once credit has paid: the caller holds the drafts. Those
    without tax are left out. Five statements for any number of them.
    """
    stored = stored_taxes(invoice_ids)
    if not stored:
        return {}
    covered = covered_by_line(stored.keys())
    lines: dict[UUID, list[TaxedLine]] = {one: [] for one in stored}
    taxed = InvoiceLine.objects.filter(invoice__in=stored, tax_scope_id__isnull=False)
    for line in taxed.only("invoice_id", "amount", "tax_scope_id", "tax_rates"):
        tax = line_tax(line.tax_scope_id, line.tax_rates)
        lines[line.invoice_id].append(TaxedLine(line.id, line.amount, tax))
    left: dict[UUID, list[TaxRow]] = {
        invoice_id: without_covered(rows_of(taxes), lines[invoice_id], covered, taxes[0].currency)
        for invoice_id, taxes in stored.items()
    }
    rows = [row for found in left.values() for row in found]
    update_rows(
        InvoiceTax,
        [tax.id for taxes in stored.values() for tax in taxes],
        {
            "taxable": [row.taxable for row in rows],
            "amount": [row.amount for row in rows],
            "covered": [row.covered for row in rows],
        },
        where={},
    )
    totals = {one: sum((row.amount for row in found), Decimal(0)) for one, found in left.items()}
    documents = Invoice.objects.filter(id__in=totals).values_list("id", "subtotal", "discount")
    net = {one: subtotal - discount for one, subtotal, discount in documents}
    update_rows(
        Invoice,
        list(totals),
        {
            "tax": list(totals.values()),
            "total": [net[one] + tax for one, tax in totals.items()],
        },
        where={"status": InvoiceStatus.DRAFT.value},
    )
    return totals
