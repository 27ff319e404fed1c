"""What each pricing model charges, at and around every bound."""

import json
from datetime import UTC, datetime
from decimal import Context, Decimal, localcontext

import pytest

from apps.core.money import round_money
from apps.rating.pricing import (
    DEFAULT_BAND,
    Band,
    Graduated,
    GraduatedPercentage,
    Measured,
    Need,
    PercentageTier,
    PricingModel,
    Rated,
    Step,
    Tier,
    TimeOfDay,
    Volume,
    after_included,
    band_of,
    needs,
    parse_pricing,
    rate,
    step_document,
)

D = Decimal


def priced(text: str, currency: str = "USD") -> PricingModel:
    return parse_pricing(json.loads(text), currency=currency)


def amount_of(text: str, quantity: str, currency: str = "USD") -> Decimal:
    rated = rate(priced(text, currency), Measured(D(quantity)))
    assert sum(step.amount for step in rated.steps) == rated.amount
    return rated.amount


FLAT = '{"model": "flat", "amount": "49.00"}'
PER_UNIT = '{"model": "per_unit", "unit_price": "0.000000000001"}'
ABAXUS = """{"model": "graduated", "tiers": [
    {"up_to": "100000", "unit_price": "0"},
    {"up_to": "1000000", "unit_price": "0.0001"},
    {"up_to": null, "unit_price": "0.00005"}]}"""
FEES = """"tiers": [
    {"up_to": "10", "unit_price": "2", "flat_fee": "1.00"},
    {"up_to": "20", "unit_price": "1", "flat_fee": "5.00"},
    {"up_to": null, "unit_price": "0.5", "flat_fee": "7.00"}]"""
GRADUATED = f'{{"model": "graduated", {FEES}}}'
VOLUME = f'{{"model": "volume", {FEES}}}'
PACKAGE = '{"model": "package", "size": "100", "price": "5.00", "free_units": "50"}'
STAIRS = """"tiers": [
    {"up_to": "10", "price": "5.00"}, {"up_to": "20", "price": "9.00"},
    {"up_to": null, "price": "12.00"}]"""
BLOCKS = """"tiers": [
    {"block_size": "10", "max_blocks": 2, "block_price": "3.00"},
    {"block_size": "100", "max_blocks": null, "block_price": "20.00"}]"""
AVIATE = """{"model": "tiered_blocks", "policy": "all_tiers", "tiers": [
    {"block_size": "1000000", "max_blocks": null, "block_price": "2.00"}]}"""


@pytest.mark.parametrize(
    ("model", "quantity", "amount"),
    [
        (FLAT, "0", "49.00"),
        (FLAT, "1000", "49.00"),
        (PER_UNIT, "0", "0"),
        (PER_UNIT, "1", "0.000000000001"),
        (PER_UNIT, "12345678901234567890.5", "12345678.9012345678905"),
        # the design documents' own examples
        (ABAXUS, "1200000", "100.00"),
        (ABAXUS, "0", "0"),
        (ABAXUS, "100000", "0"),
        (ABAXUS, "100001", "0.0001"),
        (ABAXUS, "1000000", "90"),
        (ABAXUS, "1000001", "90.00005"),
        (AVIATE, "0", "0"),
        (AVIATE, "1", "2.00"),
        (AVIATE, "100000", "2.00"),
        (AVIATE, "1000000", "2.00"),
        (AVIATE, "1000000.000000000001", "4.00"),
        (AVIATE, "2000001", "6.00"),
        # each tier entered charges its flat fee; the unit at the bound belongs below
        (GRADUATED, "0", "1"),
        (GRADUATED, "0.5", "2"),
        (GRADUATED, "10", "21"),
        (GRADUATED, "10.000000000001", "26.000000000001"),
        (GRADUATED, "11", "27"),
        (GRADUATED, "20", "36"),
        (GRADUATED, "20.5", "43.25"),
        (GRADUATED, "30", "48"),
        # all units at the price of the last one
        (VOLUME, "0", "1"),
        (VOLUME, "1", "3"),
        (VOLUME, "10", "21"),
        (VOLUME, "10.5", "15.5"),
        (VOLUME, "20", "25"),
        (VOLUME, "21", "17.5"),
        # packages after the free units
        (PACKAGE, "0", "0"),
        (PACKAGE, "50", "0"),
        (PACKAGE, "50.000000000001", "5"),
        (PACKAGE, "150", "5"),
        (PACKAGE, "150.5", "10"),
        (PACKAGE, "250", "10"),
        (PACKAGE.replace("}", ', "minimum_one": true}'), "0", "5"),
        (PACKAGE.replace("}", ', "minimum_one": true}'), "50", "5"),
        (PACKAGE.replace("}", ', "minimum_one": true}'), "151", "10"),
        # one price for the tier reached
        (f'{{"model": "stairstep", {STAIRS}}}', "0", "0"),
        (f'{{"model": "stairstep", {STAIRS}}}', "0.1", "5"),
        (f'{{"model": "stairstep", {STAIRS}}}', "10", "5"),
        (f'{{"model": "stairstep", {STAIRS}}}', "10.1", "9"),
        (f'{{"model": "stairstep", {STAIRS}}}', "20", "9"),
        (f'{{"model": "stairstep", {STAIRS}}}', "21", "12"),
        (f'{{"model": "capacity", {STAIRS}}}', "0", "0"),
        (f'{{"model": "capacity", {STAIRS}}}', "10", "5"),
        (f'{{"model": "capacity", {STAIRS}}}', "999", "12"),
        # blocks that fill tier after tier
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "0", "0"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "10", "3"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "10.1", "6"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "20", "6"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "20.1", "26"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "120", "26"),
        (f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}', "121", "46"),
        # blocks of the tier that the last unit lies in
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "0", "0"),
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "10", "3"),
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "20", "6"),
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "21", "20"),
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "100", "20"),
        (f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}', "101", "40"),
        # a share of the sum
        ('{"model": "percentage", "rate": "2.9"}', "150", "4.35"),
        ('{"model": "percentage", "rate": "2.9", "free_amount": "100"}', "99", "0"),
        ('{"model": "percentage", "rate": "2.9", "free_amount": "100"}', "150", "1.45"),
        ('{"model": "percentage", "rate": "0"}', "150", "0"),
        ('{"model": "percentage", "rate": 100}', "150", "150"),
    ],
)
def test_amounts(model: str, quantity: str, amount: str) -> None:
    assert amount_of(model, quantity) == D(amount)


GRADUATED_PERCENTAGE = """{"model": "graduated_percentage", "tiers": [
    {"up_to": "1000", "rate": "3", "flat_fee": "2.00"}, {"up_to": null, "rate": "1.5"}]}"""


@pytest.mark.parametrize(
    ("quantity", "amount"), [("0", "2"), ("100", "5"), ("1000", "32"), ("1100", "33.5")]
)
def test_graduated_percentage(quantity: str, amount: str) -> None:
    assert amount_of(GRADUATED_PERCENTAGE, quantity) == D(amount)


@pytest.mark.parametrize("model", [GRADUATED, VOLUME, GRADUATED_PERCENTAGE])
def test_the_first_flat_fee_without_usage_can_be_switched_off(model: str) -> None:
    switched = json.loads(model) | {"first_flat_fee_at_zero": False}
    assert rate(priced(json.dumps(switched)), Measured(D(0))) == Rated(D(0), ())
    used = Measured(D(5))
    assert rate(priced(json.dumps(switched)), used) == rate(priced(model), used)


@pytest.mark.parametrize("model", [PER_UNIT, ABAXUS, GRADUATED, VOLUME, PACKAGE, AVIATE])
def test_usage_below_zero_is_priced_as_none(model: str) -> None:
    assert rate(priced(model), Measured(D(-5))) == rate(priced(model), Measured(D(0)))


@pytest.mark.parametrize(("currency", "rounded"), [("USD", "0.01"), ("JPY", "0"), ("KWD", "0.005")])
def test_a_sub_cent_price_is_rounded_by_its_currency_once(currency: str, rounded: str) -> None:
    model = '{"model": "per_unit", "unit_price": "0.0005"}'
    assert str(round_money(amount_of(model, "10", currency), currency)) == rounded


def test_the_steps_of_graduated_tiers() -> None:
    assert rate(priced(GRADUATED), Measured(D("20.5"))).steps == (
        Step("Tier 1", D(10), D(2), D(1), D(21), D(0), D(10)),
        Step("Tier 2", D(10), D(1), D(5), D(15), D(10), D(20)),
        Step("Tier 3", D("0.5"), D("0.5"), D(7), D("7.25"), D(20), None),
    )
    assert rate(priced(GRADUATED), Measured(D(0))).steps == (
        Step("Tier 1", D(0), D(2), D(1), D(1), D(0), D(10)),
    )


def test_models_charge_the_first_flat_fee_without_usage_unless_told_not_to() -> None:
    tiers = (Tier(None, D(1), D(3)),)
    assert rate(Graduated(tiers), Measured(D(0))).amount == D(3)
    assert rate(Volume(tiers), Measured(D(0))).amount == D(3)
    money = GraduatedPercentage((PercentageTier(None, D(1), D(3)),))
    assert rate(money, Measured(D(0))).amount == D(3)


def test_tiers_that_end_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="must be open"):
        rate(Volume((Tier(D(5), D(1)),)), Measured(D(6)))


def test_what_is_not_measured_is_none() -> None:
    assert Measured(D(5)) == Measured(D(5), 0, (), (), D(0), ())
    assert DEFAULT_BAND == -1


def test_the_step_of_a_volume_price() -> None:
    assert rate(priced(VOLUME), Measured(D(10))).steps == (
        Step("Tier 1", D(10), D(2), D(1), D(21), D(0), D(10)),
    )
    assert rate(priced(VOLUME), Measured(D(21))).steps == (
        Step("Tier 3", D(21), D("0.5"), D(7), D("17.5"), D(20), None),
    )


def test_the_step_of_a_stair() -> None:
    assert rate(priced(f'{{"model": "stairstep", {STAIRS}}}'), Measured(D(15))).steps == (
        Step("Tier 2", D(15), None, D(9), D(9), D(10), D(20)),
    )


def test_the_steps_of_packages() -> None:
    assert rate(priced(PACKAGE), Measured(D(30))).steps == (
        Step("Free units", D(30), D(0), D(0), D(0), D(0), D(50)),
    )
    assert rate(priced(PACKAGE), Measured(D(251))).steps == (
        Step("Free units", D(50), D(0), D(0), D(0), D(0), D(50)),
        Step("Packages of 100", D(3), D(5), D(0), D(15), D(50), None),
    )


def test_the_steps_of_blocks() -> None:
    all_tiers = priced(f'{{"model": "tiered_blocks", "policy": "all_tiers", {BLOCKS}}}')
    assert rate(all_tiers, Measured(D(21))).steps == (
        Step("Tier 1", D(2), D(3), D(0), D(6), D(0), D(20)),
        Step("Tier 2", D(1), D(20), D(0), D(20), D(20), None),
    )
    top_tier = priced(f'{{"model": "tiered_blocks", "policy": "top_tier", {BLOCKS}}}')
    assert rate(top_tier, Measured(D(15))).steps == (
        Step("Tier 1", D(2), D(3), D(0), D(6), D(0), D(20)),
    )
    assert rate(top_tier, Measured(D(121))).steps == (
        Step("Tier 2", D(2), D(20), D(0), D(40), D(20), None),
    )


def test_the_steps_of_a_flat_fee_and_of_units() -> None:
    assert rate(priced(FLAT), Measured(D(7))).steps == (Step("Flat fee", D(1), None, D(49), D(49)),)
    assert rate(priced('{"model": "per_unit", "unit_price": "2"}'), Measured(D(7))).steps == (
        Step("Units", D(7), D(2), D(0), D(14)),
    )


CARD = {"model": "percentage", "rate": "2.9", "fixed_fee": "0.30"}


@pytest.mark.parametrize(
    ("terms", "transactions", "amount"),
    [
        ({}, [], "0"),
        ({}, ["100"], "3.20"),
        ({}, ["100", "50"], "4.95"),
        ({}, ["0", "-20", "100"], "3.20"),
        ({"free_count": 1}, ["100", "50"], "1.75"),
        ({"free_count": 1}, ["50", "100"], "3.20"),
        ({"free_count": 1}, ["-1", "50", "100"], "3.20"),
        ({"free_count": 2}, ["100", "50"], "0"),
        # what lies wholly within the free amount pays no fixed fee either
        ({"free_amount": "100"}, ["100", "50"], "1.75"),
        ({"free_amount": "120"}, ["100", "50"], "1.17"),
        ({"free_amount": "120"}, ["60", "60", "50"], "1.75"),
        ({"free_count": 1, "free_amount": "20"}, ["100", "50"], "1.17"),
        ({"minimum": "0.50"}, ["1", "100"], "3.70"),
        ({"minimum": "3.20"}, ["100"], "3.20"),
        ({"maximum": "3.00"}, ["1", "100"], "3.329"),
        ({"maximum": "3.20"}, ["100"], "3.20"),
        ({"minimum": "1", "maximum": "2"}, ["10", "50", "1000"], "4.75"),
        ({"maximum": "0"}, ["100"], "0"),
        ({"fixed_fee": "0", "maximum": "0"}, ["100"], "0"),
        ({"fixed_fee": "0", "minimum": "5"}, ["100", "200"], "10.80"),
        ({"minimum": "5", "free_amount": "100"}, ["100", "1"], "5"),
    ],
)
def test_percentage_of_transactions(
    terms: dict[str, object], transactions: list[str], amount: str
) -> None:
    model = parse_pricing(CARD | terms, currency="USD")
    values = tuple(map(D, transactions))
    rated = rate(model, Measured(sum(values, D(0)), len(values), transactions=values))
    assert rated.amount == D(amount)
    assert sum(step.amount for step in rated.steps) == rated.amount


def test_the_steps_of_a_percentage() -> None:
    terms = CARD | {"free_amount": "20", "minimum": "0.50", "maximum": "3.00"}
    model = parse_pricing(terms, currency="USD")
    assert rate(model, Measured(D(0), transactions=(D(21), D(200), D(10)))).steps == (
        Step("Free", D(20), D(0), D(0), D(0)),
        Step("Rate of 2.9 %", D(211), D("0.029"), D(0), D("6.119")),
        Step("Fixed fee per transaction", D(3), D("0.30"), D(0), D("0.90")),
        Step("Raised to the minimum", D(1), None, D(0), D("0.171")),
        Step("Cut at the maximum", D(1), None, D(0), D("-3.10")),
    )
    without_fee = parse_pricing({"model": "percentage", "rate": "1.50"}, currency="USD")
    assert rate(without_fee, Measured(D(10))).steps == (
        Step("Rate of 1.5 %", D(10), D("0.015"), D(0), D("0.15")),
    )


@pytest.mark.parametrize("terms", [{"minimum": "3.20"}, {"maximum": "3.20"}])
def test_a_transaction_at_its_limit_is_neither_raised_nor_cut(terms: dict[str, object]) -> None:
    rated = rate(
        parse_pricing(CARD | terms, currency="USD"), Measured(D(0), transactions=(D(100),))
    )
    assert [step.label for step in rated.steps] == ["Rate of 2.9 %", "Fixed fee per transaction"]


MATRIX = {
    "model": "matrix",
    "dimensions": ["region", "size"],
    "prices": [
        {"values": ["eu", "small"], "unit_price": "0.10"},
        {"values": ["eu", None], "unit_price": "0.20"},
    ],
    "default_unit_price": "0.05",
}
GROUPS = (
    (("us", "small"), D(10)),
    (("eu", None), D(2)),
    (("eu", "small"), D(3)),
    (("eu", "big"), D(0)),
    ((None, None), D(-4)),
)


def test_matrix() -> None:
    rated = rate(parse_pricing(MATRIX, currency="USD"), Measured(D(15), groups=GROUPS))
    assert rated == Rated(
        D("1.20"),
        (
            Step("eu / small", D(3), D("0.10"), D(0), D("0.30")),
            Step("eu / (none)", D(2), D("0.20"), D(0), D("0.40")),
            Step("us / small", D(10), D("0.05"), D(0), D("0.50")),
        ),
    )


def test_a_matrix_without_a_default_says_what_has_no_price() -> None:
    model = parse_pricing(MATRIX | {"default_unit_price": None}, currency="USD")
    rated = rate(model, Measured(D(15), groups=GROUPS))
    assert rated.amount == D("0.70")
    assert rated.steps[-1] == Step("us / small: no price", D(10), None, D(0), D(0))


def test_a_default_of_zero_is_a_price() -> None:
    model = parse_pricing(MATRIX | {"default_unit_price": "0"}, currency="USD")
    assert rate(model, Measured(D(10), groups=GROUPS[:1])).steps == (
        Step("us / small", D(10), D(0), D(0), D(0)),
    )


def test_dynamic() -> None:
    model = priced('{"model": "dynamic"}')
    assert rate(model, Measured(D(3), 3, priced=D("1.2345"))) == Rated(
        D("1.2345"), (Step("Priced by event", D(3), None, D(0), D("1.2345")),)
    )
    assert rate(model, Measured(D(3), 3, priced=D("-1"))).amount == 0
    assert rate(model, Measured(D(0))).steps == ()
    assert rate(model, Measured(D(0), priced=D(2))).amount == 2
    assert rate(model, Measured(D(2))).steps == (Step("Priced by event", D(2), None, D(0), D(0)),)


DAY_AND_NIGHT = """{"model": "time_of_day", "zone": "Europe/Berlin",
    "bands": [{"from": "08:00", "to": "18:00", "unit_price": "0.30"},
              {"from": "22:00", "to": "06:00", "unit_price": "0.05"}],
    "default_unit_price": "0.10"}"""


@pytest.mark.parametrize(
    ("at", "band"),
    [
        ("2026-01-15 06:59:59.999999", DEFAULT_BAND),  # 07:59:59.999999 in Berlin
        ("2026-01-15 07:00", 0),
        ("2026-01-15 16:59:59.999999", 0),
        ("2026-01-15 17:00", DEFAULT_BAND),
        ("2026-01-15 20:59", DEFAULT_BAND),
        ("2026-01-15 21:00", 1),
        ("2026-01-15 23:00", 1),
        ("2026-01-16 04:59", 1),
        ("2026-01-16 05:00", DEFAULT_BAND),
        ("2026-07-15 05:59", DEFAULT_BAND),  # summer: two hours ahead
        ("2026-07-15 06:00", 0),
        ("2026-07-15 16:00", DEFAULT_BAND),
    ],
)
def test_band_of(at: str, band: int) -> None:
    model = priced(DAY_AND_NIGHT)
    assert isinstance(model, TimeOfDay)
    assert band_of(model, datetime.fromisoformat(at).replace(tzinfo=UTC)) == band


def test_time_of_day() -> None:
    bands = ((1, D(100)), (DEFAULT_BAND, D(20)), (0, D(10)), (1, D(1)), (0, D("0.5")))
    assert rate(priced(DAY_AND_NIGHT), Measured(D("131.5"), bands=bands)) == Rated(
        D("10.20"),
        (
            Step("08:00 to 18:00", D("10.5"), D("0.30"), D(0), D("3.150")),
            Step("22:00 to 06:00", D(101), D("0.05"), D(0), D("5.05")),
            Step("Other times", D(20), D("0.10"), D(0), D("2.00")),
        ),
    )
    empty = Measured(D(0), bands=((0, D(0)), (1, D(-1)), (DEFAULT_BAND, D(0))))
    assert rate(priced(DAY_AND_NIGHT), empty) == Rated(D(0), ())


@pytest.mark.parametrize(("band", "amount"), [(0, "0.30"), (1, "0.05"), (DEFAULT_BAND, "0.10")])
def test_bands_that_nothing_is_used_in_cost_nothing(band: int, amount: str) -> None:
    used = Measured(D(1), bands=((band, D(1)),))
    assert rate(priced(DAY_AND_NIGHT), used).amount == D(amount)


def test_bands_begin_and_end_at_any_minute() -> None:
    model = TimeOfDay("UTC", (Band(8 * 60 + 30, 9 * 60 + 45, D("0.30")),), D("0.10"))
    minutes = ["08:29", "08:30", "09:44", "09:45"]
    found = [band_of(model, datetime.fromisoformat(f"2026-01-15 {m}+00:00")) for m in minutes]
    assert found == [DEFAULT_BAND, 0, 0, DEFAULT_BAND]
    halves = Measured(D(1), bands=((0, D("0.5")), (DEFAULT_BAND, D("0.5"))))
    assert rate(model, halves).amount == D("0.20")


@pytest.mark.parametrize(
    ("model", "need"),
    [
        (FLAT, Need.QUANTITY),
        (PER_UNIT, Need.QUANTITY),
        (GRADUATED, Need.QUANTITY),
        (VOLUME, Need.QUANTITY),
        (PACKAGE, Need.QUANTITY),
        (f'{{"model": "stairstep", {STAIRS}}}', Need.QUANTITY),
        (f'{{"model": "capacity", {STAIRS}}}', Need.QUANTITY),
        (AVIATE, Need.QUANTITY),
        (GRADUATED_PERCENTAGE, Need.QUANTITY),
        ('{"model": "percentage", "rate": "1", "free_amount": "5"}', Need.QUANTITY),
        ('{"model": "percentage", "rate": "1", "minimum": "0"}', Need.QUANTITY),
        ('{"model": "percentage", "rate": "1", "fixed_fee": "5"}', Need.TRANSACTIONS),
        ('{"model": "percentage", "rate": "1", "free_count": 1}', Need.TRANSACTIONS),
        ('{"model": "percentage", "rate": "1", "minimum": "1"}', Need.TRANSACTIONS),
        ('{"model": "percentage", "rate": "1", "maximum": "0"}', Need.TRANSACTIONS),
        (json.dumps(MATRIX), Need.GROUPS),
        ('{"model": "dynamic"}', Need.PRICED),
        (DAY_AND_NIGHT, Need.BANDS),
    ],
)
def test_needs(model: str, need: Need) -> None:
    assert needs(priced(model)) is need


def test_rating_is_exact_whatever_the_context_of_the_caller() -> None:
    with localcontext(Context(prec=2)):
        assert rate(priced(ABAXUS), Measured(D("1234567.891"))).amount == D("101.72839455")


def test_no_digit_is_lost_at_the_largest_sizes() -> None:
    model = priced('{"model": "per_unit", "unit_price": "999999999999.999999999999"}')
    rated = rate(model, Measured(D("99999999999999999999.999999999999")))
    assert rated.amount == D("99999999999999999999999899999999.000000000000000000000001")
    assert rated.steps[0].amount == rated.amount


def test_step_document() -> None:
    step = Step("Tier 1", D("1E+6"), D("0.000050"), D("0.00"), D("50.0000"), D("0"), None)
    assert step_document(step) == {
        "label": "Tier 1",
        "quantity": "1000000",
        "unit_price": "0.00005",
        "flat_fee": "0",
        "amount": "50",
        "lower": "0",
        "upper": None,
    }
    assert step_document(Step("Flat fee", D(1), None, D(49), D(49)))["unit_price"] is None


USED = Measured(
    D(10),
    count=4,
    groups=((("b",), D(4)), ((None,), D(1)), (("a",), D(5))),
    transactions=(D(3), D(-1), D(7), D(1)),
    priced=D(6),
    bands=((DEFAULT_BAND, D(3)), (1, D(5)), (0, D(2))),
)


@pytest.mark.parametrize("included", ["0", "-3"])
def test_nothing_included_changes_nothing(included: str) -> None:
    assert after_included(USED, D(included)) == USED


def test_included_units_are_taken_in_order() -> None:
    assert after_included(USED, D(4)) == Measured(
        D(6),
        count=4,
        groups=((("a",), D(1)), (("b",), D(4)), ((None,), D(1))),
        transactions=(D(6), D(1)),
        priced=D(6),
        bands=((1, D(3)), (DEFAULT_BAND, D(3))),
    )
    assert after_included(USED, D(9)).groups == (((None,), D(1)),)


def test_included_units_are_taken_from_bands_in_the_order_of_the_price() -> None:
    bands = ((1, D(2)), (0, D(5)))
    assert after_included(Measured(D(7), bands=bands), D(5)).bands == ((1, D(2)),)


@pytest.mark.parametrize("included", ["10", "11", "100"])
def test_more_included_than_used_leaves_nothing(included: str) -> None:
    left = after_included(USED, D(included))
    assert (left.quantity, left.groups, left.bands) == (D(0), (), ())


def test_what_is_included_is_subtracted_to_the_last_digit() -> None:
    with localcontext(Context(prec=3)):
        left = after_included(Measured(D("12345.000000000001")), D("0.000000000001"))
    assert left.quantity == D(12345)
