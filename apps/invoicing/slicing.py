"""Which parts of which billing periods are due: timelines, cut where the terms change. Pure.

Only periods that end after the *window* are looked at. The window is the last cutoff or, where
something changed before it, the instant of that change; so a late event, a backdated change, an
upgrade or a cancellation in mid-period are no special cases.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from msgspec import Struct

from apps.catalog.domain import ChargeKind, ChargeTerms, Timing
from apps.metering.domain import UsageSpan
from apps.rating.periods import Cadence, Schedule, Span
from apps.rating.proration import Basis, prorate
from apps.subscriptions.domain import (
    AgreedPrice,
    Stretch,
    SubscriptionTerms,
    schedule_of,
    stretches,
    usage_stretches,
)

FOREVER: Final = datetime.max.replace(tzinfo=UTC)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)
WHOLE: Final = Fraction(1)

Charges: TypeAlias = Mapping[UUID, tuple[ChargeTerms, ...]]  # by phase


class Slice(Struct, frozen=True):
    """One charge in the part of one billing period in which its terms do not change."""

    subscription: SubscriptionTerms
    charge: ChargeTerms
    period: Span
    part: Span
    segment_start: datetime
    quantity: Decimal
    price_list_id: UUID | None
    share: Fraction  # of the period, by which prorated prices are multiplied; all of it: WHOLE
    basis: Basis | None  # by which the share was told, where it is not all
    usage: tuple[UsageSpan, ...]  # empty unless the charge is for usage
    agreed: AgreedPrice | None = None  # by contract, instead of the catalog's
    is_early: bool = False  # its part ends now, and goes on afterwards


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
    early: frozenset[UUID] = frozenset(),
) -> list[Slice]:
    """Return what of the customer's charges is due within each subscription's reach.

    By its cutoff, inclusive: in advance, a period is due when it starts; in arrears, when its
    part ends; a fixed charge when its phase begins. ``basis`` is for charges that have none. Of
    ``early`` subscriptions so is the usage up to the cutoff, if its charge has a billing threshold.
    """
    claims = _Claims(customer, charges)
    found: list[Slice] = []
    for terms in (track for one in customer for track in one.tracks):
        reach = reaches[terms.id]
        for phase_id in _phases(terms):
            pieces: dict[_Pace, list[_Piece]] = {}
            for charge in charges[phase_id]:
                pace = _pace(charge)
                if pace not in pieces:
                    pieces[pace] = list(_pieces(terms, charge, phase_id, reach, basis=basis))
                found += (
                    Slice(
                        subscription=terms,
                        charge=charge,
                        period=piece.period,
                        part=piece.part,
                        segment_start=piece.stretch.starts_at,
                        quantity=piece.stretch.segment.quantity,
                        price_list_id=piece.stretch.segment.price_list_id,
                        share=piece.share,
                        basis=None if piece.share is WHOLE else charge.proration or basis,
                        usage=claims.split(terms, charge, piece.part),
                    )
                    for piece in pieces[pace]
                )
                if terms.id in early and has_threshold(terms, charge):
                    found += _running(terms, charge, phase_id, reach, basis=basis, claims=claims)
    return found


def claims_moved(customer: Sequence[SubscriptionTerms], charges: Charges) -> dict[UUID, datetime]:
    """Return since when usage of a subscription may be another's, or another's may be its own.

    Events that name only the customer belong to one of the subscriptions that charge for their
    meter. Where one of these is new or was changed since it was billed, those of the others that
    were billed are looked at again from there on.
    """
    meters = {
        one.id: frozenset(
            charge.meter.key
            for phase_id in one.phase_ids
            for charge in charges[phase_id]
            if charge.meter is not None
        )
        for one in (customer if len(customer) > 1 else ())
    }
    found: dict[UUID, datetime] = {}
    for changed in customer:
        since = changed.changed_from if changed.billed_until else changed.started_at
        if since is None:
            continue
        for other in customer:
            if other is not changed and meters[other.id] & meters[changed.id]:
                found[other.id] = min(found.get(other.id, since), since)
    return found


def has_threshold(terms: SubscriptionTerms, charge: ChargeTerms) -> bool:
    """Say whether usage of a charge may be billed before its period is over."""
    return charge.kind is ChargeKind.USAGE and any(
        price.billing_threshold is not None
        for (_, currency), price in charge.prices.items()
        if currency == terms.currency
    )


def _running(
    terms: SubscriptionTerms,
    charge: ChargeTerms,
    phase_id: UUID,
    reach: Reach,
    *,
    basis: Basis,
    claims: "_Claims",
) -> Iterator[Slice]:
    """Yield the part up to the cutoff of the period that is not over by then."""
    for stretch in stretches(terms, phase_id, charge):
        ends = min(stretch.ends_at or FOREVER, _end_of(terms))
        if not stretch.starts_at < reach.cutoff < ends:
            continue
        schedule = _grid_of(terms, charge, stretch)
        period = schedule.period(schedule.index_at(reach.cutoff))
        whole = Span(max(period.start, stretch.starts_at), min(period.end, ends))
        if whole.start < reach.cutoff:
            part = Span(whole.start, reach.cutoff)
            share = _share(terms, charge, period, whole, basis=basis)
            yield Slice(
                subscription=terms,
                charge=charge,
                period=period,
                part=part,
                segment_start=stretch.starts_at,
                quantity=stretch.segment.quantity,
                price_list_id=stretch.segment.price_list_id,
                share=share,
                basis=None if share is WHOLE else charge.proration or basis,
                usage=claims.split(terms, charge, part),
                is_early=True,
            )


def next_due(terms: SubscriptionTerms, charges: Charges, after: datetime) -> datetime | None:
    """Return the first instant after ``after`` at which something of the subscription is due."""
    found: list[datetime] = []
    for track in terms.tracks:
        for phase_id in _phases(track):
            for charge in {_pace(charge): charge for charge in charges[phase_id]}.values():
                found += (
                    due
                    for stretch in stretches(track, phase_id, charge)
                    if (due := _next_due_of(track, charge, stretch, after)) is not None
                )
    return min(found, default=None)


def _phases(terms: SubscriptionTerms) -> Iterable[UUID]:
    return dict.fromkeys(segment.phase_id for segment in terms.segments)


# Charges of one pace are due at the same instants for the same parts of the same periods.
_Pace: TypeAlias = tuple[ChargeKind, Cadence | None, Timing, bool, Basis | None]


def _pace(charge: ChargeTerms) -> _Pace:
    return (charge.kind, charge.cadence, charge.timing, charge.prorated, charge.proration)


class _Piece(NamedTuple):
    """The part of a billing period in which the terms of a charge do not change."""

    period: Span
    part: Span
    stretch: Stretch
    share: Fraction


def _pieces(
    terms: SubscriptionTerms, charge: ChargeTerms, phase_id: UUID, reach: Reach, *, basis: Basis
) -> Iterator[_Piece]:
    for stretch in stretches(terms, phase_id, charge):
        for period, part in _periods(terms, charge, stretch, reach):
            share = _share(terms, charge, period, part, basis=basis)
            yield _Piece(period, part, stretch, share)


def _grid_of(terms: SubscriptionTerms, charge: ChargeTerms, stretch: Stretch) -> Schedule:
    if charge.cadence is None:
        raise ValueError(f"the charge {charge.key} has no billing period")
    return schedule_of(terms, stretch.segment, charge.cadence)


def _periods(
    terms: SubscriptionTerms,
    charge: ChargeTerms,
    stretch: Stretch,
    reach: Reach,
) -> Iterator[tuple[Span, Span]]:
    window, cutoff = reach.window, reach.cutoff
    starts, ends = stretch.starts_at, stretch.ends_at or FOREVER
    if charge.kind is ChargeKind.FIXED:
        if starts <= cutoff and in_window(starts, starts, window):
            yield Span(starts, starts), Span(starts, starts)
        return
    over = _end_of(terms)
    if charge.timing is Timing.ADVANCE:
        last = cutoff + _TICK
    else:
        last = FOREVER if over <= cutoff else cutoff
    schedule = _grid_of(terms, charge, stretch)
    # a period that is cut short by the stretch's end still counts whole in the window
    for _, period in schedule.periods(max(starts, window), min(ends, last)):
        part = Span(max(period.start, starts), min(period.end, ends))
        due = part.start if charge.timing is Timing.ADVANCE else min(part.end, over)
        if due <= cutoff:
            yield period, part
    if ends <= window and ends <= last:
        # the window lies behind the end, but maybe within the period that the end cut short
        period = schedule.period(schedule.index_at(ends - _TICK))
        if period.end > window and ends > starts:
            yield period, Span(max(period.start, starts), ends)


def _share(
    terms: SubscriptionTerms, charge: ChargeTerms, period: Span, part: Span, *, basis: Basis
) -> Fraction:
    if not charge.prorated or part == period:
        return WHOLE
    share = prorate(part, period, charge.proration or basis, terms.zone)
    return WHOLE if share == WHOLE else share


def _end_of(terms: SubscriptionTerms) -> datetime:
    """Return when the subscription ends: nothing is billed in arrears later than that."""
    return terms.segments[-1].ends_at or FOREVER


def _next_due_of(
    terms: SubscriptionTerms, charge: ChargeTerms, stretch: Stretch, after: datetime
) -> datetime | None:
    starts, ends = stretch.starts_at, stretch.ends_at or FOREVER
    if charge.kind is ChargeKind.FIXED:
        return starts if starts > after else None
    if charge.timing is Timing.ARREARS:
        ends = min(ends, _end_of(terms))
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
        in_turn = sorted(customer, key=lambda one: (one.started_at, one.id))
        for terms in (track for one in in_turn for track in one.tracks):
            for phase_id in _phases(terms):
                keys = {one.meter.key for one in charges[phase_id] if one.meter is not None}
                for stretch in usage_stretches(terms, phase_id) if keys else ():
                    span = Span(stretch.starts_at, stretch.ends_at or FOREVER)
                    for key in keys:
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
