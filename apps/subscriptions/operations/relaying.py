"""Laying a timeline anew, as its changes make it, and what follows from that."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from apps.catalog.queries import charges_of
from apps.core.failpoints import failpoint
from apps.metering.operations import close_subject
from apps.subscriptions.domain import (
    HOLDING,
    Laid,
    SegmentTerms,
    Standing,
    SubscriptionStatus,
    concerned_since,
    next_boundary,
    segment_at,
)
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.operations.moving import move_subscription, withdraw_rest
from apps.subscriptions.queries import replayed, segments_of, terms_with

_STATUSES = {
    Standing.ACTIVE: SubscriptionStatus.ACTIVE,
    Standing.PAUSED: SubscriptionStatus.PAUSED,
    Standing.SUSPENDED: SubscriptionStatus.SUSPENDED,
}


def relay_timeline(
    subscription: Subscription, since: datetime, *, bill_now: bool, actor: str, at: datetime
) -> None:
    """Make the timeline what the applied changes come to, of which one changed at ``since``.

    Has the next run look again at what that concerns, and sets when that run comes: now with
    ``bill_now``, where a billing period begins with the change, and where nothing else would make it
    come; else with the next period. Opens or closes the subscription to events, and moves it to the status that it has at ``at``.
    """
    stored = segments_of([subscription.pk])[subscription.pk]
    timeline = replayed([subscription])[subscription.pk]
    laid = timeline.segments
    if laid != stored.segments:
        _replace(subscription, stored.segments, laid)
    _replace_add_ons(subscription, stored, timeline)
    failpoint("subscriptions.end.after_cut")
    ends_at = laid[-1].ends_at if laid else subscription.started_at
    if ends_at != subscription.ends_at:
        subscription.ends_at = ends_at
        close_subject(subscription.pk, closes_at=ends_at)
    concerned = concerned_since(since, stored.all(), timeline.all())
    subscription.changed_from = min(subscription.changed_from or concerned, concerned)
    terms = terms_with(subscription, timeline)
    following = next_boundary(terms, charges_of(terms.phase_ids), after=at)
    begins = any(one.starts_at == one.anchor_at == since for one in laid)
    due = at if bill_now or begins or following is None else following
    subscription.next_bill_at = min(subscription.next_bill_at or due, due)
    take_stand(subscription, laid, actor=actor, at=at)


def take_stand(
    subscription: Subscription, laid: Sequence[SegmentTerms], *, actor: str, at: datetime
) -> bool:
    """Save the subscription as its timeline has it at ``at``; say whether its status moved."""
    held = segment_at(laid, max(at, subscription.started_at)) or (laid[-1] if laid else None)
    if held is not None:
        subscription.plan_version_id = held.plan_version_id
        subscription.price_list_id = held.price_list_id
        subscription.quantity = held.quantity
    fields = (
        "plan_version", "price_list", "quantity", "ends_at", "changed_from", "next_bill_at",
    )  # fmt: skip
    status = _status_at(subscription, held, at)
    if status == subscription.status:
        subscription.save(update_fields=fields)
        return False
    if status is SubscriptionStatus.ENDED:
        withdraw_rest(subscription, actor=actor, at=at)
    move_subscription(subscription, status, actor=actor, at=at, also=fields)
    return True


def lay_segments(
    subscription: Subscription, segments: Iterable[SegmentTerms], *, add_on_id: UUID | None = None
) -> None:
    """Store segments of the subscription, or of one of its add-ons."""
    SubscriptionSegment.objects.bulk_create(
        SubscriptionSegment(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            add_on_id=add_on_id,
            absent=one.absent,
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            plan_version_id=one.plan_version_id,
            phase_id=one.phase_id,
            quantity=one.quantity,
            price_list_id=one.price_list_id,
            anchor_at=one.anchor_at,
            standing=one.standing,
            paid_from=one.paid_from,
            settlement=one.settlement,
        )
        for one in segments
    )


def _replace_add_ons(subscription: Subscription, stored: Laid, laid: Laid) -> None:
    were = {one.plan_id: one.segments for one in stored.add_ons}
    are = {one.plan_id: one.segments for one in laid.add_ons}
    for plan_id in were.keys() | are.keys():
        was, now = were.get(plan_id, ()), are.get(plan_id, ())
        if was != now:
            _replace(subscription, was, now, add_on_id=plan_id)


def _replace(
    subscription: Subscription,
    stored: Sequence[SegmentTerms],
    laid: Sequence[SegmentTerms],
    *,
    add_on_id: UUID | None = None,
) -> None:
    same = 0
    while same < min(len(stored), len(laid)) and stored[same] == laid[same]:
        same += 1
    rows = subscription.segments.filter(add_on=add_on_id)
    if same < len(stored):
        rows.filter(starts_at__gte=stored[same].starts_at).delete()
    lay_segments(subscription, laid[same:], add_on_id=add_on_id)


def _status_at(
    subscription: Subscription, held: SegmentTerms | None, at: datetime
) -> SubscriptionStatus:
    if held is None or (subscription.ends_at is not None and subscription.ends_at <= at):
        return SubscriptionStatus.ENDED
    if subscription.started_at > at and subscription.status not in HOLDING:
        return SubscriptionStatus.SCHEDULED
    return _STATUSES[held.standing]
