"""What a part of an invoice consists of, by the tax that is on it: what is given back of it.

The part is taken from everything that the invoice has left in proportion, so that it takes its part
of every tax; the tax is that of a correction, by difference, so that giving back the last of it
leaves none.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from itertools import product
from typing import Final, NamedTuple
from uuid import UUID

from apps.core.ids import new_id
from apps.core.money import ARITHMETIC, EXACT, allocate, exponent, round_money
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.tax_facts import line_tax, tax_facts
from apps.invoicing.taxing import UNTAXED, DocumentTax, LineTax, TaxableLine, TaxFacts, tax_document
from apps.taxes.domain import tax_on
from apps.tenants.models import Tenant

_ZERO: Final = Decimal(0)
_NUDGES: Final = (
    0,
    1,
    -1,
    2,
    -2,
    3,
    -3,
)  # smallest units by which a share may be rounded otherwise


class Part(NamedTuple):
    """A line of what is given back: more than zero, without its tax."""

    id: UUID
    amount: Decimal


class _Group(NamedTuple):
    """Lines of the invoice that are taxed alike: one of them, and what is left of all, without tax."""

    like: InvoiceLine
    tax: LineTax
    net: Decimal


def part_of(
    invoice: Invoice, amount: Decimal, *, left: Decimal, memo_id: UUID
) -> tuple[list[Part], DocumentTax]:
    """Return what ``amount`` of an invoice, tax included, consists of, and the tax on it.

    ``left`` is what can be given back of it. The tax is that of the memo ``memo_id``: below zero.
    What cannot be reached with tax on it, because of the tax's own rounding, is given without.
    """
    groups = _groups(invoice)
    if not groups:
        return [Part(new_id(), amount)], UNTAXED
    tenant = Tenant.objects.get(id=invoice.tenant_id)
    facts = tax_facts(tenant, customers=(), charges=(), corrected=[one.like.id for one in groups])
    gross = [_gross(one, facts, invoice.currency) for one in groups]
    untaxed = max(EXACT.subtract(left, sum(gross, _ZERO)), _ZERO)
    shares = allocate(amount, [*gross, untaxed], invoice.currency)
    ways = [
        [
            round_money(ARITHMETIC.divide(EXACT.multiply(share, one.net), whole), invoice.currency)
            for share, one, whole in zip(shares, groups, gross, strict=False)
        ]
    ]
    if amount == left:  # less than all of them where the invoice takes off another's lines too
        ways.insert(0, [one.net for one in groups])
    ids = [new_id() for _ in groups]
    unit = Decimal(1).scaleb(-exponent(invoice.currency))
    best: tuple[Decimal, list[Part], DocumentTax] | None = None
    for nets, nudge in product(ways, _NUDGES):
        if best is not None and (untaxed or not best[0] or (nets is ways[-1] and nudge == 0)):
            break
        largest = max(range(len(groups)), key=nets.__getitem__)
        tried = [*nets]
        tried[largest] = EXACT.add(nets[largest], unit * nudge)
        parts = [Part(key, net) for key, net in zip(ids, tried, strict=True)]
        tax = _tax(invoice, groups, parts, facts, memo_id=memo_id)
        rest = EXACT.add(EXACT.subtract(amount, sum(tried, _ZERO)), tax.total)
        if tried[largest] >= 0 and rest >= 0 and (best is None or rest < best[0]):
            best = (rest, parts, tax)
    if best is None:
        return [Part(new_id(), amount)], UNTAXED
    rest, parts, tax = best
    given = [one for one in parts if one.amount]
    return [*given, *([Part(new_id(), rest)] if rest else [])], tax


def _groups(invoice: Invoice) -> list[_Group]:
    if not invoice.tax.amount:
        return []
    found: dict[LineTax, InvoiceLine] = {}
    for line in InvoiceLine.objects.filter(invoice=invoice).order_by("position"):
        tax = line_tax(line.tax_scope_id, line.tax_rates)
        # what corrects an earlier document is given back with that
        if tax is not None and tax.scope_id in (invoice.id, line.id):
            found.setdefault(tax, line)
    left: dict[LineTax, Decimal] = defaultdict(Decimal)
    standing = InvoiceLine.objects.filter(tax_scope_id__in=[tax.scope_id for tax in found]).exclude(
        invoice__status__in=[InvoiceStatus.DRAFT, InvoiceStatus.CANCELED]
    )
    for scope_id, rates, amount in standing.values_list("tax_scope_id", "tax_rates", "amount"):
        tax = line_tax(scope_id, rates)
        if tax is not None:
            left[tax] = EXACT.add(left[tax], amount)
    return [_Group(like, tax, left[tax]) for tax, like in found.items() if left[tax] > 0]


def _gross(group: _Group, facts: TaxFacts, currency: str) -> Decimal:
    standing = facts.standing.get(group.tax.scope_id, ())
    percentages = [one.percentage for one in standing if one.rate_id in group.tax.rates]
    return EXACT.add(group.net, tax_on(group.net, sum(percentages, _ZERO), currency))


def _tax(
    invoice: Invoice,
    groups: Sequence[_Group],
    parts: Sequence[Part],
    facts: TaxFacts,
    *,
    memo_id: UUID,
) -> DocumentTax:
    lines = [
        TaxableLine(
            id=part.id,
            corrects=one.like.id,  # it is taxed as that is
            charge_id=None,
            service_start=one.like.service_start,
            service_end=one.like.service_end,
            amount=-part.amount,
        )
        for one, part in zip(groups, parts, strict=True)
        if part.amount
    ]
    return tax_document(memo_id, invoice.customer_id, invoice.currency, lines, facts)
