"""The timeline of a subscription: which terms hold when. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from apps.catalog.domain import PhaseKind
from apps.rating.periods import Alignment, Cadence, Schedule, Unit, schedule_for
from apps.subscriptions.domain.life import LAST_INSTANT, Settlement, Standing, SubscriptionInvalid


@dataclass(frozen=True, slots=True)
class SegmentTerms:
    """A stretch of a timeline, ``[starts_at, ends_at)``; an open one has no end.

    Billing periods are counted from ``anchor_at`` (see ``schedule_of``). What recurs is charged at
    these terms from ``paid_from`` on (None: from the start), which lies elsewhere where a change
    settled its period by something else than time; see ``paying``. ``settlement`` says how the
    period that the segment's end falls into is settled. In an ``absent`` one an add-on that was
    there before, or will be again, is not. With one that is ``anew`` the phases of an add-on are
    counted from its start, though it was there before.
    """

    starts_at: datetime
    ends_at: datetime | None
    plan_version_id: UUID
    phase_id: UUID
    quantity: Decimal
    anchor_at: datetime
    settlement: Settlement = Settlement.PRORATE
    standing: Standing = Standing.ACTIVE
    price_list_id: UUID | None = None
    paid_from: datetime | None = None
    absent: bool = False
    anew: bool = False

    @property
    def idle(self) -> bool:
        """Whether nothing is charged for its time."""
        return self.absent or self.standing is Standing.PAUSED


@dataclass(frozen=True, slots=True)
class AddOnTrack:
    """The timeline of one add-on of a subscription, from when it was first added.

    Its segments follow each other without a gap, on the calendar of the subscription and not beyond
    its end.
    """

    plan_id: UUID
    segments: tuple[SegmentTerms, ...]


@dataclass(frozen=True, slots=True)
class Laid:
    """A timeline: of a subscription itself, and of each of its add-ons."""

    segments: tuple[SegmentTerms, ...]
    add_ons: tuple[AddOnTrack, ...] = ()

    def all(self) -> tuple[SegmentTerms, ...]:
        """Return every segment, those of add-ons last."""
        return self.segments + tuple(one for track in self.add_ons for one in track.segments)


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
    started_at: datetime
    billed_until: datetime | None
    changed_from: datetime | None
    segments: tuple[SegmentTerms, ...]
    add_ons: tuple[AddOnTrack, ...] = ()

    @property
    def tracks(self) -> tuple["SubscriptionTerms", ...]:
        """It, and each of its add-ons as though that were a subscription of its own."""
        if not self.add_ons:
            return (self,)
        own = replace(self, add_ons=())
        return (own, *(replace(own, segments=one.segments) for one in self.add_ons))

    @property
    def phase_ids(self) -> frozenset[UUID]:
        """The phases that it has at any time, those of add-ons too."""
        return frozenset(one.phase_id for track in self.tracks for one in track.segments)


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


@lru_cache(4096)
def grid(
    anchor_at: datetime,
    cadence: Cadence,
    alignment: Alignment,
    zone: str,
    anchor_day: int | None,
) -> Schedule:
    """Return the boundaries of billing periods counted from an anchor.

    A run asks for the same ones several times per charge, and many subscriptions share them.
    """
    return schedule_for(anchor_at, cadence, alignment, zone, anchor_day)


def schedule_of(terms: SubscriptionTerms, segment: SegmentTerms, cadence: Cadence) -> Schedule:
    """Return the boundaries of the billing periods of a cadence in a segment."""
    return grid(segment.anchor_at, cadence, terms.alignment, terms.zone, terms.anchor_day)
