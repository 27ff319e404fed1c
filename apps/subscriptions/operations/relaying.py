"""Laying a timeline anew, as its changes make it, and what follows from that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from apps.catalog.queries import charges_of
from apps.core.bulk import save_rows
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
    if timeline != stored:
        _replace(subscription, stored, timeline)
    failpoint("subscriptions.end.after_cut")
    ends_at = laid[-1].ends_at if laid else subscription.started_at
    if ends_at != subscription.ends_at:
        subscription.ends_at = ends_at
        close_subject(subscription.pk, closes_at=ends_at)
    _look_again(subscription, stored, timeline, since, bill_now=bill_now, at=at)
    take_stand(subscription, laid, actor=actor, at=at)


def relay_timelines(
    subscriptions: Sequence[Subscription],
    since: Mapping[UUID, datetime],
    *,
    bill_now: bool,
    actor: str,
    at: datetime,
) -> None:
    """Do as ``relay_timeline`` for many locked subscriptions, of each a change at its instant.

    In as many statements for many as for one, but for those that end, or stand otherwise, by it.
    """
    stored = segments_of([one.pk for one in subscriptions])
    laid = replayed(subscriptions)
    alike: list[Subscription] = []
    for one in subscriptions:
        segments = laid[one.pk].segments
        held = segment_at(segments, max(at, one.started_at)) or (segments[-1] if segments else None)
        ends_at = segments[-1].ends_at if segments else one.started_at
        if held is None or ends_at != one.ends_at or _status_at(one, held, at) != one.status:
            relay_timeline(one, since[one.pk], bill_now=bill_now, actor=actor, at=at)
            continue
        alike.append(one)
        _hold(one, held)
    # read in one go, so that what follows reads nothing
    charges_of({one.phase_id for row in alike for one in laid[row.pk].all()})
    gone: list[tuple[UUID, UUID | None, datetime]] = []
    fresh: list[SubscriptionSegment] = []
    for one in alike:
        _look_again(one, stored[one.pk], laid[one.pk], since[one.pk], bill_now=bill_now, at=at)
        for add_on_id, was, now in _tracks(stored[one.pk], laid[one.pk]):
            same = _same(was, now)
            if same < len(was):
                gone.append((one.pk, add_on_id, was[same].starts_at))
            fresh += _rows(one, now[same:], add_on_id)
    _delete(gone)
    SubscriptionSegment.objects.bulk_create(fresh)
    save_rows(alike, ["plan_version", "price_list", "quantity", "changed_from", "next_bill_at"])


def _look_again(
    subscription: Subscription,
    stored: Laid,
    laid: Laid,
    since: datetime,
    *,
    bill_now: bool,
    at: datetime,
) -> None:
    concerned = concerned_since(since, stored.all(), laid.all())
    subscription.changed_from = min(subscription.changed_from or concerned, concerned)
    terms = terms_with(subscription, laid)
    following = next_boundary(terms, charges_of(terms.phase_ids), after=at)
    begins = any(one.starts_at == one.anchor_at == since for one in laid.segments)
    due = at if bill_now or begins or following is None else following
    subscription.next_bill_at = min(subscription.next_bill_at or due, due)


def _hold(subscription: Subscription, held: SegmentTerms) -> None:
    subscription.plan_version_id = held.plan_version_id
    subscription.price_list_id = held.price_list_id
    subscription.quantity = held.quantity


def take_stand(
    subscription: Subscription, laid: Sequence[SegmentTerms], *, actor: str, at: datetime
) -> bool:
    """Save the subscription as its timeline has it at ``at``; say whether its status moved."""
    held = segment_at(laid, max(at, subscription.started_at)) or (laid[-1] if laid else None)
    if held is not None:
        _hold(subscription, held)
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
    SubscriptionSegment.objects.bulk_create(_rows(subscription, segments, add_on_id))


def _rows(
    subscription: Subscription, segments: Iterable[SegmentTerms], add_on_id: UUID | None
) -> list[SubscriptionSegment]:
    return [
        SubscriptionSegment(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            add_on_id=add_on_id,
            absent=one.absent,
            anew=one.anew,
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
    ]


_Segments = Sequence[SegmentTerms]


def _tracks(stored: Laid, laid: Laid) -> Iterator[tuple[UUID | None, _Segments, _Segments]]:
    """Yield of the subscription and of each add-on what is stored and what is to be."""
    yield None, stored.segments, laid.segments
    were = {one.plan_id: one.segments for one in stored.add_ons}
    are = {one.plan_id: one.segments for one in laid.add_ons}
    for plan_id in were.keys() | are.keys():
        yield plan_id, were.get(plan_id, ()), are.get(plan_id, ())


def _same(stored: _Segments, laid: _Segments) -> int:
    """Return how many of the first segments stay."""
    same = 0
    while same < min(len(stored), len(laid)) and stored[same] == laid[same]:
        same += 1
    return same


def _replace(subscription: Subscription, stored: Laid, laid: Laid) -> None:
    for add_on_id, was, now in _tracks(stored, laid):
        same = _same(was, now)
        if same < len(was):
            rows = subscription.segments.filter(add_on=add_on_id)
            rows.filter(starts_at__gte=was[same].starts_at).delete()
        lay_segments(subscription, now[same:], add_on_id=add_on_id)


def _delete(gone: Sequence[tuple[UUID, UUID | None, datetime]]) -> None:
    """Delete segments of many subscriptions from an instant on, each with its add-on or none."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM subscriptions_subscriptionsegment g
            USING unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS d(owner, add_on, since)
            WHERE g.subscription_id = d.owner AND g.add_on_id IS NOT DISTINCT FROM d.add_on
              AND g.starts_at >= d.since
            """,
            [[one[column] for one in gone] for column in range(3)],
        )


def _status_at(
    subscription: Subscription, held: SegmentTerms | None, at: datetime
) -> SubscriptionStatus:
    if held is None or (subscription.ends_at is not None and subscription.ends_at <= at):
        return SubscriptionStatus.ENDED
    if subscription.started_at > at and subscription.status not in HOLDING:
        return SubscriptionStatus.SCHEDULED
    return _STATUSES[held.standing]
