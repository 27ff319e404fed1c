"""What customers have beside their plan: add-ons, offered to some plans, that come and go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from apps.backoffice.simulation.asking import Plans, instant_for, settlement_in_words
from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import ChangeFact, Document, Facts, SubscriptionFact
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import METERS, Seller, fits_anchor
from apps.backoffice.simulation.oracle.extras import lives_of
from apps.backoffice.simulation.oracle.timeline import (
    Life,
    end_of_period,
    is_alive,
    laid_out,
    phases_of,
)
from apps.backoffice.simulation.traffic import Buyer
from apps.catalog.domain import ProductKind
from apps.catalog.operations.lists import create_product
from apps.catalog.operations.offers import create_offer
from apps.catalog.operations.plans import create_plan
from apps.subscriptions.domain import Behaviour, ChangeVerb, PhaseAlignment, Wish
from apps.subscriptions.operations import change_subscription

ACTOR: Final = "system:simulation"
_COUNT: Final = 9
_PRODUCTS: Final = 3
_NAME: Final = "extra-"


@dataclass(frozen=True, slots=True)
class _AddOn:
    document: Document
    plan_id: UUID
    version_id: UUID

    @property
    def key(self) -> str:
        return str(self.document["key"])

    @property
    def product(self) -> str:
        return str(self.document["product"])


class Adding:
    """Offers add-ons for one tenant, and asks for them for those customers who want any."""

    def __init__(
        self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts, plans: Plans
    ) -> None:
        self.dice, self.trouble, self.tenant_id = dice, trouble, tenant_id
        self.facts, self.plans = facts, plans
        self.changes = 0
        self._add_ons: list[_AddOn] = []
        self._wanting: dict[UUID, bool] = {}
        # how many a plan's subscriptions may have of a product, at least and at most
        self._limits: dict[tuple[str, str], tuple[int, int]] = {}
        self._decided = 0

    def found(self, at: datetime) -> None:
        """Make the add-ons."""
        for number in range(_PRODUCTS):
            key = f"extras-{number}"
            create_product(
                self.tenant_id,
                id=self.dice.id(),
                key=key,
                name=key,
                kind=ProductKind.ADD_ON,
                actor=ACTOR,
                at=at,
            )
        seller = Seller(self.dice, [meter for meter in METERS if not meter.late])
        for number, document in enumerate(seller.plans(_COUNT)):
            document["key"] = f"{_NAME}{number}"
            document["product"] = f"extras-{number % _PRODUCTS}"
            _shorten(document)
            plan = create_plan(
                self.tenant_id, id=self.dice.id(), document=document, actor=ACTOR, at=at
            )
            self._add_ons.append(_AddOn(document, plan.pk, plan.versions.get().id))

    def offer(self, at: datetime) -> None:
        """Offer some of the add-ons to plans that are new; to the plan, its product or both."""
        for document, _ in self.plans[self._decided :]:
            for number in range(_PRODUCTS):
                if self.dice.often(75):
                    self._offer(document["key"], f"extras-{number}", at)
        self._decided = len(self.plans)

    def _offer(self, key: str, product: str, at: datetime) -> None:
        dice = self.dice
        sides = dice.choice((("plan",), ("product",), ("product", "plan")))
        for side in sides:  # the last one holds
            least = dice.randrange(1, 3)
            most = least + dice.randrange(1, 6) if dice.often(60) else None
            document = {"base": {side: key}, "add_on": product, "least": str(least)}
            if most is not None:
                document["most"] = str(most)
            chosen = dice.id()
            create_offer(self.tenant_id, id=chosen, document=document, actor=ACTOR, at=at)
            self._limits[key, product] = (least, most or least + 8)
        self.facts.offers |= {(key, one.key) for one in self._add_ons if one.product == product}

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some add something, have more or less of it, or give it up."""
        for buyer in buyers:
            if buyer.id not in self._wanting:
                self._wanting[buyer.id] = self.dice.often(50)
            for fact in buyer.subscriptions if self._wanting[buyer.id] else ():
                if self.dice.often(12) and is_alive(fact, at):
                    self._ask(buyer, fact, at)

    def _ask(self, buyer: Buyer, fact: SubscriptionFact, at: datetime) -> None:
        """Ask for one change that can be had, now, in the past or later."""
        when = instant_for(self.dice, fact, at)
        behaviour = self.dice.choice(tuple(Behaviour))
        holds = when or max(at, fact.started_at)
        lives = lives_of(fact, max(at, holds), self.facts.offers)
        if behaviour is Behaviour.NEXT_PERIOD:
            holds = end_of_period(fact, lives[0], holds)
            lives = lives_of(fact, max(at, holds), self.facts.offers)
        under = lives[0].at(holds)
        fit = self._fit(buyer, fact)
        if under is None or not fit:
            return
        add_on = self.dice.choice(fit)
        own = next((one for one in lives[1:] if one.spells[0].stay.plan["key"] == add_on.key), None)
        limits = self._limits.get((under.stay.plan["key"], add_on.product))
        asked = self._wish(fact, add_on, own, limits, holds)
        if asked is None:
            return
        verb, quantity, is_anew = asked
        named = quantity if verb is ChangeVerb.CHANGE_ADD_ON or self.dice.often(70) else None
        if verb is ChangeVerb.ADD_ADD_ON and named is None and limits is not None:
            quantity = limits[0]
        wish = Wish(
            verb=verb,
            effective_at=when,
            behaviour=behaviour,
            quantity=None if named is None else Decimal(named),
            add_on_id=add_on.plan_id,
            plan_version_id=add_on.version_id if verb is ChangeVerb.ADD_ADD_ON else None,
            phase_alignment=PhaseAlignment.CHANGE if is_anew else None,
        )
        change = ChangeFact(
            id=self.dice.id(),
            verb=verb.value,
            at=holds,
            settlement=settlement_in_words(behaviour),
            quantity=quantity,
            plan=add_on.document if verb is ChangeVerb.ADD_ADD_ON else None,
            from_change=is_anew,
            add_on=add_on.key,
        )
        self.trouble.survive(
            lambda: change_subscription(fact.id, wish, change_id=change.id, actor=ACTOR, at=at)
        )
        fact.changes.append(change)
        self.changes += 1

    def _wish(
        self,
        fact: SubscriptionFact,
        add_on: _AddOn,
        own: Life | None,
        limits: tuple[int, int] | None,
        holds: datetime,
    ) -> tuple[ChangeVerb, int | None, bool] | None:
        """Return what can be asked for, how many, and whether in phases that are counted anew."""
        held = own.at(holds) if own else None
        if held is not None and held.agreed.standing != "gone":
            if limits is None or self.dice.often(50):
                return ChangeVerb.REMOVE_ADD_ON, None, False
            many = [n for n in range(limits[0], limits[1] + 1) if n != held.agreed.quantity]
            return ChangeVerb.CHANGE_ADD_ON, self.dice.choice(many), False
        if limits is None:
            return None
        is_anew = self.dice.often(30)
        had = [one.stay.began for one in own.spells if one.stay.starts <= holds] if own else []
        since = None if is_anew or not had else had[-1]
        phases = phases_of(add_on.document, None)
        laid = laid_out(add_on.document, phases, since or holds, fact.zone)
        if not any(one.ends is None or one.ends > holds for one in laid):
            return None
        return ChangeVerb.ADD_ADD_ON, self.dice.randint(*limits), is_anew

    def _fit(self, buyer: Buyer, fact: SubscriptionFact) -> list[_AddOn]:
        several = len(buyer.subscriptions) > 1
        return [
            one
            for one in self._add_ons
            if any(
                price["currency"] == fact.currency
                for price in one.document["phases"][-1]["charges"][0]["prices"]
            )
            and fits_anchor(one.document, fact.anchor_day)
            # levels are carried into a household of one subscription only
            and (not several or int(one.key[len(_NAME) :]) % 2)
        ]


def _shorten(document: dict[str, Any]) -> None:
    """Let an add-on that is had for a time be had for two months."""
    last = document["phases"][-1]
    if last["kind"] == "fixed_term":
        last["duration"] = {"unit": "month", "count": 2}
