"""A customer's prepaid credit, lived through from stop to stop: who moves it, in which order. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from math import ceil
from typing import Final, NamedTuple
from uuid import UUID

from apps.backoffice.simulation.facts import CreditFacts, GrantFact
from apps.backoffice.simulation.oracle.clawing import Clawing
from apps.backoffice.simulation.oracle.credit import (
    PLACES,
    ZERO,
    Books,
    Burned,
    Difference,
    Entry,
    Grant,
    Purse,
    part_of,
)
from apps.backoffice.simulation.oracle.timeline import months_on
from apps.backoffice.simulation.oracle.usage import rounded

_FINEST: Final = Fraction(10) ** -PLACES


class Use(NamedTuple):
    """What one event used of one meter that has a price in credit."""

    told_at: datetime
    event: int
    meter_id: UUID
    meter: str
    subscription: UUID | None
    at: datetime
    quantity: Fraction


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of an invoice; ``meter`` "" where it bills no usage."""

    id: UUID
    corrects: UUID | None
    charge: tuple[UUID | None, UUID | None]  # whose, and which
    amount: Fraction
    is_usage: bool
    meter: str
    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Bill:
    """An invoice, or a credit memo that corrects, as it was issued."""

    id: UUID
    currency: str
    unit: Fraction  # the smallest one of the currency
    issued_at: datetime
    canceled_at: datetime | None
    is_paid: bool
    sells: UUID | None  # the grant
    total: Fraction
    covered: Fraction
    lines: Sequence[BillLine]


@dataclass(frozen=True, slots=True)
class _Settled:
    bill: Bill
    line: BillLine
    amount: Fraction
    books: Books


class Savings:
    """All wallets of a customer, with what happened to them. Bills are in the order of numbers."""

    def __init__(
        self,
        told: CreditFacts,
        purses: Iterable[Purse],
        uses: Iterable[Use],
        bills: Sequence[Bill],
        bought: Mapping[UUID, GrantFact],  # what top-off rules asked for
        *,
        clawing: Clawing,
    ) -> None:
        self.told, self.bills, self.clawing = told, bills, clawing
        self.purses = sorted(purses, key=lambda one: (one.fact.priority, one.fact.id))
        self.uses: dict[datetime, list[Use]] = defaultdict(list)
        for use in sorted(uses):
            self.uses[use.told_at].append(use)
        mine = {one.fact.id for one in self.purses}
        self.grants = {
            one.id: one
            for one in [*told.grants.values(), *bought.values()]
            if one.wallet in mine and one.id not in told.called_off
        }
        self.holds = {one.id: one for one in told.holds.values() if one.wallet in mine}
        self.taken = {
            one.id: one for one in told.taken.values() if one.of in mine or one.of in self.grants
        }
        self.adjusted = {one.id: one for one in told.adjusted.values() if one.of in mine}
        self.done: set[UUID] = set()
        self.settled: list[_Settled] = []

    def differences(self, stops: Sequence[datetime]) -> Iterator[str]:
        """Live through all stops; yield what the logs or the bills say otherwise, and end there."""
        try:
            for at in sorted({*stops, *(one.at for purse in self.purses for one in purse.log)}):
                self._stop(at)
            self._all_done()
        except Difference as error:
            yield str(error)

    def _stop(self, at: datetime) -> None:
        for purse in self.purses:
            purse.seen[at].append(purse.balance)
            self._pass_time(purse, at)
        for use in self.uses[at]:
            self._burn(use)
        for purse in self.purses:
            self._end_holds(purse, at)
        for bill in self.bills:
            if bill.issued_at == at:
                self._cover(bill)
            if bill.canceled_at == at:
                self._unsettle(bill)
        self.clawing.look(at)
        for purse in self.purses:
            while (entry := purse.next(at)) is not None:
                self._told(purse, entry)
                self.clawing.look(at)
        self.clawing.close(at)

    def _pass_time(self, purse: Purse, at: datetime) -> None:
        for fact in self.grants.values():
            if fact.wallet == purse.fact.id and not fact.paid and fact.asked_at < at:
                purse.grants.setdefault(fact.id, Grant(fact, fact.begins_at, fact.expires_at))
        purse.make_true(at)

    def _end_holds(self, purse: Purse, at: datetime) -> None:
        over = [one for one in purse.holds if self.holds[one].expires_at <= at]
        over.sort(key=lambda one: (self.holds[one].expires_at, one))
        while over:
            # one that could not be ended at first is ended after the others
            entry = purse.next(at)
            named = entry.hold if entry is not None and entry.hold in over else over[0]
            over.remove(named)
            self.done.add(named)
            purse.end_hold(self.holds[named], ZERO)

    # --- usage ----------------------------------------------------------------------------------

    def _burn(self, use: Use) -> None:
        if use.quantity < 0:
            self._unburn(use)
            return
        quantity, last, short = use.quantity, None, ZERO
        for purse, price in self._priced(use):
            fact = purse.fact
            if quantity <= 0 or (fact.meters and use.meter not in fact.meters):
                continue
            amount = rounded(quantity * price, PLACES)
            if amount <= 0:
                continue
            short, last = purse.burn(amount, use.meter, use.subscription, use.at), purse
            _note(purse, use, amount - short)
            quantity = short / price
        if last is not None and last.fact.policy != "invoice":
            last.short += short

    def _unburn(self, use: Use) -> None:
        """Give back what usage that is taken off had taken."""
        quantity = -use.quantity
        for purse, price in reversed(list(self._priced(use))):
            if quantity <= 0:
                continue
            credit = rounded(quantity * price, PLACES)
            returned = purse.unburn(credit, use.meter, use.subscription, use.at)
            _note(purse, use, -returned)
            quantity = (credit - returned) / price

    def _priced(self, use: Use) -> Iterator[tuple[Purse, Fraction]]:
        """Yield the wallets that usage takes credit from, with what a unit of it takes."""
        for purse in self.purses:
            fact = purse.fact
            price = self.told.prices.get((use.meter, fact.rate is None))
            if fact.on_event and fact.opened_at < use.told_at and price is not None:
                yield purse, Fraction(price)

    # --- invoices -------------------------------------------------------------------------------

    def _cover(self, bill: Bill) -> None:
        if bill.sells is not None or not bill.total:
            if bill.covered:
                raise Difference(f"credit pays {float(bill.covered)} of {bill.id}")
            return
        here = [
            one
            for one in self.purses
            if one.fact.currency == bill.currency and one.fact.opened_at < bill.issued_at
        ]
        lines, back = self._correct(bill, here)
        covered = -back
        if bill.total > 0:
            lines = list(_net(lines))
            if _on_event(here):
                lines, covered = self._settle(bill, lines, here, covered)
            for line in lines:
                if line.is_usage:
                    covered += self._pay(bill, line, here, bill.total - covered)
        if covered != bill.covered:
            raise Difference(
                f"credit pays {float(bill.covered)} of {bill.id}, should pay {float(covered)}"
            )

    # --- corrections ----------------------------------------------------------------------------

    def _correct(self, bill: Bill, here: Sequence[Purse]) -> tuple[list[BillLine], Fraction]:
        """Give back as credit what credit had paid of what is taken back; the rest is money."""
        back = ZERO
        left = []
        for line in bill.lines:
            most = -line.amount
            if bill.total < 0:
                most = min(most, -bill.total - back)
            if most > 0 and line.charge[1] is not None:
                came = self._put_back(bill, line, here, most)
                came += self._give_back(bill, line, most - came)
                back += came
                left.append(replace(line, amount=line.amount + came))
            else:
                left.append(line)
        return left, back

    def _put_back(
        self, bill: Bill, line: BillLine, here: Sequence[Purse], most: Fraction
    ) -> Fraction:
        """Return what was taken off for usage whose credit has come back since: it is no money."""
        if not line.meter or not _on_event(here):
            return ZERO
        burned = max(self._burned(line, here), ZERO) // bill.unit * bill.unit
        amount = min(max(self._settled_before(line, bill) - burned, ZERO), most)
        if amount:
            self.settled.append(_Settled(bill, line, -amount, here[0].books))
            here[0].books.move(-amount, debit="revenue", credit="customer")
        return amount

    def _give_back(self, bill: Bill, line: BillLine, most: Fraction) -> Fraction:
        """Give back to wallets what they had paid of the lines that one corrects."""
        earlier = {
            one.id
            for other in self.bills
            if other.issued_at < bill.issued_at
            and (other.canceled_at is None or other.canceled_at > bill.issued_at)
            for one in other.lines
            if line.corrects is not None and line.corrects in {one.id, one.corrects}
        }
        paid = [
            (purse, grant, credit, money)
            for purse in reversed(self.purses)
            for grant, credit, money in purse.paid_of(earlier)
        ]
        whole = min(most, sum((money for *_, money in paid), ZERO)) // bill.unit * bill.unit
        left = max(whole, ZERO)
        for purse, grant, credit, money in paid:
            part = min(left, money)
            if part > 0:
                purse.return_part(grant, credit - part_of(credit, money, money - part), part)
                left -= part
        for purse in self.purses:
            purse.write_off_over()
        return max(whole, ZERO)

    def _pay(self, bill: Bill, line: BillLine, here: Sequence[Purse], most: Fraction) -> Fraction:
        """Pay usage when it is invoiced; note what is left on the last wallet that lends none."""
        wanted = whole = min(line.amount, most)
        paying = [one for one in here if not one.fact.on_event]
        for purse in paying:
            if wanted > 0:
                wanted -= _pay(purse, bill, line, wanted)
        for purse in reversed(paying) if wanted > 0 else ():
            meters = purse.fact.meters
            if purse.fact.policy != "invoice" and (not meters or line.meter in meters):
                purse.short += _credit_for(purse, wanted)
                break
        return whole - wanted

    def _settle(
        self, bill: Bill, lines: Sequence[BillLine], here: Sequence[Purse], covered: Fraction
    ) -> tuple[list[BillLine], Fraction]:
        """Take off what was burned for the same usage before; return what credit covers then."""
        total = covered
        left = []
        for line in lines:
            taken = ZERO
            if line.meter:
                free = self._burned(line, here) - self._settled_before(line, bill)
                taken = min(max(free, ZERO) // bill.unit * bill.unit, line.amount)
                taken = min(taken, bill.total - total)
            if taken > 0:
                self.settled.append(_Settled(bill, line, taken, here[0].books))
                here[0].books.move(taken, debit="revenue", credit="customer")
                total += taken
            left.append(replace(line, amount=line.amount - taken))
        return left, total

    def _unsettle(self, bill: Bill) -> None:
        """Forget what was taken off an invoice that is canceled: the next one takes it off."""
        for one in self.settled:
            if one.bill.id == bill.id:
                one.books.move(one.amount, debit="customer", credit="revenue")

    def _burned(self, line: BillLine, here: Sequence[Purse]) -> Fraction:
        return sum(
            (
                one.money
                for purse in here
                for one in purse.burned
                if one.meter == line.meter
                and line.starts <= one.at < line.ends
                and one.subscription in {None, line.charge[0]}
            ),
            ZERO,
        )

    def _settled_before(self, line: BillLine, bill: Bill) -> Fraction:
        return sum(
            (
                one.amount
                for one in self.settled
                if one.line.meter == line.meter
                and one.bill.currency == bill.currency
                and one.line.starts < line.ends
                and one.line.ends > line.starts
                and (one.bill.canceled_at is None or one.bill.canceled_at >= bill.issued_at)
            ),
            ZERO,
        )

    # --- what people do -------------------------------------------------------------------------

    def _told(self, purse: Purse, entry: Entry) -> None:
        """Let happen what the log says that somebody did, if he did."""
        if self.clawing.tells(purse, entry, entry.at):
            return
        match entry.kind:
            case "grant":
                self._begin(purse, entry)
            case "hold":
                hold = self.holds[_known(entry.hold)]
                _refuse(hold.placed_at != entry.at, entry)
                purse.hold(hold)
            case "release":
                hold = self.holds[_known(entry.hold)]
                _refuse(hold.ended_at != entry.at, entry)
                self.done.add(hold.id)
                purse.end_hold(hold, Fraction(hold.captured))
            case "consume" | "void" | "refund":
                self._take(purse, entry)
            case "return":
                bill = next(one for one in self.bills if one.id == entry.invoice)
                _refuse(bill.canceled_at != entry.at, entry)
                paid = [
                    one for one in purse.log if one.invoice == bill.id and one.kind == "consume"
                ]
                purse.give_back(paid)
            case _:
                raise Difference(f"nobody asked for {entry}")

    def _begin(self, purse: Purse, entry: Entry) -> None:
        fact = self.grants[_known(entry.grant)]
        grant = Grant(fact, max(fact.begins_at, entry.at), fact.expires_at)
        if fact.paid:
            sold = next((one for one in self.bills if one.sells == fact.id), None)
            _refuse(sold is None or not sold.is_paid, entry)
            if fact.lasts_months is not None:
                grant.expires = months_on(entry.at, fact.lasts_months, purse.fact.zone)
        else:
            _refuse(fact.asked_at != entry.at or fact.begins_at > entry.at, entry)
        _refuse(fact.id in purse.grants, entry)
        purse.grants[fact.id] = grant
        self.done.add(fact.id)
        purse.begin(grant)
        purse.make_true(entry.at)

    def _take(self, purse: Purse, entry: Entry) -> None:
        if entry.source.startswith("adjust "):
            told = self.adjusted[UUID(entry.source.rpartition(" ")[2])]
        elif entry.kind == "refund":
            told = next(
                one for one in self.taken.values() if one.of == entry.grant and one.amount is None
            )
        else:
            told = self.taken[UUID(entry.source.rpartition(" ")[2])]
        _refuse(told.at != entry.at or told.id in self.done, entry)
        self.done.add(told.id)
        if told.id in self.adjusted:
            _refuse(told.of != purse.fact.id, entry)
            purse.take_off(Fraction(told.amount or 0))
        elif told.amount is None:
            bill = next(one for one in self.bills if one.sells == told.of)
            left = bill.total - self.clawing.given_of(told.of, told.at)
            purse.refund(purse.grants[told.of], bill.unit, left)
        elif entry.kind == "void":
            purse.void(purse.grants[told.of], Fraction(told.amount))
        else:
            purse.spend(Fraction(told.amount), told.meter)

    def _all_done(self) -> None:
        """Refuse what was asked for and has left no trace."""
        for purse in self.purses:
            if purse.read < len(purse.log):
                raise Difference(f"nobody asked for {purse.log[purse.read]}")
        ended = {one.id for one in self.holds.values() if one.ended_at is not None}
        paid = {one.sells for one in self.bills if one.sells and one.is_paid}
        for missing in (ended | paid | self.taken.keys() | self.adjusted.keys()) - self.done:
            raise Difference(f"{missing} has had no effect")


def _pay(purse: Purse, bill: Bill, line: BillLine, wanted: Fraction) -> Fraction:
    """Pay a line in whole units of the currency; return how much."""
    there = max(purse.spendable(line.meter), ZERO)
    money = min(wanted, purse.worth(there) // bill.unit * bill.unit)
    if _credit_for(purse, money) > there:
        money -= bill.unit
    if money <= 0:
        return ZERO
    purse.spend(_credit_for(purse, money), line.meter, covers=money)
    return money


def _credit_for(purse: Purse, money: Fraction) -> Fraction:
    """Return the credit that it takes to be worth so much money."""
    if purse.fact.rate is None:
        return money
    return ceil(money / Fraction(purse.fact.rate) / _FINEST) * _FINEST


def _note(purse: Purse, use: Use, amount: Fraction) -> None:
    """Remember what an event burned, in money; less than nothing if it gave something back."""
    if amount:
        rate = Fraction(1) if purse.fact.rate is None else Fraction(purse.fact.rate)
        purse.burned.append(Burned(use.meter, use.subscription, use.at, amount * rate))


def _on_event(here: Sequence[Purse]) -> bool:
    return any(one.fact.on_event for one in here)


def _net(lines: Sequence[BillLine]) -> Iterator[BillLine]:
    """Yield what asks for money, less what other lines of the charge take back."""
    for charge in dict.fromkeys(one.charge for one in lines):
        same = [one for one in lines if one.charge == charge]
        back = -sum((one.amount for one in same if one.amount < 0), ZERO)
        for one in same:
            taken = min(back, max(one.amount, ZERO))
            back -= taken
            if one.amount > taken:
                yield replace(one, amount=one.amount - taken)


def _known(named: UUID | None) -> UUID:
    if named is None:
        raise Difference("an entry names nobody")
    return named


def _refuse(wrong: bool, entry: Entry) -> None:  # noqa: FBT001 -- a condition
    if wrong:
        raise Difference(f"nobody asked for {entry}")
