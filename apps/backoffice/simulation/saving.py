"""What people do with prepaid credit: open wallets, buy, give, hold, spend and take back."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import (
    CreditFacts,
    GrantFact,
    HoldFact,
    TakenFact,
    TopOffFact,
    WalletFact,
)
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.traffic import Buyer
from apps.metering.models import Meter
from apps.rating.periods import Cadence, Unit
from apps.wallets.domain import GrantKind, GrantStatus, Insufficient, Scope, Settlement, TopOffKind
from apps.wallets.models import CreditGrant, CreditUnit
from apps.wallets.operations.granting import grant_credit, refund_grant, void_grant
from apps.wallets.operations.purchasing import purchase_credit
from apps.wallets.operations.spending import (
    capture_hold,
    consume_credit,
    place_hold,
    release_hold,
)
from apps.wallets.operations.wallets import TopOff, create_unit, create_wallet, price_meter

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
_RATE: Final = Decimal("0.013")
_PLACES: Final = 1  # decimals of the unit
# what a counted unit takes of money (True), and of the unit
_PRICES: Final[Mapping[tuple[str, bool], str]] = {
    ("calls", True): "0.37",
    ("calls", False): "3.1",
    ("units", True): "0.0123",
    ("units", False): "0.7",
    ("european", False): "1.9",
}
_METERS: Final = tuple(sorted({meter for meter, _ in _PRICES}))


class Saving:
    """Acts on the wallets of one tenant, as chance and what is in them allow."""

    def __init__(self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: CreditFacts) -> None:
        self.dice, self.trouble, self.tenant_id, self.facts = dice, trouble, tenant_id, facts
        self._wallets: list[WalletFact] = []

    def found(self, at: datetime) -> None:
        """Make a unit of credit, and say what usage takes."""
        self.unit: CreditUnit = create_unit(
            self.tenant_id,
            id=self.dice.id(),
            key="token",
            name="Tokens",
            precision=_PLACES,
            currency="USD",
            rate=_RATE,
            actor=ACTOR,
            at=at,
        )
        for (key, is_money), price in _PRICES.items():
            price_meter(
                Meter.objects.get(tenant=self.tenant_id, key=key),
                id=self.dice.id(),
                unit=None if is_money else self.unit,
                currency="USD" if is_money else "",
                price=Decimal(price),
                actor=ACTOR,
                at=at,
            )
            self.facts.prices[key, is_money] = Decimal(price)

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some customers open wallets, and do something with those there are.

        The more wallets there are, the less is done with each: a long simulation stays affordable.
        """
        many = len(self._wallets)
        for buyer in buyers:
            if buyer.haggles:
                continue
            has = sum(one.customer == buyer.id for one in self._wallets)
            if self.dice.often(max(15 - many // 2, 1)) and has < 3 and buyer.subscriptions:  # noqa: PLR2004
                self._open(buyer, at, pays_events=not buyer.corrects)
        for wallet in self._wallets:
            if self.dice.often(max(45 - many, 5)):
                self._act_on(wallet, at)

    # --- wallets --------------------------------------------------------------------------------

    def _open(self, buyer: Buyer, at: datetime, *, pays_events: bool) -> None:
        dice, first = self.dice, buyer.subscriptions[0]
        in_units, on_event = dice.often(50), dice.often(50) and pays_events
        currency = "USD" if in_units or on_event else first.currency
        policy = dice.choice(tuple(Insufficient))
        fact = WalletFact(
            id=dice.id(),
            customer=buyer.id,
            zone=first.zone,
            rate=_RATE if in_units else None,
            places=_PLACES if in_units else DECIMALS[currency],
            currency=currency,
            priority=dice.choice((10, 50, 90)),
            on_event=on_event,
            policy=policy.value,
            limit=Decimal(dice.randrange(1, 50) if policy is Insufficient.OVERDRAFT else 0),
            meters=self._scope(),
            top_off=self._rule() if dice.often(35) else None,
            opened_at=at,
        )
        self.trouble.survive(
            lambda: create_wallet(
                buyer.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                unit=self.unit if in_units else None,
                currency="" if in_units else currency,
                priority=fact.priority,
                scope=Scope(meters=fact.meters),
                settlement=Settlement.ON_EVENT if on_event else Settlement.ON_INVOICE,
                insufficient=policy,
                overdraft_limit=fact.limit,
                top_off=_top_off(fact.top_off),
                actor=ACTOR,
                at=at,
            )
        )
        self._wallets.append(fact)
        self.facts.wallets.append(fact)

    def _scope(self) -> tuple[str, ...]:
        return (self.dice.choice(_METERS),) if self.dice.often(20) else ()

    def _rule(self) -> TopOffFact:
        low = Decimal(self.dice.randrange(1, 20))
        amount = low + self.dice.randrange(1, 60)
        return TopOffFact(
            low=low,
            amount=amount,
            to_target=self.dice.often(50),
            lasts_months=self.dice.randrange(1, 4) if self.dice.often(40) else None,
            cap=amount * 3 if self.dice.often(40) else None,
        )

    # --- what is done with them -----------------------------------------------------------------

    def _act_on(self, wallet: WalletFact, at: datetime) -> None:
        deed = self.dice.choice(
            (
                *[self._give] * 3,
                *[self._buy] * 3,
                *[self._hold] * 2,
                *[self._end_hold] * 3,
                self._spend,
                self._void,
                self._refund,
            )
        )
        deed(wallet, at)

    def _amount(self, wallet: WalletFact) -> Decimal:
        places = min(wallet.places, 2)
        return Decimal(self.dice.randrange(1, 90 * 10**places)).scaleb(-places)

    def _give(self, wallet: WalletFact, at: datetime) -> None:
        dice, amount = self.dice, self._amount(wallet)
        begins = at + dice.randrange(0, 20) * _DAY if dice.often(30) else at
        worth = amount if wallet.rate is None else amount * wallet.rate
        fact = GrantFact(
            id=dice.id(),
            wallet=wallet.id,
            paid=False,
            amount=amount,
            value=worth,
            priority=dice.choice((20, 50, 80)),
            meters=self._scope(),
            begins_at=begins,
            expires_at=dice.instant(begins + _DAY, begins + 50 * _DAY) if dice.often(60) else None,
            lasts_months=None,
            asked_at=at,
        )
        self.trouble.survive(
            lambda: grant_credit(
                wallet.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                amount=amount,
                priority=fact.priority,
                scope=Scope(meters=fact.meters),
                effective_at=begins,
                expires_at=fact.expires_at,
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.grants[fact.id] = fact

    def _buy(self, wallet: WalletFact, at: datetime) -> None:
        dice, amount = self.dice, self._amount(wallet)
        unit = Decimal(1).scaleb(-DECIMALS[wallet.currency])
        price = (amount * (wallet.rate or 1)).quantize(unit, ROUND_HALF_UP)
        named = dice.often(30) or not price
        if named:
            price = unit * dice.randrange(1, 5000)
        expires = dice.instant(at + 5 * _DAY, at + 60 * _DAY) if dice.often(30) else None
        months = dice.randrange(1, 4) if expires is None and dice.often(40) else None
        fact = GrantFact(
            id=dice.id(),
            wallet=wallet.id,
            paid=True,
            amount=amount,
            value=price,
            priority=dice.choice((20, 50, 80)),
            meters=self._scope(),
            begins_at=at,
            expires_at=expires,
            lasts_months=months,
            asked_at=at,
        )
        self.trouble.survive(
            lambda: purchase_credit(
                wallet.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                amount=amount,
                price=price if named else None,
                expires_at=expires,
                lasts=Cadence(Unit.MONTH, months) if months else None,
                priority=fact.priority,
                scope=Scope(meters=fact.meters),
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.grants[fact.id] = fact

    def _there(self, wallet: WalletFact, meter: str) -> Decimal:
        """Return the credit that can be used for a meter, as it is stored."""
        if wallet.meters and meter not in wallet.meters:
            return Decimal(0)
        rows = CreditGrant.objects.filter(wallet=wallet.id, status=GrantStatus.AVAILABLE)
        return sum(
            (one.remaining for one in rows if not one.scope_meters or meter in one.scope_meters),
            Decimal(0),
        )

    def _some_of(self, there: Decimal) -> Decimal:
        if self.dice.often(25):
            return there
        part = there * self.dice.randrange(1, 100) / 100
        return part.quantize(Decimal("1e-6")) or there

    def _hold(self, wallet: WalletFact, at: datetime) -> None:
        meter = wallet.meters[0] if wallet.meters else self.dice.choice(("", *_METERS))
        there = self._there(wallet, meter)
        if not there:
            return
        ends = self.dice.instant(at + _DAY, at + 25 * _DAY)
        fact = HoldFact(self.dice.id(), wallet.id, self._some_of(there), meter, ends, at)
        self.trouble.survive(
            lambda: place_hold(
                wallet.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                amount=fact.amount,
                expires_at=ends,
                meter=meter,
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.holds[fact.id] = fact

    def _end_hold(self, wallet: WalletFact, at: datetime) -> None:
        still = [
            one
            for one in self.facts.holds.values()
            if one.wallet == wallet.id and one.ended_at is None and one.expires_at > at
        ]
        if not still:
            return
        fact = self.dice.choice(still)
        if self.dice.often(30):
            self.trouble.survive(
                lambda: release_hold(fact.id, tenant_id=self.tenant_id, actor=ACTOR, at=at)
            )
        else:
            fact.captured = self._some_of(fact.amount)
            self.trouble.survive(
                lambda: capture_hold(
                    fact.id, tenant_id=self.tenant_id, amount=fact.captured, actor=ACTOR, at=at
                )
            )
        fact.ended_at = at

    def _spend(self, wallet: WalletFact, at: datetime) -> None:
        if wallet.meters:
            return  # this is for nothing in particular
        there = self._there(wallet, "")
        if not there:
            return
        fact = TakenFact(self.dice.id(), wallet.id, self._some_of(there), "", at)
        self.trouble.survive(
            lambda: consume_credit(
                wallet.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                amount=fact.amount or Decimal(0),
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.taken[fact.id] = fact

    def _void(self, wallet: WalletFact, at: datetime) -> None:
        grant = self._with_credit(wallet)
        if grant is None:
            return
        fact = TakenFact(self.dice.id(), grant.id, self._some_of(grant.remaining), "", at)
        self.trouble.survive(
            lambda: void_grant(
                grant.id,
                id=fact.id,
                tenant_id=self.tenant_id,
                amount=fact.amount,
                reason="a mistake",
                actor=ACTOR,
                at=at,
            )
        )
        self.facts.taken[fact.id] = fact

    def _refund(self, wallet: WalletFact, at: datetime) -> None:
        grant = self._with_credit(wallet)
        if grant is None or grant.kind != GrantKind.PAID or grant.held:
            return
        fact = TakenFact(self.dice.id(), grant.id, None, "", at)
        self.trouble.survive(
            lambda: refund_grant(
                grant.id, tenant_id=self.tenant_id, reason="not wanted", actor=ACTOR, at=at
            )
        )
        self.facts.taken[fact.id] = fact

    def _with_credit(self, wallet: WalletFact) -> CreditGrant | None:
        rows = CreditGrant.objects.filter(wallet=wallet.id, status=GrantStatus.AVAILABLE)
        found = sorted(
            rows.filter(remaining__gt=0), key=lambda one: (one.created_at, one.amount, one.id)
        )
        return self.dice.choice(found) if found else None


def _top_off(rule: TopOffFact | None) -> TopOff | None:
    if rule is None:
        return None
    return TopOff(
        kind=TopOffKind.TARGET if rule.to_target else TopOffKind.FIXED,
        amount=rule.amount,
        low_watermark=rule.low,
        lasts=Cadence(Unit.MONTH, rule.lasts_months) if rule.lasts_months else None,
        cap=rule.cap,
    )
