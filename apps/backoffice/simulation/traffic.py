"""Usage as it really arrives: late, twice, in no order, wrong at first, before anybody asked for it."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import EventFact, Facts, SubscriptionFact
from apps.backoffice.simulation.offers import PRICE_LIST, REGIONS, SIZES
from apps.backoffice.simulation.oracle.timeline import life
from apps.metering.domain import Receipt, ReceiptStatus, Sender
from apps.metering.operations import ingest_batch

_LATEST: Final = timedelta(days=75)
_REMEMBERED: Final = timedelta(days=300)  # what is a year old is refused, known or not
_BATCH: Final = 400
_DAY: Final = timedelta(days=1)

Item = dict[str, Any]


class WrongReceipt(AssertionError):
    """The product answered for an event what it should not have."""


@dataclass(slots=True)
class Buyer:
    """A customer, as busy as he is."""

    id: UUID
    name: str
    events_a_month: int
    pays_by_transfer: bool
    corrects: bool = False  # what he told of his usage; his credit pays no events
    haggles: bool = False  # asks for coupons, pays tax, and has no credit
    subscriptions: list[SubscriptionFact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Sent:
    item: Item
    fact: EventFact


class Traffic:
    """Sends the usage of a tenant's customers, and keeps what was accepted among the facts."""

    def __init__(self, dice: Dice, sender: Sender, facts: Facts) -> None:
        self.dice, self.sender, self.facts = dice, sender, facts
        self._held: list[tuple[datetime, _Sent]] = []
        self._known: list[_Sent] = []
        self._number = 0
        self._looked = datetime.min.replace(tzinfo=UTC)  # when subscriptions last began or ended
        self.duplicates = self.conflicts = self.late = 0

    def pass_time(self, buyers: list[Buyer], start: datetime, end: datetime) -> None:
        """Send at ``end`` what happened since ``start``, and what was held back until now."""
        self._looked = start
        fresh = [
            _Sent(*self.invent(self.dice, buyer, self.dice.instant(start, end)))
            for buyer in buyers
            for _ in range(self._count(buyer, end - start))
        ]
        now = [one for _, one in self._held if _ <= end]
        self.late += len(now)
        self._held = [(due, one) for due, one in self._held if due > end]
        for one in fresh:
            if self.dice.often(8):
                self._held.append((self.dice.instant(end, end + _LATEST), one))
            else:
                now.append(one)
        self.dice.shuffle(now)
        self._send(now, end)

    def flush(self, at: datetime) -> None:
        """Send everything that was held back."""
        now = [one for _, one in self._held]
        self._held = []
        self.late += len(now)
        self._send(now, at)

    def _count(self, buyer: Buyer, time: timedelta) -> int:
        if not buyer.subscriptions:
            return 0
        expected = buyer.events_a_month * (time / (30 * _DAY))
        return int(expected) + self.dice.often(int(expected % 1 * 100))

    def invent(self, dice: Dice, buyer: Buyer, at: datetime) -> tuple[Item, EventFact]:
        """Return an event of a customer, as it is sent and as the facts keep it."""
        self._number += 1
        name = dice.choice((*["call"] * 6, "load", "seat", "seat", "render"))
        value = Decimal(dice.randrange(1, 4000)) / dice.choice((10, 100, 1000))
        if dice.often(8):
            value = -value  # a correction of what was told before
        subject: tuple[str, str] = ("customer", buyer.name)
        subscription = None
        if dice.often(30):
            subscription = dice.choice(buyer.subscriptions).id
            subject = ("subscription", external_id(subscription))
        key = f"{buyer.name}-{self._number}"
        item: Item = {
            "idempotency_key": key,
            "event_name": name,
            subject[0]: subject[1],
            "timestamp": at.isoformat(),
            "value": f"{value:f}",
            "properties": self._properties(dice),
        }
        properties = item["properties"]
        return item, EventFact(0, buyer.id, subscription, name, at, at, value, properties, key=key)

    def _properties(self, dice: Dice) -> dict[str, str]:
        found = {
            "user": f"user-{dice.randrange(6)}",
            "weight": str(dice.randrange(1, 12)),
            "size": dice.choice(SIZES),
        }
        if dice.often(80):
            found["region"] = dice.choice(REGIONS)
        if dice.often(70):
            found["price"] = f"{Decimal(dice.randrange(-20, 300)) / 100:f}"
        if dice.often(10):
            found["price_point"] = PRICE_LIST
        return found

    def _send(self, fresh: list[_Sent], at: datetime) -> None:
        for first in range(0, len(fresh), _BATCH):
            self._send_batch(fresh[first : first + _BATCH], at)

    def _send_batch(self, fresh: list[_Sent], at: datetime) -> None:
        """Send new events with some known ones between them; judge every receipt."""
        dice = self.dice
        batch: list[tuple[Item, ReceiptStatus]] = []
        known = [one for one in self._known if one.fact.at > at - _REMEMBERED]
        for one in fresh:
            batch.append((one.item, ReceiptStatus.ACCEPTED))
            if known and dice.often(3):
                batch.append((dice.choice(known).item, ReceiptStatus.DUPLICATE))
                self.duplicates += 1
            if known and dice.often(2):
                other = dice.choice(known)
                wrong = {**other.item, "value": f"{(other.fact.value or 0) + 1:f}"}
                batch.append((wrong, ReceiptStatus.CONFLICT))
                self.conflicts += 1
        items = [item for item, _ in batch]
        receipts = ingest_batch(self.sender, items, at=at)
        if dice.often(10):  # a sender who did not hear the answer
            self._judge(ingest_batch(self.sender, items, at=at), batch, is_repeat=True)
        self._judge(receipts, batch, is_repeat=False)
        for one in fresh:
            numbered = replace(
                one.fact,
                number=len(self.facts.events),
                told_at=at,
                misplaced=self._is_misplaced(one.fact),
            )
            self.facts.events.append(numbered)
            self._known.append(_Sent(one.item, numbered))

    def _is_misplaced(self, event: EventFact) -> bool:
        for fact in self.facts.subscriptions:
            if fact.id == event.subscription:
                found = life(fact, self._looked)
                over = found.ends is not None and event.at >= found.ends
                return not found.spells or event.at < fact.started_at or over
        return False

    def _judge(
        self,
        receipts: list[Receipt],
        batch: list[tuple[Item, ReceiptStatus]],
        *,
        is_repeat: bool,
    ) -> None:
        for receipt, (item, expected) in zip(receipts, batch, strict=True):
            if is_repeat and expected is ReceiptStatus.ACCEPTED:
                expected = ReceiptStatus.DUPLICATE  # noqa: PLW2901 -- what it is by now
            if receipt.status != expected:
                raise WrongReceipt(f"{item} is {expected}, not {receipt}")


def external_id(subscription_id: UUID) -> str:
    """Return by what name events know a subscription."""
    return f"sub-{subscription_id.hex[-12:]}"
