"""What customers get off: coupons that they redeem, and that operators end."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import CouponFact, Facts, RedemptionFact, SubscriptionFact
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.oracle.timeline import is_alive, leading_pace, life, period_at
from apps.backoffice.simulation.traffic import Buyer
from apps.catalog.domain import CouponDuration
from apps.catalog.operations.coupons import create_coupon
from apps.subscriptions.operations.redeeming import end_discount, redeem_coupon

ACTOR: Final = "system:simulation"
_AMOUNTS: Final[Mapping[str, Decimal]] = {
    "USD": Decimal("7.35"),
    "EUR": Decimal("6.01"),
    "JPY": Decimal(13),
    "KWD": Decimal("2.117"),
}
_OFFERED: Final = (
    CouponFact("tenth", percentage=Decimal(10)),
    CouponFact("third", percentage=Decimal("33.333333"), periods=3),
    CouponFact("gift", percentage=Decimal(100), periods=1),
    CouponFact("first", percentage=Decimal(50), periods=2, priority=-1),
    CouponFact("second", percentage=Decimal(25), charges=("charge-1",)),
    CouponFact("rebate", amounts=_AMOUNTS),
    CouponFact("starter", amounts=_AMOUNTS, periods=1),
    CouponFact("half-year", amounts=_AMOUNTS, periods=6, priority=5),
    CouponFact("lasting", amounts=_AMOUNTS, charges=("charge-1",)),
)


class Haggling:
    """Redeems coupons for those customers of one tenant who ask for them."""

    def __init__(self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts) -> None:
        self.dice, self.trouble, self.tenant_id, self.facts = dice, trouble, tenant_id, facts
        self._coupons: dict[str, UUID] = {}

    def found(self, at: datetime) -> None:
        """Make the coupons."""
        for one in _OFFERED:
            chosen = self._coupons[one.key] = self.dice.id()
            duration = CouponDuration.FOREVER if one.periods is None else CouponDuration.PERIODS
            create_coupon(
                self.tenant_id,
                id=chosen,
                key=one.key,
                name=one.key,
                percentage=one.percentage,
                amounts=one.amounts,
                duration=CouponDuration.ONCE if one.periods == 1 else duration,
                periods=one.periods if one.periods != 1 else None,
                charges=one.charges,
                priority=one.priority,
                once_per_customer=False,
                actor=ACTOR,
                at=at,
            )

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some redeem a coupon, and end some."""
        for buyer in buyers:
            if buyer.haggles and buyer.subscriptions and self.dice.often(5):
                self._redeem(buyer, self.dice.choice(buyer.subscriptions), at)
        still = [one for one in self.facts.redemptions if one.ended_at is None]
        if still and self.dice.often(10):
            self._end(self.dice.choice(still), at)

    def _redeem(self, buyer: Buyer, fact: SubscriptionFact, at: datetime) -> None:
        coupon = self.dice.choice(_OFFERED)
        had = {(one.subscription, one.coupon.key) for one in self.facts.redemptions}
        held = life(fact, at).at(at)
        if held is None or (fact.id, coupon.key) in had or not is_alive(fact, at):
            return
        pace = leading_pace(held.stay.phase)
        if pace is None:
            return
        begins, _ = period_at(fact, held.stay.anchor, pace, at)
        chosen = self.dice.id()
        redemption = self.trouble.survive(
            lambda: redeem_coupon(
                buyer.id,
                id=chosen,
                coupon_id=self._coupons[coupon.key],
                subscription_id=fact.id,
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.redemptions.append(
            RedemptionFact(chosen, redemption.public_id, coupon, fact.id, begins, pace)
        )

    def _end(self, redemption: RedemptionFact, at: datetime) -> None:
        self.trouble.survive(
            lambda: end_discount(redemption.id, tenant_id=self.tenant_id, actor=ACTOR, at=at)
        )
        redemption.ended_at = at
