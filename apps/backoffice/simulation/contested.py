"""Money that customers had their banks take back, in plain words. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID


@dataclass(slots=True)
class DisputeFact:
    """A dispute of a payment, and how it was decided; figures are in its currency."""

    id: UUID
    name: str  # by which wallets know it
    payment: UUID
    customer: UUID
    provider: str
    currency: str
    amount: Decimal
    beyond: Decimal  # of it: what the payment had brought too much by then
    fee: Decimal
    opened_at: datetime
    by_hand: bool  # else the provider told of it
    is_won: bool | None = None  # None: it is not decided
    decided_at: datetime | None = None
    decided_by_hand: bool = False

    @property
    def withdrawn(self) -> Decimal:
        """What it keeps from being paid back or disputed again."""
        return Decimal(0) if self.is_won else self.amount


def noticed_at(at: datetime, stops: Sequence[datetime], *, by_hand: bool) -> datetime | None:
    """Return the stop at which what follows from news is done; None: at none that came.

    Providers are asked before that is done at a stop; people act after it.
    """
    return next((one for one in stops if (one > at if by_hand else one >= at)), None)
