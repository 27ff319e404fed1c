"""Making coupons, counting what is redeemed of them, and taking them out of use."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.catalog.domain import (
    CouponDuration,
    CouponExpired,
    CouponInvalid,
    CouponSpent,
    CouponTarget,
)
from apps.catalog.models import Charge, Coupon, Product
from apps.catalog.operations.lists import insert
from apps.core.errors import FieldError
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.money import CURRENCIES, fits, plain

LONGEST_PERIODS: Final = 1000


@transaction.atomic
def create_coupon(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    key: str,
    name: str,
    percentage: Decimal | None = None,
    amounts: Mapping[str, Decimal] | None = None,
    duration: CouponDuration = CouponDuration.ONCE,
    periods: int | None = None,
    target: CouponTarget = CouponTarget.SUBSCRIPTION,
    products: Sequence[str] = (),
    charges: Sequence[str] = (),
    priority: int = 0,
    once_per_customer: bool = True,
    max_redemptions: int | None = None,
    redeem_until: datetime | None = None,
    actor: str,
    at: datetime,
) -> Coupon:
    """Add a coupon, whose ``key`` is the code by which it is redeemed.

    It takes off a ``percentage`` of what is left, or one of ``amounts`` (by currency, major units) of
    each billing period; for ``periods`` of them. ``redeem_until`` is exclusive. A repeat with the
    same ``id`` returns it as it is. Raises ``KeyTaken``, and ``CouponInvalid`` with every problem.
    """
    known = Coupon.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    errors = [
        *_value_errors(percentage, amounts or {}),
        *_duration_errors(duration, periods),
        *_limit_errors(max_redemptions, redeem_until, at),
        *_scope_errors(tenant_id, products, charges),
    ]
    if errors:
        raise CouponInvalid(errors=errors)
    coupon = Coupon(
        id=id,
        tenant_id=tenant_id,
        key=key,
        name=name,
        percentage=percentage,
        amounts={currency: plain(amount) for currency, amount in (amounts or {}).items()},
        duration=duration,
        periods=1 if duration is CouponDuration.ONCE else periods,
        target=target,
        products=sorted(set(products)),
        charges=sorted(set(charges)),
        priority=priority,
        once_per_customer=once_per_customer,
        max_redemptions=max_redemptions,
        redeem_until=redeem_until,
        created_at=at,
    )
    insert(coupon, key, once="coupon_key_once")
    record("coupon.created", coupon, actor=actor, at=at, key=key)
    return coupon


@transaction.atomic
def archive_coupon(coupon_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Coupon:
    """Let a coupon be redeemed no more; who has redeemed it keeps it.

    One that is archived is returned as it is. Raises ``NotFound``.
    """
    coupon = lock_row(Coupon, coupon_id, tenant_id=tenant_id)
    if coupon.archived_at is None:
        coupon.archived_at = at
        coupon.save(update_fields=["archived_at"])
        record("coupon.archived", coupon, actor=actor, at=at, key=coupon.key)
    return coupon


def take_coupon(coupon_id: UUID, *, tenant_id: UUID, at: datetime) -> Coupon:
    """Count one more redemption of a coupon and return it.

    In the transaction of the caller, who stores what was redeemed: the row stays locked until then,
    so that it is never redeemed more often than it may be. Raises ``NotFound``, ``CouponExpired``
    and ``CouponSpent``.
    """
    coupon = lock_row(Coupon, coupon_id, tenant_id=tenant_id)
    if coupon.archived_at is not None:
        raise CouponExpired(f"The coupon {coupon.key} is archived.", field="code")
    if coupon.redeem_until is not None and coupon.redeem_until <= at:
        raise CouponExpired(
            f"The coupon {coupon.key} could be redeemed until {coupon.redeem_until.isoformat()}.",
            field="code",
        )
    if coupon.max_redemptions is not None and coupon.redeemed >= coupon.max_redemptions:
        raise CouponSpent(
            f"The coupon {coupon.key} has been redeemed {coupon.redeemed} times, as often as it may.",
            field="code",
        )
    coupon.redeemed += 1
    coupon.save(update_fields=["redeemed"])
    failpoint("catalog.coupon.after_count")
    return coupon


def _value_errors(
    percentage: Decimal | None, amounts: Mapping[str, Decimal]
) -> Iterator[FieldError]:
    if (percentage is None) == (not amounts):
        yield FieldError(
            "percentage", "one_value", "give either a percentage or amounts, by currency"
        )
    if percentage is not None and not 0 < percentage <= 100:  # noqa: PLR2004 -- per cent
        yield FieldError("percentage", "percentage_range", "more than 0, at most 100 per cent")
    for currency, amount in amounts.items():
        if currency not in CURRENCIES:
            yield FieldError(
                f"amounts.{currency}", "currency_unknown", f"{currency!r} is no ISO 4217 code"
            )
        elif not amount > 0:
            yield FieldError(f"amounts.{currency}", "not_positive", "more than zero")
        elif not fits(amount, currency):
            yield FieldError(
                f"amounts.{currency}",
                "currency_precision",
                f"{plain(amount)} has more decimals than {currency}",
            )


def _duration_errors(duration: CouponDuration, periods: int | None) -> Iterator[FieldError]:
    if duration is CouponDuration.PERIODS:
        if periods is None or not 1 <= periods <= LONGEST_PERIODS:
            yield FieldError("periods", "periods_range", f"from 1 to {LONGEST_PERIODS} periods")
    elif periods is not None:
        yield FieldError("periods", "periods_unwanted", f"a coupon for {duration} has no periods")


def _limit_errors(
    max_redemptions: int | None, redeem_until: datetime | None, at: datetime
) -> Iterator[FieldError]:
    if max_redemptions is not None and max_redemptions < 1:
        yield FieldError("max_redemptions", "not_positive", "at least one")
    if redeem_until is not None and redeem_until <= at:
        yield FieldError("redeem_until", "expired_already", "it would be over when it begins")


def _scope_errors(
    tenant_id: UUID, products: Sequence[str], charges: Sequence[str]
) -> Iterator[FieldError]:
    for name, asked, rows in (
        ("products", products, Product.objects.filter(tenant_id=tenant_id, key__in=products)),
        ("charges", charges, Charge.objects.filter(tenant_id=tenant_id, key__in=charges)),
    ):
        known = set(rows.values_list("key", flat=True)) if asked else set()
        for index, key in enumerate(asked):
            if key not in known:
                kind = name.removesuffix("s")
                yield FieldError(
                    f"{name}[{index}]", f"{kind}_unknown", f"there is no {kind} {key[:64]!r}"
                )
