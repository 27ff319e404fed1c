"""Reading which coupons discount what customers are billed."""

from collections.abc import Iterable
from uuid import UUID

from apps.catalog.queries import coupon_terms
from apps.rating.periods import Cadence, Schedule, Unit
from apps.subscriptions.domain import DiscountTerms
from apps.subscriptions.models import CouponRedemption


def discounts_of(customer_ids: Iterable[UUID]) -> dict[UUID, tuple[DiscountTerms, ...]]:
    """Return the coupons of customers who have redeemed any, in the order of taking off.

    One query. Those that hold no more are there too: what they discounted may be billed again.
    """
    found: dict[UUID, list[DiscountTerms]] = {}
    rows = CouponRedemption.objects.filter(customer__in=list(customer_ids))
    for row in rows.select_related("coupon"):
        found.setdefault(row.customer_id, []).append(discount_terms(row))
    return {
        customer_id: tuple(sorted(listed, key=lambda one: one.order))
        for customer_id, listed in found.items()
    }


def discount_terms(row: CouponRedemption) -> DiscountTerms:
    """Return what a redemption is to billing; its coupon is loaded."""
    return DiscountTerms(
        id=row.pk,
        public_id=row.public_id,
        coupon=coupon_terms(row.coupon),
        subscription_id=row.subscription_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        rhythm=Schedule(row.starts_at, Cadence(Unit(row.period_unit), row.period_count), row.zone),
    )
