"""What documents ask of credit as they are issued."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from apps.wallets.domain import Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that credit may pay, amounts in the currency of its invoice."""

    id: UUID
    amount: Decimal
    is_usage: bool
    thing: Thing
    charge_id: UUID
    subscription_id: UUID
    meter_id: UUID | None
    service_start: datetime
    service_end: datetime  # exclusive
    earlier: tuple[UUID, ...] = ()  # of one that gives money back: the lines that it corrects


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A document that is being issued: ``total`` is what it asks for, and the most credit pays.

    Below zero it is a credit memo, and that is the most that comes back as credit.
    """

    invoice_id: UUID
    invoice: str  # its public id
    customer_id: UUID
    currency: str
    total: Decimal
    lines: tuple[Line, ...]
