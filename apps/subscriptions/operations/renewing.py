"""Terms that follow each other."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.ids import new_id
from apps.subscriptions.domain import (
    Change,
    ChangeRefused,
    ChangeStatus,
    ChangeVerb,
    NoTerm,
    renewed_until,
    segment_at,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.deciding import refuse_instant
from apps.subscriptions.operations.enacting import enact
from apps.subscriptions.operations.foreseeing import Foreseen, foresee_going_on
from apps.subscriptions.operations.locking import lock_subscription, refuse_ended
from apps.subscriptions.operations.moving import look_again, move_change
from apps.subscriptions.queries import (
    renewals_waiting,
    replayed,
    terms_of_time,
    unrenewed_end,
)


@transaction.atomic
def renew_subscription(
    subscription_id: UUID,
    *,
    effective_at: datetime | None = None,
    change_id: UUID | None = None,
    actor: str,
    at: datetime,
) -> Subscription:
    """Let another term follow the one that holds at ``effective_at``, now unless given; return it.

    Whether or not it renews by itself. Terms are counted from the start on the calendar of the
    subscription's zone. At that instant the end of the term moves to the end of the one after:
    until then a renewal that lies ahead waits, and can be withdrawn. Where the end is there
    already, or will be by the renewals that wait, a repeat changes nothing, as does one for a term
    of the past, which was followed by another.

    Raises ``NoTerm``, ``SubscriptionEnded``, ``SubscriptionInvalid`` for an instant before the start
    or over ten years ahead, and ``ChangeRefused`` for one at which it will have ended.
    """
    subscription = lock_subscription(subscription_id)
    if change_id and subscription.scheduled_changes.filter(pk=change_id).exists():
        return subscription
    change = _decide(subscription, effective_at, at)
    if not _follows_already(subscription, change):
        enact(subscription, change, change_id=change_id or new_id(), actor=actor, at=at)
    return subscription


def foresee_renewal(
    subscription: Subscription, *, effective_at: datetime | None = None, at: datetime
) -> Foreseen:
    """Return what ``renew_subscription`` would do; stores nothing and raises the same.

    Told by the instant at which the subscription would have ended, where it makes it go on.
    """
    change = _decide(subscription, effective_at, at)
    end = unrenewed_end(subscription)
    if end is None or _follows_already(subscription, change):
        return foresee_going_on(subscription, change, since=change.effective_at, until=end, at=at)
    return foresee_going_on(subscription, change, since=end, at=at)


def take_back_renewal(
    subscription: Subscription, row: ScheduledChange, *, actor: str, at: datetime
) -> None:
    """Undo a renewal of a locked subscription: the term ends when it would have without it.

    Raises ``ChangeRefused`` once the term has begun that it let follow.
    """
    terms = terms_of_time(subscription)
    current = terms.index_at(max(at, subscription.started_at))
    if current > terms.index_at(row.effective_at):
        raise ChangeRefused("The term has begun that this renewal let follow.")
    move_change(row, ChangeStatus.UNDONE, actor=actor, at=at)
    others = subscription.scheduled_changes.filter(
        status=ChangeStatus.APPLIED, verb=ChangeVerb.RENEW
    ).values_list("effective_at", flat=True)
    end = renewed_until(terms, terms.boundary(current + 1), others, goes_on=True)
    if end == subscription.term_ends_at:
        return
    subscription.term_ends_at = end
    subscription.save(update_fields=["term_ends_at"])
    if not subscription.auto_renew:
        look_again(subscription, end, at=at)


def _decide(subscription: Subscription, effective_at: datetime | None, at: datetime) -> Change:
    refuse_ended(subscription)
    if subscription.term_ends_at is None:
        raise NoTerm("This subscription runs without a term.")
    when = effective_at or max(at, subscription.started_at)
    refuse_instant(subscription, when, at)
    end = unrenewed_end(subscription)
    laid = replayed([subscription], {subscription.pk: when})[subscription.pk]
    if segment_at(laid.segments, when) is None or (end is not None and end <= when):
        raise ChangeRefused(f"The subscription has ended by {when.isoformat()}.")
    return Change(ChangeVerb.RENEW, when)


def _follows_already(subscription: Subscription, change: Change) -> bool:
    """Tell whether another term follows the one of the change without it."""
    assert subscription.term_ends_at is not None  # noqa: S101 -- decided on before
    terms = terms_of_time(subscription)
    end = renewed_until(
        terms,
        subscription.term_ends_at,
        renewals_waiting(subscription),
        goes_on=subscription.auto_renew,
    )
    return end >= terms.boundary(terms.index_at(change.effective_at) + 2)
