"""Laws of pricing, and comparison with slow models that price one unit after another."""

import json
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import EXACT, exponent, round_money
from apps.rating.pricing import (
    BlockPolicy,
    BlockTier,
    Capacity,
    Dynamic,
    Graduated,
    GraduatedPercentage,
    Matrix,
    MatrixPrice,
    Measured,
    Package,
    Percentage,
    PercentageTier,
    PerUnit,
    PricingModel,
    Rated,
    Stair,
    Stairstep,
    Tier,
    TieredBlocks,
    Volume,
    after_included,
    parse_pricing,
    pricing_document,
    rate,
    step_document,
)
from tests.properties.rating_strategies import (
    amounts,
    bounds,
    graduated,
    numbers,
    quantities,
    rates,
    stairs,
    tiers,
    unit_prices,
    volume,
)

D = Decimal

packages = st.builds(
    Package,
    size=numbers(1, 500),
    price=unit_prices,
    free_units=numbers(0, 300),
    minimum_one=st.booleans(),
)


@st.composite
def tiered_blocks(draw: st.DrawFn, *, whole: bool = False) -> TieredBlocks:
    sizes = st.integers(1, 60).map(D) if whole else numbers(1, 60)
    limits = [*draw(st.lists(st.integers(1, 5), max_size=3)), None]
    return TieredBlocks(
        draw(st.sampled_from(BlockPolicy)),
        tuple(BlockTier(draw(sizes), limit, draw(unit_prices)) for limit in limits),
    )


percentages = st.builds(
    Percentage,
    rate=rates,
    fixed_fee=unit_prices,
    free_amount=numbers(0, 500),
    free_count=st.integers(0, 5),
    minimum=st.none() | numbers(0, 5),
    maximum=st.none() | numbers(5, 20),
)


@st.composite
def graduated_percentages(draw: st.DrawFn) -> GraduatedPercentage:
    steps = (PercentageTier(up_to, draw(rates), draw(amounts)) for up_to in draw(bounds()))
    return GraduatedPercentage(tuple(steps), draw(st.booleans()))


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    keys = draw(
        st.lists(st.tuples(*[st.sampled_from(["a", "b", None])] * 2), unique=True, min_size=1)
    )
    cells = tuple(MatrixPrice(key, draw(unit_prices)) for key in keys)
    return Matrix(("x", "y"), cells, draw(st.none() | unit_prices))


by_quantity: st.SearchStrategy[PricingModel] = st.one_of(
    st.builds(PerUnit, unit_prices),
    graduated,
    volume,
    packages,
    tiered_blocks(),
    st.builds(Stairstep, stairs()),
    st.builds(Capacity, stairs()),
    graduated_percentages(),
    st.builds(Percentage, rate=rates, free_amount=numbers(0, 500)),
)
any_model: st.SearchStrategy[PricingModel] = st.one_of(
    by_quantity, percentages, matrices(), st.just(Dynamic())
)

measurements = st.builds(
    Measured,
    quantity=numbers(-100, 5_000),
    count=st.integers(0, 50),
    groups=st.lists(
        st.tuples(st.tuples(*[st.sampled_from(["a", "b", "c", None])] * 2), numbers(-10, 500)),
        max_size=6,
    ).map(tuple),
    transactions=st.lists(numbers(-50, 1_000), max_size=12).map(tuple),
    priced=numbers(-10, 1_000),
)


def exact_sum(values: list[Decimal]) -> Decimal:
    with localcontext(EXACT):
        return sum(values, D(0))


@given(any_model, measurements)
def test_the_steps_add_up_and_explain_themselves(model: PricingModel, measured: Measured) -> None:
    rated = rate(model, measured)
    assert exact_sum([step.amount for step in rated.steps]) == rated.amount
    assert rated.amount >= 0
    for step in rated.steps:
        if step.unit_price is not None:
            with localcontext(EXACT):
                assert step.amount == step.quantity * step.unit_price + step.flat_fee
        shown = step_document(step)
        assert not any("E" in text for key, text in shown.items() if text and key != "label")
        assert json.loads(json.dumps(shown)) == shown


@given(any_model, measurements, st.integers(1, 20))
def test_the_callers_context_changes_nothing(
    model: PricingModel, measured: Measured, precision: int
) -> None:
    expected = rate(model, measured)
    with localcontext(Context(prec=precision)):
        found = rate(model, measured)
    assert found == expected


@given(any_model)
def test_a_document_reads_back_as_the_model_it_was_made_of(model: PricingModel) -> None:
    assert parse_pricing(pricing_document(model), currency="USD") == model


@given(
    st.one_of(
        graduated.map(lambda model: Graduated(model.tiers, first_flat_fee_at_zero=True)),
        packages,
        tiered_blocks().map(lambda model: TieredBlocks(BlockPolicy.ALL_TIERS, model.tiers)),
        st.builds(PerUnit, unit_prices),
        graduated_percentages(),
    ),
    quantities,
    quantities,
)
def test_more_usage_never_costs_less(model: PricingModel, one: Decimal, other: Decimal) -> None:
    low, high = sorted((one, other))
    assert rate(model, Measured(low)).amount <= rate(model, Measured(high)).amount


@given(unit_prices, amounts, quantities, st.booleans())
def test_one_tier_makes_graduated_equal_volume(
    price: Decimal,
    fee: Decimal,
    quantity: Decimal,
    at_zero: bool,  # noqa: FBT001 -- drawn
) -> None:
    only = (Tier(None, price, fee),)
    assert rate(Graduated(only, at_zero), Measured(quantity)) == rate(
        Volume(only, at_zero), Measured(quantity)
    )


@given(tiers(flat_fees=False), quantities, quantities)
def test_graduated_is_the_sum_of_what_each_part_adds(
    steps: tuple[Tier, ...], first: Decimal, second: Decimal
) -> None:
    """Splitting a period loses nothing: the second part costs what it adds to the first."""
    model = Graduated(steps)
    total = EXACT.add(first, second)
    both = rate(model, Measured(total)).amount
    marginal = EXACT.subtract(both, rate(model, Measured(first)).amount)
    slow = slow_graduated(steps, total) - slow_graduated(steps, first)
    assert Fraction(marginal) == slow
    assert marginal >= 0


def slow_graduated(steps: tuple[Tier, ...], quantity: Decimal) -> Fraction:
    """What lies of a quantity between the bounds of each tier, at its price; no flat fees."""
    total, lower = Fraction(0), Fraction(0)
    for tier in steps:
        upper = Fraction(quantity if tier.up_to is None else tier.up_to)
        units = max(min(Fraction(quantity), upper) - lower, Fraction(0))
        total += units * Fraction(tier.unit_price)
        lower = upper
    return total


whole_bounds = st.lists(st.integers(1, 120), max_size=4, unique=True).map(sorted)
whole_quantities = st.integers(0, 200)


@st.composite
def whole_tiers(draw: st.DrawFn) -> tuple[Tier, ...]:
    ends: list[int | None] = [*draw(whole_bounds), None]
    return tuple(
        Tier(None if end is None else D(end), draw(unit_prices), draw(amounts)) for end in ends
    )


def tier_of_unit(steps: tuple[Tier, ...] | tuple[Stair, ...], unit: int) -> int:
    """The index of the tier that a unit, counted from 1, lies in."""
    ends = [tier.up_to for tier in steps]
    return next(index for index, end in enumerate(ends) if end is None or unit <= end)


@given(whole_tiers(), whole_quantities, st.booleans())
@pytest.mark.holds("U6")
def test_graduated_equals_a_walk_unit_by_unit(
    steps: tuple[Tier, ...],
    quantity: int,
    at_zero: bool,  # noqa: FBT001 -- drawn
) -> None:
    entered: set[int] = {0} if at_zero and quantity == 0 else set()
    expected = Fraction(0)
    for unit in range(1, quantity + 1):
        index = tier_of_unit(steps, unit)
        entered.add(index)
        expected += Fraction(steps[index].unit_price)
    expected += sum(Fraction(steps[index].flat_fee) for index in entered)
    rated = rate(Graduated(steps, at_zero), Measured(D(quantity)))
    assert Fraction(rated.amount) == expected


@given(whole_tiers(), whole_quantities, st.booleans())
@pytest.mark.holds("U6")
def test_volume_equals_a_walk_unit_by_unit(
    steps: tuple[Tier, ...],
    quantity: int,
    at_zero: bool,  # noqa: FBT001 -- drawn
) -> None:
    expected = Fraction(steps[0].flat_fee) if at_zero else Fraction(0)
    if quantity:
        reached = steps[tier_of_unit(steps, quantity)]
        expected = Fraction(reached.flat_fee)
        for _ in range(quantity):
            expected += Fraction(reached.unit_price)
    assert Fraction(rate(Volume(steps, at_zero), Measured(D(quantity))).amount) == expected


@given(stairs(), whole_quantities)
def test_a_stair_is_the_price_of_the_tier_of_the_last_unit(
    steps: tuple[Stair, ...], quantity: int
) -> None:
    expected = steps[tier_of_unit(steps, quantity)].price if quantity else D(0)
    assert rate(Stairstep(steps), Measured(D(quantity))).amount == expected
    assert rate(Capacity(steps), Measured(D(quantity))).amount == expected


@given(st.integers(1, 40), unit_prices, st.integers(0, 60), st.booleans(), whole_quantities)
def test_packages_equal_a_walk_unit_by_unit(
    size: int,
    price: Decimal,
    free: int,
    minimum_one: bool,  # noqa: FBT001 -- drawn
    quantity: int,
) -> None:
    opened, room = 0, 0
    for unit in range(1, quantity + 1):
        if unit <= free:
            continue
        if room == 0:
            opened, room = opened + 1, size
        room -= 1
    if minimum_one and opened == 0:
        opened = 1
    model = Package(D(size), price, D(free), minimum_one)
    expected = opened * Fraction(price)
    assert Fraction(rate(model, Measured(D(quantity))).amount) == expected


@given(tiered_blocks(whole=True), whole_quantities)
def test_blocks_equal_a_walk_unit_by_unit(model: TieredBlocks, quantity: int) -> None:
    """Units open a block when the last one is full, and the next tier when its blocks are."""
    tier, opened, room, costs = 0, 0, 0, Fraction(0)
    for _ in range(quantity):
        if room == 0:
            if opened == model.tiers[tier].max_blocks:
                tier, opened = tier + 1, 0
            opened, room = opened + 1, int(model.tiers[tier].block_size)
            costs += Fraction(model.tiers[tier].block_price)
        room -= 1
    if model.policy is BlockPolicy.TOP_TIER and quantity:
        reached = model.tiers[tier]
        blocks = -(-quantity // int(reached.block_size))
        costs = blocks * Fraction(reached.block_price)
    assert Fraction(rate(model, Measured(D(quantity))).amount) == costs


@given(percentages, st.lists(numbers(-20, 300), max_size=12))
@pytest.mark.holds("U7")
def test_percentages_equal_a_walk_by_transaction(
    model: Percentage, transactions: list[Decimal]
) -> None:
    positive = [Fraction(value) for value in transactions if value > 0]
    costs = Fraction(0)
    before = Fraction(0)
    for value in positive[model.free_count :]:
        beyond = min(max(before + value - Fraction(model.free_amount), Fraction(0)), value)
        before += value
        if beyond == 0:
            continue
        cost = beyond * Fraction(model.rate) / 100 + Fraction(model.fixed_fee)
        cost = max(cost, Fraction(model.minimum or 0))
        costs += cost if model.maximum is None else min(cost, Fraction(model.maximum))
    measured = Measured(
        exact_sum([value for value in transactions if value > 0]),
        transactions=tuple(transactions),
    )
    assert Fraction(rate(model, measured).amount) == costs


@given(graduated_percentages(), quantities)
def test_graduated_percentages_are_graduated_prices_of_money(
    model: GraduatedPercentage, quantity: Decimal
) -> None:
    steps = tuple(Tier(tier.up_to, tier.rate.scaleb(-2), tier.flat_fee) for tier in model.tiers)
    same = Graduated(steps, model.first_flat_fee_at_zero)
    assert rate(model, Measured(quantity)) == rate(same, Measured(quantity))


@given(matrices(), measurements, st.randoms(use_true_random=False))
def test_a_matrix_prices_each_group_in_any_order(
    model: Matrix, measured: Measured, random: Random
) -> None:
    listed = {cell.values: cell.unit_price for cell in model.prices}
    expected = sum(
        Fraction(quantity) * Fraction(listed.get(key, model.default_unit_price or D(0)))
        for key, quantity in measured.groups
        if quantity > 0
    )
    assert Fraction(rate(model, measured).amount) == expected
    shuffled = list(dict(measured.groups).items())
    ordered = rate(model, Measured(D(0), groups=tuple(shuffled)))
    random.shuffle(shuffled)
    assert rate(model, Measured(D(0), groups=tuple(shuffled))) == ordered


@given(by_quantity)
def test_no_usage_costs_only_what_is_charged_without_usage(model: PricingModel) -> None:
    match model:
        case Graduated() | Volume() | GraduatedPercentage() if model.first_flat_fee_at_zero:
            expected = model.tiers[0].flat_fee
        case Package(minimum_one=True):
            expected = model.price
        case _:
            expected = D(0)
    assert rate(model, Measured(D(0))).amount == expected


@given(by_quantity, quantities, quantities)
def test_what_is_included_is_as_if_it_had_not_been_used(
    model: PricingModel, quantity: Decimal, included: Decimal
) -> None:
    left = after_included(Measured(quantity), included)
    assert left.quantity == max(EXACT.subtract(quantity, included), D(0))
    assert rate(model, left) == rate(model, Measured(left.quantity))


@given(measurements, numbers(0, 2_000))
def test_no_more_is_taken_than_is_included_or_used(measured: Measured, included: Decimal) -> None:
    left = after_included(measured, included)
    for before, after in [
        ([q for _, q in measured.groups], [q for _, q in left.groups]),
        (list(measured.transactions), list(left.transactions)),
    ]:
        used = exact_sum([quantity for quantity in before if quantity > 0])
        assert exact_sum([q for q in after if q > 0]) == max(EXACT.subtract(used, included), D(0))


@given(graduated, quantities, st.sampled_from(["USD", "JPY", "KWD"]))
def test_a_line_is_rounded_once_to_its_currency(
    model: Graduated, quantity: Decimal, currency: str
) -> None:
    exact = rate(model, Measured(quantity)).amount
    line = round_money(exact, currency)
    assert abs(Fraction(line) - Fraction(exact)) <= Fraction(1, 2 * 10 ** exponent(currency))


@given(numbers(-500, 0))
@pytest.mark.holds("U9")
def test_usage_that_corrections_leave_below_zero_is_none(quantity: Decimal) -> None:
    assert rate(PerUnit(D(1)), Measured(quantity)) == Rated(D(0), ())
