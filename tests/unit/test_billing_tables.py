"""The worked tables of docs/billing.md and docs/taxes.md, executed row by row."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from apps.core.ids import new_id
from apps.core.money import allocate, round_money
from apps.invoicing.assembly import propose
from apps.invoicing.committing import Spending, dearer, missing, part_of
from apps.invoicing.discounting import Discounts
from apps.invoicing.domain import LineKind
from apps.invoicing.taxing import Standing, TaxableLine, TaxFacts, tax_document
from apps.metering.domain import Measurement
from apps.rating.aggregation import (
    Aggregation,
    AggregationRule,
    QuantityRounding,
    RoundingMode,
    Usage,
    aggregate,
)
from apps.rating.periods import Alignment, Cadence, Span, Unit, instant, schedule_for
from apps.rating.pricing import Measured, TimeOfDay, band_of, parse_pricing, rate
from apps.rating.proration import Basis, prorate
from apps.taxes.domain import Place, RateTerms, rates_for
from apps.tenants.domain import TaxRounding
from tests.make.slices import recurring_slice, redeemed, usage_slice

PAGES = [Path(__file__).parents[2] / "docs" / name for name in ("billing.md", "taxes.md")]
AT = datetime(2026, 5, 1, tzinfo=UTC)

Row = tuple[str, ...]


def tables() -> list[tuple[Row, list[Row]]]:
    """Every table of the pages: its heads, and its rows below them."""
    found: list[tuple[Row, list[Row]]] = []
    inside = False
    for line in [line for page in PAGES for line in page.read_text().splitlines()]:
        if not line.startswith("|"):
            inside = False
            continue
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if not inside:
            found.append((cells, []))
        elif not set("".join(cells)) <= set("-:"):
            found[-1][1].append(cells)
        inside = True
    return found


def listed(cell: str) -> list[str]:
    return [part.strip() for part in cell.split(",") if part.strip()]


def decimals(cell: str) -> list[Decimal]:
    return [Decimal(part) for part in listed(cell)]


def local(text: str, zone: str) -> datetime:
    return instant(datetime.fromisoformat(text), ZoneInfo(zone))


def span(text: str, zone: str) -> Span:
    start, end = text.split(" to ")
    return Span(local(start, zone), local(end, zone))


def check_boundaries(*cells: str) -> None:
    start, zone, cadence, alignment, anchor_day, boundaries = cells
    count, unit = cadence.split()
    schedule = schedule_for(
        local(start, zone),
        Cadence(Unit(unit.removesuffix("s")), int(count)),
        Alignment(alignment),
        zone,
        int(anchor_day) if anchor_day else None,
    )
    first = schedule.index_at(local(start, zone))
    shown = [
        f"{schedule.boundary(n).astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
        for n in range(first, first + 4)
    ]
    assert [text.removesuffix(" 00:00") for text in shown] == listed(boundaries)


def check_shares(*cells: str) -> None:
    part, whole, zone, second, day, month_30 = cells
    shares = [prorate(span(part, zone), span(whole, zone), basis, zone) for basis in Basis]
    assert shares == [Fraction(second), Fraction(day), Fraction(month_30)]


def check_quantity(
    aggregation: str, rounding: str, carried: str, events: str, quantity: str
) -> None:
    name, _, percentile = aggregation.partition(" ")
    mode, _, precision = rounding.partition(" ")
    rule = AggregationRule(
        Aggregation(name),
        Decimal(percentile) if percentile else None,
        QuantityRounding(RoundingMode(mode), int(precision)) if rounding else None,
        recurring=bool(carried),
    )
    usage = []
    for seq, event in enumerate(listed(events)):
        clock, value, *items = event.split()
        at = datetime.fromisoformat(f"2026-03-01 {clock}").replace(tzinfo=UTC)
        usage.append(Usage(at, seq, Decimal(value), "".join(items)))
    day = Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert aggregate(rule, usage, day, Decimal(carried or 0)) == Decimal(quantity)


def check_price(model: str, measured: Measured, amount: str) -> None:
    rated = rate(parse_pricing(json.loads(model.strip("`")), currency="USD"), measured)
    assert rated.amount == Decimal(amount)
    assert sum(step.amount for step in rated.steps) == rated.amount


def check_quantity_price(model: str, quantity: str, amount: str) -> None:
    check_price(model, Measured(Decimal(quantity)), amount)


def check_transactions_price(model: str, transactions: str, amount: str) -> None:
    values = decimals(transactions)
    check_price(model, Measured(sum(values, Decimal(0)), transactions=tuple(values)), amount)


def check_groups_price(model: str, groups: str, amount: str) -> None:
    pairs = [group.rsplit(" ", 1) for group in listed(groups)]
    measured = tuple((tuple(key.split("/")), Decimal(quantity)) for key, quantity in pairs)
    check_price(model, Measured(Decimal(0), groups=measured), amount)


def check_bands_price(model: str, events: str, amount: str) -> None:
    pricing = parse_pricing(json.loads(model.strip("`")), currency="USD")
    assert isinstance(pricing, TimeOfDay)
    pairs = [event.rsplit(" ", 1) for event in listed(events)]
    bands = tuple(
        (band_of(pricing, datetime.fromisoformat(at).replace(tzinfo=UTC)), Decimal(quantity))
        for at, quantity in pairs
    )
    check_price(model, Measured(Decimal(0), bands=bands), amount)


def check_event_prices(model: str, prices: str, amount: str) -> None:
    check_price(model, Measured(Decimal(2), priced=sum(decimals(prices), Decimal(0))), amount)


def check_rounding(amount: str, currency: str, rounded: str) -> None:
    assert str(round_money(Decimal(amount), currency)) == rounded


def check_split(total: str, weights: str, currency: str, parts: str) -> None:
    split = allocate(Decimal(total), decimals(weights), currency)
    assert [str(part) for part in split] == listed(parts)


def check_rates(rates: str, sold: str, applies: str) -> None:
    """A rate is a tax, perhaps a place and a tax code, and a percentage."""
    known = []
    for text in listed(rates):
        tax, *where, percentage = text.split()
        country, _, region = where[0].partition("/") if where else ("", "", "")
        code = where[1] if len(where) > 1 else ""
        terms = RateTerms(new_id(), tax, text, Decimal(percentage), country, region, code)
        known.append(terms)
    to, _, code = sold.partition(" ")
    country, _, region = to.partition("/")
    found = rates_for(known, Place(country, region), code, AT)
    assert [f"{one.tax} {one.percentage}" for one in found] == listed(applies)


def taxable(amount: Decimal, corrects: UUID | None = None) -> TaxableLine:
    return TaxableLine(new_id(), corrects, None, AT, AT, amount)


def facts_of(percentage: str, rounding: str = "per_rate") -> TaxFacts:
    rate = RateTerms(new_id(), "vat", "VAT", Decimal(percentage))
    return TaxFacts(TaxRounding(rounding), [rate], {BUYER: Place("", "")})


def check_tax(percentage: str, rounding: str, currency: str, lines: str, tax: str) -> None:
    priced = [taxable(amount) for amount in decimals(lines)]
    found = tax_document(new_id(), BUYER, currency, priced, facts_of(percentage, rounding))
    assert str(found.total) == tax


def check_corrected_tax(percentage: str, currency: str, billed: str, taxes: str) -> None:
    facts = facts_of(percentage)
    first: TaxableLine | None = None
    shown = []
    for amount in decimals(billed):
        line = taxable(amount, first.id if first else None)
        found = tax_document(new_id(), BUYER, currency, [line], facts)
        shown.append(str(found.total))
        (row,) = found.rows
        first = first or line
        standing = Standing(
            row.rate_id,
            row.name,
            row.percentage,
            row.rounding,
            row.taxable_before + row.taxable,
            row.amount_before + row.amount,
        )
        facts = replace(
            facts,
            corrected={first.id: found.lines[line.id]},
            standing={row.scope_id: [standing]},
        )
    assert shown == listed(taxes)


BUYER = new_id()


def check_discounts(coupons: str, charges: str, taken: str, left: str) -> None:
    due = [recurring_slice(amount) for amount in decimals(charges)]
    lines = propose(due, {}, {}, price_lists={}, discounts=redeemed(coupons))
    off = [
        -sum(
            (
                line.amount
                for line in lines
                if line.key.charge_id == one.charge.id and line.key.kind is LineKind.DISCOUNT
            ),
            Decimal(0),
        )
        for one in due
    ]
    assert off == decimals(taken)
    rest = [amount - gone for amount, gone in zip(decimals(charges), off, strict=True)]
    assert rest == decimals(left)


def check_bounds_first(usage: str, minimum: str, maximum: str, coupon: str, lines: str) -> None:
    discounts = Discounts(redeemed(coupon).redeemed, {}, bounds_first=True)
    bounds_lines(usage, minimum, maximum, discounts, lines)


def check_bounds(usage: str, coupon: str, minimum: str, maximum: str, lines: str) -> None:
    bounds_lines(usage, minimum, maximum, redeemed(coupon), lines)


def bounds_lines(usage: str, minimum: str, maximum: str, discounts: Discounts, lines: str) -> None:
    bounds = [Decimal(one) if one else None for one in (minimum, maximum)]
    due = usage_slice(*bounds)
    measured = {0: (Measurement("", Measured(Decimal(usage), 1)),)}
    found = propose([due], measured, {}, price_lists={}, discounts=discounts)
    wanted = dict(part.split() for part in listed(lines))
    told = {line.key.kind.value: line.amount for line in found}
    assert told == {kind: Decimal(amount) for kind, amount in wanted.items() if Decimal(amount)}


def check_commitment(*cells: str) -> None:
    commitment, share, charged, factor, short, more = cells
    amount = part_of(Decimal(commitment), Fraction(share))
    spending = Spending("", amount, Decimal(charged), Decimal(factor))
    assert str(round_money(missing(spending), "USD")) == short
    assert str(round_money(dearer(spending), "USD")) == more


CHECKS: dict[Row, Callable[..., None]] = {
    ("start", "zone", "cadence", "alignment", "anchor day", "boundaries"): check_boundaries,
    ("part", "period", "zone", "second", "day", "month_30"): check_shares,
    ("aggregation", "rounding", "carried in", "events", "quantity"): check_quantity,
    ("model", "quantity", "amount"): check_quantity_price,
    ("model", "transactions", "amount"): check_transactions_price,
    ("model", "groups", "amount"): check_groups_price,
    ("model", "events", "amount"): check_bands_price,
    ("model", "prices", "amount"): check_event_prices,
    ("amount", "currency", "rounded"): check_rounding,
    ("total", "weights", "currency", "parts"): check_split,
    ("rates", "sold", "applies"): check_rates,
    ("rate", "tax_rounding", "currency", "lines", "tax"): check_tax,
    ("rate", "currency", "billed, document by document", "tax of each"): check_corrected_tax,
    ("coupons", "charges", "taken off", "left"): check_discounts,
    ("commitment", "share", "charged", "overage factor", "missing", "dearer by"): check_commitment,
    ("usage", "coupon", "minimum", "maximum", "lines"): check_bounds,
    ("usage", "minimum", "maximum", "coupon", "lines"): check_bounds_first,
}

ROWS = [
    pytest.param(CHECKS[heads], row, id=f"{heads[0]}-{number}")
    for heads, rows in tables()
    if heads in CHECKS
    for number, row in enumerate(rows, start=1)
]


@pytest.mark.parametrize(("check", "row"), ROWS)
def test_row(check: Callable[..., None], row: Row) -> None:
    check(*row)


def test_every_kind_of_table_is_on_the_page_with_rows() -> None:
    on_the_page = {heads for heads, rows in tables() if rows}
    assert set(CHECKS) - on_the_page == set()
    assert len(ROWS) > 90
