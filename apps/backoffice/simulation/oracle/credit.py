"""Prepaid credit, lived through once more: what every wallet's log has to say, entry by entry. Pure.

Nothing is taken from the log but the order in which people, payments and cancellations came; what
each of them moves is reckoned here.
"""

from collections import defaultdict
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

from apps.backoffice.simulation.facts import GrantFact, HoldFact, WalletFact
from apps.backoffice.simulation.oracle.usage import rounded

ZERO: Final = Fraction(0)
PLACES: Final = 12
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Difference(Exception):
    """The log says something else."""


class Entry(NamedTuple):
    """An entry of a wallet's log, as it is told."""

    kind: str
    grant: UUID | None
    hold: UUID | None
    invoice: UUID | None
    line: UUID | None
    source: str
    amount: Fraction
    value: Fraction
    covers: Fraction
    at: datetime


@dataclass(slots=True)
class Grant:
    """What is left of a grant; ``worth`` is what that is worth in money."""

    fact: GrantFact
    since: datetime
    expires: datetime | None
    left: Fraction = ZERO
    held: Fraction = ZERO
    worth: Fraction = ZERO
    began: bool = False
    over: bool = False

    @property
    def amount(self) -> Fraction:
        return Fraction(self.fact.amount)

    def worth_of(self, left: Fraction) -> Fraction:
        """Return what so much of it is worth: its share of the price."""
        return part_of(Fraction(self.fact.value), self.amount, left)


@dataclass(slots=True)
class Burned:
    """Credit that was used by an event: what it was worth nominally."""

    meter: str
    subscription: UUID | None
    at: datetime
    money: Fraction


class Taken(NamedTuple):
    """What an event took of a grant (None: lent), or gave back, and by which entry."""

    at: datetime  # of the event
    grant: UUID | None
    amount: Fraction  # below zero where it gave back
    number: int


@dataclass(slots=True)
class Books:
    """What credit does to the accounts; a debit is positive."""

    accounts: dict[str, Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def move(self, amount: Fraction, *, debit: str, credit: str) -> None:
        self.accounts[debit] += amount
        self.accounts[credit] -= amount


def part_of(value: Fraction, amount: Fraction, left: Fraction) -> Fraction:
    """Return the share of a value, to 12 decimals, that goes with what is left of an amount."""
    return value if left == amount else rounded(value * left / amount, PLACES)


class Purse:
    """A wallet, its grants and its log, which is compared as it is lived through."""

    def __init__(self, fact: WalletFact, log: Sequence[Entry], books: Books) -> None:
        self.fact, self.log, self.books = fact, log, books
        self.read = 0
        self.seen: dict[datetime, list[Fraction]] = defaultdict(list)  # balances, by time
        self.grants: dict[UUID, Grant] = {}
        self.holds: dict[UUID, list[tuple[Grant, Fraction]]] = {}
        self.burned: list[Burned] = []
        # what events took for a meter and subscription
        self.used: dict[tuple[str, UUID | None], list[Taken]] = defaultdict(list)
        self.lent = self.lent_worth = self.short = ZERO
        self.paid_back: list[Grant] = []

    @property
    def balance(self) -> Fraction:
        """What can be spent, less what was lent."""
        return sum((one.left for one in self.grants.values()), -self.lent)

    def next(self, at: datetime) -> Entry | None:
        """Return the entry that is read next, if it was made by then."""
        if self.read < len(self.log) and self.log[self.read].at <= at:
            return self.log[self.read]
        return None

    def expect(
        self,
        kind: str,
        grant: Grant | None,
        amount: Fraction,
        value: Fraction = ZERO,
        covers: Fraction = ZERO,
    ) -> None:
        """Read the next entry of the log, which must say this."""
        should = (kind, grant.fact.id if grant else None, amount, value, covers)
        if self.read == len(self.log):
            raise Difference(f"the log ends, {_said(should)} is missing")
        entry = self.log[self.read]
        did = (entry.kind, entry.grant, entry.amount, entry.value, entry.covers)
        if did != should:
            raise Difference(
                f"entry {self.read + 1} of {entry.at} is {_said(did)}, should be {_said(should)}"
            )
        self.read += 1
        self.seen[entry.at].append(self.balance)

    # --- what moves credit ----------------------------------------------------------------------

    def begin(self, grant: Grant) -> None:
        """Let credit be there; what was lent is paid back from it."""
        value = Fraction(grant.fact.value)
        grant.began, grant.left, grant.worth = True, grant.amount, value
        self.expect("grant", grant, grant.amount, value)
        if grant.fact.paid:
            self.books.move(value, debit="deferred_revenue", credit="credit_liability")
        self.short = ZERO
        if not self.lent:
            return
        amount = min(self.lent, grant.left)
        spent = self.take(grant, amount, "consume")
        lent = self.lower(amount)
        self.expect("overdraft", None, amount, lent)
        self.paid_back.append(grant)
        self._use(spent if grant.fact.paid else ZERO, ZERO if grant.fact.paid else spent)
        self._use(-lent, ZERO)

    def take(self, grant: Grant, amount: Fraction, kind: str, covers: Fraction = ZERO) -> Fraction:
        """Take credit from a grant for good; return what it was worth."""
        kept = grant.worth_of(grant.left + grant.held - amount)
        value = grant.worth - kept
        grant.left -= amount
        grant.worth = kept
        self.expect(kind, grant, -amount, -value, covers)
        return value

    def make_true(self, at: datetime) -> None:
        """Begin and expire what time has brought."""
        while due := [
            one
            for one in self.grants.values()
            if not one.began and not one.fact.paid and not one.over and one.since <= at
        ]:
            self.begin(self._told(due))
        while due := [
            one
            for one in self.grants.values()
            if one.began and not one.over and one.expires is not None and one.expires <= at
        ]:
            empty = [one for one in due if not one.left]
            grant = empty[0] if empty else self._told(due)
            grant.over = True
            self.write_off(grant)

    def _told(self, due: Sequence[Grant]) -> Grant:
        """Return the one of those that are due at once that the log names first."""
        named = self.log[self.read].grant if self.read < len(self.log) else None
        return next((one for one in due if one.fact.id == named), due[0])

    def write_off(self, grant: Grant) -> None:
        """Let what is left of a grant expire."""
        if not grant.left:
            return
        value = self.take(grant, grant.left, "expire")
        if grant.fact.paid:
            self.books.move(value, debit="credit_liability", credit="breakage")

    def write_off_over(self) -> None:
        """Let expire what came back to grants that are over."""
        while due := [one for one in self.grants.values() if one.over and one.left]:
            self.write_off(self._told(due))

    def usable(self, meter: str) -> list[Grant]:
        """Return what can be used for a meter ("" for no meter), in the order of using it up."""
        if self.fact.meters and meter not in self.fact.meters:
            return []
        return [one for one in self.there() if not one.fact.meters or meter in one.fact.meters]

    def there(self) -> list[Grant]:
        """Return what can be used, whatever for, in the order of using it up."""
        found = [one for one in self.grants.values() if one.began and not one.over and one.left > 0]
        return sorted(
            found,
            key=lambda one: (
                one.fact.priority,
                one.expires or _NEVER,
                one.fact.paid,
                one.since,
                one.fact.id,
            ),
        )

    def spendable(self, meter: str) -> Fraction:
        """Return how much can be spent on a meter, what would be lent included."""
        return sum((one.left for one in self.usable(meter)), self.lendable(meter))

    def lendable(self, meter: str) -> Fraction:
        """Return how much would be lent: nothing for what the wallet is not for."""
        covers = not self.fact.meters or meter in self.fact.meters
        return Fraction(self.fact.limit) - self.lent if covers else ZERO

    def parts(self, amount: Fraction, meter: str) -> list[tuple[Grant, Fraction]]:
        """Return what each grant pays of an amount."""
        found = []
        for one in self.usable(meter):
            taken = min(one.left, amount)
            if taken:
                found.append((one, taken))
            amount -= taken
        return found

    def spend(self, amount: Fraction, meter: str, covers: Fraction | None = None) -> Fraction:
        """Use up credit, then lend; return what nobody pays. ``covers`` is money of an invoice."""
        paid = promotional = before = taken = ZERO
        rest = amount

        def share(part: Fraction) -> Fraction:
            nonlocal before, taken
            if covers is None:
                return ZERO
            taken += part
            after = part_of(covers, amount, taken)
            found, before = after - before, after
            return found

        for grant, part in self.parts(amount, meter):
            value = self.take(grant, part, "consume", share(part))
            rest -= part
            if grant.fact.paid:
                paid += value
            else:
                promotional += value
        lent = min(rest, self.lendable(meter))
        if lent > 0:
            value = self.worth(lent)
            self.lent += lent
            self.lent_worth += value
            self.expect("consume", None, -lent, -value, share(lent))
            paid += value
            rest -= lent
        if covers is None:
            self._use(paid, promotional)
        else:
            self._apply(paid, promotional, before)
        return rest

    def worth(self, credit: Fraction) -> Fraction:
        """Return the nominal worth of credit."""
        return credit if self.fact.rate is None else rounded(credit * Fraction(self.fact.rate), 12)

    def lower(self, amount: Fraction) -> Fraction:
        """Let less be lent; return what the difference is worth."""
        kept = part_of(self.lent_worth, self.lent, self.lent - amount)
        value = self.lent_worth - kept
        self.lent -= amount
        self.lent_worth = kept
        return value

    def _use(self, paid: Fraction, promotional: Fraction) -> None:
        self.books.move(paid, debit="credit_liability", credit="revenue")
        self.books.move(promotional, debit="promotional_expense", credit="revenue")

    def _apply(self, paid: Fraction, promotional: Fraction, covers: Fraction) -> None:
        self._use(paid, promotional)
        self.books.move(covers, debit="revenue", credit="customer")

    # --- what people do -------------------------------------------------------------------------

    def hold(self, fact: HoldFact) -> None:
        """Put credit aside."""
        parts = self.parts(Fraction(fact.amount), fact.meter)
        for grant, part in parts:
            grant.left -= part
            grant.held += part
            self.expect("hold", grant, -part)
        self.holds[fact.id] = parts

    def end_hold(self, fact: HoldFact, captured: Fraction) -> None:
        """Give back what was held, less what is spent of it."""
        parts = self.holds.pop(fact.id)
        for grant, part in parts:
            grant.left += part
            grant.held -= part
            self.expect("release", grant, part)
        for grant, part in parts:
            spent = min(part, captured)
            if not spent:
                break
            captured -= spent
            value = self.take(grant, spent, "consume")
            self._use(value if grant.fact.paid else ZERO, ZERO if grant.fact.paid else value)
        self.write_off_over()

    def void(self, grant: Grant, amount: Fraction) -> None:
        """Take credit back for nothing."""
        value = self.take(grant, amount, "void")
        if grant.fact.paid:
            self.books.move(value, debit="credit_liability", credit="breakage")
        grant.over = grant.over or not (grant.left or grant.held)

    def take_off(self, amount: Fraction) -> None:
        """Take credit back for nothing, whatever it is for, by the order of using it up."""
        for grant in self.there():
            part = min(grant.left, amount)
            if part:
                amount -= part
                value = self.take(grant, part, "void")
                if grant.fact.paid:
                    self.books.move(value, debit="credit_liability", credit="breakage")

    def refund(self, grant: Grant, unit: Fraction, most: Fraction) -> None:
        """Take back all that is left; what can be paid of its worth is owed to the customer.

        At ``most`` so much of it: the rest has been given before, and was lost by that.
        """
        value = self.take(grant, grant.left, "refund")
        payable = value // unit * unit
        owed = min(payable, most)
        self.books.move(owed, debit="credit_liability", credit="customer")
        self.books.move(payable - owed, debit="credit_liability", credit="refunds")
        self.books.move(value - payable, debit="credit_liability", credit="breakage")
        grant.over = True

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Give back what paid a canceled invoice, in the order in which it did."""
        for entry in entries:
            back = Back(self)
            if entry.grant is None:
                back.lent(-entry.amount)
            else:
                back.to(self.grants[entry.grant], -entry.amount)
            self._apply(-back.paid, -back.promotional, -entry.covers)
        self.write_off_over()

    def paid_of(self, lines: AbstractSet[UUID]) -> list[tuple[UUID | None, Fraction, Fraction]]:
        """Return what each grant (None: lent) paid of lines: credit, and money; the last first."""
        last: dict[UUID | None, int] = {}
        credit: dict[UUID | None, Fraction] = defaultdict(Fraction)
        money: dict[UUID | None, Fraction] = defaultdict(Fraction)
        for number, entry in enumerate(self.log[: self.read]):
            if entry.line in lines:
                last[entry.grant] = number
                credit[entry.grant] -= entry.amount
                money[entry.grant] += entry.covers
        return [(one, credit[one], money[one]) for one in sorted(last, key=lambda one: -last[one])]

    def return_part(self, grant: UUID | None, credit: Fraction, money: Fraction) -> None:
        """Give back a part of what paid a corrected line; what is over is yet to be written off."""
        back = Back(self, covers=-money)
        if grant is None:
            back.lent(credit)
        else:
            back.to(self.grants[grant], credit)
        self._apply(-back.paid, -back.promotional, -money)

    def burn(
        self, amount: Fraction, meter: str, subscription: UUID | None, at: datetime
    ) -> Fraction:
        """Use up credit for an event; return what nobody pays."""
        first = self.read
        short = self.spend(amount, meter)
        self._remember(first, meter, subscription, at)
        return short

    def unburn(
        self, credit: Fraction, meter: str, subscription: UUID | None, at: datetime
    ) -> Fraction:
        """Give back what events up to one took, the last first; return how much."""
        before = [one for one in self.used[meter, subscription] if one.at <= at]
        last = {one.grant: one.number for one in before if one.amount > 0}
        back = Back(self)
        first = self.read
        for grant in sorted(last, key=lambda one: -last[one]):
            net = sum((one.amount for one in before if one.grant == grant), ZERO)
            wanted = min(credit - back.amount, net)
            if wanted <= 0:
                continue
            if grant is None:
                back.lent(wanted)
            else:
                back.to(self.grants[grant], wanted)
        self._remember(first, meter, subscription, at)
        self._use(-back.paid, -back.promotional)
        self.write_off_over()
        return back.amount

    def _remember(self, first: int, meter: str, subscription: UUID | None, at: datetime) -> None:
        for number in range(first, self.read):
            entry = self.log[number]
            self.used[meter, subscription].append(Taken(at, entry.grant, -entry.amount, number))


class Back:
    """Credit that comes back for one reason, what it was worth, and the money that comes with it."""

    def __init__(self, purse: Purse, covers: Fraction = ZERO) -> None:
        self.purse, self.covers = purse, covers
        self.amount = self.paid = self.promotional = ZERO

    def to(self, grant: Grant, wanted: Fraction) -> None:
        """Give back to a grant what may be; no more than was taken of it."""
        amount = min(wanted, grant.amount - grant.left - grant.held)
        if not amount:
            return
        worth = grant.worth_of(grant.left + grant.held + amount)
        value = worth - grant.worth
        grant.left += amount
        grant.worth = worth
        self.amount += amount
        self.purse.expect("return", grant, amount, value, self._covers_once())
        if grant.fact.paid:
            self.paid += value
        else:
            self.promotional += value

    def _covers_once(self) -> Fraction:
        covers, self.covers = self.covers, ZERO
        return covers

    def lent(self, wanted: Fraction) -> None:
        """Let what was lent be owed no more; the rest goes to those who paid it back."""
        amount = min(wanted, self.purse.lent)
        if amount:
            value = self.purse.lower(amount)
            self.purse.expect("return", None, amount, value, self._covers_once())
            self.paid += value
            self.amount += amount
        rest = wanted - amount
        payers = {one.fact.id: one for one in reversed(self.purse.paid_back)}
        for grant in payers.values() if rest else ():
            before = self.amount
            self.to(grant, rest)
            rest -= self.amount - before


def _said(told: tuple[str, UUID | None, Fraction, Fraction, Fraction]) -> str:
    kind, grant, *figures = told
    amount, value, covers = (float(one) for one in figures)
    return f"{kind} {amount} (worth {value}, covers {covers}) of {grant}"
