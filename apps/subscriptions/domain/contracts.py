"""What was negotiated: prices of its own, and what is spent at least. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from apps.catalog.domain import ChargeTerms, PriceTerms
from apps.core.errors import Invalid
from apps.rating.periods import Schedule, Span
from apps.subscriptions.domain.timeline import SubscriptionTerms


class CommitmentPer(StrEnum):
    """How long one has for what is to be spent at least."""

    PERIOD = "period"  # a billing period
    TERM = "term"  # the whole contract


class ContractInvalid(Invalid):
    """What was asked for cannot be a contract; ``errors`` lists every reason."""

    reason = "contract_invalid"


@dataclass(frozen=True, slots=True)
class AgreedPrice:
    """The price of a charge in the billing periods that begin at ``starts_at`` or later."""

    name: str  # of the contract, and its place in it
    charge: str
    currency: str
    starts_at: datetime
    terms: PriceTerms


@dataclass(frozen=True, slots=True)
class Commitment:
    """What is to be spent on charges (by key; none: all) in a period or in the term.

    ``amount`` is in the contract's currency. What is missing is billed if ``true_up``; what exceeds
    it costs ``overage_factor`` times as much.
    """

    amount: Decimal
    per: CommitmentPer
    overage_factor: Decimal
    true_up: bool
    charges: frozenset[str]

    def covers(self, charge: ChargeTerms) -> bool:
        """Say whether what is charged counts."""
        return not self.charges or charge.key in self.charges


class CommitmentTurn(NamedTuple):
    """A time for which a commitment is: one billing period, or the term."""

    number: int
    span: Span


@dataclass(frozen=True, slots=True)
class ContractTerms:
    """A contract, for one subscription or (None) all of a customer.

    It is about the billing periods that begin in ``[starts_at, ends_at)``.
    """

    id: UUID
    public_id: str
    subscription_id: UUID | None
    starts_at: datetime
    ends_at: datetime | None
    currency: str
    rhythm: Schedule
    prices: tuple[AgreedPrice, ...]
    commitment: Commitment | None

    def holds(self, terms: SubscriptionTerms, period_start: datetime) -> bool:
        """Say whether the contract is about a billing period of a subscription."""
        if self.subscription_id is not None and self.subscription_id != terms.id:
            return False
        begins = max(period_start, terms.started_at)
        return self.starts_at <= begins and (self.ends_at is None or begins < self.ends_at)

    def turn_at(self, terms: SubscriptionTerms, period_start: datetime) -> int:
        """Return the number of the commitment's turn in which a billing period begins."""
        if self.commitment is None or self.commitment.per is CommitmentPer.TERM:
            return 0
        return self.rhythm.index_at(max(period_start, terms.started_at))

    def turns(self, after: datetime) -> Iterator[CommitmentTurn]:
        """Yield the turns that end after an instant, in order; for ever in an open contract."""
        if self.commitment is None:
            return
        if self.commitment.per is CommitmentPer.TERM:
            if self.ends_at is not None and self.starts_at < self.ends_at and self.ends_at > after:
                yield CommitmentTurn(0, Span(self.starts_at, self.ends_at))
            return
        number = max(0, self.rhythm.index_at(max(after, self.starts_at)))
        while True:
            span = self.rhythm.period(number)
            if self.ends_at is not None and span.start >= self.ends_at:
                return
            end = span.end if self.ends_at is None else min(span.end, self.ends_at)
            if end > after:
                yield CommitmentTurn(number, Span(span.start, end))
            number += 1


def agreed_price(
    contracts: Iterable[ContractTerms],
    terms: SubscriptionTerms,
    charge: ChargeTerms,
    period_start: datetime,
) -> AgreedPrice | None:
    """Return the price that contracts set for a charge in a billing period, if any does.

    That of the subscription's own contract before that of the customer; of several the one that
    began last.
    """
    begins = max(period_start, terms.started_at)
    found = [
        (contract.subscription_id is not None, price.starts_at, contract.id.int, number, price)
        for contract in contracts
        if contract.prices and contract.holds(terms, period_start)
        for number, price in enumerate(contract.prices)
        if (price.charge, price.currency) == (charge.key, terms.currency)
        and price.starts_at <= begins
    ]
    return max(found, key=lambda one: one[:4])[4] if found else None
