"""What a subscription began with, and what changes it; ``replaying`` makes the timeline. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from apps.catalog.domain import Behaviour, PhaseAlignment
from apps.rating.periods import Alignment
from apps.subscriptions.domain.life import Anchoring, ChangeVerb, Settlement
from apps.subscriptions.domain.timeline import PhaseLength, SegmentTerms


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
    add_on_id: UUID | None = None  # the plan of the add-on


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a timeline; which of the members below the verb matter depends on it.

    Changes that take effect at the same instant are given in the order in which they were asked
    for.
    """

    verb: ChangeVerb
    effective_at: datetime
    settlement: Settlement = Settlement.PRORATE
    quantity: Decimal | None = None  # of change_quantity and add-ons; change_plan may set it too
    plan_version_id: UUID | None = None  # of change_plan and add_add_on
    phases: tuple[PhaseLength, ...] = ()  # of that version
    phase_alignment: PhaseAlignment = PhaseAlignment.START
    anchoring: Anchoring = Anchoring.KEEP  # of change_plan and resume
    price_list_id: UUID | None = None  # of change_prices; None is the standard list
    trial_ends_at: datetime | None = None
    add_on_id: UUID | None = None  # the plan of the add-on that is added, changed or removed
    drops: frozenset[UUID] = frozenset()  # of change_plan: add-ons that the new plan does not offer
    refund: bool = False  # of cancel: what was paid of time that is not had goes back


def concerned_since(
    since: datetime, was: Sequence[SegmentTerms], now: Sequence[SegmentTerms]
) -> datetime:
    """Return from when a change at ``since`` makes anything be paid otherwise than it was.

    That lies before it where a change settles its period from before, and also where a later one
    did so, or does, because of what it finds there.
    """
    told = set(was).symmetric_difference(now)
    return min([since, *(one.paid_from for one in told if one.paid_from is not None)])
