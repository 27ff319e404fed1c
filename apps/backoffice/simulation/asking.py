"""What people ask of subscriptions: other plans, quantities and prices, pauses, ends; now or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import ChangeFact, Document, SubscriptionFact
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import PRICE_LIST, fits_anchor
from apps.backoffice.simulation.oracle.calendar import days_of, months_of
from apps.backoffice.simulation.oracle.timeline import (
    Life,
    Spell,
    Stay,
    end_of_period,
    is_alive,
    leading_pace,
    life,
    stays_on,
)
from apps.backoffice.simulation.traffic import Buyer
from apps.subscriptions.domain import (
    Anchoring,
    Behaviour,
    CancelMode,
    ChangeVerb,
    NoCancellation,
    PhaseAlignment,
    Settlement,
    Wish,
)
from apps.subscriptions.operations import (
    cancel_subscription,
    change_subscription,
    renew_subscription,
    uncancel_subscription,
    withdraw_change,
)

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
_LONGEST_TRIAL: Final = 700 * _DAY
# of a hundred subscriptions at every stop; each of these includes those before it
_ENDS_OR_STAYS: Final = 2
_CHANGES: Final = 11
_TAKES_BACK: Final = 12
_VERBS: Final = (
    *[ChangeVerb.CHANGE_PLAN] * 4,
    *[ChangeVerb.CHANGE_QUANTITY] * 4,
    *[ChangeVerb.CHANGE_PRICES] * 2,
    *[ChangeVerb.PAUSE] * 2,
    ChangeVerb.SUSPEND,
    *[ChangeVerb.RESUME] * 3,
    ChangeVerb.EXTEND_TRIAL,
)

Plans = Sequence[tuple[Document, UUID]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A change that can be had, as the product hears of it and as the facts keep it."""

    wish: Wish
    fact: ChangeFact


class Asking:
    """Asks for the customers of one tenant. ``plans`` grows as the tenant makes them."""

    def __init__(self, dice: Dice, trouble: Trouble, plans: Plans, price_list_id: UUID) -> None:
        self.dice, self.trouble = dice, trouble
        self.plans, self.price_list_id = plans, price_list_id
        self._scheduled: dict[UUID, UUID] = {}  # cancellations that wait, by subscription
        self.changes = self.taken_back = 0

    def for_all(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some customers change, end, keep or renew what they have."""
        for buyer in buyers:
            for fact in buyer.subscriptions:
                chance = self.dice.randrange(100)
                if chance >= _TAKES_BACK or not is_alive(fact, at):
                    continue
                if chance >= _CHANGES:
                    self._take_back(fact, at)
                elif chance >= _ENDS_OR_STAYS:
                    self._change(buyer, fact, at)
                elif fact.id in self._scheduled and self.dice.often(50):
                    self._uncancel(fact, at)
                elif fact.term_months is not None and self.dice.often(60):
                    self._renew(fact, at)
                else:
                    self._cancel(fact, at)

    # --- ends -----------------------------------------------------------------------------------

    def _uncancel(self, fact: SubscriptionFact, at: datetime) -> None:
        change = self._scheduled.pop(fact.id)
        if self.dice.often(50):
            self.trouble.survive(lambda: withdraw_change(change, actor=ACTOR, at=at))
        else:
            self.trouble.survive_once(
                lambda: uncancel_subscription(fact.id, actor=ACTOR, at=at), NoCancellation
            )
        _forget(fact, change)

    def _renew(self, fact: SubscriptionFact, at: datetime) -> None:
        self.trouble.survive(lambda: renew_subscription(fact.id, actor=ACTOR, at=at))
        fact.renewed.append(at)

    def _cancel(self, fact: SubscriptionFact, at: datetime) -> None:
        mode = self.dice.choice(tuple(CancelMode))
        settlement = self.dice.choice((*[Settlement.PRORATE] * 2, *tuple(Settlement)))
        ends_at = None
        if mode is CancelMode.DATE:
            earliest = max(fact.started_at, at - 40 * _DAY)
            ends_at = self.dice.instant(min(earliest, at), at + 30 * _DAY)
        if at < fact.started_at:
            end = max(fact.started_at, ends_at or fact.started_at)
        elif ends_at is not None:
            end = max(ends_at, fact.started_at)
        else:
            end = at if mode is CancelMode.NOW else end_of_period(fact, life(fact, at), at)
        waits = end > max(at, fact.started_at)
        if waits and fact.id in self._scheduled:
            return
        change = self.dice.id()

        def cancel() -> None:
            cancel_subscription(
                fact.id,
                mode=mode,
                ends_at=ends_at,
                settlement=settlement,
                change_id=change,
                actor=ACTOR,
                at=at,
            )

        self.trouble.survive(cancel)
        if waits:
            self._scheduled[fact.id] = change
        elif fact.id in self._scheduled:
            _forget(fact, self._scheduled.pop(fact.id))
        fact.changes.append(ChangeFact(change, "cancel", end, settlement.value))

    # --- changes --------------------------------------------------------------------------------

    def _take_back(self, fact: SubscriptionFact, at: datetime) -> None:
        made = [one.id for one in fact.changes if one.verb != "cancel"]
        if not made:
            return
        change = self.dice.choice(made)
        self.trouble.survive(lambda: withdraw_change(change, actor=ACTOR, at=at))
        _forget(fact, change)
        self.taken_back += 1

    def _change(self, buyer: Buyer, fact: SubscriptionFact, at: datetime) -> None:
        """Ask for one change that can be had, now, in the past or later."""
        when = instant_for(self.dice, fact, at)
        behaviour = self.dice.choice(tuple(Behaviour))
        holds = when or max(at, fact.started_at)
        found = life(fact, max(at, holds))
        if behaviour is Behaviour.NEXT_PERIOD:
            holds = end_of_period(fact, found, holds)
            found = life(fact, max(at, holds))
        held = found.at(holds)
        if held is None:
            return
        asked = _Asked(self, buyer, fact, found, held, holds, when, behaviour)
        wanted = asked.for_verb(self.dice.choice(_VERBS))
        if wanted is None:
            return
        self.trouble.survive(
            lambda: change_subscription(
                fact.id, wanted.wish, change_id=wanted.fact.id, actor=ACTOR, at=at
            )
        )
        fact.changes.append(wanted.fact)
        self.changes += 1


def instant_for(dice: Dice, fact: SubscriptionFact, at: datetime) -> datetime | None:
    """Return when a change is to hold: None is now; often the very border of something."""
    kind = dice.randrange(10)
    if kind < 4:  # noqa: PLR2004 -- of ten
        return None
    if kind < 6:  # noqa: PLR2004
        return dice.instant(max(at, fact.started_at), max(at, fact.started_at) + 40 * _DAY)
    if kind < 8 or not fact.changes:  # noqa: PLR2004
        earliest = max(fact.started_at, at - 60 * _DAY)
        return dice.instant(min(earliest, at), at) if at > fact.started_at else None
    return max(dice.choice(fact.changes).at, fact.started_at)


def settlement_in_words(behaviour: Behaviour) -> str:
    """Return how a change settles, as the facts keep it."""
    named = {Behaviour.NONE: "none", Behaviour.FULL_CREDIT: "full_credit"}
    return named.get(behaviour, "prorate")


@dataclass(frozen=True, slots=True)
class _Asked:
    """The circumstances of a change: what is held when it is to hold."""

    by: Asking
    buyer: Buyer
    fact: SubscriptionFact
    found: Life
    held: Spell
    holds: datetime
    when: datetime | None
    behaviour: Behaviour

    def for_verb(self, verb: ChangeVerb) -> _Wanted | None:
        """Return the change, None where there is nothing to change or nothing to change to."""
        dice, agreed = self.by.dice, self.held.agreed
        wanted = None
        match verb:
            case ChangeVerb.CHANGE_QUANTITY:
                quantity = dice.choice([n for n in range(1, 8) if n != agreed.quantity])
                wanted = self._wanted(verb, quantity=quantity)
            case ChangeVerb.CHANGE_PRICES:
                wanted = self._wanted(verb, price_list=None if agreed.price_list else PRICE_LIST)
            case ChangeVerb.PAUSE if agreed.standing != "paused":
                wanted = self._wanted(verb)
            case ChangeVerb.SUSPEND if agreed.standing != "suspended":
                wanted = self._wanted(verb)
            case ChangeVerb.RESUME if agreed.standing != "active":
                wanted = self._wanted(verb, anchoring=dice.choice((None, *Anchoring)))
            case ChangeVerb.EXTEND_TRIAL:
                wanted = self._trial()
            case ChangeVerb.CHANGE_PLAN:
                wanted = self._plan()
            case _:
                pass
        return wanted

    def _trial(self) -> _Wanted | None:
        ends = self.by.dice.instant(self.holds + _DAY, self.holds + 30 * _DAY)
        fits = self.held.stay.phase["kind"] == "trial" and ends != self.held.stay.ends
        if not fits or ends - self.fact.started_at > _LONGEST_TRIAL:
            return None
        return self._wanted(ChangeVerb.EXTEND_TRIAL, trial_ends_at=ends)

    def _plan(self) -> _Wanted | None:
        dice, fact = self.by.dice, self.fact
        several = len(self.buyer.subscriptions) > 1
        fit = [
            one
            for one in self.by.plans
            if one[0]["key"] != self.held.stay.plan["key"]
            and fact.currency in _currencies(one[0])
            and fits_anchor(one[0], fact.anchor_day)
            and (not several or int(one[0]["key"][5:]) % 2)
        ]
        if not fit:
            return None
        document, version_id = dice.choice(fit)
        from_change = dice.often(50)
        coming = stays_on(fact, document, self.holds, from_change=from_change)
        if coming is None:
            return None
        anchoring = dice.choice((None, None, *Anchoring))
        quantity = dice.randrange(1, 6) if dice.often(30) else None
        return self._wanted(
            ChangeVerb.CHANGE_PLAN,
            plan=(document, version_id),
            from_change=from_change,
            anchoring=anchoring,
            counts_anew=_counts_anew(self.held, coming) if anchoring is None else None,
            quantity=quantity,
        )

    def _wanted(
        self,
        verb: ChangeVerb,
        *,
        quantity: int | None = None,
        price_list: str | None = None,
        trial_ends_at: datetime | None = None,
        plan: tuple[Document, UUID] | None = None,
        from_change: bool = False,
        anchoring: Anchoring | None = None,
        counts_anew: bool | None = None,
    ) -> _Wanted:
        wish = Wish(
            verb=verb,
            effective_at=self.when,
            behaviour=self.behaviour,
            quantity=None if quantity is None else Decimal(quantity),
            plan_version_id=plan[1] if plan else None,
            phase_alignment=PhaseAlignment.CHANGE if from_change else None,
            anchoring=anchoring,
            price_list_id=self.by.price_list_id if price_list else None,
            trial_ends_at=trial_ends_at,
        )
        fact = ChangeFact(
            id=self.by.dice.id(),
            verb=verb.value,
            at=self.holds,
            settlement=settlement_in_words(self.behaviour),
            quantity=quantity,
            plan=plan[0] if plan else None,
            from_change=from_change,
            counts_anew=anchoring is Anchoring.RESET if counts_anew is None else counts_anew,
            price_list=price_list,
            trial_ends_at=trial_ends_at,
        )
        return _Wanted(wish, fact)


def _counts_anew(held: Spell, coming: Stay) -> bool:
    """Say whether billing periods are counted anew where nobody says it: where their length differs."""
    paces = [leading_pace(held.stay.phase), leading_pace(coming.phase)]
    lengths = {(months_of(one), days_of(one)) for one in paces if one is not None}
    return len(lengths) > 1


def _currencies(document: Document) -> set[str]:
    return {price["currency"] for price in document["phases"][-1]["charges"][0]["prices"]}


def _forget(fact: SubscriptionFact, change: UUID) -> None:
    fact.changes = [one for one in fact.changes if one.id != change]
