"""The tax of a document: once per rate on the sum of what it is on, by difference. Pure.

What is rounded together has a *scope*: the document that first billed it or, with rounding per
line, the line that first billed it. The lines that correct it later keep its scope and its rates,
whatever the rates are by then. Of each scope and rate the tax that documents show together is the
tax on what they bill together, rounded once:

    tax of a document = tax on (billed before + billed now) − tax before

So what is taken back in part takes its part of the tax, the last of several takes the rounding, and
what is taken back as a whole leaves none.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from apps.core.money import EXACT, round_money
from apps.taxes.domain import Place, RateTerms, rates_for, tax_on
from apps.tenants.domain import TaxRounding

_ZERO: Final = Decimal(0)
_TICK: Final = timedelta(microseconds=1)  # the finest that instants are kept


class TaxableLine(NamedTuple):
    """A line of a document, its amount without tax, and when what it bills is served."""

    id: UUID
    corrects: UUID | None
    charge_id: UUID | None
    service_start: datetime
    service_end: datetime  # exclusive
    amount: Decimal


class LineTax(NamedTuple):
    """By which rates a line is taxed, and with what it is rounded."""

    scope_id: UUID
    rates: tuple[UUID, ...]


class TaxedLine(NamedTuple):
    """A line of a document as it is taxed: its amount without tax, and None where it has none."""

    id: UUID
    amount: Decimal
    tax: LineTax | None


class Standing(Struct, frozen=True):
    """What the documents that stand bill of a scope at a rate, and the tax they show for it."""

    rate_id: UUID
    name: str
    percentage: Decimal
    rounding: TaxRounding
    taxable: Decimal = _ZERO
    amount: Decimal = _ZERO


class TaxRow(Struct, frozen=True):
    """The tax of one document at one rate for one scope, and what of it was taxed before."""

    scope_id: UUID
    rate_id: UUID
    name: str
    percentage: Decimal
    rounding: TaxRounding
    taxable: Decimal
    amount: Decimal
    taxable_before: Decimal
    amount_before: Decimal
    covered: Decimal = _ZERO  # of the lines, by credit that was taxed when it was bought


class TaxLike(Protocol):
    """What the tax at a rate is told of, whether it is stored or not."""

    @property
    def rate_id(self) -> UUID: ...
    @property
    def name(self) -> str: ...
    @property
    def percentage(self) -> Decimal: ...
    @property
    def taxable(self) -> Decimal: ...
    @property
    def amount(self) -> Decimal: ...


class TaxOfRate(Struct, frozen=True):
    """The tax of a document at one rate, as it is shown; amounts in ``currency``."""

    rate_id: UUID
    name: str
    percentage: Decimal
    taxable: Decimal
    amount: Decimal
    currency: str


class TaxFacts(Struct, frozen=True):
    """What decides the tax of documents.

    ``rates`` are those that may apply to something new; ``places`` the customers who pay tax, and
    where they are; ``codes`` the product tax codes of charges that have one; ``corrected`` the
    tax of lines that are corrected, where they have any, and ``standing`` what there is in their
    scopes.
    """

    rounding: TaxRounding
    rates: Sequence[RateTerms] = ()
    places: Mapping[UUID, Place] = {}
    codes: Mapping[UUID, str] = {}
    corrected: Mapping[UUID, LineTax] = {}
    standing: Mapping[UUID, Sequence[Standing]] = {}

    @property
    def are_none(self) -> bool:
        """Whether no line of any document has tax."""
        return not (self.corrected or (self.rates and self.places))


class DocumentTax(NamedTuple):
    """The tax of a document: its rows, by which its lines are taxed, and its sum."""

    rows: Sequence[TaxRow]
    lines: Mapping[UUID, LineTax]
    total: Decimal


UNTAXED: Final = DocumentTax((), {}, _ZERO)


def tax_document(
    document_id: UUID,
    customer_id: UUID,
    currency: str,
    lines: Sequence[TaxableLine],
    facts: TaxFacts,
) -> DocumentTax:
    """Return the tax of a document with these lines, in its currency.

    A new line has the rates that apply at the customer's place to its charge's tax code at the last
    instant of its service; a line that corrects another has the other's.
    """
    if facts.are_none:
        return UNTAXED
    taxed: dict[UUID, LineTax] = {}
    sums: dict[tuple[UUID, UUID], Decimal] = {}
    known = _Known(facts)
    for line in lines:
        tax = known.tax_of(line, document_id, customer_id)
        if tax is None:
            continue
        taxed[line.id] = tax
        for rate_id in tax.rates:
            key = (tax.scope_id, rate_id)
            sums[key] = EXACT.add(sums.get(key, _ZERO), line.amount)
    rows = [
        _row(scope_id, known.standing(scope_id, rate_id), taxable, currency)
        for (scope_id, rate_id), taxable in sums.items()
    ]
    return DocumentTax(rows, taxed, sum((one.amount for one in rows), _ZERO))


def taxes_by_rate(rows: Iterable[TaxLike], currency: str) -> list[TaxOfRate]:
    """Return the tax of a document rate by rate, by name; what is on nothing is left out."""
    found: dict[UUID, TaxOfRate] = {}
    for row in rows:
        known = found.get(row.rate_id)
        found[row.rate_id] = TaxOfRate(
            rate_id=row.rate_id,
            name=row.name,
            percentage=row.percentage,
            taxable=EXACT.add(known.taxable, row.taxable) if known else row.taxable,
            amount=EXACT.add(known.amount, row.amount) if known else row.amount,
            currency=currency,
        )
    shown = [one for one in found.values() if one.taxable or one.amount]
    return sorted(shown, key=lambda one: (one.name, one.rate_id))


def without_covered(
    rows: Sequence[TaxRow],
    lines: Sequence[TaxedLine],
    covered: Mapping[UUID, Decimal],
    currency: str,
) -> list[TaxRow]:
    """Return the tax of a document, of which credit pays ``covered`` of lines, given by line.

    The credit was taxed when it was bought: what it pays is not taxed again.
    """
    found = []
    for row in rows:
        by_credit = _sum(covered.get(line.id, _ZERO) for line in lines if _is_on(row, line))
        taxable = EXACT.subtract(EXACT.add(row.taxable, row.covered), by_credit)
        amount = _difference(row, taxable, currency)
        found.append(replace(row, taxable=taxable, amount=amount, covered=by_credit))
    return found


def least_tax(rows: Sequence[TaxRow], lines: Sequence[TaxedLine], currency: str) -> Decimal:
    """Return what can be left of the tax of a document at the least; zero at the most.

    That is the tax that it gives back, whatever credit pays of lines that ask for money.
    """
    least = _ZERO
    for row in rows:
        back = _sum(line.amount for line in lines if line.amount < 0 and _is_on(row, line))
        least += min(_difference(row, back, currency), _ZERO)
    return least


def tax_shares(
    lines: Sequence[TaxedLine],
    rows: Sequence[TaxRow],
    currency: str,
) -> dict[UUID, Decimal]:
    """Return each line's share of the tax in ``rows``; together they are that tax exactly.

    A share is the tax on the line's amount; what rounding makes of them together falls on the
    largest line.
    """
    percentages = {(one.scope_id, one.rate_id): one.percentage for one in rows}
    shares = {}
    largest: TaxedLine | None = None
    for line in lines:
        if line.tax is None:
            continue
        scope_id, rates = line.tax
        together = _sum(percentages.get((scope_id, one), _ZERO) for one in rates)
        shares[line.id] = tax_on(line.amount, together, currency)
        if largest is None or line.amount > largest.amount:
            largest = line
    if largest is not None:
        rest = EXACT.subtract(_sum(one.amount for one in rows), _sum(shares.values()))
        shares[largest.id] = EXACT.add(shares[largest.id], rest)
    return shares


def _is_on(row: TaxRow, line: TaxedLine) -> bool:
    tax = line.tax
    return tax is not None and tax.scope_id == row.scope_id and row.rate_id in tax.rates


def _difference(row: TaxRow, taxable: Decimal, currency: str) -> Decimal:
    together = tax_on(EXACT.add(row.taxable_before, taxable), row.percentage, currency)
    return round_money(EXACT.subtract(together, row.amount_before), currency)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, _ZERO)


class _Known:
    """The facts, and what was found out of them while a document is taxed."""

    def __init__(self, facts: TaxFacts) -> None:
        self._facts = facts
        self._new: dict[tuple[str, datetime], tuple[UUID, ...]] = {}
        self._rates = {one.id: one for one in facts.rates}

    def tax_of(self, line: TaxableLine, document_id: UUID, customer_id: UUID) -> LineTax | None:
        facts = self._facts
        if line.corrects is not None:
            return facts.corrected.get(line.corrects)
        place = facts.places.get(customer_id)
        if place is None:
            return None
        served = line.service_end
        at = served - _TICK if served > line.service_start else served
        code = facts.codes.get(line.charge_id, "") if line.charge_id else ""
        rates = self._new.get((code, at))
        if rates is None:
            rates = tuple(one.id for one in rates_for(facts.rates, place, code, at))
            self._new[code, at] = rates
        per_line = facts.rounding is TaxRounding.PER_LINE
        return LineTax(line.id if per_line else document_id, rates) if rates else None

    def standing(self, scope_id: UUID, rate_id: UUID) -> Standing:
        for one in self._facts.standing.get(scope_id, ()):
            if one.rate_id == rate_id:
                return one
        rate = self._rates[rate_id]
        return Standing(rate.id, rate.name, rate.percentage, self._facts.rounding)


def _row(scope_id: UUID, standing: Standing, taxable: Decimal, currency: str) -> TaxRow:
    together = tax_on(EXACT.add(standing.taxable, taxable), standing.percentage, currency)
    return TaxRow(
        scope_id=scope_id,
        rate_id=standing.rate_id,
        name=standing.name,
        percentage=standing.percentage,
        rounding=standing.rounding,
        taxable=taxable,
        amount=round_money(EXACT.subtract(together, standing.amount), currency),
        taxable_before=standing.taxable,
        amount_before=standing.amount,
    )
