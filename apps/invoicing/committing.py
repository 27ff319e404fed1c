"""What is missing to what was to be spent at least, and what exceeds it costs. Pure.

A commitment counts what the charges of the billing periods that begin in its turn come to, after
discounts, minimums and maximums. It is settled when the turn is over, or with the subscription.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final
from uuid import UUID

from msgspec import Struct

from apps.core.money import ARITHMETIC
from apps.invoicing.slicing import FOREVER, WHOLE, Reach, Slice, in_window
from apps.rating.periods import Span
from apps.subscriptions.domain import (
    Commitment,
    CommitmentPer,
    CommitmentTurn,
    ContractTerms,
    SubscriptionTerms,
)

_ZERO: Final = Decimal(0)


class Spending(Struct, frozen=True):
    """What a turn of a commitment asks for and what was spent in it, in its currency."""

    contract: str
    amount: Decimal  # for the share of the turn that the subscription has
    counted: Decimal
    overage_factor: Decimal


@dataclass(frozen=True, slots=True)
class Committed:
    """A subscription's commitment; ``elsewhere`` is what was billed outside the window, by turn."""

    contract: ContractTerms
    commitment: Commitment
    subscription: SubscriptionTerms
    reach: Reach
    elsewhere: Mapping[int, Decimal]


@dataclass(frozen=True, slots=True)
class Settled:
    """A turn that is over, and what it comes to beside the charges: missing, or dearer."""

    committed: Committed
    turn: CommitmentTurn
    share: Fraction
    spending: Spending

    @property
    def missing(self) -> Decimal:
        """What is to be billed because too little was spent."""
        return missing(self.spending) if self.committed.commitment.true_up else _ZERO

    @property
    def dearer(self) -> Decimal:
        """What is to be billed because what exceeds the commitment costs more."""
        return dearer(self.spending)


def missing(spending: Spending) -> Decimal:
    """Return by how much too little was spent."""
    return max(spending.amount - spending.counted, _ZERO)


def dearer(spending: Spending) -> Decimal:
    """Return what is to be paid for what exceeds a commitment beside its price."""
    over = max(spending.counted - spending.amount, _ZERO)
    return ARITHMETIC.multiply(over, spending.overage_factor - 1)


def settled_turns(
    slices: Sequence[Slice], totals: Sequence[Decimal], committed: Committed
) -> Iterator[Settled]:
    """Yield the turns within the window that are over; ``totals`` is what each slice comes to."""
    contract, terms, reach = committed.contract, committed.subscription, committed.reach
    counted: dict[int, Decimal] = defaultdict(Decimal, committed.elsewhere)
    for one, total in zip(slices, totals, strict=True):
        if (
            one.subscription.id == terms.id
            and committed.commitment.covers(one.charge)
            and contract.holds(terms, one.period.start)
        ):
            counted[contract.turn_at(terms, one.period.start)] += total
    for turn, due in _turns(committed):
        if due > reach.cutoff:
            return
        if not in_window(turn.span.start, turn.span.end, reach.window):
            continue
        share = _share(committed.commitment, turn.span, terms)
        yield Settled(
            committed,
            turn,
            share,
            Spending(
                contract=contract.public_id,
                amount=part_of(committed.commitment.amount, share),
                counted=counted[turn.number],
                overage_factor=committed.commitment.overage_factor,
            ),
        )


def counted_back(
    slices: Sequence[Slice],
    contracts: Iterable[ContractTerms],
    reaches: Mapping[UUID, Reach],
) -> dict[UUID, Reach]:
    """Return the wider reaches that subscriptions with commitments need; often none.

    What a long billing period comes to may change, or be known, when the turn in which it begins is
    settled already: it is settled again then. ``slices`` are what is due within ``reaches``.
    """
    wider: dict[UUID, Reach] = {}
    for contract in contracts:
        owner, commitment = contract.subscription_id, contract.commitment
        if owner is None or commitment is None or owner not in reaches:
            continue
        reach = wider.get(owner, reaches[owner])
        begins = min(
            (
                max(one.period.start, one.subscription.started_at)
                for one in slices
                if one.subscription.id == owner
                and commitment.covers(one.charge)
                and contract.holds(one.subscription, one.period.start)
            ),
            default=reach.window,
        )
        if begins < reach.window:
            wider[owner] = replace(reach, window=begins)
    return wider


def settled_after(committed: Committed, after: datetime) -> datetime | None:
    """Return the first instant after one at which the commitment is to be settled."""
    return next((due for _, due in _turns(committed) if due > after), None)


def _turns(committed: Committed) -> Iterator[tuple[CommitmentTurn, datetime]]:
    """Yield the turns in which the subscription holds, each with the instant at which it is over."""
    terms = committed.subscription
    over = (terms.segments[-1].ends_at if terms.segments else terms.started_at) or FOREVER
    for turn in committed.contract.turns(terms.started_at):
        if turn.span.start >= over:
            return
        yield turn, min(turn.span.end, over)


def _share(commitment: Commitment, span: Span, terms: SubscriptionTerms) -> Fraction:
    """Return which part of a turn the subscription has; a term is always whole."""
    over = terms.segments[-1].ends_at or span.end
    held = span.intersect(Span(terms.started_at, max(over, terms.started_at)))
    if commitment.per is CommitmentPer.TERM or held is None or held == span:
        return WHOLE
    return Fraction(held.microseconds(), span.microseconds())


def part_of(amount: Decimal, share: Fraction) -> Decimal:
    """Return a share of an amount, unrounded."""
    if share is WHOLE:
        return amount
    product = ARITHMETIC.multiply(amount, Decimal(share.numerator))
    return ARITHMETIC.divide(product, Decimal(share.denominator))
