"""How changes make a timeline: replayed in the order in which they take effect. Pure.

A timeline is never edited. It is what the opening terms come to when all changes that stand are
replayed by effective instant, and by when they were asked for where that is the same. So a change
of the past holds until the next one that was made since, taking one back leaves what it would have
been without it, and a preview is a replay with one change more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.catalog.domain import Behaviour, ChargeKind, ChargeTerms, PhaseAlignment, PhaseKind
from apps.rating.periods import Alignment, Cadence, Schedule
from apps.subscriptions.domain.life import (
    Anchoring,
    ChangeVerb,
    Settlement,
    Standing,
)
from apps.subscriptions.domain.timeline import (
    PhaseLength,
    SegmentTerms,
    cut,
    grid,
    lay_out,
)

_TICK: Final = timedelta(microseconds=1)
_STANDINGS: Final[Mapping[ChangeVerb, Standing]] = {
    ChangeVerb.PAUSE: Standing.PAUSED,
    ChangeVerb.SUSPEND: Standing.SUSPENDED,
    ChangeVerb.RESUME: Standing.ACTIVE,
}

Charges = Mapping[UUID, Sequence[ChargeTerms]]  # by phase


@dataclass(frozen=True, slots=True)
class Opening:
    """The terms that a subscription began with, and the calendar that it keeps.

    ``phases`` are those of the plan version, with the trial that was agreed.
    """

    started_at: datetime
    zone: str
    alignment: Alignment
    anchor_day: int | None
    plan_version_id: UUID
    phases: tuple[PhaseLength, ...]
    quantity: Decimal
    price_list_id: UUID | None


@dataclass(frozen=True, slots=True)
class Wish:
    """A change as it is asked for. What is None is decided by the plans' rule or by the timeline.

    ``effective_at`` None is now; which of the members below matter depends on the verb, as in
    ``Change``.
    """

    verb: ChangeVerb
    effective_at: datetime | None = None
    behaviour: Behaviour | None = None
    quantity: Decimal | None = None
    plan_version_id: UUID | None = None
    phase_alignment: PhaseAlignment | None = None
    anchoring: Anchoring | None = None
    price_list_id: UUID | None = None
    trial_ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a timeline; which of the members below the verb matter depends on it.

    Changes that take effect at the same instant are given in the order in which they were asked
    for.
    """

    verb: ChangeVerb
    effective_at: datetime
    settlement: Settlement = Settlement.PRORATE
    quantity: Decimal | None = None  # of change_quantity; change_plan may set it too
    plan_version_id: UUID | None = None
    phases: tuple[PhaseLength, ...] = ()  # of that version
    phase_alignment: PhaseAlignment = PhaseAlignment.START
    anchoring: Anchoring = Anchoring.KEEP  # of change_plan and resume
    price_list_id: UUID | None = None  # of change_prices; None is the standard list
    trial_ends_at: datetime | None = None


def replay(
    opening: Opening, changes: Iterable[Change], charges: Charges
) -> tuple[SegmentTerms, ...]:
    """Return the timeline: the opening's, changed by each change in turn.

    Segments tile the time from the start to the end, or for ever; one that is canceled at its start
    has none. A change at or after the end, and one that finds nothing to do, does nothing.
    """
    made = _Replay(opening, charges)
    for change in sorted(changes, key=lambda one: one.effective_at):
        made.apply(change)
    return _joined(made.segments)


def concerned_since(
    since: datetime, was: Sequence[SegmentTerms], now: Sequence[SegmentTerms]
) -> datetime:
    """Return from when a change at ``since`` makes anything be paid otherwise than it was.

    That lies before it where a change settles its period from before, and also where a later one
    did so, or does, because of what it finds there.
    """
    told = set(was).symmetric_difference(now)
    return min([since, *(one.paid_from for one in told if one.paid_from is not None)])


def recurring_period(
    opening: Opening, segment: SegmentTerms, charges: Charges, at: datetime
) -> tuple[datetime, datetime] | None:
    """Return the period of the recurring charge of a segment whose period ends first.

    Of those that end together, the shortest. At an instant: the period that ends with it, where one
    does. None where nothing recurs.
    """
    if segment.standing is Standing.PAUSED:
        return None
    cadences = {
        one.cadence
        for one in charges.get(segment.phase_id, ())
        if one.kind is ChargeKind.RECURRING and one.cadence is not None
    }
    periods = []
    for cadence in cadences:
        schedule = _schedule(opening, segment.anchor_at, cadence)
        period = schedule.period(schedule.index_at(at - _TICK))
        periods.append((period.start, period.end))
    return min(periods, key=lambda one: (one[1], one[1] - one[0]), default=None)


def _schedule(opening: Opening, anchor_at: datetime, cadence: Cadence) -> Schedule:
    return grid(anchor_at, cadence, opening.alignment, opening.zone, opening.anchor_day)


class _Replay:
    """A timeline in the making. ``phases`` are those of the plan that holds at its end."""

    def __init__(self, opening: Opening, charges: Charges) -> None:
        self._opening = opening
        self._charges = charges
        self._phases = opening.phases
        self._kinds = {phase.id: phase.kind for phase in opening.phases}
        self._began: dict[UUID, datetime] = {}  # of each phase, as its plan was last laid out
        laid = lay_out(
            opening.phases,
            started_at=opening.started_at,
            zone=opening.zone,
            plan_version_id=opening.plan_version_id,
            quantity=opening.quantity,
        )
        self._note_begins(laid)
        self.segments = [replace(one, price_list_id=opening.price_list_id) for one in laid]

    def _note_begins(self, laid: Iterable[SegmentTerms]) -> None:
        self._began |= {one.phase_id: one.starts_at for one in laid}

    def apply(self, change: Change) -> None:
        at = change.effective_at
        if not self.segments or at < self._opening.started_at:
            return
        last = self.segments[-1]
        if last.ends_at is not None and last.ends_at <= at:
            return
        if change.verb is ChangeVerb.CANCEL:
            kept = cut(self.segments, at, change.settlement)
            # what changed at the same instant left a border there, and its own settlement
            self.segments = [
                *kept[:-1],
                *(replace(k, settlement=change.settlement) for k in kept[-1:]),
            ]
            return
        before, after = _split(self.segments, at)
        paid_from = self._paid_from(change, before) if before else None
        # new periods are counted from when the new terms are paid, if that comes later
        held = after
        after = self._changed(change, held, max(at, paid_from or at))
        if [_terms(one) for one in after] == [_terms(one) for one in held] and [
            one.ends_at for one in after
        ] == [one.ends_at for one in held]:
            return
        if before:
            before[-1] = replace(before[-1], settlement=change.settlement)
        if before and after:
            after[0] = replace(after[0], paid_from=paid_from)
        self.segments = before + after

    def _changed(
        self, change: Change, after: list[SegmentTerms], anew: datetime
    ) -> list[SegmentTerms]:
        match change.verb:
            case ChangeVerb.CHANGE_QUANTITY if change.quantity is not None:
                return [replace(one, quantity=change.quantity) for one in after]
            case ChangeVerb.CHANGE_PRICES:
                return [replace(one, price_list_id=change.price_list_id) for one in after]
            case ChangeVerb.PAUSE | ChangeVerb.SUSPEND | ChangeVerb.RESUME:
                return _standing(change, after, anew)
            case ChangeVerb.EXTEND_TRIAL if change.trial_ends_at is not None:
                return self._with_trial_until(change.trial_ends_at, after)
            case ChangeVerb.CHANGE_PLAN if change.plan_version_id is not None:
                return self._on_plan(change, change.plan_version_id, after[0], anew)
            case _:
                return after

    def _on_plan(
        self, change: Change, plan_version_id: UUID, held: SegmentTerms, anew: datetime
    ) -> list[SegmentTerms]:
        """Return the new plan's phases from the change on, with the rest of what held before."""
        at = change.effective_at
        phases, since = self._aligned(change, held)
        laid = lay_out(
            phases,
            started_at=since,
            zone=self._opening.zone,
            plan_version_id=plan_version_id,
            quantity=held.quantity if change.quantity is None else change.quantity,
        )
        was_trial = self._kinds.get(held.phase_id) is PhaseKind.TRIAL
        self._phases = phases
        self._kinds |= {phase.id: phase.kind for phase in phases}
        self._note_begins(laid)
        _, coming = _split(laid, at)
        coming = [
            replace(one, standing=held.standing, price_list_id=held.price_list_id) for one in coming
        ]
        if not coming:
            return []
        now_trial = self._kinds[coming[0].phase_id] is PhaseKind.TRIAL
        counted_anew = change.anchoring is Anchoring.RESET or (was_trial and not now_trial)
        return _anchored(coming, anew if counted_anew else held.anchor_at)

    def _aligned(
        self, change: Change, held: SegmentTerms
    ) -> tuple[tuple[PhaseLength, ...], datetime]:
        """Return the phases that a new plan has from here on, and from when they are counted."""
        if change.phase_alignment is PhaseAlignment.START:
            return change.phases, self._opening.started_at
        if change.phase_alignment is PhaseAlignment.CHANGE:
            return change.phases, change.effective_at
        kinds = [phase.kind for phase in change.phases]
        kind = self._kinds.get(held.phase_id)
        if kind in kinds:
            return change.phases[kinds.index(kind) :], self._began[held.phase_id]
        paid = next(n for n, one in enumerate(kinds) if one is not PhaseKind.TRIAL)
        return change.phases[paid:], change.effective_at

    def _with_trial_until(self, ends_at: datetime, after: list[SegmentTerms]) -> list[SegmentTerms]:
        """Return the trial that holds ended at another instant, and all that follows it moved."""
        held = after[0]
        if self._kinds.get(held.phase_id) is not PhaseKind.TRIAL or ends_at <= held.starts_at:
            return after
        paid = [phase for phase in self._phases if phase.kind is not PhaseKind.TRIAL]
        following = lay_out(
            paid,
            started_at=ends_at,
            zone=self._opening.zone,
            plan_version_id=held.plan_version_id,
            quantity=held.quantity,
        )
        self._note_begins(following)
        return [
            replace(held, ends_at=ends_at),
            *(
                replace(one, standing=held.standing, price_list_id=held.price_list_id)
                for one in following
            ),
        ]

    def _paid_from(self, change: Change, before: Sequence[SegmentTerms]) -> datetime | None:
        """Return from when the new terms are paid: None for the change itself."""
        if change.settlement is Settlement.PRORATE:
            return None
        held = before[-1]
        period = recurring_period(self._opening, held, self._charges, change.effective_at)
        if period is None:
            return None
        start, end = period
        if change.settlement is Settlement.NONE or end == change.effective_at:
            return end
        return min(max(start, _grid_start(before)), change.effective_at)


def _split(
    segments: Sequence[SegmentTerms], at: datetime
) -> tuple[list[SegmentTerms], list[SegmentTerms]]:
    """Return what holds before an instant, and what from it on."""
    before = [
        replace(one, ends_at=at) if one.ends_at is None or one.ends_at > at else one
        for one in segments
        if one.starts_at < at
    ]
    after = [
        replace(one, starts_at=at, paid_from=None) if one.starts_at < at else one
        for one in segments
        if one.ends_at is None or one.ends_at > at
    ]
    return before, after


def _standing(change: Change, after: list[SegmentTerms], anew: datetime) -> list[SegmentTerms]:
    standing = _STANDINGS[change.verb]
    if after[0].standing is standing:
        return after
    if change.verb is ChangeVerb.RESUME and change.anchoring is Anchoring.RESET:
        after = _anchored(after, anew)
    return [replace(one, standing=standing) for one in after]


def _anchored(segments: Sequence[SegmentTerms], anchor_at: datetime) -> list[SegmentTerms]:
    """Return the segments with the first one's periods, as far as they go, counted from there."""
    was = segments[0].anchor_at
    return [replace(one, anchor_at=anchor_at) if one.anchor_at == was else one for one in segments]


def _grid_start(segments: Sequence[SegmentTerms]) -> datetime:
    """Return since when the last terms' phase has been charged for on the same grid."""
    last = segments[-1]
    since = last
    for one in reversed(segments):
        if (one.phase_id, one.anchor_at) != (last.phase_id, last.anchor_at):
            break
        if one.standing is Standing.PAUSED:
            break
        since = one
    return since.paid_from or since.starts_at


def _joined(segments: Iterable[SegmentTerms]) -> tuple[SegmentTerms, ...]:
    """Return the segments, neighbours with the same terms as one."""
    joined: list[SegmentTerms] = []
    for one in segments:
        if joined and _terms(joined[-1]) == _terms(one):
            joined[-1] = replace(joined[-1], ends_at=one.ends_at, settlement=one.settlement)
        else:
            joined.append(one)
    return tuple(joined)


def _terms(segment: SegmentTerms) -> tuple[object, ...]:
    """Return what tells segments apart, other than when they hold."""
    return (
        segment.plan_version_id,
        segment.phase_id,
        segment.quantity,
        segment.anchor_at,
        segment.standing,
        segment.price_list_id,
    )
