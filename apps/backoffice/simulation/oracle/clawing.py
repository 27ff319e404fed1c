"""Prepaid credit that follows its money, which is disputed or paid back. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Final, NamedTuple
from uuid import UUID

from apps.backoffice.simulation.oracle.credit import (
    PLACES,
    ZERO,
    Back,
    Difference,
    Entry,
    Grant,
    Purse,
)
from apps.backoffice.simulation.oracle.usage import rounded

_FINEST: Final = Fraction(1, 10**PLACES)


class Sale(NamedTuple):
    """An invoice that money paid, and the credit that it sold, if any; ``net`` is without tax."""

    id: UUID
    grant: UUID | None
    total: Fraction
    net: Fraction
    places: int  # decimals of the currency


class Given(NamedTuple):
    """What was given back of an invoice, tax included, from when on and until when.

    At the instant itself it counts for what followed from a dispute only if ``at_once``.
    """

    of: UUID
    amount: Fraction
    since: datetime
    until: datetime | None
    at_once: bool
    corrects: bool  # lines of the invoice; what corrections add up to is never below zero


class Paid(NamedTuple):
    """What a payment paid of an invoice."""

    at: datetime
    sale: Sale
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Claim:
    """A dispute of money that may have bought credit, and when what follows from it is done."""

    name: str
    amount: Fraction  # without what the payment had brought too much
    opens_at: datetime | None
    is_won: bool | None
    ends_at: datetime | None
    paid: Sequence[Paid]  # the last first

    def takes_at(self, begun: Mapping[UUID | None, datetime]) -> list[datetime]:
        """Return when it takes credit: at the first of these at which there is any.

        ``begun`` is when credit was given: what the money has paid in part, only once it is paid.
        """
        opens, ends = self.opens_at, self.ends_at
        if opens is None or (self.is_won and ends is not None and ends <= opens):
            return []
        found = [opens]
        if ends is not None and self.is_won is False and ends > opens:
            found.append(ends)
        later = [begun[one.sale.grant] for one in self.paid if one.sale.grant in begun]
        found += [
            at
            for at in later
            if at > opens and not (self.is_won and ends is not None and ends <= at)
        ]
        return found


@dataclass(frozen=True, slots=True)
class Reclaim:
    """A credit memo that gives a part of the price of a grant back, and when that is followed."""

    name: str
    grant: UUID
    price: Fraction
    given_at: datetime
    at: datetime | None


@dataclass(slots=True)
class _Taken:
    """Credit that a claim took of a grant, and that it lent for what was used up of it."""

    purse: Purse
    grant: Grant
    wanted: Fraction
    price: Fraction | None = None  # that was paid back; None: the money is disputed
    least: Fraction | None = None  # that could be taken at any moment of the stop
    credit: Fraction = ZERO
    worth: Fraction = ZERO
    lent: Fraction = ZERO
    lent_worth: Fraction = ZERO
    done: bool = False
    settled: bool = False


@dataclass(slots=True)
class Pause:
    """A time in which a wallet buys nothing by rule; ``until`` None: it goes on."""

    claim: str
    since: datetime
    until: datetime | None = None


class Clawing:
    """What the disputes of a customer do to his wallets."""

    def __init__(
        self,
        purses: Sequence[Purse],
        claims: Sequence[Claim],
        given: Iterable[Given],
        reclaims: Sequence[Reclaim] = (),
    ) -> None:
        self.purses = purses
        self.claims = {one.name: one for one in claims}
        self.due: dict[datetime, list[Claim]] = defaultdict(list)
        self.ends: dict[datetime, list[Claim]] = defaultdict(list)
        self.reclaims: dict[datetime, list[Reclaim]] = defaultdict(list)
        self._prices = list(reclaims)
        begun: dict[UUID | None, datetime] = {
            one.grant: one.at for purse in purses for one in purse.log if one.kind == "grant"
        }
        for claim in claims:
            for at in claim.takes_at(begun):
                self.due[at].append(claim)
            if claim.ends_at is not None:
                self.ends[claim.ends_at].append(claim)
        for reclaim in reclaims:
            if reclaim.at is not None:
                self.reclaims[reclaim.at].append(reclaim)
        self.given: dict[UUID, list[Given]] = defaultdict(list)
        for one in given:
            self.given[one.of].append(one)
        self.taken: dict[str, list[_Taken]] = {}
        self.pauses: dict[UUID, list[Pause]] = defaultdict(list)
        self.owed: dict[UUID, Fraction] = defaultdict(Fraction)  # for what was used, by grant
        self._now: list[_Taken] = []  # what is to be taken at this stop

    def is_paused(self, wallet: UUID, at: datetime) -> bool:
        """Say whether the wallet buys nothing by rule then, before and after the instant."""
        return any(
            one.since < at and (one.until is None or at < one.until) for one in self.pauses[wallet]
        )

    def given_of(self, grant: UUID, at: datetime) -> Fraction:
        """Return what people have given back of the price of a grant until then, inclusive."""
        given = (one.price for one in self._prices if one.grant == grant and one.given_at <= at)
        return sum(given, ZERO)

    # --- a stop ---------------------------------------------------------------------------------

    def look(self, at: datetime) -> None:
        """Note how much could be taken at this moment of a stop; to be called at each."""
        for claim in self.due.get(at, ()):
            if claim.name not in self.taken:
                found = list(self._sold(claim, at))
                if found:
                    self.taken[claim.name] = found
                    for one in found:
                        self.pauses[one.purse.fact.id].append(Pause(claim.name, at))
                        self._now.append(one)
        for reclaim in self.reclaims.get(at, ()):
            if reclaim.name not in self.taken:
                self._reclaim(reclaim, at)
        for one in self._now:
            could = min(one.wanted, one.grant.left)
            could += self._lendable(one, one.wanted - could)
            one.least = could if one.least is None else min(one.least, could)

    def _reclaim(self, reclaim: Reclaim, at: datetime) -> None:
        for purse, grant in self._begun(reclaim.grant):
            one = _Taken(purse, grant, bought_for(reclaim.price, grant), reclaim.price)
            self.taken[reclaim.name] = [one]
            self.pauses[purse.fact.id].append(Pause(reclaim.name, at))
            if grant.left or self._lendable(one, one.wanted):
                self._now.append(one)
            else:
                self._take(one)

    def tells(self, purse: Purse, entry: Entry, at: datetime) -> bool:
        """Do what an entry says that a claim did, if it was one."""
        name, _, rest = entry.source.partition(":")
        if rest == "credit" and name in self.taken:
            (one,) = self.taken[name]
            if one.done or one.purse is not purse:
                raise Difference(f"{name} took credit before {entry}")
            self._take(one)
            return True
        claim = self.claims.get(entry.source.partition(" ")[0])
        if claim is None:
            return False
        mine = [one for one in self.taken.get(claim.name, ()) if one.purse is purse]
        if not mine:
            raise Difference(f"nothing is disputed of what {entry} is about")
        if entry.kind in {"dispute", "consume"}:
            if any(one.done or one not in self._now for one in mine):
                raise Difference(f"{claim.name} took credit before {entry}")
            for one in mine:
                self._take(one)
        else:
            if not claim.is_won or claim.ends_at != at or any(one.settled for one in mine):
                raise Difference(f"{claim.name} gives nothing back by {entry}")
            for one in mine:
                self._reinstate(one)
        return True

    def close(self, at: datetime) -> None:
        """Refuse what should have been taken or given back at a stop; let go what is lost."""
        for one in self._now:
            if not one.done and one.least:
                raise Difference(f"{float(one.least)} of {one.grant.fact.id} should be taken")
            if not one.done and one.price is not None:
                self._take(one)
            one.done = True
        self._now = []
        for claim in self.ends.get(at, ()):
            for one in self.taken.get(claim.name, ()):
                self._end(claim, one)
        for claim in self.due.get(at, ()):  # what was taken of one that is lost already is lost
            for one in self.taken.get(claim.name, ()):
                if claim.ends_at is not None and claim.ends_at < at and not one.settled:
                    self._end(claim, one)

    def _end(self, claim: Claim, one: _Taken) -> None:
        if claim.is_won:
            if (one.credit or one.lent) and not one.settled:
                raise Difference(f"{claim.name} should give {one.grant.fact.id} back")
            for pause in self.pauses[one.purse.fact.id]:
                if pause.claim == claim.name:
                    pause.until = claim.ends_at
        else:
            one.purse.books.move(one.worth + one.lent_worth, debit="disputes", credit="bad_debt")
        one.settled = True

    # --- what the money had bought --------------------------------------------------------------

    def _sold(self, claim: Claim, at: datetime) -> Iterator[_Taken]:
        rest = claim.amount
        for paid in claim.paid:
            if paid.at > at:
                continue
            part = min(self._room(paid.sale, at), paid.amount, rest)
            rest -= part
            for purse, grant in self._begun(paid.sale.grant) if part > 0 else ():
                price = rounded(part * paid.sale.net / paid.sale.total, paid.sale.places)
                yield _Taken(purse, grant, bought_for(price, grant))

    def _begun(self, grant: UUID | None) -> Iterator[tuple[Purse, Grant]]:
        for purse in self.purses:
            if grant in purse.grants and purse.grants[grant].began:
                yield purse, purse.grants[grant]

    def _room(self, sale: Sale, at: datetime) -> Fraction:
        """Return what can still be given back of an invoice."""
        standing = [
            one
            for one in self.given[sale.id]
            if (one.since < at or (one.at_once and one.since == at))
            and (one.until is None or one.until > at)
        ]
        memos = sum((one.amount for one in standing if not one.corrects), ZERO)
        corrected = sum((one.amount for one in standing if one.corrects), ZERO)
        return max(sale.total - memos - max(corrected, ZERO), ZERO)

    # --- credit ---------------------------------------------------------------------------------

    def _lendable(self, one: _Taken, missing: Fraction) -> Fraction:
        """Return what is lent for what was used up: not for what has expired or is held."""
        purse, grant = one.purse, one.grant.fact.id
        moved = sum(
            (
                entry.amount
                for entry in purse.log[: purse.read]
                if entry.grant == grant and entry.kind in {"consume", "return"}
            ),
            ZERO,
        )
        used = max(-moved - self.owed[grant], ZERO)
        return min(missing, used, max(Fraction(purse.fact.limit) - purse.lent, ZERO))

    def _take(self, one: _Taken) -> None:
        purse, grant = one.purse, one.grant
        one.done = True
        one.credit = min(one.wanted, grant.left)
        if one.credit:
            kind = "dispute" if one.price is None else "refund"
            one.worth = purse.take(grant, one.credit, kind)
        one.lent = self._lendable(one, one.wanted - one.credit)
        if one.lent:
            one.lent_worth = purse.worth(one.lent)
            purse.lent += one.lent
            purse.lent_worth += one.lent_worth
            self.owed[grant.fact.id] += one.lent
            purse.expect("consume", None, -one.lent, -one.lent_worth)
        worth = one.worth + one.lent_worth
        if one.price is None:
            purse.books.move(worth, debit="credit_liability", credit="disputes")
            return
        purse.books.move(worth, debit="credit_liability", credit="customer")
        purse.books.move(one.price - worth, debit="refunds", credit="customer")
        disputed = [
            entry.amount
            for entry in purse.log[: purse.read]
            if entry.grant == grant.fact.id and entry.kind in {"dispute", "reinstate"}
        ]
        if not grant.left and not sum(disputed, ZERO):
            grant.over = True

    def _reinstate(self, one: _Taken) -> None:
        """Let what was lent be owed no more; the rest comes back, and expires if it is over."""
        purse, grant = one.purse, one.grant
        one.settled = True
        owed = one.worth + one.lent_worth
        less = min(one.lent, purse.lent)
        value = ZERO
        if less:
            value = purse.lower(less)
            self.owed[grant.fact.id] -= less
            purse.expect("return", None, less, value)
        rest = one.credit + one.lent - less
        back = min(rest, grant.amount - grant.left - grant.held)
        value += _give_back(purse, grant, back)
        beyond = Back(purse)
        beyond.lent(rest - back)
        purse.books.move(beyond.promotional, debit="credit_liability", credit="promotional_expense")
        value += beyond.paid + beyond.promotional
        purse.books.move(value, debit="disputes", credit="credit_liability")
        purse.books.move(owed - value, debit="disputes", credit="breakage")
        purse.write_off_over()


def _give_back(purse: Purse, grant: Grant, amount: Fraction) -> Fraction:
    if not amount:
        return ZERO
    worth = grant.worth_of(grant.left + grant.held + amount)
    value = worth - grant.worth
    grant.left += amount
    grant.worth = worth
    purse.expect("reinstate", grant, amount, value)
    return value


def bought_for(price: Fraction, grant: Grant) -> Fraction:
    """Return how much of a grant so much of its price has bought: never too much by a 1e-12th."""
    whole = Fraction(grant.fact.value)
    if price >= whole:
        return grant.amount
    return grant.amount * price / whole // _FINEST * _FINEST
