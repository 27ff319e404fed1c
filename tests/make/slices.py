"""What is due, and coupons to take off it, for tests of pure arithmetic."""

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID, uuid4

from apps.catalog.domain import (
    ChargeKind,
    ChargeTerms,
    CouponTerms,
    MeterTerms,
    PriceTerms,
    Timing,
)
from apps.invoicing.discounting import Discounts
from apps.invoicing.slicing import WHOLE, Slice
from apps.metering.domain import UsageSpan
from apps.rating.aggregation import Aggregation, AggregationRule
from apps.rating.periods import Alignment, Cadence, Schedule, Span, Unit
from apps.rating.pricing import parse_pricing
from apps.subscriptions.domain import DiscountTerms, SegmentTerms, SubscriptionTerms

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
MONTH = Cadence(Unit.MONTH)
_SEGMENT = SegmentTerms(APRIL, None, UUID(int=2), UUID(int=3), Decimal(1), APRIL)
TERMS = SubscriptionTerms(
    id=UUID(int=4),
    tenant_id=UUID(int=5),
    customer_id=UUID(int=6),
    external_id=None,
    currency="USD",
    zone="UTC",
    alignment=Alignment.ANNIVERSARY,
    anchor_day=None,
    started_at=APRIL,
    billed_until=None,
    changed_from=None,
    segments=(_SEGMENT,),
)


def recurring_slice(amount: Decimal) -> Slice:
    """Return April of a new charge of so many USD a month, in advance."""
    model = parse_pricing({"model": "flat", "amount": f"{amount:f}"}, currency="USD")
    return _slice(ChargeKind.RECURRING, PriceTerms(model), meter=None)


def usage_slice(minimum: Decimal | None = None, maximum: Decimal | None = None) -> Slice:
    """Return April of a new usage charge of 1.00 USD a unit."""
    model = parse_pricing({"model": "per_unit", "unit_price": "1"}, currency="USD")
    meter = MeterTerms(
        version_id=UUID(int=7),
        key="calls",
        name="Calls",
        unit="",
        rule=AggregationRule(Aggregation.SUM),
        group_by=(),
    )
    return _slice(ChargeKind.USAGE, PriceTerms(model, minimum, maximum), meter=meter)


def _slice(kind: ChargeKind, price: PriceTerms, *, meter: MeterTerms | None) -> Slice:
    charge = ChargeTerms(
        id=uuid4(),
        key=f"charge-{uuid4()}",
        name="Charge",
        kind=kind,
        cadence=MONTH,
        timing=Timing.ARREARS if meter else Timing.ADVANCE,
        prorated=True,
        meter=meter,
        included_quantity=Decimal(0),
        prices={(None, "USD"): price},
    )
    return Slice(
        subscription=TERMS,
        charge=charge,
        period=Span(APRIL, MAY),
        part=Span(APRIL, MAY),
        segment_start=APRIL,
        quantity=Decimal(1),
        price_list_id=None,
        share=WHOLE,
        basis=None,
        usage=(UsageSpan(APRIL, MAY, unassigned=True),) if meter else (),
    )


def discount(
    percentage: str | None = None, amount: str = "", *, priority: int = 0, number: int = 0
) -> DiscountTerms:
    """Return a coupon of so many per cent, or so many USD, redeemed on 1 April for ever."""
    coupon = CouponTerms(
        id=uuid4(),
        key=f"coupon-{number}",
        name="",
        percentage=Decimal(percentage) if percentage else None,
        amounts={"USD": Decimal(amount)} if amount else {},
        priority=priority,
        products=frozenset(),
        charges=frozenset(),
    )
    return DiscountTerms(
        id=UUID(int=number),
        public_id=f"crd-{number}",
        coupon=coupon,
        subscription_id=None,
        starts_at=APRIL,
        ends_at=None,
        rhythm=Schedule(APRIL, MONTH, "UTC"),
    )


def redeemed(text: str) -> Discounts:
    """Read coupons such as ``10 %; 20.00 first (-1)``, in the order in which they were redeemed."""
    found = []
    for number, word in enumerate(text.split(";")):
        value, _, priority = word.strip().removesuffix(")").partition(" first (")
        first = int(priority or 0)
        if value.endswith("%"):
            found.append(discount(value.removesuffix("%").strip(), priority=first, number=number))
        else:
            found.append(discount(amount=value, priority=first, number=number))
    return Discounts(sorted(found, key=lambda one: one.order), {})
