"""The billing periods of a timeline, as people ask for them. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from heapq import merge
from uuid import UUID

from apps.catalog.domain import ChargeKind, ChargeTerms
from apps.rating.periods import Cadence, Schedule, Span
from apps.subscriptions.domain.life import LAST_INSTANT
from apps.subscriptions.domain.timeline import (
    SegmentTerms,
    SubscriptionTerms,
    schedule_of,
    segment_at,
)


def renewed_until(
    terms: Schedule, ends_at: datetime, renewals: Iterable[datetime], *, goes_on: bool
) -> datetime:
    """Return when the term ends that is renewed at these instants; ``ends_at`` without any.

    Each lets another term follow the one that holds then, unless it is too late: where no term
    follows by itself (``goes_on``), nothing holds from the end of the term on.
    """
    for at in sorted(renewals):
        if goes_on or at < ends_at:
            ends_at = max(ends_at, terms.boundary(terms.index_at(at) + 2))
    return ends_at


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
    for run in (run for track in terms.tracks for run in _runs(track.segments)):
        listed = () if run.idle else charges.get(run.phase_id, ())
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
        elif (run.phase_id, run.anchor_at, run.standing, run.absent) == (
            segment.phase_id,
            segment.anchor_at,
            segment.standing,
            segment.absent,
        ):
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


def next_boundary(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]], *, after: datetime
) -> datetime | None:
    """Return the first instant after one at which a billing period begins or ends.

    None where the timeline has no more of them, as one that is paused for good.
    """
    found: list[datetime] = []
    for run in (run for track in terms.tracks for run in _runs(track.segments)):
        ends = run.ends_at or LAST_INSTANT
        if ends <= after or run.idle:
            continue
        listed = charges.get(run.phase_id, ())
        for cadence in {one.cadence for one in listed if one.cadence is not None}:
            schedule = schedule_of(terms, run, cadence)
            boundary = schedule.boundary(schedule.index_at(max(after, run.starts_at)) + 1)
            found.append(run.starts_at if run.starts_at > after else min(boundary, ends))
    return min(found, default=None)
