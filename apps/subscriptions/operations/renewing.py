"""Terms that follow each other."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.subscriptions.domain import NoTerm
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.locking import lock_subscription, refuse_ended
from apps.subscriptions.operations.moving import extend_term, terms_of_time


@transaction.atomic
def renew_subscription(subscription_id: UUID, *, actor: str, at: datetime) -> Subscription:
    """Let another term follow the current one, whether or not it renews by itself; return it.

    Terms are counted from the start on the calendar of the subscription's zone. The end of the term
    moves to the end of the one after the term that holds at ``at``; where it is there already, a
    repeat changes nothing. Raises ``NoTerm`` and ``SubscriptionEnded``.
    """
    subscription = lock_subscription(subscription_id)
    refuse_ended(subscription)
    if subscription.term_ends_at is None:
        raise NoTerm("This subscription runs without a term.")
    terms = terms_of_time(subscription)
    current = terms.index_at(max(at, subscription.started_at))
    if subscription.term_ends_at < terms.boundary(current + 2):
        extend_term(subscription, terms.boundary(current + 2), actor=actor, at=at)
    return subscription
