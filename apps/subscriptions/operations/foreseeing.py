"""What a change would make of a timeline, without making it."""

from dataclasses import dataclass, replace
from datetime import datetime

from apps.subscriptions.domain import (
    Change,
    ChangeVerb,
    SubscriptionTerms,
    Wish,
    concerned_since,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.deciding import decide
from apps.subscriptions.queries import replayed, terms_with


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A change as it would be made, and the timeline with it up to the cutoff.

    That is when it takes effect, or what it does is first to be billed; now at the earliest.
    """

    change: Change
    terms: SubscriptionTerms
    cutoff: datetime


def foresee_change(subscription: Subscription, wish: Wish, *, at: datetime) -> Foreseen:
    """Return what ``change_subscription`` would do; stores nothing and raises the same."""
    change, _ = decide(subscription, wish, at=at)
    return foresee(subscription, change, at=at)


def foresee(
    subscription: Subscription,
    change: Change,
    *,
    without: ScheduledChange | None = None,
    at: datetime,
) -> Foreseen:
    """Return the timeline with a change that was decided on, instead of one that waits."""
    cutoff = max(at, change.effective_at)
    until = {subscription.pk: cutoff}
    was = replayed([subscription], until)[subscription.pk]
    laid = replayed(
        [subscription],
        until,
        more={subscription.pk: change},
        without={without.pk} if without else (),
    )[subscription.pk]
    terms = terms_with(subscription, laid)
    since = concerned_since(change.effective_at, was.all(), laid.all())
    return Foreseen(change, _changed_from(terms, since), cutoff)


def foresee_going_on(
    subscription: Subscription,
    change: Change,
    *,
    since: datetime,
    until: datetime | None = None,
    without: ScheduledChange | None = None,
    at: datetime,
) -> Foreseen:
    """Return the timeline of a subscription that goes on at an end that is foreseen.

    At ``since``: a cancellation that waits and is taken back (``without``), or the end of a term
    that another follows. ``until`` is when its terms end then, where they end.
    """
    cutoff = max(at, since)
    then = {subscription.pk: cutoff}
    ends = until is not None and until <= cutoff
    laid = replayed(
        [subscription],
        then,
        more={subscription.pk: Change(ChangeVerb.CANCEL, until)} if until and ends else None,
        without={without.pk} if without else (),
    )[subscription.pk]
    return Foreseen(change, _changed_from(terms_with(subscription, laid), since), cutoff)


def _changed_from(terms: SubscriptionTerms, since: datetime) -> SubscriptionTerms:
    return replace(terms, changed_from=min(since, terms.changed_from or since))
