"""Laws of minimums and maximums beside discounts, whichever of them the other is for."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from apps.invoicing.assembly import propose
from apps.invoicing.discounting import Discounts
from apps.invoicing.domain import LineKind
from apps.metering.domain import Measurement
from apps.rating.pricing import Measured
from tests.make.slices import redeemed, usage_slice

_BOUNDS = (LineKind.MINIMUM, LineKind.MAXIMUM)
amounts = st.decimals(0, 1000, places=2, allow_nan=False)
bounds = st.none() | amounts
coupons = st.sampled_from(
    ["10 %", "33.3 %", "100 %", "0.01", "20.00", "900.00", "10 %; 20.00", "50 % first (-1); 5.00"]
)


def billed(
    usage: Decimal,
    minimum: Decimal | None,
    maximum: Decimal | None,
    coupon: str,
    *,
    bounds_first: bool,
) -> dict[LineKind, Decimal]:
    """Return what the lines of a period come to, by kind."""
    found: dict[LineKind, Decimal] = {}
    for line in propose(
        [usage_slice(minimum, maximum)],
        {0: (Measurement("", Measured(usage, 1)),)},
        {},
        price_lists={},
        discounts=Discounts(redeemed(coupon).redeemed, {}, bounds_first),
    ):
        found[line.key.kind] = found.get(line.key.kind, Decimal(0)) + line.amount
    return found


@given(amounts, bounds, bounds, coupons)
def test_before_discounts_what_they_leave_is_within_the_bounds_and_discounts_within_that(
    usage: Decimal, low: Decimal | None, high: Decimal | None, coupon: str
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    found = billed(usage, low, high, coupon, bounds_first=True)
    off = found.pop(LineKind.DISCOUNT, Decimal(0))
    charged = sum(found.values(), Decimal(0))

    raised = usage if low is None else max(usage, low)
    assert charged == (raised if high is None else min(raised, high))
    assert -charged <= off <= 0


@given(amounts, bounds, bounds, coupons)
def test_after_discounts_all_of_it_is_within_the_bounds(
    usage: Decimal, low: Decimal | None, high: Decimal | None, coupon: str
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    total = sum(billed(usage, low, high, coupon, bounds_first=False).values(), Decimal(0))

    assert low is None or total >= low
    assert high is None or total <= high


@given(amounts, coupons)
def test_without_bounds_their_order_is_nothing(usage: Decimal, coupon: str) -> None:
    first, last = (billed(usage, None, None, coupon, bounds_first=one) for one in (True, False))
    assert first == last
