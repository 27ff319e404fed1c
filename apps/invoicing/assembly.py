"""What should be billed, less what has been: the difference that becomes a document. Pure.

Billing a customer is three steps, and only the middle one touches the database:

1. ``slicing.slices_due``: from the timelines, every charge's billing periods that are due by the
   cutoff, cut where the terms change;
2. the usage of those slices is measured (``gathering``);
3. ``propose``: every line that should exist, minus the lines that do exist, by key.

Both sides of the subtraction look at the periods of the same window; so a repeated run finds
nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from apps.catalog.domain import ChargeKind, PriceTerms
from apps.core.errors import Conflict
from apps.core.money import ARITHMETIC, round_money
from apps.invoicing.domain import LineKind
from apps.invoicing.slicing import WHOLE, Slice
from apps.metering.domain import Measurement, UsageSpan
from apps.rating.periods import Span
from apps.rating.pricing import Measured, Rated, after_included, rate
from apps.rating.proration import Basis

_ZERO: Final = Decimal(0)
_PLACES: Final = Decimal("1e-12")
STANDARD_PRICES: Final = ""  # the price point of usage that names none


class PriceMissing(Conflict):
    """A charge has no price in the subscription's currency or on the price list it names."""

    reason = "price_missing"


class LineKey(NamedTuple):
    """What identifies an expected line; ``group`` is the price point of usage lines."""

    subscription_id: UUID
    charge_id: UUID
    kind: LineKind
    period_start: datetime
    segment_start: datetime
    group: str


@dataclass(frozen=True, slots=True)
class Billed:
    """What the issued lines of a key amount to together, and how the first of them looked.

    ``count`` numbers all lines the key ever had; ``first_line_id`` is the first that still
    stands, None where every document with the key was canceled.
    """

    amount: Decimal
    currency: str
    count: int
    first_line_id: UUID | None
    period_end: datetime
    service_start: datetime
    service_end: datetime
    description: str
    unit: str


class Derivation(Struct, frozen=True):
    """How an expected amount came about; stored on the line and replayed by ``explain``."""

    price_list: str  # the price point of the usage; "" where it names none
    price_list_id: UUID | None  # whose price was taken; None is the standard list
    share: tuple[int, int]  # of the period: numerator, denominator
    included: Decimal
    measured: Measured | None
    rated: Rated | None
    exact: Decimal  # before the one rounding
    expected: Decimal  # what the key should amount to
    already_billed: Decimal  # by earlier lines of the key
    meter_version: UUID | None = None
    usage: tuple[UsageSpan, ...] = ()
    basis: Basis | None = None  # by which the share was told


class ProposedLine(Struct, frozen=True):
    """A line to be written: ``amount`` is expected less already billed."""

    key: LineKey
    currency: str
    period_end: datetime
    service: Span
    description: str
    quantity: Decimal
    unit: str
    amount: Decimal
    sequence: int
    corrects: UUID | None
    derivation: Derivation


class _Expected(Struct, frozen=True):
    key: LineKey
    slice: Slice
    description: str
    quantity: Decimal
    unit: str
    derivation: Derivation


def propose(
    slices: Sequence[Slice],
    measured: Mapping[int, Sequence[Measurement]],
    billed: Mapping[LineKey, Billed],
    *,
    price_lists: Mapping[str, UUID],
) -> list[ProposedLine]:
    """Return the lines that make what is billed equal to what should be; none if it is.

    ``measured`` gives the usage of the slice with that index. ``billed`` holds every issued key
    in the windows: one that is expected no longer is taken back in full.
    """
    lines: list[ProposedLine] = []
    seen: set[LineKey] = set()
    for index, one in enumerate(slices):
        for expected in _expected_of(one, measured.get(index, ()), price_lists):
            past = None
            if billed:  # hashing a key takes longer than all else here
                seen.add(expected.key)
                past = billed.get(expected.key)
            line = _difference(expected, past)
            if line is not None:
                lines.append(line)
    lines += (
        _taken_back(key, past) for key, past in billed.items() if key not in seen and past.amount
    )
    return lines


# --- expected lines -----------------------------------------------------------------------------


class _Price(NamedTuple):
    list_id: UUID | None
    terms: PriceTerms


def _expected_of(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> Iterator[_Expected]:
    match one.charge.kind:
        case ChargeKind.FIXED:
            yield _priced(one, LineKind.FIXED, Measured(one.quantity), _price(one), "")
        case ChargeKind.RECURRING:
            yield _priced(one, LineKind.RECURRING, Measured(one.quantity), _price(one), "")
        case ChargeKind.USAGE:
            yield from _usage_lines(one, measurements, price_lists)


def _usage_lines(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> Iterator[_Expected]:
    standard = _price(one)
    by_point = {found.price_point: found.measured for found in measurements}
    by_point.setdefault(STANDARD_PRICES, Measured(_ZERO))
    lines = []
    for point, measured in sorted(by_point.items()):
        price = standard
        if point in price_lists:
            listed = price_lists[point]
            terms = one.charge.prices.get((listed, one.subscription.currency))
            price = _Price(listed, terms) if terms is not None else standard
        lines.append(_priced(one, LineKind.USAGE, measured, price, point))
    yield from lines
    yield from _bounds(one, standard, sum((line.derivation.expected for line in lines), _ZERO))


def _price(one: Slice) -> _Price:
    """Return the price of what names no price point: the subscription's, or the standard one."""
    currency = one.subscription.currency
    for listed in (one.price_list_id, None):
        terms = one.charge.prices.get((listed, currency))
        if terms is not None:
            return _Price(listed, terms)
    raise PriceMissing(f"The charge {one.charge.key} has no price in {currency}.")


def _priced(one: Slice, kind: LineKind, measured: Measured, price: _Price, point: str) -> _Expected:
    charge, currency = one.charge, one.subscription.currency
    # usage is itself the part of the period, of which a part is included; a price for time is not
    is_usage = kind is LineKind.USAGE
    included = _ZERO
    if charge.included_quantity and not point:
        included = included_in(charge.included_quantity, one.share if is_usage else WHOLE)
    rated = rate(price.terms.model, after_included(measured, included) if included else measured)
    exact = rated.amount if is_usage else _times(rated.amount, one.share)
    return _Expected(
        key=_key(one, kind, point),
        slice=one,
        description=f"{charge.name} ({point})" if point else charge.name,
        quantity=measured.quantity,
        unit=charge.meter.unit if charge.meter else "",
        derivation=Derivation(
            price_list=point,
            price_list_id=price.list_id,
            share=(one.share.numerator, one.share.denominator),
            basis=one.basis,
            included=included,
            measured=measured,
            rated=rated,
            exact=exact,
            expected=round_money(exact, currency),
            already_billed=_ZERO,
            meter_version=charge.meter.version_id if charge.meter else None,
            usage=one.usage,
        ),
    )


def included_in(quantity: Decimal, share: Fraction) -> Decimal:
    """Return what is included in a share of a period, at most 12 decimals."""
    return _times(quantity, share).quantize(_PLACES, context=ARITHMETIC)


def _bounds(one: Slice, price: _Price, total: Decimal) -> Iterator[_Expected]:
    """Yield what is missing to the charge's minimum, or exceeds its maximum (taken off).

    Both are for a whole period and prorated with it where the charge is.
    """
    minimum, maximum = price.terms.minimum, price.terms.maximum
    if minimum is not None:
        exact = max(_times(minimum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MINIMUM, price, exact, f"{one.charge.name}: to the minimum")
    if maximum is not None:
        exact = min(_times(maximum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MAXIMUM, price, exact, f"{one.charge.name}: above the maximum")


def _bound(
    one: Slice, kind: LineKind, price: _Price, exact: Decimal, description: str
) -> _Expected:
    return _Expected(
        key=_key(one, kind, ""),
        slice=one,
        description=description,
        quantity=_ZERO,
        unit="",
        derivation=Derivation(
            price_list="",
            price_list_id=price.list_id,
            share=(one.share.numerator, one.share.denominator),
            basis=one.basis,
            included=_ZERO,
            measured=None,
            rated=None,
            exact=exact,
            expected=round_money(exact, one.subscription.currency),
            already_billed=_ZERO,
        ),
    )


def _key(one: Slice, kind: LineKind, group: str) -> LineKey:
    return LineKey(
        one.subscription.id, one.charge.id, kind, one.period.start, one.segment_start, group
    )


def _times(amount: Decimal, share: Fraction) -> Decimal:
    if share is WHOLE:
        return amount
    product = ARITHMETIC.multiply(amount, Decimal(share.numerator))
    return ARITHMETIC.divide(product, Decimal(share.denominator))


# --- differences --------------------------------------------------------------------------------


def _difference(expected: _Expected, past: Billed | None) -> ProposedLine | None:
    derivation = expected.derivation
    one = expected.slice
    if past is None:
        if not derivation.expected and not (
            expected.quantity and expected.key.kind is LineKind.USAGE
        ):
            return None  # nothing used, nothing due: no line
        amount, count, first = derivation.expected, 0, None
    else:
        amount, count, first = derivation.expected - past.amount, past.count, past.first_line_id
        if not amount:
            return None
        derivation = replace(derivation, already_billed=past.amount)
    return ProposedLine(
        key=expected.key,
        currency=one.subscription.currency,
        period_end=one.period.end,
        service=one.part,
        description=f"Correction: {expected.description}" if first else expected.description,
        quantity=expected.quantity,
        unit=expected.unit,
        amount=amount,
        sequence=count,
        corrects=first,
        derivation=derivation,
    )


def _taken_back(key: LineKey, past: Billed) -> ProposedLine:
    return ProposedLine(
        key=key,
        currency=past.currency,
        period_end=past.period_end,
        service=Span(past.service_start, past.service_end),
        description=f"Correction: {past.description}",
        quantity=_ZERO,
        unit=past.unit,
        amount=-past.amount,
        sequence=past.count,
        corrects=past.first_line_id,
        derivation=Derivation(
            price_list=key.group,
            price_list_id=None,
            share=(0, 1),
            included=_ZERO,
            measured=None,
            rated=None,
            exact=_ZERO,
            expected=_ZERO,
            already_billed=past.amount,
        ),
    )
