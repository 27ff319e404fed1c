"""For which time, and at which terms, a charge is paid: the timeline as a bill sees it. Pure.

Usage is paid for while its phase holds, a fixed charge when it begins; neither minds by how many.
What recurs is paid at the terms of a segment from its ``paid_from`` until those of a later one, so
however a change is settled, every instant is paid at one set of terms, or at none while paused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from apps.catalog.domain import ChargeKind, ChargeTerms
from apps.rating.periods import Cadence
from apps.subscriptions.domain.life import Settlement, Standing
from apps.subscriptions.domain.timeline import SegmentTerms, SubscriptionTerms, schedule_of

_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time ``[starts_at, ends_at)`` in which a charge is paid at the terms of ``segment``."""

    segment: SegmentTerms
    starts_at: datetime
    ends_at: datetime | None


def stretches(terms: SubscriptionTerms, phase_id: UUID, charge: ChargeTerms) -> Sequence[Stretch]:
    """Return the stretches in which a charge of the phase is paid, in order and without overlap.

    Of a fixed charge each begins where the phase does, and nothing else of it matters. A recurring
    charge that is not prorated changes its terms only between two of its periods.
    """
    if charge.kind is ChargeKind.FIXED:
        return _entries(terms, phase_id)
    if charge.kind is ChargeKind.USAGE or charge.cadence is None:
        return usage_stretches(terms, phase_id)
    if _is_simple(terms):
        return [_whole(one) for one in terms.segments if one.phase_id == phase_id]
    found = _settled(_joined(_paid(terms, phase_id)), terms, charge.cadence)
    return found if charge.prorated else _snapped(found, terms, charge.cadence)


def usage_stretches(terms: SubscriptionTerms, phase_id: UUID) -> Sequence[Stretch]:
    """Return when the usage of a phase is charged for: while it holds and is not paused.

    A change of the quantity does not divide it; one of the grid or of the price list does.
    """
    return _joined(
        [_whole(one) for one in terms.segments if one.phase_id == phase_id and not one.idle],
        by_quantity=False,
    )


def _entries(terms: SubscriptionTerms, phase_id: UUID) -> list[Stretch]:
    """Return each stay in a phase, through pauses and changes of anything else.

    An add-on that was gone goes on with its stay, unless its phases are counted anew.
    """
    found: list[Stretch] = []
    before: UUID | None = None
    for one in terms.segments:
        if one.absent:
            continue
        if one.phase_id == phase_id and (before != phase_id or one.anew):
            found.append(_whole(one))
        before = one.phase_id
    return found


def _is_simple(terms: SubscriptionTerms) -> bool:
    """Tell whether each segment is paid for exactly its own time."""
    return all(
        one.paid_from is None
        and one.standing is Standing.ACTIVE
        and not one.absent
        and (one.settlement is Settlement.PRORATE or one.ends_at is None)
        for one in terms.segments
    ) and len({(one.phase_id, one.anchor_at) for one in terms.segments}) == len(terms.segments)


def _paid(terms: SubscriptionTerms, phase_id: UUID) -> list[Stretch]:
    """Return when the terms of each segment are paid, up to the end of the subscription."""
    relieved = terms.segments[-1].ends_at  # from when later terms are paid, or none at all
    found: list[Stretch] = []
    for one in reversed(terms.segments):
        starts = one.paid_from or one.starts_at
        if one.phase_id == phase_id and not one.idle:
            # where periods are counted anew from the change, none reaches back before it
            begins = max(starts, one.starts_at) if one.anchor_at == one.starts_at else starts
            if relieved is None or begins < relieved:
                found.append(Stretch(one, begins, relieved))
        relieved = starts if relieved is None else min(relieved, starts)
    return found[::-1]


def _settled(found: list[Stretch], terms: SubscriptionTerms, cadence: Cadence) -> list[Stretch]:
    """Return the stretches with the last as the end of the subscription settles its period."""
    last = terms.segments[-1]
    over = last.ends_at
    if last.settlement is Settlement.PRORATE or over is None:
        return found
    if not found or found[-1].ends_at != over:
        return found
    schedule = schedule_of(terms, found[-1].segment, cadence)
    period = schedule.period(schedule.index_at(over - _TICK))
    if last.settlement is Settlement.NONE or period.end == over:
        since = found[-1].segment.starts_at
        later = (one.paid_from for one in terms.segments if one.starts_at > since)
        ends = min([period.end, *(one for one in later if one is not None and one >= over)])
    else:
        ends = period.start
    kept = [replace(found[-1], ends_at=ends)] if ends > found[-1].starts_at else []
    return [*found[:-1], *kept]


def _snapped(found: Sequence[Stretch], terms: SubscriptionTerms, cadence: Cadence) -> list[Stretch]:
    """Let each stretch last to the end of its last period, and the next begin no sooner."""
    snapped: list[Stretch] = []
    for one in found:
        if not snapped or snapped[-1].segment.anchor_at != one.segment.anchor_at:
            snapped.append(one)
            continue
        before = snapped[-1]
        if before.ends_at is None:
            break
        schedule = schedule_of(terms, before.segment, cadence)
        free = schedule.boundary(schedule.index_at(before.ends_at - _TICK) + 1)
        if before.ends_at == one.starts_at:
            snapped[-1] = replace(before, ends_at=free)
        if one.ends_at is None or one.ends_at > free:
            snapped.append(replace(one, starts_at=max(one.starts_at, free)))
    return snapped


def _joined(found: Sequence[Stretch], *, by_quantity: bool = True) -> list[Stretch]:
    """Return the stretches, those that touch and have the same terms as one."""
    joined: list[Stretch] = []
    for one in found:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.ends_at == one.starts_at
            and _alike(before.segment, one.segment, by_quantity=by_quantity)
        ):
            joined[-1] = replace(before, ends_at=one.ends_at)
        else:
            joined.append(one)
    return joined


def _alike(one: SegmentTerms, other: SegmentTerms, *, by_quantity: bool) -> bool:
    return (
        one.anchor_at == other.anchor_at
        and one.price_list_id == other.price_list_id
        and (one.quantity == other.quantity or not by_quantity)
    )


def _whole(segment: SegmentTerms) -> Stretch:
    return Stretch(segment, segment.starts_at, segment.ends_at)
