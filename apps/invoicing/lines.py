"""What lines are before they are written down: keys, expected amounts, differences. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from msgspec import Struct

from apps.invoicing.committing import Spending
from apps.invoicing.discounting import Reduction
from apps.invoicing.domain import LineKind
from apps.invoicing.slicing import Slice
from apps.metering.domain import UsageSpan
from apps.rating.periods import Span
from apps.rating.pricing import Measured, Rated
from apps.rating.proration import Basis
from apps.subscriptions.domain import SubscriptionTerms


class LineKey(NamedTuple):
    """What identifies an expected line.

    ``group`` is the price point of usage lines, the redemption of discount lines, and the contract
    of what settles a commitment, which is of no charge.
    """

    subscription_id: UUID
    charge_id: UUID | None
    kind: LineKind
    period_start: datetime
    segment_start: datetime
    group: str


@dataclass(frozen=True, slots=True)
class Billed:
    """What the issued lines of a key amount to together, and how the first of them looked.

    ``count`` numbers all lines the key ever had; ``first_line_id`` is the first that still
    stands, None where every document with the key was canceled. ``billed_to`` is how far the
    lines that stand have billed it; it ``is_running`` where its period is not over by the cutoff.
    """

    amount: Decimal
    currency: str
    count: int
    first_line_id: UUID | None
    period_end: datetime
    service_start: datetime
    service_end: datetime
    description: str
    unit: str
    billed_to: datetime | None = None
    is_running: bool = False


class Derivation(Struct, frozen=True):
    """How an expected amount came about; stored on the line and replayed by ``explain``."""

    price_list: str  # the price point of the usage; "" where it names none
    price_list_id: UUID | None  # whose price was taken; None is the standard list
    share: tuple[int, int]  # of the period: numerator, denominator
    included: Decimal
    measured: Measured | None
    rated: Rated | None
    exact: Decimal  # before the one rounding
    expected: Decimal  # what the key should amount to
    already_billed: Decimal  # by earlier lines of the key
    meter_version: UUID | None = None
    usage: tuple[UsageSpan, ...] = ()
    basis: Basis | None = None  # by which the share was told
    reduction: Reduction | None = None
    agreed: str = ""  # the contract whose price was taken, and its place in it
    spending: Spending | None = None
    bounds_first: bool = False  # of bounds and discounts: which of them the other is for


class ProposedLine(Struct, frozen=True):
    """A line to be written: ``amount`` is expected less already billed."""

    key: LineKey
    currency: str
    period_end: datetime
    service: Span
    description: str
    quantity: Decimal
    unit: str
    amount: Decimal
    sequence: int
    corrects: UUID | None
    derivation: Derivation


class Whole(Struct, frozen=True):
    """A time that is billed for as a whole, such as the term of a contract."""

    subscription: SubscriptionTerms
    period: Span
    part: Span


class Expected(Struct, frozen=True):
    """What should be billed under a key, whatever was billed before."""

    key: LineKey
    slice: Slice | Whole
    description: str
    quantity: Decimal
    unit: str
    derivation: Derivation
