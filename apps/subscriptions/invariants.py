"""What subscriptions must never show; every line yielded is a row that must not exist."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from apps.core.books import Rule, rows_that_break
from apps.core.ids import encode
from apps.subscriptions.domain import Laid, SegmentTerms, Settlement
from apps.subscriptions.models import Subscription
from apps.subscriptions.queries import replayed, segments_of

_PAGE: Final = 500
_MINE: Final = "(%(tenant)s::uuid IS NULL OR s.tenant_id = %(tenant)s)"
_BROKEN_TILES: Final = f"""
WITH laid AS (
    SELECT g.subscription_id, g.starts_at, g.ends_at,
           lag(g.ends_at) OVER following AS before,
           row_number() OVER following AS place,
           count(*) OVER (PARTITION BY g.subscription_id) AS number
    FROM subscriptions_subscriptionsegment g WHERE g.add_on_id IS NULL
    WINDOW following AS (PARTITION BY g.subscription_id ORDER BY g.starts_at)
)
SELECT s.id FROM subscriptions_subscription s LEFT JOIN laid l ON l.subscription_id = s.id
WHERE {_MINE}
GROUP BY s.id
HAVING (count(l.place) = 0 AND s.ends_at IS DISTINCT FROM s.started_at)
    OR bool_or(CASE WHEN l.place = 1 THEN l.starts_at <> s.started_at
                    ELSE l.starts_at IS DISTINCT FROM l.before END AND l.place IS NOT NULL)
    OR bool_or(l.place = l.number AND l.ends_at IS DISTINCT FROM s.ends_at)
ORDER BY s.id
"""  # noqa: S608 -- constants
_MISPLACED: Final = f"""
SELECT s.id, s.status FROM subscriptions_subscription s
LEFT JOIN subscriptions_scheduledchange c ON c.subscription_id = s.id AND c.status = 'pending'
WHERE {_MINE}
  AND ((s.status = 'ended' AND (s.ends_at IS NULL OR c.id IS NOT NULL))
    OR (s.status = 'scheduled' AND s.billed_until >= s.started_at)
    OR (s.status <> 'ended' AND s.ends_at = s.started_at))
ORDER BY s.id
"""  # noqa: S608 -- constants
_FORGOTTEN: Final = f"""
SELECT s.id FROM subscriptions_subscription s
WHERE {_MINE} AND s.next_bill_at IS NULL
  AND (s.changed_from IS NOT NULL OR EXISTS (
      SELECT 1 FROM subscriptions_subscriptionsegment g
      JOIN catalog_charge c ON c.phase_id = g.phase_id
      WHERE g.subscription_id = s.id AND g.standing <> 'paused' AND NOT g.absent
        AND (s.billed_until IS NULL
          OR (c.kind = 'fixed' AND g.starts_at > s.billed_until)
          OR (c.kind <> 'fixed'
              AND (g.ends_at IS NULL OR g.ends_at > s.billed_until)
              -- a full credit lets what follows be paid from before its predecessor ended
              AND (c.kind = 'usage' OR NOT EXISTS (
                  SELECT 1 FROM subscriptions_subscriptionsegment n
                  WHERE n.subscription_id = g.subscription_id
                    AND n.add_on_id IS NOT DISTINCT FROM g.add_on_id
                    AND n.starts_at = g.ends_at AND n.paid_from <= s.billed_until))
              AND (c.timing = 'arrears' OR g.ends_at IS NULL
                -- a full credit lets it be paid from before it began, unless periods began with it
                OR LEAST(g.starts_at, CASE WHEN g.anchor_at < g.starts_at THEN g.paid_from END)
                  > s.billed_until)))))
ORDER BY s.id
"""  # noqa: S608 -- constants
_UNKNOWN_TO_METERING: Final = f"""
SELECT s.id FROM subscriptions_subscription s
LEFT JOIN metering_usagesubject u ON u.subscription_id = s.id
WHERE {_MINE}
  AND (u.tenant_id, u.customer_id, u.external_id, u.opens_at, u.closes_at) IS DISTINCT FROM
      (s.tenant_id, s.customer_id, s.external_id, s.started_at, s.ends_at)
ORDER BY s.id
"""  # noqa: S608 -- constants
_STRAY: Final = f"""
SELECT s.id FROM subscriptions_subscription s
JOIN customers_customer k ON k.id = s.customer_id
JOIN catalog_planversion v ON v.id = s.plan_version_id
JOIN catalog_planversion f ON f.id = s.first_version_id
LEFT JOIN catalog_pricelist l ON l.id IN (s.price_list_id, s.first_price_list_id)
LEFT JOIN subscriptions_subscriptionsegment g ON g.subscription_id = s.id
LEFT JOIN catalog_planversion w ON w.id = g.plan_version_id
LEFT JOIN catalog_pricelist p ON p.id = g.price_list_id
LEFT JOIN subscriptions_scheduledchange c ON c.subscription_id = s.id
WHERE {_MINE}
  AND (s.tenant_id <> k.tenant_id OR s.tenant_id <> v.tenant_id OR s.tenant_id <> l.tenant_id
    OR s.tenant_id <> g.tenant_id OR s.tenant_id <> w.tenant_id OR s.tenant_id <> f.tenant_id
    OR s.tenant_id <> p.tenant_id OR s.tenant_id <> c.tenant_id)
GROUP BY s.id ORDER BY s.id
"""  # noqa: S608 -- constants
_MISCOUNTED: Final = """
SELECT c.id, c.redeemed, count(r.id) FROM catalog_coupon c
LEFT JOIN subscriptions_couponredemption r ON r.coupon_id = c.id
WHERE (%(tenant)s::uuid IS NULL OR c.tenant_id = %(tenant)s)
GROUP BY c.id HAVING c.redeemed <> count(r.id) OR c.redeemed > c.max_redemptions
ORDER BY c.id
"""


_ADD_ONS_ASTRAY: Final = f"""
SELECT DISTINCT s.id FROM subscriptions_subscription s
JOIN (SELECT g.subscription_id, g.starts_at, g.ends_at,
             lag(g.ends_at) OVER following AS before, row_number() OVER following AS place
      FROM subscriptions_subscriptionsegment g WHERE g.add_on_id IS NOT NULL
      WINDOW following AS (PARTITION BY g.subscription_id, g.add_on_id ORDER BY g.starts_at)
     ) AS l ON l.subscription_id = s.id
WHERE {_MINE}
  AND (l.starts_at < s.started_at OR (l.place > 1 AND l.starts_at IS DISTINCT FROM l.before)
    OR l.ends_at > s.ends_at OR (l.ends_at IS NULL AND s.ends_at IS NOT NULL))
ORDER BY s.id
"""  # noqa: S608 -- constants


def segments_tile_time(tenant_id: UUID | None) -> Iterator[str]:
    """Segments follow each other from a subscription's start to its end, without gap or overlap."""
    for (subscription_id,) in rows_that_break(_BROKEN_TILES, tenant_id):
        yield f"the segments of {_named(subscription_id)} do not tile its time"


def add_ons_keep_within(tenant_id: UUID | None) -> Iterator[str]:
    """The segments of an add-on follow each other, and lie within the subscription's time."""
    for (subscription_id,) in rows_that_break(_ADD_ONS_ASTRAY, tenant_id):
        yield f"an add-on of {_named(subscription_id)} has gaps, or other times than that"


def status_agrees_with_timeline(tenant_id: UUID | None) -> Iterator[str]:
    """What ended has an end and awaits nothing; what is scheduled was not billed; else it holds."""
    for subscription_id, status in rows_that_break(_MISPLACED, tenant_id):
        yield f"{_named(subscription_id)} is {status}, but its timeline says otherwise"


def what_is_unbilled_is_due(tenant_id: UUID | None) -> Iterator[str]:
    """A subscription with something left to bill, or changed since, has its next instant set."""
    for (subscription_id,) in rows_that_break(_FORGOTTEN, tenant_id):
        yield f"{_named(subscription_id)} has something to bill, and no time at which it is due"


def metering_knows_the_same_times(tenant_id: UUID | None) -> Iterator[str]:
    """Events may name a subscription exactly while it holds."""
    for (subscription_id,) in rows_that_break(_UNKNOWN_TO_METERING, tenant_id):
        yield f"metering takes events of {_named(subscription_id)} at other times than it holds"


def parts_belong_to_one_tenant(tenant_id: UUID | None) -> Iterator[str]:
    """A subscription's customer, plan, price list and segments are of its tenant."""
    for (subscription_id,) in rows_that_break(_STRAY, tenant_id):
        yield f"{_named(subscription_id)} refers to another tenant's row"


def segments_come_of_changes(tenant_id: UUID | None) -> Iterator[str]:
    """Each segment has the terms to which the changes that were applied come at its start."""
    rows = Subscription.objects.order_by("pk")
    if tenant_id is not None:
        rows = rows.filter(tenant=tenant_id)
    after = UUID(int=0)
    while page := list(rows.filter(pk__gt=after)[:_PAGE]):
        laid = replayed(page)
        stored = segments_of([row.pk for row in page])
        for row in page:
            expected = _by_start(laid[row.pk])
            if any(expected.get(where) != one for where, one in _by_start(stored[row.pk]).items()):
                yield f"{_named(row.pk)} has other terms than its changes come to"
        after = page[-1].pk


def _by_start(laid: Laid) -> dict[tuple[UUID | None, datetime], SegmentTerms]:
    tracks = [(None, laid.segments), *((one.plan_id, one.segments) for one in laid.add_ons)]
    return {(of, one.starts_at): _terms(one) for of, segments in tracks for one in segments}


def coupons_are_counted(tenant_id: UUID | None) -> Iterator[str]:
    """A coupon has been redeemed as often as it says, and no more often than it may be."""
    for coupon_id, said, found in rows_that_break(_MISCOUNTED, tenant_id):
        yield f"coupon {encode('cpn', coupon_id)} says it was redeemed {said} times, not {found}"


def _terms(segment: SegmentTerms) -> SegmentTerms:
    """Return a segment without its end, which ``segments_tile_time`` looks after."""
    return replace(segment, ends_at=None, settlement=Settlement.PRORATE)


def _named(subscription_id: UUID) -> str:
    return f"subscription {encode('sub', subscription_id)}"


RULES: Final[tuple[Rule, ...]] = (
    segments_tile_time,
    add_ons_keep_within,
    status_agrees_with_timeline,
    what_is_unbilled_is_due,
    metering_knows_the_same_times,
    parts_belong_to_one_tenant,
    segments_come_of_changes,
    coupons_are_counted,
)
