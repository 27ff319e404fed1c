"""Steps that several operations take under the lock of the subscription."""

from collections.abc import Sequence
from datetime import datetime

from apps.catalog.queries import cadence_of
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.states import move
from apps.metering.operations import close_subject
from apps.rating.periods import Schedule
from apps.subscriptions.domain import (
    CHANGE_TRANSITIONS,
    SUBSCRIPTION_TRANSITIONS,
    ChangeStatus,
    Settlement,
    SubscriptionStatus,
    cut,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.queries import terms_of


def terms_of_time(subscription: Subscription) -> Schedule:
    """Return the grid of the subscription's terms, counted from its start."""
    term = cadence_of(subscription.term_unit, subscription.term_count)
    assert term is not None  # noqa: S101 -- by constraint, and every caller has looked
    return Schedule(subscription.started_at, term, subscription.zone)


def end_subscription(
    subscription: Subscription,
    ends_at: datetime,
    settlement: Settlement,
    *,
    actor: str,
    at: datetime,
) -> None:
    """Cut the timeline at ``ends_at``, which is not after ``at``, and end the subscription.

    A timeline that ends earlier keeps its own end.
    """
    segments = subscription.segments.order_by("starts_at")
    if subscription.ends_at is None or subscription.ends_at > ends_at:
        kept = cut(terms_of(subscription, segments).segments, ends_at, settlement)
        segments.filter(starts_at__gte=ends_at).delete()
        if kept:
            segments.filter(starts_at=kept[-1].starts_at).update(
                ends_at=kept[-1].ends_at, settlement=kept[-1].settlement
            )
        subscription.ends_at = ends_at
        subscription.changed_from = min(subscription.changed_from or ends_at, ends_at)
        subscription.next_bill_at = min(subscription.next_bill_at or at, at)
        close_subject(subscription.pk, closes_at=ends_at)
    failpoint("subscriptions.end.after_cut")
    withdraw_rest(subscription, actor=actor, at=at)
    move_subscription(
        subscription,
        SubscriptionStatus.ENDED,
        actor=actor,
        at=at,
        also=("ends_at", "changed_from", "next_bill_at"),
    )


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
