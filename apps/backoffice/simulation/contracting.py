"""What is negotiated: prices of somebody's own, ramps, and what is spent at least."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import (
    AgreedFact,
    ChangeFact,
    ContractFact,
    Facts,
    SubscriptionFact,
)
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import METERS, Pricer
from apps.backoffice.simulation.oracle.timeline import (
    Pace,
    is_alive,
    leading_pace,
    life,
    period_at,
)
from apps.backoffice.simulation.traffic import Buyer
from apps.subscriptions.domain import ChangeVerb, CommitmentPer
from apps.subscriptions.models import Contract, ScheduledChange
from apps.subscriptions.operations.contracting import (
    WantedCommitment,
    WantedPrice,
    create_contract,
    end_contract,
)

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
_MONTHLY: Final = {"unit": "month", "count": 1}
# what fits whatever a charge measures
_MODELS: Final = ("flat", "per_unit", "graduated", "volume", "package", "stairstep")


class Contracting:
    """Agrees on contracts with those customers of one tenant who negotiate, and ends them."""

    def __init__(self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts) -> None:
        self.dice, self.trouble, self.tenant_id, self.facts = dice, trouble, tenant_id, facts
        self._negotiates: dict[UUID, bool] = {}

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some agree on something, and let some contracts end."""
        for buyer in buyers:
            if buyer.id not in self._negotiates:
                self._negotiates[buyer.id] = self.dice.often(35)
            for fact in buyer.subscriptions if self._negotiates[buyer.id] else ():
                if self.dice.often(7) and is_alive(fact, at):
                    self._agree(buyer, fact, at)
        still = [one for one in self.facts.contracts if one.ends is None or one.ends > at]
        if still and self.dice.often(12):
            self._end(self.dice.choice(still), at)

    def _agree(self, buyer: Buyer, fact: SubscriptionFact, at: datetime) -> None:
        dice = self.dice
        for_all = dice.often(20)
        when = None
        if dice.often(50):
            when = dice.instant(at - 40 * _DAY, at + 40 * _DAY)
        begins, pace = self._start(fact, when or at, at)
        if for_all:
            begins, pace = when or at, _MONTHLY
        ends = dice.instant(begins + 20 * _DAY, begins + 120 * _DAY) if dice.often(50) else None
        if ends is not None and ends <= begins:
            return
        contract = ContractFact(
            id=dice.id(),
            customer=buyer.id,
            subscription=None if for_all else fact.id,
            currency="USD" if for_all else fact.currency,
            begins=begins,
            ends=ends,
            pace=pace,
            zone=fact.zone,
            prices=self._prices(fact, "USD" if for_all else fact.currency, begins, at),
        )
        if not for_all and dice.often(65):
            self._commit(contract, fact, at)
        ramp = None if for_all or not dice.often(20) else self._ramp(fact, at)
        made = self.trouble.survive(lambda: self._create(contract, when, ramp, at))
        contract.name = made.public_id
        self.facts.contracts.append(contract)
        if ramp is not None:
            self._note_ramp(fact, ramp)

    def _start(
        self, fact: SubscriptionFact, wanted: datetime, at: datetime
    ) -> tuple[datetime, Pace]:
        """Return the start of the period in which an instant lies, or of the first one after."""
        for spell in life(fact, at).spells:
            stay = spell.stay
            pace = leading_pace(stay.phase)
            if (stay.ends is None or stay.ends > wanted) and pace is not None:
                begins, _ = period_at(fact, stay.anchor, pace, max(wanted, stay.starts))
                return begins, pace
        return max(wanted, fact.started_at), _MONTHLY

    def _charges(self, fact: SubscriptionFact, at: datetime) -> list[str]:
        spells = life(fact, at).spells
        return sorted(
            {charge["key"] for one in spells for charge in one.stay.phase.get("charges", [])}
        )

    def _prices(
        self, fact: SubscriptionFact, currency: str, begins: datetime, at: datetime
    ) -> tuple[AgreedFact, ...]:
        dice = self.dice
        make = Pricer(dice, currency, METERS[0])
        keys = self._charges(fact, at)
        found = []
        for key in dice.sample(keys, min(len(keys), dice.randrange(3))):
            starts = [begins]
            if dice.often(40):  # it changes later
                starts.append(dice.instant(begins + 5 * _DAY, begins + 90 * _DAY))
            for start in starts:
                price: dict[str, Any] = {"pricing": make.pricing(dice.choice(_MODELS))}
                if dice.often(15):
                    price["minimum"] = make.flat(20)
                if dice.often(15):
                    price["maximum"] = str(make.chance(25, 60))
                found.append(AgreedFact(key, start, price))
        return tuple(found)

    def _commit(self, contract: ContractFact, fact: SubscriptionFact, at: datetime) -> None:
        dice, keys = self.dice, self._charges(fact, at)
        contract.amount = Decimal(Pricer(dice, contract.currency, None).flat())
        contract.per = "term" if contract.ends is not None and dice.often(50) else "period"
        contract.factor = Decimal(dice.choice(("1", "1.5", "1.25", "1.337")))
        contract.true_up = dice.often(80)
        if dice.often(30):
            contract.charges = frozenset(dice.sample(keys, min(len(keys), 1)))

    def _ramp(self, fact: SubscriptionFact, at: datetime) -> tuple[datetime, int] | None:
        """Return from when there are how many, if that can be."""
        holds = max(at, fact.started_at) + self.dice.randrange(1, 50) * _DAY
        held = life(fact, holds).at(holds)
        if held is None:
            return None
        return holds, self.dice.choice([n for n in range(1, 8) if n != held.agreed.quantity])

    def _create(
        self,
        contract: ContractFact,
        when: datetime | None,
        ramp: tuple[datetime, int] | None,
        at: datetime,
    ) -> Contract:
        commitment = None
        if contract.amount is not None:
            commitment = WantedCommitment(
                amount=contract.amount,
                per=CommitmentPer(contract.per),
                overage_factor=contract.factor,
                true_up=contract.true_up,
                charges=sorted(contract.charges),
            )
        return create_contract(
            contract.customer,
            id=contract.id,
            name="negotiated",
            subscription_id=contract.subscription,
            starts_at=when,
            ends_at=contract.ends,
            prices=[_wanted(one, contract) for one in contract.prices],
            quantities=[] if ramp is None else [(ramp[0], Decimal(ramp[1]))],
            commitment=commitment,
            actor=ACTOR,
            at=at,
        )

    def _note_ramp(self, fact: SubscriptionFact, ramp: tuple[datetime, int]) -> None:
        row = ScheduledChange.objects.filter(
            subscription=fact.id, verb=ChangeVerb.CHANGE_QUANTITY, effective_at=ramp[0]
        ).latest("created_at")
        fact.changes.append(
            ChangeFact(
                row.id, ChangeVerb.CHANGE_QUANTITY.value, ramp[0], "prorate", quantity=ramp[1]
            )
        )

    def _end(self, contract: ContractFact, at: datetime) -> None:
        """End a contract now, or as of a while ago."""
        when = None
        if self.dice.often(30):
            when = self.dice.instant(max(contract.begins, at - 30 * _DAY), at)
            when = max(when, contract.begins)
        self.trouble.survive(
            lambda: end_contract(
                contract.id, tenant_id=self.tenant_id, ends_at=when, actor=ACTOR, at=at
            )
        )
        contract.ends = max(when or at, contract.begins)


def _wanted(one: AgreedFact, contract: ContractFact) -> WantedPrice:
    bounds: Mapping[str, str] = one.price
    return WantedPrice(
        charge=one.charge,
        pricing=one.price["pricing"],
        starts_at=None if one.begins == contract.begins else one.begins,
        minimum=Decimal(bounds["minimum"]) if "minimum" in bounds else None,
        maximum=Decimal(bounds["maximum"]) if "maximum" in bounds else None,
    )
