"""What happened in a simulation, in plain words: the only thing the oracle is told. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MeterFact:
    """A meter as its operator described it; ``made_at`` None is from the beginning."""

    key: str
    event_name: str
    aggregation: str
    value_property: str = ""
    percentile: Decimal | None = None
    recurring: bool = False
    filters: Sequence[Document] = ()
    group_by: Sequence[str] = ()
    rounding: str | None = None
    rounding_places: int = 0
    late: bool = False  # made only months after its first events


@dataclass(frozen=True, slots=True)
class EventFact:
    """A usage event that was accepted; ``number`` is its place in the order of arrival."""

    number: int
    customer: UUID
    subscription: UUID | None  # None: it names the customer only
    name: str
    at: datetime
    value: Decimal | None
    properties: Mapping[str, str]


@dataclass(slots=True)
class SubscriptionFact:
    """What a customer asked for, and what was done to it since."""

    id: UUID
    customer: UUID
    tenant: UUID
    plan: Document
    currency: str
    zone: str
    started_at: datetime
    calendar_aligned: bool
    anchor_day: int | None
    quantity: int
    price_list: str | None
    trial_days: int | None
    term_months: int | None
    auto_renew: bool
    basis: str
    renewed: list[datetime] = field(default_factory=list)
    # how it was ended by somebody: when, and whether a period cut short stays billed whole
    ended_at: datetime | None = None
    keeps_whole_period: bool = False


@dataclass(slots=True)
class Facts:
    """Everything that was told to the product, in the order in which it was told."""

    meters: dict[str, MeterFact] = field(default_factory=dict)
    subscriptions: list[SubscriptionFact] = field(default_factory=list)
    events: list[EventFact] = field(default_factory=list)
    # money that came by bank: customer, currency, amount
    transfers: list[tuple[UUID, str, Decimal]] = field(default_factory=list)
