"""What a change would cost, as somebody above tells it: money is not known here."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PreviewLine:
    """A line as it would be billed; ``amount`` is in the preview's currency."""

    description: str
    service_start: datetime
    service_end: datetime
    quantity: Decimal
    unit: str
    amount: Decimal
    corrects: UUID | None = None  # the line of an earlier document


@dataclass(frozen=True, slots=True)
class MoneyPreview:
    """What the customer would be billed by ``cutoff`` with a change, and without it.

    Amounts are in ``currency``; below zero, they are credited. They are without tax: ``tax`` comes
    on top of ``total``, and ``otherwise_tax`` on top of ``otherwise``.
    """

    currency: str
    cutoff: datetime
    lines: tuple[PreviewLine, ...]
    total: Decimal
    otherwise: Decimal
    tax: Decimal
    otherwise_tax: Decimal

    @property
    def difference(self) -> Decimal:
        """What the change itself costs by then, or gives back, without tax."""
        return self.total - self.otherwise


@dataclass(frozen=True, slots=True)
class CancellationPreview:
    """What the end of a subscription would cost, and what would go back to payments, with its tax."""

    told: MoneyPreview
    refund: Decimal


@dataclass(frozen=True, slots=True)
class SubscriptionPreview:
    """What one subscription would be billed by ``cutoff`` with other terms, and as it is.

    Amounts are in ``currency`` and before tax; below zero, they are credited.
    """

    subscription_id: UUID
    customer_id: UUID
    external_id: str | None
    currency: str
    total: Decimal
    otherwise: Decimal

    @property
    def difference(self) -> Decimal:
        """What the other terms cost by then, or give back."""
        return self.total - self.otherwise
