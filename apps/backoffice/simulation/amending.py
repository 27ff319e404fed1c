"""What people correct of the usage that was told: take out, replace, bring in, take that back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import AmendmentFact, EventFact, Facts, SubscriptionFact
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import REGIONS
from apps.backoffice.simulation.oracle.timeline import life
from apps.backoffice.simulation.traffic import Buyer, Traffic, external_id
from apps.metering.domain import (
    AmendmentOrder,
    Backfilling,
    EventChange,
    EventSelection,
    Replacing,
    SubjectKind,
    Undoing,
    Voiding,
)
from apps.metering.operations import amend_events

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
_MOST: Final = 6  # events that are amended one by one
_OLDEST: Final = 300 * _DAY
_FACTORS: Final = ("2", "0.5", "-1", "10")


class Amending:
    """Amends events of those customers of one tenant who correct what they told."""

    def __init__(
        self, dice: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts, traffic: Traffic
    ) -> None:
        self.dice, self.trouble, self.tenant_id = dice, trouble, tenant_id
        self.facts, self.traffic = facts, traffic

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let somebody correct something, at many stops."""
        correcting = [one for one in buyers if one.corrects and one.subscriptions]
        if not correcting or not self.dice.often(60):
            return
        deeds: Sequence[Callable[[Buyer, Sequence[Buyer], datetime], None]] = (
            *[self._void] * 2,
            self._void_all,
            *[self._replace] * 3,
            *[self._backfill] * 2,
            *[self._undo] * 2,
        )
        self.dice.choice(deeds)(self.dice.choice(correcting), correcting, at)

    # --- what is asked for ----------------------------------------------------------------------

    def _void(self, buyer: Buyer, _: Sequence[Buyer], at: datetime) -> None:
        chosen = self._some_of(buyer, at)
        if chosen:
            keys = tuple(one.key for one in chosen)
            self._amend(Voiding(EventSelection(keys=keys)), chosen, [], at)

    def _void_all(self, buyer: Buyer, _: Sequence[Buyer], at: datetime) -> None:
        """Take out what a customer used of something in some days."""
        known = self._known(buyer, at)
        if not known:
            return
        one = self.dice.choice(known)
        ends = one.at + self.dice.randrange(1, 6) * _DAY
        selection = EventSelection(
            start=one.at, end=ends, event_name=one.name, customer_id=buyer.id
        )
        chosen = [other for other in known if other.name == one.name and one.at <= other.at < ends]
        self._amend(Voiding(selection), chosen, [], at)

    def _replace(self, buyer: Buyer, others: Sequence[Buyer], at: datetime) -> None:
        chosen = [one for one in self._some_of(buyer, at) if self._fits(one)]
        changes: dict[str, EventChange] = {}
        brought = []
        for one in chosen:
            changes[one.key], changed = self._change(one, buyer, others, at)
            brought.append(changed)
        if all(self._fits(one) for one in brought) and chosen:
            selection = EventSelection(keys=tuple(changes))
            self._amend(Replacing(selection, by_key=changes), chosen, brought, at)

    def _change(
        self, one: EventFact, buyer: Buyer, others: Sequence[Buyer], at: datetime
    ) -> tuple[EventChange, EventFact]:
        """Return what is to be different about an event, and what becomes of it."""
        dice = self.dice
        match dice.randrange(5):
            case 0:
                value = Decimal(dice.randrange(1, 4000)) / 100
                return EventChange(value=value), replace(one, value=value)
            case 1:
                factor = Decimal(dice.choice(_FACTORS))
                changed = replace(one, value=(one.value or 0) * factor)
                return EventChange(factor=factor), changed
            case 2:
                when = dice.instant(one.at - 20 * _DAY, min(one.at + 20 * _DAY, at))
                return EventChange(timestamp=when), replace(one, at=when)
            case 3:
                laid: dict[str, str | None] = {
                    "region": dice.choice((*REGIONS, None)),
                    "weight": str(dice.randrange(1, 12)),
                }
                kept = {**one.properties, **laid}
                properties = {name: text for name, text in kept.items() if text is not None}
                return EventChange(properties=laid), replace(one, properties=properties)
            case _:
                return self._moved(one, dice.choice((buyer, *others)))

    def _moved(self, one: EventFact, buyer: Buyer) -> tuple[EventChange, EventFact]:
        """Let an event be somebody else's, or another subscription's."""
        chosen = None
        subject = (SubjectKind.CUSTOMER, buyer.name)
        if self.dice.often(50):
            chosen = self.dice.choice(buyer.subscriptions).id
            subject = (SubjectKind.SUBSCRIPTION, external_id(chosen))
        changed = replace(one, customer=buyer.id, subscription=chosen)
        return EventChange(subject=subject), changed

    def _backfill(self, buyer: Buyer, _: Sequence[Buyer], at: datetime) -> None:
        items = []
        brought = []
        for _turn in range(self.dice.randrange(1, _MOST)):
            since = max(self.facts.begins_at, at - _OLDEST)
            item, fact = self.traffic.invent(self.dice, buyer, self.dice.instant(since, at))
            if self._fits(fact):
                items.append(item)
                brought.append(fact)
        if items:
            self._amend(Backfilling(items), [], brought, at)

    def _undo(self, _: Buyer, __: Sequence[Buyer], at: datetime) -> None:
        """Take back an amendment on which no other was laid since."""
        amendments = self.facts.amendments
        touched: set[int] = set()
        free = []
        for one in reversed(amendments):
            if not touched & one.touches and one.created_at > at - _OLDEST:
                free.append(one)
            touched |= one.touches
        if free:
            chosen = self.dice.choice(free)
            self._carry_out(
                Undoing(chosen.id), AmendmentFact(self.dice.id(), at, undoes=chosen), at
            )

    # --- what can be amended --------------------------------------------------------------------

    def _known(self, buyer: Buyer, at: datetime) -> list[EventFact]:
        """Return the events of a customer that count, and that are somebody's."""
        return [
            one
            for one in self.facts.counting()
            if one.customer == buyer.id and not one.misplaced and one.name != "render"
            if one.at > at - _OLDEST
        ]

    def _some_of(self, buyer: Buyer, at: datetime) -> list[EventFact]:
        known = self._known(buyer, at)
        chosen = self.dice.sample(known, min(len(known), self.dice.randrange(1, _MOST)))
        return sorted(chosen, key=lambda one: one.number)

    def _fits(self, event: EventFact) -> bool:
        """Say whether an event could be brought in now, and would be somebody's."""
        if event.name == "render":
            return False  # nobody counts them for a long time
        return event.subscription is None or any(
            fact.id == event.subscription and _covers(fact, event, self.facts.stops)
            for fact in self.facts.subscriptions
        )

    # --- amending -------------------------------------------------------------------------------

    def _amend(
        self,
        order: AmendmentOrder,
        taken: Sequence[EventFact],
        brought: Sequence[EventFact],
        at: datetime,
    ) -> None:
        first = len(self.facts.events)
        fact = AmendmentFact(
            self.dice.id(),
            at,
            taken=frozenset(one.number for one in taken),
            brought=frozenset(range(first, first + len(brought))),
        )
        name = self._carry_out(order, fact, at)
        by_key: Mapping[bool, Callable[[int, EventFact], str]] = {
            True: lambda place, _: f"{name}:{place}",
            False: lambda _, one: one.key,
        }
        for place, one in enumerate(brought):
            key = by_key[bool(taken)](place, one)
            self.facts.events.append(replace(one, number=first + place, told_at=at, key=key))

    def _carry_out(self, order: AmendmentOrder, fact: AmendmentFact, at: datetime) -> str:
        amendment = self.trouble.survive(
            lambda: amend_events(
                self.tenant_id, order, id=fact.id, reason="a mistake", actor=ACTOR, at=at
            )
        )
        self.facts.amendments.append(fact)
        return amendment.public_id


def _covers(fact: SubscriptionFact, event: EventFact, stops: Sequence[datetime]) -> bool:
    found = life(fact, stops[-1] if stops else event.told_at)
    goes_on = found.ends is None or event.at < found.ends
    return bool(found.spells) and event.at >= fact.started_at and goes_on
