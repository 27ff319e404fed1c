"""How changes make a timeline: replayed in the order in which they take effect. Pure.

A timeline is never edited. It is what the opening terms come to when all changes that stand are
replayed by effective instant, and by when they were asked for where that is the same. So a change
of the past holds until the next one that was made since, taking one back leaves what it would have
been without it, and a preview is a replay with one change more.

Add-ons have timelines of their own beside it, with its periods, its prices and its standing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.catalog.domain import ChargeKind, ChargeTerms, PhaseAlignment, PhaseKind
from apps.rating.periods import Cadence, Schedule
from apps.subscriptions.domain.changes import Change, Opening
from apps.subscriptions.domain.life import Anchoring, ChangeVerb, Settlement, Standing
from apps.subscriptions.domain.timeline import (
    AddOnTrack,
    Laid,
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
_OF_ADD_ONS: Final = frozenset(
    {ChangeVerb.ADD_ADD_ON, ChangeVerb.CHANGE_ADD_ON, ChangeVerb.REMOVE_ADD_ON}
)

Charges = Mapping[UUID, Sequence[ChargeTerms]]  # by phase


def replay(opening: Opening, changes: Iterable[Change], charges: Charges) -> Laid:
    """Return the timeline: the opening's, changed by each change in turn.

    Segments tile the time from the start to the end, or for ever; one that is canceled at its start
    has none. A change at or after the end, and one that finds nothing to do, does nothing.
    """
    made = _Replay(opening, charges)
    for change in sorted(changes, key=lambda one: one.effective_at):
        made.apply(change)
    return made.laid()


def recurring_period(
    opening: Opening, segment: SegmentTerms, charges: Charges, at: datetime
) -> tuple[datetime, datetime] | None:
    """Return the period of the recurring charge of a segment whose period ends first.

    Of those that end together, the shortest. At an instant: the period that ends with it, where one
    does. None where nothing recurs.
    """
    if segment.idle:
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


# of the segments that hold from an instant on, and the instant at which new periods would begin
_Alteration = Callable[[list[SegmentTerms], datetime], list[SegmentTerms]]


class _Line:
    """Segments in the making, one after the other."""

    def __init__(
        self, opening: Opening, charges: Charges, segments: Iterable[SegmentTerms]
    ) -> None:
        self._opening = opening
        self._charges = charges
        self.segments = list(segments)

    def holds(self, at: datetime) -> bool:
        """Tell whether it goes on at an instant at or after its start."""
        last = self.segments[-1] if self.segments else None
        return last is not None and (last.ends_at is None or last.ends_at > at)

    def end(self, at: datetime, settlement: Settlement) -> None:
        kept = cut(self.segments, at, settlement)
        # what changed at the same instant left a border there, and its own settlement
        self.segments = [*kept[:-1], *(replace(k, settlement=settlement) for k in kept[-1:])]

    def alter(self, at: datetime, settlement: Settlement, alteration: _Alteration) -> None:
        """Make what holds from an instant on something else, paid as the settlement says."""
        before, after = _split(self.segments, at)
        paid_from = self._paid_from(at, settlement, before) if before else None
        # new periods are counted from when the new terms are paid, if that comes later
        held = after
        after = alteration(held, max(at, paid_from or at))
        if [_shape(one) for one in after] == [_shape(one) for one in held]:
            return
        if before:
            before[-1] = replace(before[-1], settlement=settlement)
        if before and after:
            after[0] = replace(after[0], paid_from=paid_from)
        self.segments = before + after

    def _paid_from(
        self, at: datetime, settlement: Settlement, before: Sequence[SegmentTerms]
    ) -> datetime | None:
        """Return from when the new terms are paid: None for the change itself."""
        if settlement is Settlement.PRORATE:
            return None
        period = recurring_period(self._opening, before[-1], self._charges, at)
        if period is None:
            return None
        start, end = period
        if settlement is Settlement.NONE or end == at:
            return end
        return min(max(start, _grid_start(before)), at)


class _AddOn(_Line):
    """The line of an add-on. ``wanted`` is what it would be if the subscription went on for ever."""

    def __init__(self, opening: Opening, charges: Charges, began: datetime) -> None:
        super().__init__(opening, charges, ())
        self.began = began  # from when its phases are counted
        self.wanted: list[SegmentTerms] = []

    def set(self, change: Change) -> None:
        """Let it be there from the change on, in the phases that it was in, or anew."""
        assert change.plan_version_id is not None  # noqa: S101 -- the verb has one
        at = change.effective_at
        is_new = change.phase_alignment is PhaseAlignment.CHANGE
        began = at if is_new else self.began
        laid = lay_out(
            change.phases,
            started_at=began,
            zone=self._opening.zone,
            plan_version_id=change.plan_version_id,
            quantity=Decimal(1) if change.quantity is None else change.quantity,
        )
        before, _ = _split(self.wanted, at)
        _, after = _split(laid, at)
        if not after:
            return
        last = self.segments[-1] if self.segments else None
        if last is not None and last.ends_at is not None and last.ends_at < at:
            # its phases were over: it was not there meanwhile
            gone = SegmentTerms(
                last.ends_at, at, last.plan_version_id, last.phase_id, last.quantity, last.anchor_at
            )
            self.segments.append(replace(gone, absent=True))
        if is_new and last is not None:
            after[0] = replace(after[0], anew=True)
        self.wanted, self.began = before + after, began

    def remove(self, at: datetime) -> None:
        """Let it be gone from an instant on: until it is added again, one stretch and no phases."""
        before, after = _split(self.wanted, at)
        gone = [
            replace(one, ends_at=after[-1].ends_at, absent=True, anew=False) for one in after[:1]
        ]
        self.wanted = before + gone

    def count(self, at: datetime, quantity: Decimal) -> None:
        """Let there be so many of it from an instant on, where it is there."""
        before, after = _split(self.wanted, at)
        self.wanted = before + [
            one if one.absent else replace(one, quantity=quantity) for one in after
        ]

    def follow(self, base: Sequence[SegmentTerms], at: datetime, settlement: Settlement) -> None:
        """Become, from an instant on, what is wanted, as far as the subscription lets it."""
        if not self.segments:
            self.segments = _joined(_under(base, _split(self.wanted, at)[1]))
            return
        self.alter(
            at, settlement, lambda _held, _anew: _joined(_under(base, _split(self.wanted, at)[1]))
        )


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
        self._base = _Line(
            opening, charges, [replace(one, price_list_id=opening.price_list_id) for one in laid]
        )
        self._add_ons: dict[UUID, _AddOn] = {}

    def laid(self) -> Laid:
        return Laid(
            tuple(_joined(self._base.segments)),
            tuple(
                AddOnTrack(plan_id, tuple(_joined(line.segments)))
                for plan_id, line in self._add_ons.items()
                if line.segments
            ),
        )

    def _note_begins(self, laid: Iterable[SegmentTerms]) -> None:
        self._began |= {one.phase_id: one.starts_at for one in laid}

    def apply(self, change: Change) -> None:
        at = change.effective_at
        if change.verb is ChangeVerb.RENEW:
            return
        if at < self._opening.started_at or not self._base.holds(at):
            return
        if change.verb is ChangeVerb.CANCEL:
            for line in (self._base, *self._add_ons.values()):
                if line.holds(at):  # an add-on may be over before
                    line.end(at, change.settlement)
        elif change.verb in _OF_ADD_ONS:
            self._change_add_on(change)
        else:
            self._base.alter(
                at, change.settlement, lambda held, anew: self._changed(change, held, anew)
            )
            for plan_id, add_on in self._add_ons.items():
                if plan_id in change.drops:
                    add_on.remove(at)
                add_on.follow(self._base.segments, at, change.settlement)

    def _change_add_on(self, change: Change) -> None:
        at, plan_id = change.effective_at, change.add_on_id
        if plan_id is None:
            return
        if change.verb is ChangeVerb.ADD_ADD_ON and change.plan_version_id is not None:
            line = self._add_ons.setdefault(plan_id, _AddOn(self._opening, self._charges, at))
            line.set(change)
        elif plan_id not in self._add_ons:
            return
        elif change.verb is ChangeVerb.REMOVE_ADD_ON:
            self._add_ons[plan_id].remove(at)
        elif change.quantity is not None:
            self._add_ons[plan_id].count(at, change.quantity)
        self._add_ons[plan_id].follow(self._base.segments, at, change.settlement)

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
        replace(one, starts_at=at, paid_from=None, anew=False) if one.starts_at < at else one
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
        if one.idle:
            break
        since = one
    return since.paid_from or since.starts_at


def _under(base: Sequence[SegmentTerms], wanted: Iterable[SegmentTerms]) -> list[SegmentTerms]:
    """Return the segments of an add-on with the subscription's periods, prices and standing.

    Cut where those change, and where the subscription ends. What is absent has none of them, so
    that nothing that happens meanwhile touches how its removal was settled.
    """
    found: list[SegmentTerms] = []
    over = base[-1].ends_at if base else None
    for one in wanted:
        if one.absent and base:
            ends = [end for end in (one.ends_at, over) if end is not None]
            if over is None or one.starts_at < over:
                found.append(replace(one, ends_at=min(ends, default=None)))
            continue
        for under in base:
            if under.ends_at is not None and under.ends_at <= one.starts_at:
                continue
            if one.ends_at is not None and under.starts_at >= one.ends_at:
                break
            ends = [end for end in (one.ends_at, under.ends_at) if end is not None]
            starts = max(one.starts_at, under.starts_at)
            found.append(
                replace(
                    one,
                    starts_at=starts,
                    anew=one.anew and starts == one.starts_at,
                    ends_at=min(ends, default=None),
                    anchor_at=under.anchor_at,
                    standing=under.standing,
                    price_list_id=under.price_list_id,
                )
            )
    return found


def _joined(segments: Iterable[SegmentTerms]) -> list[SegmentTerms]:
    """Return the segments, neighbours with the same terms as one."""
    joined: list[SegmentTerms] = []
    for one in segments:
        if joined and not one.anew and _terms(joined[-1]) == _terms(one):
            joined[-1] = replace(joined[-1], ends_at=one.ends_at, settlement=one.settlement)
        else:
            joined.append(one)
    return joined


def _terms(segment: SegmentTerms) -> tuple[object, ...]:
    """Return what tells segments apart, other than when they hold."""
    return (
        segment.plan_version_id,
        segment.phase_id,
        segment.quantity,
        segment.anchor_at,
        segment.standing,
        segment.price_list_id,
        segment.absent,
    )


def _shape(segment: SegmentTerms) -> tuple[object, ...]:
    """Return what a change makes different, if anything."""
    return (*_terms(segment), segment.anew, segment.ends_at)
