"""What contracts set: prices in the place of others, and what is spent at least. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from apps.backoffice.simulation.facts import ContractFact, SubscriptionFact
from apps.backoffice.simulation.oracle.calendar import (
    Span,
    days_of,
    first_instant,
    months_of,
    shown,
)
from apps.backoffice.simulation.oracle.timeline import Life, months_on

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_ZERO: Final = Fraction(0)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one charge comes to for a part of a period, after coupons and bounds."""

    fact: SubscriptionFact
    charge: str
    begins: datetime  # of the period, for the subscription
    amount: Fraction


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a time of a commitment is billed when it is over, unrounded; ``kind`` as of a line."""

    contract: str
    kind: str
    begins: datetime
    amount: Fraction


def holds(contract: ContractFact, fact: SubscriptionFact, begins: datetime) -> bool:
    """Say whether a contract is about a period of a subscription that begins then."""
    if contract.subscription not in {None, fact.id}:
        return False
    return contract.begins <= begins and (contract.ends is None or begins < contract.ends)


def agreed_price(
    contracts: Iterable[ContractFact], fact: SubscriptionFact, charge: str, begins: datetime
) -> Mapping[str, Any] | None:
    """Return the price that was agreed on for a charge in a period, if one was."""
    found: list[tuple[bool, datetime, int, int, Mapping[str, Any]]] = []
    for contract in contracts:
        if contract.currency != fact.currency or not holds(contract, fact, begins):
            continue
        for place, one in enumerate(contract.prices):
            if one.charge != charge or one.begins > begins:
                continue
            is_own = contract.subscription is not None
            found.append((is_own, one.begins, contract.id.int, place, one.price))
    return max(found, key=lambda one: one[:4])[4] if found else None


def settlements(
    contract: ContractFact,
    fact: SubscriptionFact,
    life: Life,
    spent: Sequence[Spent],
    until: datetime,
) -> Iterator[Settlement]:
    """Yield what the commitment of a contract comes to by an instant."""
    over = life.ends or _NEVER
    for number, span in _times(contract, fact.started_at):
        if span[0] >= over or min(span[1], over) > until:
            return
        counted = sum(
            (
                one.amount
                for one in spent
                if one.fact.id == fact.id
                and (not contract.charges or one.charge in contract.charges)
                and holds(contract, fact, one.begins)
                and (contract.per == "term" or _number(contract, one.begins) == number)
            ),
            _ZERO,
        )
        wanted = Fraction(contract.amount or 0)
        if contract.per == "period":
            had = max(min(over, span[1]) - max(fact.started_at, span[0]), timedelta(0))
            wanted *= Fraction(had // _TICK, (span[1] - span[0]) // _TICK)
        if contract.true_up:
            missing = max(wanted - counted, _ZERO)
            yield Settlement(contract.name, "true_up", span[0], missing)
        dearer = max(counted - wanted, _ZERO) * (Fraction(contract.factor) - 1)
        yield Settlement(contract.name, "overage", span[0], dearer)


def _times(contract: ContractFact, since: datetime) -> Iterator[tuple[int, Span]]:
    """Yield the times for which something is to be spent, those over before an instant left out."""
    if contract.per == "term":
        if contract.ends is not None and contract.begins < contract.ends:
            yield 0, (contract.begins, contract.ends)
        return
    number = 0
    while contract.ends is None or _turn(contract, number) < contract.ends:
        starts, ends = _turn(contract, number), _turn(contract, number + 1)
        if ends > since:
            yield number, (starts, ends if contract.ends is None else min(ends, contract.ends))
        number += 1


def _number(contract: ContractFact, begins: datetime) -> int:
    number = 0
    while _turn(contract, number + 1) <= begins:
        number += 1
    return number


def _turn(contract: ContractFact, number: int) -> datetime:
    if months_of(contract.pace):
        return months_on(contract.begins, months_of(contract.pace) * number, contract.zone)
    wall = shown(contract.begins, contract.zone)
    return first_instant(wall + timedelta(days=days_of(contract.pace) * number), contract.zone)
