"""The life of a subscription."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class SubscriptionStatus(StrEnum):
    """Where a subscription stands now; what it was when is in its timeline."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    ENDED = "ended"


SUBSCRIPTION_TRANSITIONS: Final[
    Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]]
] = {
    SubscriptionStatus.SCHEDULED: frozenset(
        {SubscriptionStatus.ACTIVE, SubscriptionStatus.ENDED}
    ),
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
