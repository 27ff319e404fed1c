"""Reading what ``taxing`` needs, for any number of documents in a handful of queries."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from django.db import connection

from apps.catalog.models import Charge
from apps.customers.domain import TaxExempt
from apps.customers.models import Customer
from apps.invoicing.models import InvoiceLine, InvoiceTax
from apps.invoicing.taxing import LineTax, Standing, TaxFacts, TaxRow
from apps.taxes.domain import place_of
from apps.taxes.queries import rates_of
from apps.tenants.domain import TaxRounding
from apps.tenants.models import Tenant

# what is canceled stands no more, but knows by which rate it was taxed
_STANDING: Final = """
SELECT t.scope_id, t.rate_id, min(t.name), min(t.percentage), min(t.rounding),
       coalesce(sum(t.taxable) FILTER (WHERE i.status <> 'canceled'), 0),
       coalesce(sum(t.amount) FILTER (WHERE i.status <> 'canceled'), 0)
FROM invoicing_invoicetax t JOIN invoicing_invoice i ON i.id = t.invoice_id
WHERE t.scope_id = ANY(%s) AND i.status <> 'draft'
GROUP BY t.scope_id, t.rate_id ORDER BY t.scope_id, t.rate_id
"""


def tax_facts(
    tenant: Tenant,
    *,
    customers: Collection[UUID],
    charges: Iterable[UUID],
    corrected: Collection[UUID],
) -> TaxFacts:
    """Return what decides the tax of documents of the customers, beside their lines.

    ``charges`` are those that new lines bill, and ``corrected`` the lines that others correct. One
    query where the tenant has no rates and nothing is corrected; five at most.
    """
    rates = rates_of(tenant.id)
    places = {}
    codes: dict[UUID, str] = {}
    if rates:
        rows = Customer.objects.filter(id__in=customers, tax_exempt=TaxExempt.NONE)
        places = {one: place_of(address) for one, address in rows.values_list("id", "address")}
    if places and any(one.tax_code for one in rates):
        code = "phase__version__plan__product__tax_code"
        coded = Charge.objects.filter(id__in=set(charges)).exclude(**{code: ""})
        codes = dict(coded.values_list("id", code))
    taxes = _taxes_of(corrected) if corrected else {}
    return TaxFacts(
        rounding=TaxRounding(tenant.tax_rounding),
        rates=rates,
        places=places,
        codes=codes,
        corrected=taxes,
        standing=standing_in({one.scope_id for one in taxes.values()}) if taxes else {},
    )


def standing_in(scopes: Collection[UUID]) -> dict[UUID, list[Standing]]:
    """Return what issued documents bill of scopes, by rate; what drafts do does not count."""
    found: dict[UUID, list[Standing]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [list(scopes)])
        for scope, rate, name, percentage, rounding, taxable, amount in cursor.fetchall():
            one = Standing(rate, name, percentage, TaxRounding(rounding), taxable, amount)
            found[scope].append(one)
    return dict(found)


def stored_taxes(invoice_ids: Iterable[UUID]) -> dict[UUID, list[InvoiceTax]]:
    """Return the taxes of documents, by document; those without any are not in it."""
    found: dict[UUID, list[InvoiceTax]] = defaultdict(list)
    for tax in InvoiceTax.objects.filter(invoice_id__in=invoice_ids).order_by("id"):
        found[tax.invoice_id].append(tax)
    return dict(found)


def rows_of(taxes: Iterable[InvoiceTax]) -> list[TaxRow]:
    """Return stored taxes as they are computed with."""
    return [
        TaxRow(
            scope_id=one.scope_id,
            rate_id=one.rate_id,
            name=one.name,
            percentage=one.percentage,
            rounding=TaxRounding(one.rounding),
            taxable=one.taxable,
            amount=one.amount,
            taxable_before=one.taxable_before,
            amount_before=one.amount_before,
            covered=one.covered,
        )
        for one in taxes
    ]


def line_tax(scope_id: UUID | None, rates: Iterable[str] | None) -> LineTax | None:
    """Return the tax of a line from its columns."""
    if scope_id is None:
        return None
    return LineTax(scope_id, tuple(UUID(one) for one in rates or ()))


def _taxes_of(lines: Collection[UUID]) -> dict[UUID, LineTax]:
    rows = InvoiceLine.objects.filter(id__in=lines, tax_scope_id__isnull=False)
    found = {}
    for line_id, scope_id, rates in rows.values_list("id", "tax_scope_id", "tax_rates"):
        tax = line_tax(scope_id, rates)
        if tax is not None:
            found[line_id] = tax
    return found
