"""What a redeemed coupon is to billing: which periods it discounts, and from when. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from apps.catalog.domain import ChargeTerms, CouponTerms
from apps.core.errors import Conflict
from apps.rating.periods import Cadence, Schedule, Unit
from apps.subscriptions.domain.periods import leading_cadence
from apps.subscriptions.domain.timeline import SubscriptionTerms, schedule_of

_MONTH: Final = Cadence(Unit.MONTH)


class CouponUnfit(Conflict):
    """The coupon is not for what it was to be redeemed for."""

    reason = "coupon_unfit"


class CouponUsed(Conflict):
    """The customer has redeemed the coupon already."""

    reason = "coupon_used"


@dataclass(frozen=True, slots=True)
class DiscountTerms:
    """A coupon as it was redeemed, for one subscription or (None) all of a customer.

    It discounts the billing periods that begin in ``[starts_at, ends_at)``; an amount once in each
    period of ``rhythm``, which begins at ``starts_at``.
    """

    id: UUID
    public_id: str
    coupon: CouponTerms
    subscription_id: UUID | None
    starts_at: datetime
    ends_at: datetime | None
    rhythm: Schedule

    def holds(self, terms: SubscriptionTerms, period_start: datetime) -> bool:
        """Say whether a billing period of a subscription is discounted."""
        if self.subscription_id is not None and self.subscription_id != terms.id:
            return False
        begins = max(period_start, terms.started_at)
        return self.starts_at <= begins and (self.ends_at is None or begins < self.ends_at)

    def turn(self, terms: SubscriptionTerms, period_start: datetime) -> int:
        """Return in which period of the rhythm, from 0, a billing period begins."""
        return self.rhythm.index_at(max(period_start, terms.started_at))

    @property
    def order(self) -> tuple[int, bool, UUID]:
        """By which coupons follow each other: priority, amounts before percentages, age."""
        return (self.coupon.priority, self.coupon.percentage is not None, self.id)


def discount_start(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]], wanted: datetime
) -> tuple[datetime, Cadence]:
    """Return the start of the billing period in which an instant lies, and the pace of periods.

    Where nothing recurs then, as before the start or in a free trial, it is the first period after.
    """
    for segment in terms.segments:
        if segment.ends_at is not None and segment.ends_at <= wanted:
            continue
        cadence = leading_cadence(charges.get(segment.phase_id, ()))
        if cadence is not None:
            schedule = schedule_of(terms, segment, cadence)
            index = schedule.index_at(max(wanted, segment.starts_at))
            return schedule.boundary(index), cadence
    return max(wanted, terms.started_at), _MONTH
