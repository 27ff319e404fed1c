"""The past as it would have been with another version of a plan. Pure.

A backtest looks at the last closed billing periods of each subscription, and expects what should be
billed in them twice: with the timeline as it is, and with every stretch of the old versions turned
into one of the new. When things began and ended, how many there were, what was used and what was
agreed on beside the catalog stays as it was.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.catalog.domain import ChargeKind, PhaseKind, Timing
from apps.invoicing.domain import BacktestOutcome
from apps.invoicing.lines import Expected
from apps.invoicing.slicing import FOREVER, Charges, Slice
from apps.rating.periods import Span
from apps.subscriptions.domain import (
    AddOnTrack,
    PhaseLength,
    SegmentTerms,
    SubscriptionTerms,
    leading_cadence,
    schedule_of,
)

_ZERO: Final = Decimal(0)


def retold(
    terms: SubscriptionTerms, version_id: UUID, phases: Mapping[UUID, UUID]
) -> SubscriptionTerms:
    """Return the terms with a version's phases instead of those that ``phases`` maps to them."""

    def told(segments: Iterable[SegmentTerms]) -> tuple[SegmentTerms, ...]:
        return tuple(
            replace(one, plan_version_id=version_id, phase_id=phases[one.phase_id])
            if one.phase_id in phases
            else one
            for one in segments
        )

    return replace(
        terms,
        segments=told(terms.segments),
        add_ons=tuple(AddOnTrack(one.plan_id, told(one.segments)) for one in terms.add_ons),
    )


def phases_for(was: Sequence[PhaseLength], then: Sequence[PhaseLength]) -> dict[UUID, UUID]:
    """Return which phase of another version stands for each of a version.

    The first of a kind for the first of that kind, and so on; for one too many the last of the kind.
    Where the other version has none of the kind: its first phase for a trial, else its last.
    """
    of_kind: dict[str, list[UUID]] = defaultdict(list)
    for phase in then:
        of_kind[phase.kind].append(phase.id)
    seen: dict[str, int] = defaultdict(int)
    found: dict[UUID, UUID] = {}
    for phase in was:
        alike = of_kind.get(phase.kind)
        if alike:
            found[phase.id] = alike[min(seen[phase.kind], len(alike) - 1)]
        else:
            found[phase.id] = (then[0] if phase.kind is PhaseKind.TRIAL else then[-1]).id
        seen[phase.kind] += 1
    return found


def last_periods(
    terms: SubscriptionTerms, charges: Charges, *, count: int, at: datetime
) -> Span | None:
    """Return the last billing periods that are closed at an instant, as one span.

    Periods are those of the leading cadence at that instant, or of the end of a subscription that
    is over: its periods go on as though it were not, so that who left long ago is not looked at.
    None where it has not begun, nothing recurs, or it did not last into them.
    """
    held = [one for one in terms.segments if one.starts_at <= at]
    for segment in reversed(held):
        cadence = leading_cadence(charges.get(segment.phase_id, ()))
        if cadence is None:
            continue
        schedule = schedule_of(terms, segment, cadence)
        last = schedule.index_at(at)
        span = Span(schedule.boundary(last - count), schedule.boundary(last))
        over = terms.segments[-1].ends_at or FOREVER
        return span if terms.started_at < span.end and over > span.start else None
    return None


def falls_into(one: Expected, span: Span) -> bool:
    """Say whether something is of the periods of a span.

    What is charged in advance, or once, is where its time begins in it; what is charged in arrears,
    where its time ends in it.
    """
    part = one.slice.part
    if isinstance(one.slice, Slice):
        charge = one.slice.charge
        if charge.kind is ChargeKind.FIXED or charge.timing is Timing.ADVANCE:
            return span.start <= part.start < span.end
    over = one.slice.subscription.segments[-1].ends_at or FOREVER
    return span.start < min(part.end, over) <= span.end


def amounts_in(expected: Iterable[Expected], spans: Mapping[UUID, Span]) -> dict[UUID, Decimal]:
    """Return what is expected of each subscription in its span; nothing for one without."""
    amounts: dict[UUID, Decimal] = defaultdict(Decimal)
    for one in expected:
        owner = one.slice.subscription.id
        if owner in spans and falls_into(one, spans[owner]):
            amounts[owner] += one.derivation.expected
    return amounts


def outcome_of(delta: Decimal) -> BacktestOutcome:
    """Return what a difference is to the customer who would pay it."""
    if not delta:
        return BacktestOutcome.UNCHANGED
    return BacktestOutcome.WINNER if delta < _ZERO else BacktestOutcome.LOSER
