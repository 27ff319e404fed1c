"""Laws of tax: whatever is billed, corrected and canceled, it is that of what is billed in the end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.ids import new_id
from apps.core.money import CURRENCIES
from apps.invoicing.taxing import (
    LineTax,
    Standing,
    TaxableLine,
    TaxedLine,
    TaxFacts,
    TaxRow,
    least_tax,
    tax_document,
    tax_shares,
    taxes_by_rate,
    without_covered,
)
from apps.taxes.domain import Place, RateTerms, tax_on
from apps.tenants.domain import TaxRounding

AT = datetime(2026, 5, 1, tzinfo=UTC)
CUSTOMER = new_id()
CHARGES = {new_id(): code for code in ("", "book", "song")}
ZERO = Decimal(0)

percentages = st.decimals(0, 100, places=6, allow_nan=False, allow_infinity=False)
rounding = st.sampled_from(TaxRounding)


@dataclass
class Document:
    """What was made of some lines."""

    lines: Sequence[TaxableLine]
    tax: dict[UUID, LineTax]
    rows: Sequence[TaxRow]
    is_canceled: bool = False


@dataclass
class Books:
    """Documents that bill keys by difference, as billing does, of one customer in one currency."""

    currency: str
    rates: Sequence[RateTerms]
    rounding: TaxRounding
    documents: list[Document] = field(default_factory=list)
    keys: dict[int, list[tuple[Document, TaxableLine]]] = field(default_factory=dict)

    def standing(self, key: int) -> list[TaxableLine]:
        return [line for document, line in self.keys.get(key, ()) if not document.is_canceled]

    def bill(self, wanted: Iterable[tuple[int, Decimal]]) -> None:
        """Make what is billed of each key what is wanted, by one document."""
        lines, placed = [], []
        for key, amount in dict(wanted).items():
            before = self.standing(key)
            line = TaxableLine(
                id=new_id(),
                corrects=before[0].id if before else None,
                charge_id=list(CHARGES)[key % 3],
                service_start=AT,
                service_end=AT,
                amount=amount - sum((one.amount for one in before), ZERO),
            )
            if line.amount or not before:
                lines.append(line)
                placed.append(key)
        tax = tax_document(new_id(), CUSTOMER, self.currency, lines, self.facts())
        document = Document(lines, dict(tax.lines), tax.rows)
        assert tax.total == sum((row.amount for row in tax.rows), ZERO)
        self.documents.append(document)
        for key, line in zip(placed, lines, strict=True):
            self.keys.setdefault(key, []).append((document, line))

    def facts(self) -> TaxFacts:
        standing: dict[tuple[UUID, UUID], list[tuple[TaxRow, bool]]] = {}
        for document in self.documents:
            for row in document.rows:
                told = standing.setdefault((row.scope_id, row.rate_id), [])
                told.append((row, not document.is_canceled))
        by_scope: dict[UUID, list[Standing]] = {}
        for (scope_id, rate_id), rows in standing.items():
            first = rows[0][0]
            by_scope.setdefault(scope_id, []).append(
                Standing(
                    rate_id,
                    first.name,
                    first.percentage,
                    first.rounding,
                    sum((row.taxable for row, stands in rows if stands), ZERO),
                    sum((row.amount for row, stands in rows if stands), ZERO),
                )
            )
        return TaxFacts(
            rounding=self.rounding,
            rates=self.rates,
            places={CUSTOMER: Place("DE", "")},
            codes={charge: code for charge, code in CHARGES.items() if code},
            corrected={
                one: tax for document in self.documents for one, tax in document.tax.items()
            },
            standing=by_scope,
        )

    def scopes(self) -> dict[tuple[UUID, UUID], tuple[Decimal, Decimal, Decimal]]:
        """Percentage, what is billed and its tax, by scope and rate."""
        found: dict[tuple[UUID, UUID], tuple[Decimal, Decimal, Decimal]] = {}
        for document in self.documents:
            for row in () if document.is_canceled else document.rows:
                key = row.scope_id, row.rate_id
                _, taxable, amount = found.get(key, (ZERO, ZERO, ZERO))
                found[key] = (row.percentage, taxable + row.taxable, amount + row.amount)
        return found


@st.composite
def books(draw: st.DrawFn) -> Books:
    """Books of a customer for whom up to three rates apply."""
    currency = draw(st.sampled_from(sorted(CURRENCIES)))
    rates = [
        RateTerms(new_id(), tax, tax, draw(percentages), tax_code=code)
        for tax, code in (("a", ""), ("a", "book"), ("b", "song"))
        if draw(st.booleans())
    ]
    return Books(currency, rates, draw(rounding))


@st.composite
def runs(draw: st.DrawFn, currency: str) -> list[list[tuple[int, Decimal]]]:
    amounts = st.integers(-(10**4), 10**6).map(
        lambda units: Decimal(units).scaleb(-CURRENCIES[currency])
    )
    run = st.lists(st.tuples(st.integers(0, 5), amounts), min_size=1, max_size=6)
    return draw(st.lists(run, min_size=1, max_size=6))


@given(st.data())
@pytest.mark.holds("I2")
def test_tax_is_always_that_of_what_is_billed(data: st.DataObject) -> None:
    found = data.draw(books())
    for run in data.draw(runs(found.currency)):
        found.bill(run)
        for percentage, taxable, amount in found.scopes().values():
            assert amount == tax_on(taxable, percentage, found.currency)


@given(st.data())
@pytest.mark.holds("I2")
def test_what_is_taken_back_as_a_whole_leaves_no_tax(data: st.DataObject) -> None:
    found = data.draw(books())
    for run in data.draw(runs(found.currency)):
        found.bill(run)
        found.documents[-1].is_canceled = data.draw(st.booleans())
        found.rounding = data.draw(rounding)  # that of what comes new
        if data.draw(st.booleans()):
            found.rates = ()  # whatever the rates are by then
    take_back(data, found)
    for _, taxable, amount in found.scopes().values():
        assert (taxable, amount) == (ZERO, ZERO)


@given(st.data())
def test_canceling_what_was_corrected_since_moves_tax_by_one_unit_at_most(
    data: st.DataObject,
) -> None:
    found = data.draw(books())
    for run in data.draw(runs(found.currency)):
        found.bill(run)
    data.draw(st.sampled_from(found.documents)).is_canceled = True
    unit = Decimal(1).scaleb(-CURRENCIES[found.currency])
    for percentage, taxable, amount in found.scopes().values():
        assert abs(amount - tax_on(taxable, percentage, found.currency)) <= unit
    touched = len(found.documents)
    take_back(data, found)
    mended = {(row.scope_id, row.rate_id) for one in found.documents[touched:] for row in one.rows}
    for key, (_, taxable, amount) in found.scopes().items():
        assert (taxable, amount if key in mended else ZERO) == (ZERO, ZERO)


@given(st.data())
def test_what_credit_pays_is_taxed_once_and_leaves_what_is_given_back(data: st.DataObject) -> None:
    found = data.draw(books())
    (run, *_) = data.draw(runs(found.currency))
    found.bill(run)
    (document,) = found.documents
    lines = taxed_lines(document)
    covered = {
        line.id: data.draw(st.sampled_from([ZERO, line.amount / 2, line.amount]))
        for line in lines
        if line.amount > 0
    }
    rows = without_covered(document.rows, lines, covered, found.currency)
    assert sum((row.amount for row in rows), ZERO) >= least_tax(rows, lines, found.currency)
    for before, row in zip(document.rows, rows, strict=True):
        assert row.taxable + row.covered == before.taxable
        assert row.amount == tax_on(row.taxable, row.percentage, found.currency)
    assert without_covered(rows, lines, {}, found.currency) == list(document.rows)


def taxed_lines(document: Document) -> list[TaxedLine]:
    return [TaxedLine(one.id, one.amount, document.tax.get(one.id)) for one in document.lines]


def take_back(data: st.DataObject, found: Books) -> None:
    """Let nothing be billed, piece by piece, in any order."""
    for key in data.draw(st.permutations(sorted(found.keys))):
        found.bill([(key, ZERO)])


@given(st.data())
def test_without_corrections_rates_are_on_the_sum_of_their_lines(data: st.DataObject) -> None:
    found = data.draw(books())
    found.rounding = TaxRounding.PER_RATE
    (run, *_) = data.draw(runs(found.currency))
    found.bill(run)
    (document,) = found.documents
    for shown in taxes_by_rate(document.rows, found.currency):
        lines = [
            line.amount
            for line in document.lines
            if line.id in document.tax and shown.rate_id in document.tax[line.id].rates
        ]
        assert shown.taxable == sum(lines)
        assert shown.amount == tax_on(sum(lines, ZERO), shown.percentage, found.currency)


@given(st.data())
def test_shares_of_lines_are_all_of_the_tax(data: st.DataObject) -> None:
    found = data.draw(books())
    (run, *_) = data.draw(runs(found.currency))
    found.bill(run)
    (document,) = found.documents
    lines = taxed_lines(document)
    shares = tax_shares(lines, document.rows, found.currency)
    assert sum(shares.values()) == sum((row.amount for row in document.rows), ZERO)
    assert set(shares) == set(document.tax)
