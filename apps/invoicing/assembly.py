"""What should be billed, less what has been: the difference that becomes a document. Pure.

Billing a customer is three steps, and only the middle one touches the database:

1. ``slices_due``: from the timelines, every charge's billing periods that are due by the cutoff,
   cut where the terms change;
2. the usage of those slices is measured (``gathering``);
3. ``propose``: every line that should exist, minus the lines that do exist, by key.

Only periods that end after the *window* are looked at, on both sides of the subtraction. The
window is the last cutoff or, where something changed before it, the instant of that change; so a
repeated run finds nothing, and a late event, a backdated change, an upgrade or a cancellation in
mid-period are no special cases.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from apps.catalog.domain import ChargeKind, ChargeTerms, PriceTerms, Timing
from apps.core.errors import Conflict
from apps.core.money import ARITHMETIC, round_money
from apps.invoicing.domain import LineKind
from apps.metering.domain import Measurement, UsageSpan
from apps.rating.periods import Cadence, Schedule, Span
from apps.rating.pricing import Measured, Rated, after_included, rate
from apps.rating.proration import Basis, prorate
from apps.subscriptions.domain import (
    SegmentTerms,
    Settlement,
    SubscriptionTerms,
    schedule_of,
)

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
_ONE: Final = Fraction(1)
_ZERO: Final = Decimal(0)
_PLACES: Final = Decimal("1e-12")
STANDARD_PRICES: Final = ""  # the price point of usage that names none

Charges: TypeAlias = Mapping[UUID, tuple[ChargeTerms, ...]]  # by phase


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


class Slice(Struct, frozen=True):
    """One charge in the part of one billing period in which its terms do not change."""

    subscription: SubscriptionTerms
    charge: ChargeTerms
    period: Span
    part: Span
    segment_start: datetime
    quantity: Decimal
    share: Fraction  # of the period, by which prorated prices are multiplied
    usage: tuple[UsageSpan, ...]  # empty unless the charge is for usage


class Derivation(Struct, frozen=True):
    """How an expected amount came about; stored on the line and replayed by ``explain``."""

    price_list: str  # "" is the standard list
    share: tuple[int, int]  # of the period: numerator, denominator
    included: Decimal
    measured: Measured | None
    rated: Rated | None
    exact: Decimal  # before the one rounding
    expected: Decimal  # what the key should amount to
    already_billed: Decimal  # by earlier lines of the key
    meter_version: UUID | None = None
    usage: tuple[UsageSpan, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Reach:
    """What of a subscription is looked at: periods that end after ``window``, due by ``cutoff``."""

    window: datetime
    cutoff: datetime


def reach_of(
    terms: SubscriptionTerms,
    cutoff: datetime,
    *,
    usage_since: datetime | None,
    reopened: datetime | None,
) -> Reach:
    """Return how far to look back and ahead when the customer is billed to ``cutoff``.

    Ahead, never less far than before: what was billed to a later cutoff stays billed. Back, to
    the last cutoff or the earliest change before it: of the timeline, of the usage, or a draft
    that is being replaced (``reopened``).
    """
    window = _window_start(terms, usage_since)
    if reopened is not None:
        window = min(window, reopened)
    return Reach(window, max(cutoff, terms.billed_until or cutoff))


def _window_start(terms: SubscriptionTerms, usage_since: datetime | None) -> datetime:
    if terms.billed_until is None:
        return _BEGINNING
    earliest = terms.billed_until
    if terms.changed_from is not None:
        earliest = min(earliest, terms.changed_from)
    if usage_since is not None:
        earliest = min(earliest, usage_since)
    return earliest


def in_window(period_start: datetime, period_end: datetime, window: datetime) -> bool:
    """Say whether a period is looked at: it ends after the window, or is an instant not before."""
    return period_end > window or (period_start == period_end and period_start >= window)


def slices_due(
    customer: Sequence[SubscriptionTerms],
    charges: Charges,
    *,
    reaches: Mapping[UUID, Reach],
    basis: Basis,
) -> list[Slice]:
    """Return what of the customer's charges is due within each subscription's reach.

    By its cutoff, inclusive: in advance, a period is due when it starts; in arrears, when its
    part ends; a fixed charge when its phase begins.
    """
    claims = _Claims(customer, charges)
    found: list[Slice] = []
    for terms in customer:
        reach = reaches[terms.id]
        for run in _runs(terms):
            pieces: dict[_Pace, list[_Piece]] = {}
            for charge in charges[run.phase_id]:
                pace = _pace(charge)
                if pace not in pieces:
                    pieces[pace] = list(_pieces(terms, charge, run, reach, basis=basis))
                found += (
                    Slice(
                        subscription=terms,
                        charge=charge,
                        period=piece.period,
                        part=piece.part,
                        segment_start=piece.segment_start,
                        quantity=piece.quantity,
                        share=piece.share,
                        usage=claims.split(terms, charge, piece.part),
                    )
                    for piece in pieces[pace]
                )
    return found


def next_due(terms: SubscriptionTerms, charges: Charges, after: datetime) -> datetime | None:
    """Return the first instant after ``after`` at which something of the subscription is due."""
    found: list[datetime] = []
    for run in _runs(terms):
        for charge in {_pace(charge): charge for charge in charges[run.phase_id]}.values():
            found += (
                due
                for stretch in _stretches(charge, run)
                if (due := _next_due_of(terms, charge, stretch, after)) is not None
            )
    return min(found, default=None)


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
            seen.add(expected.key)
            line = _difference(expected, billed.get(expected.key))
            if line is not None:
                lines.append(line)
    lines += (
        _taken_back(key, past) for key, past in billed.items() if key not in seen and past.amount
    )
    return lines


# --- timelines ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring segments of one phase: usage and fixed charges do not see their borders."""

    phase_id: UUID
    starts_at: datetime
    ends_at: datetime | None
    quantity: Decimal
    settlement: Settlement
    segments: tuple[SegmentTerms, ...]


def _runs(terms: SubscriptionTerms) -> Iterator[_Run]:
    gathered: list[SegmentTerms] = []
    for segment in terms.segments:
        if gathered and not _continues(gathered[-1], segment):
            yield _run(gathered)
            gathered = []
        gathered.append(segment)
    if gathered:
        yield _run(gathered)


def _continues(before: SegmentTerms, after: SegmentTerms) -> bool:
    return (
        before.phase_id == after.phase_id
        and before.ends_at == after.starts_at
        and before.anchor_at == after.anchor_at
    )


def _run(segments: list[SegmentTerms]) -> _Run:
    first, last = segments[0], segments[-1]
    return _Run(
        phase_id=first.phase_id,
        starts_at=first.starts_at,
        ends_at=last.ends_at,
        quantity=first.quantity,
        settlement=last.settlement,
        segments=tuple(segments),
    )


# Charges of one pace are due at the same instants for the same parts of the same periods.
_Pace: TypeAlias = tuple[ChargeKind, Cadence | None, Timing, bool]


def _pace(charge: ChargeTerms) -> _Pace:
    return (charge.kind, charge.cadence, charge.timing, charge.prorated)


class _Piece(NamedTuple):
    """The part of a billing period in which the terms of a charge do not change."""

    period: Span
    part: Span
    segment_start: datetime
    quantity: Decimal
    share: Fraction


def _pieces(
    terms: SubscriptionTerms, charge: ChargeTerms, run: _Run, reach: Reach, *, basis: Basis
) -> Iterator[_Piece]:
    for stretch in _stretches(charge, run):
        for period, part in _periods(terms, charge, stretch, reach):
            share = _share(terms, charge, stretch, period, part, basis=basis)
            yield _Piece(period, part, stretch.starts_at, stretch.quantity, share)


def _grid_of(terms: SubscriptionTerms, charge: ChargeTerms, stretch: _Run) -> Schedule:
    if charge.cadence is None:
        raise ValueError(f"the charge {charge.key} has no billing period")
    return schedule_of(terms, stretch.segments[0], charge.cadence)


def _stretches(charge: ChargeTerms, run: _Run) -> Sequence[_Run]:
    """Return the pieces in which a charge is billed: quantities matter only to recurring ones."""
    if charge.kind is not ChargeKind.RECURRING or len(run.segments) == 1:
        return (run,)
    return [_run([segment]) for segment in run.segments]


def _periods(
    terms: SubscriptionTerms,
    charge: ChargeTerms,
    stretch: _Run,
    reach: Reach,
) -> Iterator[tuple[Span, Span]]:
    window, cutoff = reach.window, reach.cutoff
    starts, ends = stretch.starts_at, stretch.ends_at or FOREVER
    if charge.kind is ChargeKind.FIXED:
        if starts <= cutoff and in_window(starts, starts, window):
            yield Span(starts, starts), Span(starts, starts)
        return
    last = cutoff + _TICK if charge.timing is Timing.ADVANCE else cutoff
    schedule = _grid_of(terms, charge, stretch)
    # a period that is cut short by the stretch's end still counts whole in the window
    for _, period in schedule.periods(max(starts, window), min(ends, last)):
        part = Span(max(period.start, starts), min(period.end, ends))
        due = part.start if charge.timing is Timing.ADVANCE else part.end
        if due <= cutoff:
            yield period, part
    if ends <= window and ends <= last:
        # the window lies behind the end, but maybe within the period that the end cut short
        period = schedule.period(schedule.index_at(ends - _TICK))
        if period.end > window and ends > starts:
            yield period, Span(max(period.start, starts), ends)


def _share(
    terms: SubscriptionTerms,
    charge: ChargeTerms,
    stretch: _Run,
    period: Span,
    part: Span,
    *,
    basis: Basis,
) -> Fraction:
    if not charge.prorated or part == period:
        return _ONE
    cut_by_end = stretch.ends_at is not None and part.end == stretch.ends_at
    if cut_by_end and stretch.settlement is Settlement.NONE:
        part = Span(part.start, period.end)
    return prorate(part, period, basis, terms.zone)


def _next_due_of(
    terms: SubscriptionTerms, charge: ChargeTerms, stretch: _Run, after: datetime
) -> datetime | None:
    starts, ends = stretch.starts_at, stretch.ends_at or FOREVER
    if charge.kind is ChargeKind.FIXED:
        return starts if starts > after else None
    if after >= ends:
        return None
    schedule = _grid_of(terms, charge, stretch)
    if charge.timing is Timing.ADVANCE:
        if after < starts:
            return starts
        boundary = schedule.boundary(schedule.index_at(after) + 1)
        return boundary if boundary < ends else None
    boundary = schedule.boundary(schedule.index_at(max(after, starts)) + 1)
    return min(boundary, ends)


class _Claims:
    """Which subscription gets the events that name only the customer, for each meter and time.

    The one that started first among those that charge for the meter at that instant. With one
    subscription per meter, which is nearly always, that is all of its own time.
    """

    def __init__(self, customer: Sequence[SubscriptionTerms], charges: Charges) -> None:
        self._claimed: dict[str, list[tuple[UUID, Span]]] = defaultdict(list)
        self._single = len(customer) == 1
        if self._single:
            return
        for terms in sorted(customer, key=lambda one: (one.started_at, one.id)):
            for run in _runs(terms):
                span = Span(run.starts_at, run.ends_at or FOREVER)
                for key in {c.meter.key for c in charges[run.phase_id] if c.meter is not None}:
                    self._claimed[key].append((terms.id, span))

    def split(
        self, terms: SubscriptionTerms, charge: ChargeTerms, part: Span
    ) -> tuple[UsageSpan, ...]:
        """Return ``part`` in pieces, each with or without the customer's own events."""
        if charge.meter is None:
            return ()
        if self._single:
            return (UsageSpan(part.start, part.end, unassigned=True),)
        free = [part]
        for owner, span in self._claimed[charge.meter.key]:
            if owner == terms.id:
                break
            free = [rest for piece in free for rest in piece.subtract(span)]
        pieces = [UsageSpan(one.start, one.end, unassigned=True) for one in free]
        taken = [part]
        for one in free:
            taken = [rest for piece in taken for rest in piece.subtract(one)]
        pieces += (UsageSpan(one.start, one.end, unassigned=False) for one in taken)
        return tuple(sorted(pieces, key=lambda piece: piece.start))


# --- expected lines -----------------------------------------------------------------------------


def _expected_of(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> Iterator[_Expected]:
    match one.charge.kind:
        case ChargeKind.FIXED:
            yield _priced(one, LineKind.FIXED, Measured(one.quantity), _standard(one), "")
        case ChargeKind.RECURRING:
            yield _priced(one, LineKind.RECURRING, Measured(one.quantity), _standard(one), "")
        case ChargeKind.USAGE:
            yield from _usage_lines(one, measurements, price_lists)


def _usage_lines(
    one: Slice, measurements: Sequence[Measurement], price_lists: Mapping[str, UUID]
) -> Iterator[_Expected]:
    standard = _standard(one)
    by_point = {found.price_point: found.measured for found in measurements}
    by_point.setdefault(STANDARD_PRICES, Measured(_ZERO))
    lines = []
    for point, measured in sorted(by_point.items()):
        price = standard
        if point:
            listed = price_lists.get(point)
            price = one.charge.prices.get((listed, one.subscription.currency), standard)
        lines.append(_priced(one, LineKind.USAGE, measured, price, point))
    yield from lines
    yield from _bounds(one, standard, sum((line.derivation.expected for line in lines), _ZERO))


def _standard(one: Slice) -> PriceTerms:
    currency = one.subscription.currency
    for listed in (one.subscription.price_list_id, None):
        price = one.charge.prices.get((listed, currency))
        if price is not None:
            return price
    raise PriceMissing(f"The charge {one.charge.key} has no price in {currency}.")


def _priced(
    one: Slice, kind: LineKind, measured: Measured, price: PriceTerms, point: str
) -> _Expected:
    charge, currency = one.charge, one.subscription.currency
    included = _ZERO
    if charge.included_quantity and not point:
        included = _times(charge.included_quantity, one.share).quantize(_PLACES, context=ARITHMETIC)
    rated = rate(price.model, after_included(measured, included) if included else measured)
    # usage is itself the part of the period; a price for time is not
    share = _ONE if kind is LineKind.USAGE else one.share
    exact = rated.amount if share == _ONE else _times(rated.amount, share)
    return _Expected(
        key=_key(one, kind, point),
        slice=one,
        description=f"{charge.name} ({point})" if point else charge.name,
        quantity=measured.quantity,
        unit=charge.meter.unit if charge.meter else "",
        derivation=Derivation(
            price_list=point,
            share=(share.numerator, share.denominator),
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


def _bounds(one: Slice, price: PriceTerms, total: Decimal) -> Iterator[_Expected]:
    """Yield what is missing to the charge's minimum, or exceeds its maximum (taken off).

    Both are for a whole period and prorated with it where the charge is.
    """
    if price.minimum is not None:
        exact = max(_times(price.minimum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MINIMUM, exact, f"{one.charge.name}: to the minimum")
    if price.maximum is not None:
        exact = min(_times(price.maximum, one.share) - total, _ZERO)
        yield _bound(one, LineKind.MAXIMUM, exact, f"{one.charge.name}: above the maximum")


def _bound(one: Slice, kind: LineKind, exact: Decimal, description: str) -> _Expected:
    return _Expected(
        key=_key(one, kind, ""),
        slice=one,
        description=description,
        quantity=_ZERO,
        unit="",
        derivation=Derivation(
            price_list="",
            share=(one.share.numerator, one.share.denominator),
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
    if share == _ONE:
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
            share=(0, 1),
            included=_ZERO,
            measured=None,
            rated=None,
            exact=_ZERO,
            expected=_ZERO,
            already_billed=past.amount,
        ),
    )
