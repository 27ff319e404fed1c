"""Redeeming coupons, and ending what they take off."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.domain import CouponTarget
from apps.catalog.models import Coupon
from apps.catalog.operations.coupons import take_coupon
from apps.catalog.queries import charges_of
from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.rating.periods import Cadence, Schedule, Unit
from apps.subscriptions.domain import (
    FURTHEST,
    CouponUnfit,
    CouponUsed,
    SubscriptionInvalid,
    SubscriptionStatus,
    discount_start,
)
from apps.subscriptions.models import CouponRedemption, Subscription
from apps.subscriptions.operations.locking import lock_customer, refuse_ended
from apps.subscriptions.operations.marking import mark_changed
from apps.subscriptions.queries import segments_of, terms_with

_ONCE: Final = frozenset({"coupon_redeemed_once", "coupon_once_per_customer"})


@transaction.atomic
def redeem_coupon(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the row to be
    coupon_id: UUID,
    subscription_id: UUID | None = None,
    starts_at: datetime | None = None,
    actor: str,
    at: datetime,
) -> CouponRedemption:
    """Let a coupon discount a subscription of the customer, or (None) all that he has.

    From the billing period on in which ``starts_at`` (now unless given) lies, for as many as the
    coupon says. Of those that are billed already, the next run credits the difference. An ``id``
    that exists is returned as it is. Raises ``NotFound``, ``CouponUnfit``, ``CouponUsed``,
    ``CouponSpent``, ``CouponExpired``, ``SubscriptionEnded`` and ``SubscriptionInvalid``.
    """
    customer = lock_customer(customer_id)
    known = CouponRedemption.objects.filter(pk=id, tenant_id=customer.tenant_id).first()
    if known is not None:
        return known
    subscriptions = _subscriptions(customer, subscription_id)
    wanted = at if starts_at is None else starts_at
    if abs(wanted - at) > FURTHEST:
        raise SubscriptionInvalid("a discount begins within ten years of now", field="starts_at")
    coupon = take_coupon(coupon_id, tenant_id=customer.tenant_id, at=at)
    _check(coupon, customer, subscriptions if subscription_id is not None else None)
    begins, pace = _start(subscriptions, wanted, is_given=starts_at is not None)
    rhythm = Schedule(begins, pace, customer.zone)
    redemption = CouponRedemption(
        id=id,
        tenant_id=customer.tenant_id,
        coupon=coupon,
        customer=customer,
        subscription_id=subscription_id,
        starts_at=begins,
        ends_at=None if coupon.periods is None else rhythm.boundary(coupon.periods),
        period_unit=pace.unit,
        period_count=pace.count,
        zone=customer.zone,
        once_per_customer=coupon.once_per_customer,
        created_at=at,
    )
    _insert(redemption)
    failpoint("subscriptions.redeem.after_insert")
    _look_again(subscriptions, begins, at)
    record(
        "coupon.redeemed",
        redemption,
        actor=actor,
        at=at,
        coupon=coupon.key,
        starts_at=begins.isoformat(),
    )
    return redemption


@transaction.atomic
def end_discount(
    redemption_id: UUID,
    *,
    tenant_id: UUID,
    ends_at: datetime | None = None,
    actor: str,
    at: datetime,
) -> CouponRedemption:
    """Let a coupon discount no billing period that begins at ``ends_at`` (now unless given) or later.

    Down to its start, where nothing is left of it: what was discounted since is billed by the next
    run. One that ends no later is returned as it is. Raises ``NotFound`` and
    ``SubscriptionInvalid``.
    """
    found = CouponRedemption.objects.filter(pk=redemption_id, tenant_id=tenant_id).first()
    if found is None:
        raise NotFound("There is no such coupon redemption.")
    customer = lock_customer(found.customer_id)
    redemption = lock_row(CouponRedemption, redemption_id, tenant_id=tenant_id)
    ends = at if ends_at is None else ends_at
    if ends_at is not None and not redemption.starts_at <= ends_at <= at + FURTHEST:
        raise SubscriptionInvalid(
            f"it began at {redemption.starts_at.isoformat()} and ends within ten years",
            field="ends_at",
        )
    ends = max(ends, redemption.starts_at)
    if redemption.ends_at is not None and redemption.ends_at <= ends:
        return redemption
    redemption.ends_at = ends
    redemption.save(update_fields=["ends_at"])
    failpoint("subscriptions.redeem.after_end")
    _look_again(_subscriptions(customer, redemption.subscription_id), ends, at)
    record("coupon_redemption.ended", redemption, actor=actor, at=at, ends_at=ends.isoformat())
    return redemption


def _subscriptions(customer: Customer, subscription_id: UUID | None) -> list[Subscription]:
    rows = Subscription.objects.filter(customer=customer).order_by("started_at", "pk")
    if subscription_id is None:
        return list(rows.exclude(status=SubscriptionStatus.ENDED))
    found = list(rows.filter(pk=subscription_id))
    if not found:
        raise NotFound("There is no such subscription.", field="subscription")
    return found


def _check(coupon: Coupon, customer: Customer, subscriptions: list[Subscription] | None) -> None:
    """Raise where the coupon is for something else than what it is redeemed for."""
    if (coupon.target == CouponTarget.SUBSCRIPTION) != (subscriptions is not None):
        raise CouponUnfit(f"The coupon {coupon.key} is for a {coupon.target}.", field="code")
    currency = customer.currency
    for one in subscriptions or ():
        refuse_ended(one)
        currency = one.currency
    if coupon.amounts and currency not in coupon.amounts:
        offered = ", ".join(sorted(coupon.amounts))
        raise CouponUnfit(
            f"The coupon {coupon.key} takes off {offered}, not {currency}.", field="code"
        )


def _start(
    subscriptions: list[Subscription], wanted: datetime, *, is_given: bool
) -> tuple[datetime, Cadence]:
    """Return from when on the coupon discounts, and the pace of billing periods."""
    segments = segments_of(one.pk for one in subscriptions)
    charges = charges_of(one.phase_id for laid in segments.values() for one in laid.all())
    starts = [
        discount_start(terms_with(one, segments[one.pk]), charges, wanted)
        for one in subscriptions
        if segments[one.pk].segments
    ]
    if not starts:
        return wanted, Cadence(Unit.MONTH)
    begins, pace = min(starts, key=lambda found: found[0])
    if len(starts) > 1 and is_given:
        begins = wanted  # which period is meant nobody can tell
    return begins, pace


def _insert(redemption: CouponRedemption) -> None:
    try:
        with transaction.atomic():
            redemption.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) not in _ONCE:
            raise
        raise CouponUsed(
            f"The coupon {redemption.coupon.key} has been redeemed for it before.", field="code"
        ) from error


def _look_again(subscriptions: list[Subscription], since: datetime, at: datetime) -> None:
    """Have the next runs compute again what was billed of the time since an instant."""
    if since <= at:
        mark_changed({one.pk: since for one in subscriptions if one.next_bill_at is not None})
