"""Steps that several operations take under the lock of the subscription."""

from collections.abc import Sequence
from datetime import datetime

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.states import move
from apps.subscriptions.domain import (
    CHANGE_TRANSITIONS,
    SUBSCRIPTION_TRANSITIONS,
    ChangeStatus,
    SubscriptionStatus,
)
from apps.subscriptions.models import ScheduledChange, Subscription


def extend_term(subscription: Subscription, until: datetime, *, actor: str, at: datetime) -> None:
    """Move the end of the term to ``until``; an end that was billed by is looked at again."""
    was = subscription.term_ends_at
    subscription.term_ends_at = until
    subscription.save(update_fields=["term_ends_at"])
    failpoint("subscriptions.renew.after_extend")
    if was is not None and not subscription.auto_renew:
        look_again(subscription, was, at=at)
    record(
        "subscription.renewed",
        subscription,
        actor=actor,
        at=at,
        was=was.isoformat() if was else None,
        term_ends_at=until.isoformat(),
    )


def look_again(subscription: Subscription, since: datetime, *, at: datetime) -> None:
    """Have the next run recompute from an end that was foreseen, billed by, and is none now."""
    if subscription.billed_until is None or subscription.billed_until < since:
        return
    subscription.changed_from = min(subscription.changed_from or since, since)
    subscription.next_bill_at = min(subscription.next_bill_at or at, at)
    subscription.save(update_fields=["changed_from", "next_bill_at"])


def withdraw_rest(subscription: Subscription, *, actor: str, at: datetime) -> None:
    """Withdraw every change that still waits."""
    for change in subscription.scheduled_changes.filter(status=ChangeStatus.PENDING):
        move_change(change, ChangeStatus.WITHDRAWN, actor=actor, at=at)


def move_subscription(
    subscription: Subscription,
    to: SubscriptionStatus,
    *,
    actor: str,
    at: datetime,
    also: Sequence[str] = (),
) -> None:
    ends_at = subscription.ends_at.isoformat() if subscription.ends_at else None
    move(
        subscription,
        to=to,
        allowed=SUBSCRIPTION_TRANSITIONS,
        actor=actor,
        at=at,
        also=also,
        ends_at=ends_at,
    )


def move_change(change: ScheduledChange, to: ChangeStatus, *, actor: str, at: datetime) -> None:
    """Move a change to a status."""
    move(change, to=to, allowed=CHANGE_TRANSITIONS, actor=actor, at=at)
