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
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

from msgspec.structs import replace

from apps.catalog.domain import ChargeKind, PriceTerms
from apps.core.errors import Conflict
from apps.core.money import ARITHMETIC, round_money
from apps.invoicing.committing import Committed, Settled, settled_turns
from apps.invoicing.discounting import Discounts, Reduction, reductions
from apps.invoicing.domain import LineKind
from apps.invoicing.lines import Billed, Derivation, Expected, LineKey, ProposedLine, Whole
from apps.invoicing.slicing import WHOLE, Slice
from apps.metering.domain import Measurement
from apps.rating.periods import Span
from apps.rating.pricing import Measured, after_included, rate

_ZERO: Final = Decimal(0)
_PLACES: Final = Decimal("1e-12")
STANDARD_PRICES: Final = ""  # the price point of usage that names none


class PriceMissing(Conflict):
    """A charge has no price in the subscription's currency or on the price list it names."""

    reason = "price_missing"


def propose(
    slices: Sequence[Slice],
    measured: Mapping[int, Sequence[Measurement]],
    billed: Mapping[LineKey, Billed],
    *,
    price_lists: Mapping[str, UUID],
    discounts: Discounts | None = None,
    committed: Sequence[Committed] = (),
) -> list[ProposedLine]:
    """Return the lines that make what is billed equal to what should be; none if it is.

    ``measured`` gives the usage of the slice with that index. ``billed`` holds every issued key
    in the windows: one that is expected no longer is taken back in full.
    """
    lines: list[ProposedLine] = []
    seen: set[LineKey] = set()
    for expected in expected_lines(slices, measured, price_lists, discounts, committed):
        past = None
        if billed:  # hashing a key takes longer than all else here
            seen.add(expected.key)
            past = billed.get(expected.key)
        line = _difference(expected, past)
        if line is not None:
            lines.append(line)
    lines += (
        _taken_back(key, past)
        for key, past in billed.items()
        if key not in seen and past.amount and not past.is_running
    )
    return lines


# --- expected lines -----------------------------------------------------------------------------


class _Price(NamedTuple):
    list_id: UUID | None
    terms: PriceTerms
    agreed: str = ""


def expected_lines(
    slices: Sequence[Slice],
    measured: Mapping[int, Sequence[Measurement]],
    price_lists: Mapping[str, UUID],
    discounts: Discounts | None,
    committed: Sequence[Committed],
) -> Iterator[Expected]:
    """Yield all that should be billed: charges, discounts, bounds of both, commitments.

    Whatever was billed already; what comes to nothing is there too. See ``propose``.
    """
    if discounts is None and not committed:
        for index, one in enumerate(slices):
            charged = _charged(one, measured.get(index, ()), price_lists)
            yield from charged
            yield from _bounds(one, charged)
        return
    by_slice = [
        _charged(one, measured.get(index, ()), price_lists) for index, one in enumerate(slices)
    ]
    taken: Mapping[int, Sequence[Reduction]] = {}
    bounds_first = discounts is not None and discounts.bounds_first
    if bounds_first:
        by_slice = [
            [*charged, *_bounds(one, charged, first=True)]
            for one, charged in zip(slices, by_slice, strict=True)
        ]
    if discounts is not None:
        amounts = {index: _sum(charged) for index, charged in enumerate(by_slice)}
        taken = reductions(slices, amounts, discounts)
    totals: list[Decimal] = []
    for index, (one, charged) in enumerate(zip(slices, by_slice, strict=True)):
        off = (_discount(one, found, bounds_first) for found in taken.get(index, ()))
        less = [*charged, *off]
        whole = less if bounds_first else [*less, *_bounds(one, less)]
        totals.append(_sum(whole))
        yield from whole
    for commitment in committed:
        for settled in settled_turns(slices, totals, commitment):
            yield from _settlements(settled)


def _sum(lines: Sequence[Expected]) -> Decimal:
    return sum((line.derivation.expected for line in lines), _ZERO)


def _charged(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> list[Expected]:
    match one.charge.kind:
        case ChargeKind.FIXED:
            return [_priced(one, LineKind.FIXED, Measured(one.quantity), _price(one), "")]
        case ChargeKind.RECURRING:
            return [_priced(one, LineKind.RECURRING, Measured(one.quantity), _price(one), "")]
        case ChargeKind.USAGE:
            return _usage_lines(one, measurements, price_lists)


def _usage_lines(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> list[Expected]:
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
    return lines


def _price(one: Slice) -> _Price:
    """Return the price of what names no price point: agreed on, the subscription's, or standard."""
    if one.agreed is not None:
        return _Price(None, one.agreed.terms, one.agreed.name)
    currency = one.subscription.currency
    for listed in (one.price_list_id, None):
        terms = one.charge.prices.get((listed, currency))
        if terms is not None:
            return _Price(listed, terms)
    raise PriceMissing(f"The charge {one.charge.key} has no price in {currency}.")


def _priced(one: Slice, kind: LineKind, measured: Measured, price: _Price, point: str) -> Expected:
    charge, currency = one.charge, one.subscription.currency
    # usage is itself the part of the period, of which a part is included; a price for time is not
    is_usage = kind is LineKind.USAGE
    included = _ZERO
    if charge.included_quantity and not point:
        included = included_in(charge.included_quantity, one.share if is_usage else WHOLE)
    rated = rate(price.terms.model, after_included(measured, included) if included else measured)
    exact = rated.amount if is_usage else _times(rated.amount, one.share)
    return Expected(
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
            agreed=price.agreed,
        ),
    )


def included_in(quantity: Decimal, share: Fraction) -> Decimal:
    """Return what is included in a share of a period, at most 12 decimals."""
    return _times(quantity, share).quantize(_PLACES, context=ARITHMETIC)


def _bounds(one: Slice, charged: Sequence[Expected], *, first: bool = False) -> Iterator[Expected]:
    """Yield what is missing to the minimum of a usage charge, or exceeds its maximum (taken off).

    Both are for what discounts leave of a whole period, or (``first``) for what it comes to before
    them, and prorated with it where the charge is.
    """
    if one.charge.kind is not ChargeKind.USAGE or one.is_early:
        return
    price = _price(one)
    minimum, maximum = price.terms.minimum, price.terms.maximum
    if minimum is None and maximum is None:
        return
    total = _sum(charged)
    if minimum is not None:
        exact = max(_times(minimum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MINIMUM, price, exact, first)
    if maximum is not None:
        exact = min(_times(maximum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MAXIMUM, price, exact, first)


def _bound(
    one: Slice,
    kind: LineKind,
    price: _Price,
    exact: Decimal,
    first: bool,  # noqa: FBT001 -- as is stored
) -> Expected:
    words = "to the minimum" if kind is LineKind.MINIMUM else "above the maximum"
    return Expected(
        key=_key(one, kind, ""),
        slice=one,
        description=f"{one.charge.name}: {words}",
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
            agreed=price.agreed,
            bounds_first=first,
        ),
    )


def _discount(
    one: Slice,
    reduction: Reduction,
    bounds_first: bool,  # noqa: FBT001 -- as is stored
) -> Expected:
    return Expected(
        key=_key(one, LineKind.DISCOUNT, reduction.redemption),
        slice=one,
        description=f"{one.charge.name}: discount {reduction.code}",
        quantity=_ZERO,
        unit="",
        derivation=Derivation(
            price_list="",
            price_list_id=None,
            share=(1, 1),
            included=_ZERO,
            measured=None,
            rated=None,
            exact=-reduction.exact,
            expected=-reduction.off,
            already_billed=_ZERO,
            reduction=reduction,
            bounds_first=bounds_first,
        ),
    )


def _settlements(settled: Settled) -> Iterator[Expected]:
    """Yield what settles a commitment: what is missing to it, and what exceeds it costs more."""
    commitment = settled.committed.commitment
    if commitment.true_up:
        yield _settlement(settled, LineKind.TRUE_UP, settled.missing, "To the commitment")
    if commitment.overage_factor != 1:
        yield _settlement(settled, LineKind.OVERAGE, settled.dearer, "Above the commitment")


def _settlement(settled: Settled, kind: LineKind, exact: Decimal, description: str) -> Expected:
    terms, span = settled.committed.subscription, settled.turn.span
    contract = settled.committed.contract.public_id
    return Expected(
        key=LineKey(terms.id, None, kind, span.start, span.start, contract),
        slice=Whole(terms, span, span),
        description=description,
        quantity=_ZERO,
        unit="",
        derivation=Derivation(
            price_list="",
            price_list_id=None,
            share=(settled.share.numerator, settled.share.denominator),
            included=_ZERO,
            measured=None,
            rated=None,
            exact=exact,
            expected=round_money(exact, terms.currency),
            already_billed=_ZERO,
            spending=settled.spending,
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


def _difference(expected: Expected, past: Billed | None) -> ProposedLine | None:
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
        if _goes_on(one, past):
            first = None
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


def _goes_on(one: Slice | Whole, past: Billed) -> bool:
    """Say whether the key was billed up to an instant within its part: the rest corrects nothing."""
    return (
        isinstance(one, Slice)
        and one.charge.kind is ChargeKind.USAGE
        and past.billed_to is not None
        and past.billed_to < one.part.end
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
            price_list=key.group if key.kind is LineKind.USAGE else "",
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
