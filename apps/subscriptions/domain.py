"""The life of a subscription, and its timeline: which terms hold when. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from heapq import merge
from typing import Final
from uuid import UUID

from apps.catalog.domain import ChargeKind, ChargeTerms, PhaseKind
from apps.core.errors import Conflict, Invalid
from apps.rating.periods import Alignment, Cadence, Schedule, Span, Unit, schedule_for


class SubscriptionStatus(StrEnum):
    """Where a subscription stands now; what it was when is in its timeline."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    ENDED = "ended"


SUBSCRIPTION_TRANSITIONS: Final[Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]]] = {
    SubscriptionStatus.SCHEDULED: frozenset({SubscriptionStatus.ACTIVE, SubscriptionStatus.ENDED}),
    SubscriptionStatus.ACTIVE: frozenset({SubscriptionStatus.ENDED}),
    SubscriptionStatus.ENDED: frozenset(),
}


class ChangeVerb(StrEnum):
    """What a scheduled change will do."""

    CANCEL = "cancel"


class ChangeStatus(StrEnum):
    """A scheduled change waits, was applied, or was withdrawn."""

    PENDING = "pending"
    APPLIED = "applied"
    WITHDRAWN = "withdrawn"


CHANGE_TRANSITIONS: Final[Mapping[ChangeStatus, frozenset[ChangeStatus]]] = {
    ChangeStatus.PENDING: frozenset({ChangeStatus.APPLIED, ChangeStatus.WITHDRAWN}),
    ChangeStatus.APPLIED: frozenset(),
    ChangeStatus.WITHDRAWN: frozenset(),
}


class Settlement(StrEnum):
    """What becomes of a period that a segment's end cuts short."""

    PRORATE = "prorate"  # only the part used is billed; what was billed ahead is credited
    NONE = "none"  # the whole period stays billed


class CancelMode(StrEnum):
    """When a cancellation takes effect: at once, with the current billing period, on a date."""

    NOW = "now"
    PERIOD_END = "period_end"
    DATE = "date"


FURTHEST: Final = timedelta(days=3653)
"""How far from now a subscription may start or end, either way: ten years."""

LAST_INSTANT: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""Where every calendar ends; a timeline that would pass it is refused."""

LARGEST_QUANTITY: Final = Decimal(10) ** 9
LONGEST_TRIAL_DAYS: Final = 730


class SubscriptionInvalid(Invalid):
    """What was asked for cannot be a subscription; ``errors`` lists every reason."""

    reason = "subscription_invalid"


class ExternalIdTaken(Conflict):
    """Another subscription of the tenant has this external id."""

    reason = "external_id_taken"


class PlanNotOnSale(Conflict):
    """The plan version is a draft or retired, or its plan is archived."""

    reason = "plan_not_on_sale"


class SubscriptionEnded(Conflict):
    """The subscription has ended; it cannot be changed any more."""

    reason = "subscription_ended"


class CancellationPending(Conflict):
    """A cancellation is scheduled already; it can be withdrawn."""

    reason = "cancellation_pending"


class NoTerm(Conflict):
    """The subscription has no term that could be renewed."""

    reason = "no_term"


@dataclass(frozen=True, slots=True)
class SegmentTerms:
    """A stretch of a timeline, ``[starts_at, ends_at)``; an open one has no end.

    Billing periods are counted from ``anchor_at`` (see ``schedule_of``).
    """

    starts_at: datetime
    ends_at: datetime | None
    plan_version_id: UUID
    phase_id: UUID
    quantity: Decimal
    anchor_at: datetime
    settlement: Settlement = Settlement.PRORATE


@dataclass(frozen=True, slots=True)
class SubscriptionTerms:
    """What billing must know of a subscription. Segments are in order and tile its time.

    ``billed_until`` is the cutoff of the last run, ``changed_from`` the earliest instant from which
    the timeline was changed since. One that was canceled before it began has no segments.
    """

    id: UUID
    tenant_id: UUID
    customer_id: UUID
    external_id: str | None
    currency: str
    zone: str
    alignment: Alignment
    anchor_day: int | None
    price_list_id: UUID | None
    started_at: datetime
    billed_until: datetime | None
    changed_from: datetime | None
    segments: tuple[SegmentTerms, ...]


@dataclass(frozen=True, slots=True)
class BilledMark:
    """What a billing run leaves on a subscription: its cutoff, and when it is due again."""

    subscription_id: UUID
    billed_until: datetime
    next_bill_at: datetime | None


@dataclass(frozen=True, slots=True)
class PhaseLength:
    """A phase of the plan version, in order; ``length`` None lasts until the subscription ends."""

    id: UUID
    kind: PhaseKind
    length: Cadence | None


def lay_out(
    phases: Sequence[PhaseLength],
    *,
    started_at: datetime,
    zone: str,
    plan_version_id: UUID,
    quantity: Decimal,
) -> tuple[SegmentTerms, ...]:
    """Return the segments of all phases from the start on, one per phase.

    The phases before the first that is no trial count their billing periods from the start, the
    others from the start of that first paid phase. Lengths are on the calendar of the zone;
    neighbouring phases of months and years are counted together, so that three phases of a month
    from 31 January end on 28 February, 31 March and 30 April.
    """
    segments: list[SegmentTerms] = []
    starts = base = started_at
    months = 0
    paid_from: datetime | None = None
    for phase in phases:
        if phase.kind is not PhaseKind.TRIAL and paid_from is None:
            paid_from, base, months = starts, starts, 0
        ends = None
        if phase.length is not None and phase.length.months():
            months += phase.length.months()
            ends = _later(base, months, Unit.MONTH, zone)
        elif phase.length is not None:
            ends = base = _later(starts, phase.length.days(), Unit.DAY, zone)
            months = 0
        segments.append(
            SegmentTerms(starts, ends, plan_version_id, phase.id, quantity, paid_from or started_at)
        )
        if ends is None:
            break
        if ends > LAST_INSTANT:
            raise SubscriptionInvalid("its phases last longer than any calendar", field="plan")
        starts = ends
    return tuple(segments)


def _later(start: datetime, count: int, unit: Unit, zone: str) -> datetime:
    return Schedule(start, Cadence(unit), zone).boundary(count)


def with_trial(phases: Sequence[PhaseLength], days: int) -> tuple[PhaseLength, ...]:
    """Return the phases with all trials replaced by one of so many days; none for 0 days.

    Raises ``SubscriptionInvalid`` if there is no trial that could be made longer or shorter.
    """
    trials = [phase for phase in phases if phase.kind is PhaseKind.TRIAL]
    if not trials:
        raise SubscriptionInvalid("this plan version has no trial phase", field="trial_days")
    paid = [phase for phase in phases if phase.kind is not PhaseKind.TRIAL]
    if days == 0:
        return tuple(paid)
    return (replace(trials[0], length=Cadence(Unit.DAY, days)), *paid)


def cut(
    segments: Sequence[SegmentTerms], ends_at: datetime, settlement: Settlement
) -> tuple[SegmentTerms, ...]:
    """Return the timeline ended at an instant: what begins later is gone.

    An end at or after the timeline's own changes nothing; one at its start leaves nothing.
    """
    kept = [segment for segment in segments if segment.starts_at < ends_at]
    if kept and (kept[-1].ends_at is None or kept[-1].ends_at > ends_at):
        kept[-1] = replace(kept[-1], ends_at=ends_at, settlement=settlement)
    return tuple(kept)


def segment_at(segments: Sequence[SegmentTerms], at: datetime) -> SegmentTerms | None:
    """Return the segment in which an instant lies, or None before, after and between."""
    for segment in segments:
        if segment.starts_at <= at and (segment.ends_at is None or at < segment.ends_at):
            return segment
    return None


# a run asks for the same one several times per charge, and many subscriptions share it
_schedule: Final = lru_cache(4096)(schedule_for)


def schedule_of(terms: SubscriptionTerms, segment: SegmentTerms, cadence: Cadence) -> Schedule:
    """Return the boundaries of the billing periods of a cadence in a segment."""
    return _schedule(segment.anchor_at, cadence, terms.alignment, terms.zone, terms.anchor_day)


def leading_cadence(charges: Sequence[ChargeTerms]) -> Cadence | None:
    """Return the cadence that sets the pace of a phase; None if nothing in it recurs.

    The shortest among recurring charges, or, where there are none, among usage charges.
    """
    for kind in (ChargeKind.RECURRING, ChargeKind.USAGE):
        cadences = [one.cadence for one in charges if one.kind is kind and one.cadence is not None]
        if cadences:
            return min(cadences, key=_length)
    return None


def _length(cadence: Cadence) -> tuple[Decimal, str]:
    """Return how long a cadence is, in days on average, so that a month has 30.436875."""
    return (cadence.days() + cadence.months() * Decimal("30.436875"), cadence.unit)


def current_period(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]], at: datetime
) -> Span | None:
    """Return the billing period in which an instant lies, by the leading cadence of its phase.

    It is cut at the start and the end of the timeline, and where a trial gives way to what is paid.
    None where the subscription does not hold at that instant, or nothing recurs in the phase.
    """
    segment = segment_at(terms.segments, at)
    if segment is None:
        return None
    cadence = leading_cadence(charges.get(segment.phase_id, ()))
    if cadence is None:
        return None
    schedule = schedule_of(terms, segment, cadence)
    period = schedule.period(schedule.index_at(at))
    # one grid goes on through all segments that have the same anchor
    same_grid = [one for one in terms.segments if one.anchor_at == segment.anchor_at]
    starts, ends = same_grid[0].starts_at, same_grid[-1].ends_at
    return Span(max(period.start, starts), period.end if ends is None else min(period.end, ends))


def period_end(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]], at: datetime
) -> datetime:
    """Return when a cancellation at the end of the current billing period takes effect.

    Where nothing recurs it is the end of the phase, and ``at`` itself if that has none, or if the
    subscription does not hold at ``at``.
    """
    period = current_period(terms, charges, at)
    if period is not None:
        return period.end
    segment = segment_at(terms.segments, at)
    return at if segment is None or segment.ends_at is None else segment.ends_at


@dataclass(frozen=True, slots=True, order=True)
class CalendarPeriod:
    """A period of a subscription's calendar, and which charges have it; ``whole`` unless cut."""

    span_start: datetime
    span_end: datetime
    phase_id: UUID
    cadence: Cadence = field(compare=False)
    charges: tuple[str, ...] = field(compare=False)
    whole: bool = field(compare=False)


def calendar(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]], *, after: datetime
) -> Iterator[CalendarPeriod]:
    """Yield all billing periods that end after an instant, in order, without end for an open one.

    Periods of different cadences are told side by side. A period is cut where its phase begins or
    ends, not where merely the quantity changes.
    """
    sources = []
    for run in _runs(terms.segments):
        listed = charges.get(run.phase_id, ())
        for cadence in sorted({c.cadence for c in listed if c.cadence is not None}, key=_length):
            keys = tuple(one.key for one in listed if one.cadence == cadence)
            sources.append(_periods(terms, run, cadence, keys, after))
    return merge(*sources)


def _runs(segments: Sequence[SegmentTerms]) -> Iterator[SegmentTerms]:
    """Yield the segments, neighbours of one phase and grid as one."""
    run: SegmentTerms | None = None
    for segment in segments:
        if run is None:
            run = segment
        elif (run.phase_id, run.anchor_at) == (segment.phase_id, segment.anchor_at):
            run = replace(run, ends_at=segment.ends_at)
        else:
            yield run
            run = segment
    if run is not None:
        yield run


def _periods(
    terms: SubscriptionTerms,
    run: SegmentTerms,
    cadence: Cadence,
    keys: tuple[str, ...],
    after: datetime,
) -> Iterator[CalendarPeriod]:
    ends = run.ends_at or LAST_INSTANT
    for _, period in schedule_of(terms, run, cadence).periods(max(run.starts_at, after), ends):
        span = Span(max(period.start, run.starts_at), min(period.end, ends))
        yield CalendarPeriod(span.start, span.end, run.phase_id, cadence, keys, span == period)
