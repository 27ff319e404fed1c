"""Where a subscription stands, what may be asked of it, and why it is refused."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from apps.catalog.domain import Behaviour
from apps.core.errors import Conflict, Invalid


class SubscriptionStatus(StrEnum):
    """Where a subscription stands now; what it was when is in its timeline."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    ENDED = "ended"


HOLDING: Final = frozenset(
    {SubscriptionStatus.ACTIVE, SubscriptionStatus.PAUSED, SubscriptionStatus.SUSPENDED}
)
"""It has begun and has not ended."""

SUBSCRIPTION_TRANSITIONS: Final[Mapping[SubscriptionStatus, frozenset[SubscriptionStatus]]] = {
    SubscriptionStatus.SCHEDULED: HOLDING | {SubscriptionStatus.ENDED},
    SubscriptionStatus.ACTIVE: HOLDING - {SubscriptionStatus.ACTIVE} | {SubscriptionStatus.ENDED},
    SubscriptionStatus.PAUSED: HOLDING - {SubscriptionStatus.PAUSED} | {SubscriptionStatus.ENDED},
    SubscriptionStatus.SUSPENDED: (
        HOLDING - {SubscriptionStatus.SUSPENDED} | {SubscriptionStatus.ENDED}
    ),
    SubscriptionStatus.ENDED: frozenset(),
}


class Standing(StrEnum):
    """What a segment gives and costs."""

    ACTIVE = "active"
    PAUSED = "paused"  # no service, and nothing is charged for its time
    SUSPENDED = "suspended"  # no service, but it is charged for as before


class ChangeVerb(StrEnum):
    """What a change does to the timeline from its effective instant on."""

    CHANGE_PLAN = "change_plan"
    CHANGE_QUANTITY = "change_quantity"
    CHANGE_PRICES = "change_prices"
    PAUSE = "pause"
    SUSPEND = "suspend"
    RESUME = "resume"
    EXTEND_TRIAL = "extend_trial"
    ADD_ADD_ON = "add_add_on"
    CHANGE_ADD_ON = "change_add_on"
    REMOVE_ADD_ON = "remove_add_on"
    RENEW = "renew"  # moves the end of the term, and nothing of the timeline
    CANCEL = "cancel"


class ChangeStatus(StrEnum):
    """A change waits, was applied, was withdrawn before that, or undone after it."""

    PENDING = "pending"
    APPLIED = "applied"
    WITHDRAWN = "withdrawn"
    UNDONE = "undone"


CHANGE_TRANSITIONS: Final[Mapping[ChangeStatus, frozenset[ChangeStatus]]] = {
    ChangeStatus.PENDING: frozenset({ChangeStatus.APPLIED, ChangeStatus.WITHDRAWN}),
    ChangeStatus.APPLIED: frozenset({ChangeStatus.UNDONE}),
    ChangeStatus.WITHDRAWN: frozenset(),
    ChangeStatus.UNDONE: frozenset(),
}


class Settlement(StrEnum):
    """What becomes of a billing period that a change or an end falls into."""

    PRORATE = "prorate"  # each terms are paid for their time; what was billed ahead is credited
    NONE = "none"  # it stays billed as it was; new terms are paid for from the next period on
    FULL_CREDIT = "full_credit"  # nothing of it is paid at the old terms, all of it at the new


REFUND_PAID: Final = "paid"
"""The argument ``refund`` of a cancellation that pays back what was paid of the time it cuts off."""


def settlement_of(behaviour: Behaviour) -> Settlement:
    """Return how the period that a change falls into is settled."""
    match behaviour:
        case Behaviour.NONE:
            return Settlement.NONE
        case Behaviour.FULL_CREDIT:
            return Settlement.FULL_CREDIT
        case _:
            return Settlement.PRORATE


class Anchoring(StrEnum):
    """Whether billing periods go on as they were, or are counted anew from the change."""

    KEEP = "keep"
    RESET = "reset"


class NoticeKind(StrEnum):
    """What ends soon, as it is told."""

    TRIAL_ENDING = "trial_ending"
    PHASE_ENDING = "phase_ending"
    TERM_ENDING = "term_ending"
    ENDING = "ending"
    CONTRACT_ENDING = "contract_ending"

    @property
    def event(self) -> str:
        """The event that tells it."""
        return "contract.ending" if self is NoticeKind.CONTRACT_ENDING else f"subscription.{self}"


class CancelMode(StrEnum):
    """When a cancellation takes effect: at once, with the current billing period, on a date."""

    NOW = "now"
    PERIOD_END = "period_end"
    DATE = "date"


FURTHEST: Final = timedelta(days=3653)
"""How far from now a subscription may start, change or end, either way: ten years."""

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


class NoCancellation(Conflict):
    """No cancellation waits that could be taken back."""

    reason = "no_cancellation"


class NoTerm(Conflict):
    """The subscription has no term that could be renewed."""

    reason = "no_term"


class TransitionRefused(Conflict):
    """A rule of the catalog does not let subscriptions go from the one plan to the other."""

    reason = "transition_refused"


class AddOnNotOffered(Conflict):
    """The catalog does not offer the add-on to subscriptions on this plan."""

    reason = "add_on_not_offered"


class ChangeRefused(Conflict):
    """At its effective instant the timeline leaves the change nothing to do, or no room."""

    reason = "change_refused"
