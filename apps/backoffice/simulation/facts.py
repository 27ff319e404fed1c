"""What happened in a simulation, in plain words: the only thing the oracle is told. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.backoffice.simulation.contested import DisputeFact

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
    """A usage event that was accepted; ``number`` is its place in the order of arrival.

    It is ``misplaced`` if it names a subscription that did not hold then, and so is nobody's.
    """

    number: int
    customer: UUID
    subscription: UUID | None  # None: it names the customer only
    name: str
    at: datetime
    told_at: datetime
    value: Decimal | None
    properties: Mapping[str, str]
    misplaced: bool = False
    key: str = ""  # by which it is known


@dataclass(frozen=True, slots=True)
class AmendmentFact:
    """A correction of events, by their numbers; or the taking back of one."""

    id: UUID
    created_at: datetime
    taken: frozenset[int] = frozenset()
    brought: frozenset[int] = frozenset()
    undoes: "AmendmentFact | None" = None

    @property
    def touches(self) -> frozenset[int]:
        """The events that it is about."""
        return self.undoes.touches if self.undoes else self.taken | self.brought


@dataclass(frozen=True, slots=True)
class ChangeFact:
    """A change that somebody asked for, its end too; which members matter depends on the verb.

    ``settlement`` is ``prorate``, ``none`` or ``full_credit``.
    """

    id: UUID
    verb: str
    at: datetime  # from when it holds
    settlement: str
    quantity: int | None = None
    plan: Document | None = None
    from_change: bool = False  # the new plan's phases are counted from the change
    counts_anew: bool = False  # and the billing periods
    price_list: str | None = None
    trial_ends_at: datetime | None = None
    add_on: str | None = None  # the plan that is added beside (``plan``), changed or removed


@dataclass(slots=True)
class SubscriptionFact:
    """What a customer asked for, and what was done to it since.

    ``changes`` are those that nobody took back, in the order in which they were asked for.
    """

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
    changes: list[ChangeFact] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CouponFact:
    """A coupon: a percentage of what is left, or an amount for each billing period."""

    key: str
    percentage: Decimal | None = None
    amounts: Mapping[str, Decimal] = field(default_factory=dict)  # by currency
    periods: int | None = None  # None: for ever
    charges: tuple[str, ...] = ()  # none: all
    priority: int = 0


@dataclass(slots=True)
class RedemptionFact:
    """A coupon that somebody has redeemed; its periods are counted from ``begins``."""

    id: UUID
    name: str
    coupon: CouponFact
    subscription: UUID
    begins: datetime
    pace: Mapping[str, Any]
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AgreedFact:
    """A price that was agreed on, as an operator writes one, for periods that begin from then on."""

    charge: str
    begins: datetime
    price: Document


@dataclass(slots=True)
class ContractFact:
    """What was agreed on with a customer, for one subscription or (None) all that he has.

    It is about the periods that begin in ``[begins, ends)``. ``amount`` is spent at least, in every
    ``pace`` counted from ``begins`` or (``per`` ``term``) in all of it.
    """

    id: UUID
    customer: UUID
    subscription: UUID | None
    currency: str
    begins: datetime
    ends: datetime | None
    pace: Mapping[str, Any]
    zone: str
    prices: tuple[AgreedFact, ...]
    amount: Decimal | None = None
    per: str = "period"
    factor: Decimal = Decimal(1)  # of what is spent beyond
    true_up: bool = True
    charges: frozenset[str] = frozenset()  # that count; none: all
    name: str = ""


@dataclass(frozen=True, slots=True)
class LevyFact:
    """A rate of a tax, in per cent, for a place (region "": all of it) and a time (None: open)."""

    key: str
    tax: str
    percentage: Decimal
    country: str
    region: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlaceFact:
    """Where a customer is who pays tax."""

    country: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class TopOffFact:
    """A rule that buys credit as soon as less than ``low`` is left."""

    low: Decimal
    amount: Decimal
    to_target: bool  # buys what is missing to the amount, instead of the amount
    lasts_months: int | None
    cap: Decimal | None


@dataclass(frozen=True, slots=True)
class WalletFact:
    """A wallet that was opened; figures are in its credit, of which one is worth ``rate``."""

    id: UUID
    customer: UUID
    zone: str
    rate: Decimal | None  # None: it holds money itself
    places: int  # decimals of what it is granted
    currency: str
    priority: int
    on_event: bool  # else it pays when an invoice is issued
    policy: str
    limit: Decimal  # of what is lent
    meters: tuple[str, ...]  # that it is for; none: all
    top_off: TopOffFact | None
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class GrantFact:
    """Credit that was given, or asked for; ``value`` is its price, or what it is worth."""

    id: UUID
    wallet: UUID
    paid: bool
    amount: Decimal
    value: Decimal
    priority: int
    meters: tuple[str, ...]
    begins_at: datetime
    expires_at: datetime | None
    lasts_months: int | None
    asked_at: datetime


@dataclass(slots=True)
class HoldFact:
    """Credit that was put aside, and how that ended unless by its time."""

    id: UUID
    wallet: UUID
    amount: Decimal
    meter: str
    expires_at: datetime
    placed_at: datetime
    ended_at: datetime | None = None
    captured: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class TakenFact:
    """Credit that was spent (of a wallet), or taken back (of a grant; ``amount`` None is a refund)."""

    id: UUID
    of: UUID
    amount: Decimal | None
    meter: str
    at: datetime


@dataclass(slots=True)
class CreditFacts:
    """Everything about prepaid credit that was told to the product."""

    # what a counted unit of a meter takes, in credit that is (True) or is no money
    prices: dict[tuple[str, bool], Decimal] = field(default_factory=dict)
    wallets: list[WalletFact] = field(default_factory=list)
    grants: dict[UUID, GrantFact] = field(default_factory=dict)
    holds: dict[UUID, HoldFact] = field(default_factory=dict)
    taken: dict[UUID, TakenFact] = field(default_factory=dict)
    adjusted: dict[UUID, TakenFact] = field(default_factory=dict)  # taken of wallets by operators
    called_off: set[UUID] = field(default_factory=set)  # grants that are not to begin


@dataclass(slots=True)
class Facts:
    """Everything that was told to the product, in the order in which it was told."""

    begins_at: datetime
    meters: dict[str, MeterFact] = field(default_factory=dict)
    meter_ids: dict[str, UUID] = field(default_factory=dict)
    subscriptions: list[SubscriptionFact] = field(default_factory=list)
    events: list[EventFact] = field(default_factory=list)
    amendments: list[AmendmentFact] = field(default_factory=list)
    redemptions: list[RedemptionFact] = field(default_factory=list)
    # of add-ons: a plan, and a plan that those on it may have beside it
    offers: set[tuple[str, str]] = field(default_factory=set)
    contracts: list[ContractFact] = field(default_factory=list)
    levies: list[LevyFact] = field(default_factory=list)
    taxes_credit: bool = False  # where it is bought; what it pays is not taxed then
    places: dict[UUID, PlaceFact] = field(default_factory=dict)  # of customers who pay tax
    # money that came by bank, or went back (less than nothing): customer, currency, amount
    transfers: list[tuple[UUID, str, Decimal]] = field(default_factory=list)
    credit: CreditFacts = field(default_factory=CreditFacts)
    disputes: list[DisputeFact] = field(default_factory=list)
    stops: list[datetime] = field(default_factory=list)  # when somebody looked for due work

    def counting(self) -> list[EventFact]:
        """Return the events that count after all that was amended, in the order of arrival."""
        gone: set[int] = set()
        undone: set[UUID] = set()
        for one in reversed(self.amendments):  # what takes one back came after it
            holds = one.id not in undone
            if one.undoes is None:
                gone |= one.taken if holds else one.brought
            elif holds:
                undone.add(one.undoes.id)
        return [event for event in self.events if event.number not in gone]
