"""What a change would make of a timeline, without making it."""

from dataclasses import dataclass, replace
from datetime import datetime

from apps.subscriptions.domain import Change, SubscriptionTerms, Wish, concerned_since
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.deciding import decide
from apps.subscriptions.queries import replayed, terms_with


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A change as it would be made, and the timeline with it up to when it takes effect."""

    change: Change
    terms: SubscriptionTerms


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
    until = {subscription.pk: max(at, change.effective_at)}
    was = replayed([subscription], until)[subscription.pk]
    laid = replayed(
        [subscription],
        until,
        more={subscription.pk: change},
        without={without.pk} if without else (),
    )[subscription.pk]
    terms = terms_with(subscription, laid)
    since = concerned_since(change.effective_at, was.all(), laid.all())
    return Foreseen(change, replace(terms, changed_from=min(since, terms.changed_from or since)))
