"""Ending a subscription, at once or later."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.catalog.queries import charges_of
from apps.core.ids import new_id
from apps.subscriptions.domain import (
    FURTHEST,
    CancellationPending,
    CancelMode,
    Change,
    ChangeStatus,
    ChangeVerb,
    NoCancellation,
    Settlement,
    SubscriptionInvalid,
    SubscriptionStatus,
    period_end,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.enacting import enact
from apps.subscriptions.operations.foreseeing import Foreseen, foresee, foresee_going_on
from apps.subscriptions.operations.locking import lock_subscription, refuse_ended
from apps.subscriptions.operations.moving import look_again, move_change
from apps.subscriptions.queries import terms_of, unrenewed_end


@transaction.atomic
def cancel_subscription(
    subscription_id: UUID,
    *,
    mode: CancelMode,
    ends_at: datetime | None = None,
    settlement: Settlement = Settlement.PRORATE,
    refund: bool = False,
    change_id: UUID | None = None,
    actor: str,
    at: datetime,
) -> Subscription:
    """End a subscription: now, with its current billing period, or at ``ends_at``; return it.

    An end in the future becomes a ``ScheduledChange`` with the id ``change_id``, which can be
    withdrawn until it is applied. An end in the past, down to the start, takes effect at once and
    is billed or credited by the next run; usage at and after the end does not count. One that has
    not begun yet, canceled now, with its period, or at or before its start, never begins.
    ``settlement`` says what becomes of periods that the end cuts short. With ``refund`` what that
    credits goes back to the payments that paid it, once it is credited.

    A repeat with the same ``change_id`` changes nothing. Raises ``SubscriptionEnded``,
    ``CancellationPending`` (only where the new end would be scheduled too; an immediate one
    withdraws it), and ``SubscriptionInvalid`` for a date before the start or over ten years ahead.
    """
    subscription = lock_subscription(subscription_id)
    if change_id and subscription.scheduled_changes.filter(pk=change_id).exists():
        return subscription
    refuse_ended(subscription)
    end = _end_asked_for(subscription, mode, ends_at, at)
    pending = _pending(subscription)
    _refuse_second(subscription, pending, end, at)
    if pending is not None:
        move_change(pending, ChangeStatus.WITHDRAWN, actor=actor, at=at)
    enact(
        subscription,
        Change(ChangeVerb.CANCEL, end, settlement, refund=refund),
        change_id=change_id or new_id(),
        actor=actor,
        at=at,
    )
    return subscription


def foresee_cancellation(
    subscription: Subscription,
    *,
    mode: CancelMode,
    ends_at: datetime | None = None,
    settlement: Settlement = Settlement.PRORATE,
    at: datetime,
) -> Foreseen:
    """Return what ``cancel_subscription`` would do; stores nothing and raises the same."""
    refuse_ended(subscription)
    end = _end_asked_for(subscription, mode, ends_at, at)
    pending = _pending(subscription)
    _refuse_second(subscription, pending, end, at)
    return foresee(subscription, Change(ChangeVerb.CANCEL, end, settlement), without=pending, at=at)


@transaction.atomic
def uncancel_subscription(subscription_id: UUID, *, actor: str, at: datetime) -> Subscription:
    """Take back the cancellation that waits for its time; return the subscription, which goes on.

    Raises ``NoCancellation`` where none waits, and ``SubscriptionEnded`` once it took effect.
    """
    subscription = lock_subscription(subscription_id)
    pending = _taken_back(subscription)
    move_change(pending, ChangeStatus.WITHDRAWN, actor=actor, at=at)
    look_again(subscription, pending.effective_at, at=at)
    return subscription


def foresee_uncancellation(subscription: Subscription, *, at: datetime) -> Foreseen:
    """Return what ``uncancel_subscription`` would do; stores nothing and raises the same.

    Told by the instant at which the subscription would have ended; its change is the cancellation.
    """
    pending = _taken_back(subscription)
    return foresee_going_on(
        subscription,
        Change(ChangeVerb.CANCEL, pending.effective_at),
        since=pending.effective_at,
        until=unrenewed_end(subscription),
        without=pending,
        at=at,
    )


def _taken_back(subscription: Subscription) -> ScheduledChange:
    refuse_ended(subscription)
    pending = _pending(subscription)
    if pending is None:
        raise NoCancellation("No cancellation of this subscription waits for its time.")
    return pending


def _pending(subscription: Subscription) -> ScheduledChange | None:
    return subscription.scheduled_changes.filter(
        status=ChangeStatus.PENDING, verb=ChangeVerb.CANCEL
    ).first()


def _refuse_second(
    subscription: Subscription, pending: ScheduledChange | None, end: datetime, at: datetime
) -> None:
    """Refuse to schedule an end beside another; one that takes effect now replaces it."""
    if pending is not None and end > max(at, subscription.started_at):
        raise CancellationPending(
            f"This subscription, {subscription.status}, is to end at"
            f" {pending.effective_at.isoformat()}; withdraw {pending.public_id} first."
        )


def _end_asked_for(
    subscription: Subscription, mode: CancelMode, ends_at: datetime | None, at: datetime
) -> datetime:
    if (mode is CancelMode.DATE) != (ends_at is not None):
        raise SubscriptionInvalid(
            'give ends_at with the mode "date", and only with it', field="ends_at"
        )
    if ends_at is None:
        if at < subscription.started_at:
            return subscription.started_at
        if mode is CancelMode.NOW:
            return at
        terms = terms_of(subscription, subscription.segments.order_by("starts_at"))
        end = period_end(terms, charges_of(terms.phase_ids), at)
    else:
        end = ends_at
    if end < subscription.started_at and subscription.status != SubscriptionStatus.SCHEDULED:
        raise SubscriptionInvalid(
            f"it began at {subscription.started_at.isoformat()} and cannot end before",
            field="ends_at",
        )
    if end - at > FURTHEST:
        raise SubscriptionInvalid("an end lies at most ten years ahead", field="ends_at")
    return max(end, subscription.started_at)
