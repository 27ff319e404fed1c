"""Reading pricing models: what is accepted, and every way to be refused."""

import json
from collections.abc import Mapping
from decimal import Decimal

import pytest

from apps.core.errors import FieldError, Invalid
from apps.core.money import CurrencyUnknown
from apps.rating.pricing import (
    MODEL_NAMES,
    Band,
    BlockPolicy,
    BlockTier,
    Capacity,
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Matrix,
    MatrixPrice,
    Package,
    Percentage,
    PercentageTier,
    PerUnit,
    PricingModel,
    Stair,
    Stairstep,
    Tier,
    TieredBlocks,
    TimeOfDay,
    Volume,
    parse_pricing,
    pricing_document,
)

D = Decimal

TIERS = [
    {"up_to": "100", "unit_price": "0.50", "flat_fee": "1.00"},
    {"up_to": None, "unit_price": "0.25", "flat_fee": "0"},
]
TIER_VALUES = (Tier(D(100), D("0.50"), D("1.00")), Tier(None, D("0.25"), D(0)))
STAIRS = [{"up_to": "10", "price": "5.00"}, {"up_to": None, "price": "9.00"}]
STAIR_VALUES = (Stair(D(10), D("5.00")), Stair(None, D("9.00")))
BANDS = [{"from": "08:45", "to": "24:00", "unit_price": "0.30"}]

DOCUMENTS: list[tuple[dict[str, object], PricingModel]] = [
    ({"model": "flat", "amount": "49.00"}, Flat(D("49.00"))),
    ({"model": "per_unit", "unit_price": "0.01"}, PerUnit(D("0.01"))),
    (
        {"model": "graduated", "tiers": TIERS, "first_flat_fee_at_zero": True},
        Graduated(TIER_VALUES),
    ),
    (
        {"model": "volume", "tiers": TIERS, "first_flat_fee_at_zero": False},
        Volume(TIER_VALUES, first_flat_fee_at_zero=False),
    ),
    (
        {
            "model": "package",
            "size": "1000000",
            "price": "0.002",
            "free_units": "5",
            "minimum_one": True,
        },
        Package(D(1000000), D("0.002"), D(5), minimum_one=True),
    ),
    ({"model": "stairstep", "tiers": STAIRS}, Stairstep(STAIR_VALUES)),
    ({"model": "capacity", "tiers": STAIRS}, Capacity(STAIR_VALUES)),
    (
        {
            "model": "percentage",
            "rate": "2.9",
            "fixed_fee": "0.005",
            "free_amount": "10",
            "free_count": 3,
            "minimum": "0.10",
            "maximum": "5.00",
        },
        Percentage(D("2.9"), D("0.005"), D(10), 3, D("0.10"), D("5.00")),
    ),
    (
        {
            "model": "graduated_percentage",
            "tiers": [
                {"up_to": "1000", "rate": "2.5", "flat_fee": "1.00"},
                {"up_to": None, "rate": "1.123456", "flat_fee": "0"},
            ],
            "first_flat_fee_at_zero": False,
        },
        GraduatedPercentage(
            (PercentageTier(D(1000), D("2.5"), D("1.00")), PercentageTier(None, D("1.123456"))),
            first_flat_fee_at_zero=False,
        ),
    ),
    (
        {
            "model": "matrix",
            "dimensions": ["region", "size"],
            "prices": [{"values": ["eu", None], "unit_price": "0.10"}],
            "default_unit_price": "0.05",
        },
        Matrix(("region", "size"), (MatrixPrice(("eu", None), D("0.10")),), D("0.05")),
    ),
    (
        {
            "model": "tiered_blocks",
            "policy": "top_tier",
            "tiers": [
                {"block_size": "10", "max_blocks": 5, "block_price": "2.00"},
                {"block_size": "100.5", "max_blocks": None, "block_price": "0.001"},
            ],
        },
        TieredBlocks(
            BlockPolicy.TOP_TIER,
            (BlockTier(D(10), 5, D("2.00")), BlockTier(D("100.5"), None, D("0.001"))),
        ),
    ),
    ({"model": "dynamic"}, Dynamic()),
    (
        {
            "model": "time_of_day",
            "zone": "Europe/Berlin",
            "bands": BANDS,
            "default_unit_price": "0.10",
        },
        TimeOfDay("Europe/Berlin", (Band(525, 1440, D("0.30")),), D("0.10")),
    ),
]


def problems(document: object, currency: str = "USD") -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        parse_pricing(document, currency=currency)
    assert all(error.detail for error in caught.value.errors)
    return [(error.field, error.code) for error in caught.value.errors]


@pytest.mark.parametrize(("document", "model"), DOCUMENTS)
def test_documents_and_models_are_each_others_inverse(
    document: Mapping[str, object], model: PricingModel
) -> None:
    assert parse_pricing(document, currency="USD") == model
    assert pricing_document(model) == document
    assert json.loads(json.dumps(pricing_document(model))) == document


def test_every_model_is_shown_above() -> None:
    assert {document["model"] for document, _ in DOCUMENTS} == set(MODEL_NAMES)


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        (
            {"model": "graduated", "tiers": [{"up_to": None, "unit_price": 1}]},
            Graduated((Tier(None, D(1)),)),
        ),
        ({"model": "package", "size": 10, "price": "1"}, Package(D(10), D(1))),
        ({"model": "percentage", "rate": 3}, Percentage(D(3))),
        ({"model": "percentage", "rate": 3, "minimum": None}, Percentage(D(3))),
        (
            {
                "model": "matrix",
                "dimensions": ["a"],
                "prices": [{"values": ["x"], "unit_price": 1}],
            },
            Matrix(("a",), (MatrixPrice(("x",), D(1)),)),
        ),
        (
            {
                "model": "time_of_day",
                "zone": "UTC",
                "bands": [
                    {"from": "06:00", "to": "22:00", "unit_price": "2"},
                    {"from": "22:00", "to": "06:00", "unit_price": "1"},
                ],
            },
            TimeOfDay("UTC", (Band(360, 1320, D(2)), Band(1320, 360, D(1)))),
        ),
        (
            {
                "model": "graduated",
                "tiers": [
                    {"from": "0", "up_to": 5, "unit_price": 1},
                    {"from": 5, "up_to": None, "unit_price": "0"},
                ],
            },
            Graduated((Tier(D(5), D(1)), Tier(None, D(0)))),
        ),
    ],
)
def test_defaults(given: Mapping[str, object], meaning: PricingModel) -> None:
    assert parse_pricing(given, currency="USD") == meaning


@pytest.mark.parametrize(
    ("price", "code"),
    [
        ("-0.01", "amount_negative"),
        (-1, "amount_negative"),
        ("1000000000000.000000000001", "amount_too_large"),
        (10**13, "amount_too_large"),
        ("0.0000000000001", "too_many_decimals"),
        ("1_000", "number_format"),
        ("1e5", "number_format"),
        ("\uff11\uff12", "number_format"),
        ("1,000", "number_format"),
        ("", "number_format"),
        ("NaN", "number_format"),
        ("1" * 21, "number_format"),
        (10**20, "number_format"),
        (1.5, "invalid_type"),
        (True, "invalid_type"),
        ([1], "invalid_type"),
        ({}, "invalid_type"),
        (None, "required"),
    ],
)
def test_prices_are_refused(price: object, code: str) -> None:
    assert problems({"model": "per_unit", "unit_price": price}) == [("pricing.unit_price", code)]


@pytest.mark.parametrize("price", ["0", "0.000000000001", "1000000000000", 10**12, D("0.5"), "-0"])
def test_prices_are_accepted(price: object) -> None:
    model = parse_pricing({"model": "per_unit", "unit_price": price}, currency="USD")
    assert model == PerUnit(D(str(price)))


@pytest.mark.parametrize(
    ("amount", "currency", "accepted"),
    [
        ("49.00", "USD", True),
        ("49.000", "USD", True),
        ("49.001", "USD", False),
        ("1", "JPY", True),
        ("1.5", "JPY", False),
        ("1.005", "KWD", True),
        ("1.0005", "KWD", False),
    ],
)
def test_what_is_charged_as_it_is_fits_its_currency(
    amount: str, currency: str, *, accepted: bool
) -> None:
    open_tier = {"up_to": None, "unit_price": "0.000000000001", "flat_fee": amount}
    for document, field in [
        ({"model": "flat", "amount": amount}, "pricing.amount"),
        ({"model": "graduated", "tiers": [open_tier]}, "pricing.tiers[0].flat_fee"),
        ({"model": "volume", "tiers": [open_tier]}, "pricing.tiers[0].flat_fee"),
        (
            {
                "model": "graduated_percentage",
                "tiers": [{"up_to": None, "rate": "1", "flat_fee": amount}],
            },
            "pricing.tiers[0].flat_fee",
        ),
        (
            {"model": "stairstep", "tiers": [{"up_to": None, "price": amount}]},
            "pricing.tiers[0].price",
        ),
        (
            {"model": "capacity", "tiers": [{"up_to": None, "price": amount}]},
            "pricing.tiers[0].price",
        ),
    ]:
        if accepted:
            parse_pricing(document, currency=currency)
        else:
            assert problems(document, currency) == [(field, "currency_precision")]


def tier(up_to: object, **more: object) -> dict[str, object]:
    return {"up_to": up_to, "unit_price": "1"} | more


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        ([], [("", "empty")]),
        ([tier("10")], [("[0].up_to", "last_tier_not_open")]),
        ([tier("10"), tier("20")], [("[1].up_to", "last_tier_not_open")]),
        ([tier(None), tier(None)], [("[0].up_to", "tier_open")]),
        ([tier("10"), tier(None), tier(None)], [("[1].up_to", "tier_open")]),
        ([tier("10"), tier("10"), tier(None)], [("[1].up_to", "tier_duplicate")]),
        ([tier("10"), tier("10.00"), tier(None)], [("[1].up_to", "tier_duplicate")]),
        ([tier("10"), tier("9.999999999999"), tier(None)], [("[1].up_to", "tier_descending")]),
        ([tier("10"), tier("10.000000000001"), tier(None)], []),
        ([tier("0"), tier(None)], [("[0].up_to", "not_positive")]),
        ([tier("-5"), tier(None)], [("[0].up_to", "not_positive")]),
        ([tier("10"), tier("-5"), tier(None)], [("[1].up_to", "not_positive")]),
        ([tier("0.000000000001"), tier(None)], []),
        ([tier("ten"), tier("5"), tier(None)], [("[0].up_to", "number_format")]),
        ([tier([5]), tier(None)], [("[0].up_to", "invalid_type")]),
        ([{"unit_price": "1"}], [("[0].up_to", "required")]),
        ([{"unit_price": "1"}, tier(None)], [("[0].up_to", "required")]),
        ([tier("10"), tier(None, **{"from": "10"})], []),
        ([tier("10"), tier(None, **{"from": "9"})], [("[1].from", "tier_overlap")]),
        ([tier("10"), tier(None, **{"from": "11"})], [("[1].from", "tier_gap")]),
        ([tier(None, **{"from": "1"})], [("[0].from", "tier_gap")]),
        ([tier(None, **{"from": "-1"})], [("[0].from", "tier_overlap")]),
        ([tier(None, **{"from": "x"})], [("[0].from", "number_format")]),
        ([tier(None, **{"from": None})], []),
        ([tier("x"), tier(None, **{"from": "9"})], [("[0].up_to", "number_format")]),
        (["ten"], [("[0]", "invalid_type")]),
        ("ten", [("", "invalid_type")]),
        (None, [("", "invalid_type")]),
        ([tier(None, unit_pryce="1")], [("[0].unit_pryce", "unknown_field")]),
        ([{"up_to": None}], [("[0].unit_price", "required")]),
    ],
)
def test_tiers(tiers: object, expected: list[tuple[str, str]]) -> None:
    document = {"model": "graduated", "tiers": tiers}
    if not expected:
        parse_pricing(document, currency="USD")
        return
    assert problems(document) == [(f"pricing.tiers{path}", code) for path, code in expected]


@pytest.mark.parametrize(
    "model", ["graduated", "volume", "stairstep", "capacity", "graduated_percentage"]
)
def test_all_tiered_models_check_their_bounds(model: str) -> None:
    row = {"volume": "unit_price", "graduated": "unit_price", "graduated_percentage": "rate"}
    key = row.get(model, "price")
    tiers = [{"up_to": "10", key: "1"}, {"up_to": "5", key: "1"}, {"up_to": None, key: "-1"}]
    negative = "rate_out_of_range" if key == "rate" else "amount_negative"
    assert problems({"model": model, "tiers": tiers, "colour": "red"}) == [
        ("pricing.tiers[1].up_to", "tier_descending"),
        (f"pricing.tiers[2].{key}", negative),
        ("pricing.colour", "unknown_field"),
    ]
    assert problems({"model": model}) == [("pricing.tiers", "required")]
    extra = {"up_to": None, key: "1", "colour": "red"}
    assert problems({"model": model, "tiers": [extra]}) == [
        ("pricing.tiers[0].colour", "unknown_field")
    ]


def test_too_many_rows_are_refused() -> None:
    rows = [tier(str(n + 1)) for n in range(9_999)] + [tier(None)]
    assert len(pricing_document(parse_pricing({"model": "volume", "tiers": rows}, currency="USD")))
    assert problems({"model": "volume", "tiers": [tier("0.5"), *rows]}) == [
        ("pricing.tiers", "too_many")
    ]


PACKAGE = {"model": "package", "size": "10", "price": "1"}
PERCENTAGE = {"model": "percentage", "rate": "2.9"}
BLOCK = {"block_size": "10", "max_blocks": None, "block_price": "1"}
BLOCKS = {"model": "tiered_blocks", "policy": "all_tiers", "tiers": [BLOCK]}
CELL = {"values": ["eu", "small"], "unit_price": "1"}
MATRIX = {"model": "matrix", "dimensions": ["region", "size"], "prices": [CELL]}
CLOCK = {
    "model": "time_of_day",
    "zone": "UTC",
    "bands": [{"from": "08:00", "to": "18:00", "unit_price": "1"}],
    "default_unit_price": "0",
}


def bands(*times: tuple[object, object]) -> dict[str, object]:
    return {"bands": [{"from": begin, "to": end, "unit_price": "1"} for begin, end in times]}


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        (PACKAGE, {"size": "0"}, [("size", "not_positive")]),
        (PACKAGE, {"size": "-1"}, [("size", "not_positive")]),
        (PACKAGE, {"size": "0.000000000001"}, []),
        (PACKAGE, {"size": None}, [("size", "required")]),
        (PACKAGE, {"free_units": "-1"}, [("free_units", "quantity_negative")]),
        (PACKAGE, {"free_units": "x"}, [("free_units", "number_format")]),
        (PACKAGE, {"minimum_one": 1}, [("minimum_one", "invalid_type")]),
        (PACKAGE, {"minimum_one": None}, [("minimum_one", "invalid_type")]),
        (PACKAGE, {"price": "0"}, []),
        (PACKAGE, {"pryce": "1"}, [("pryce", "unknown_field")]),
        (PERCENTAGE, {"rate": "100"}, []),
        (PERCENTAGE, {"rate": "0"}, []),
        (PERCENTAGE, {"rate": "100.000001"}, [("rate", "rate_out_of_range")]),
        (PERCENTAGE, {"rate": "-0.000001"}, [("rate", "rate_out_of_range")]),
        (PERCENTAGE, {"rate": "33.333333"}, []),
        (PERCENTAGE, {"rate": "33.3333330"}, []),
        (PERCENTAGE, {"rate": "33.333333333"}, [("rate", "too_many_decimals")]),
        (PERCENTAGE, {"rate": "33.3333331"}, [("rate", "too_many_decimals")]),
        (PERCENTAGE, {"free_count": "3"}, []),
        (PERCENTAGE, {"free_count": -1}, [("free_count", "not_a_whole_number")]),
        (PERCENTAGE, {"free_count": "1.5"}, [("free_count", "not_a_whole_number")]),
        (PERCENTAGE, {"free_count": True}, [("free_count", "invalid_type")]),
        (PERCENTAGE, {"fixed_fee": "-1"}, [("fixed_fee", "amount_negative")]),
        (PERCENTAGE, {"minimum": "2", "maximum": "2"}, []),
        (PERCENTAGE, {"minimum": "2", "maximum": "1"}, [("maximum", "maximum_below_minimum")]),
        (PERCENTAGE, {"minimum": "-1"}, [("minimum", "amount_negative")]),
        (PERCENTAGE, {"free_amount": "-1"}, [("free_amount", "quantity_negative")]),
        (BLOCKS, {"policy": "top"}, [("policy", "unknown_choice")]),
        (BLOCKS, {"policy": None}, [("policy", "invalid_type")]),
        (BLOCKS, {"policy": "  "}, [("policy", "invalid_type")]),
        (BLOCKS, {"tiers": []}, [("tiers", "empty")]),
        (
            BLOCKS,
            {"tiers": [BLOCK, BLOCK]},
            [("tiers[0].max_blocks", "tier_open")],
        ),
        (
            BLOCKS,
            {"tiers": [BLOCK | {"max_blocks": 5}]},
            [("tiers[0].max_blocks", "last_tier_not_open")],
        ),
        (
            BLOCKS,
            {"tiers": [BLOCK | {"max_blocks": 0}, BLOCK]},
            [("tiers[0].max_blocks", "not_a_whole_number")],
        ),
        (BLOCKS, {"tiers": [BLOCK | {"max_blocks": 1}, BLOCK]}, []),
        (
            BLOCKS,
            {"tiers": [BLOCK | {"block_size": "0", "block_price": "-1", "size": 1}]},
            [
                ("tiers[0].block_size", "not_positive"),
                ("tiers[0].block_price", "amount_negative"),
                ("tiers[0].size", "unknown_field"),
            ],
        ),
        (
            BLOCKS,
            {"tiers": [{"block_size": "1", "block_price": "1"}]},
            [("tiers[0].max_blocks", "required")],
        ),
        (
            BLOCKS,
            {"tiers": [{"block_size": "1", "block_price": "1"}, BLOCK]},
            [("tiers[0].max_blocks", "required")],
        ),
        (MATRIX, {"dimensions": []}, [("dimensions", "empty")]),
        (MATRIX, {"dimensions": "region"}, [("dimensions", "invalid_type")]),
        (MATRIX, {"dimensions": ["region", ""]}, [("dimensions[1]", "invalid_type")]),
        (MATRIX, {"dimensions": ["region", 5]}, [("dimensions[1]", "invalid_type")]),
        (MATRIX, {"dimensions": ["region", "region"]}, [("dimensions[1]", "duplicate")]),
        (MATRIX, {"prices": []}, [("prices", "empty")]),
        (MATRIX, {"prices": [CELL, CELL]}, [("prices[1].values", "duplicate")]),
        (MATRIX, {"prices": [CELL | {"values": ["eu"]}]}, [("prices[0].values", "wrong_length")]),
        (MATRIX, {"prices": [CELL | {"values": []}]}, [("prices[0].values", "empty")]),
        (
            MATRIX,
            {"prices": [CELL | {"values": ["eu", 5]}]},
            [("prices[0].values", "invalid_type")],
        ),
        (MATRIX, {"prices": [CELL | {"values": ["eu", None]}]}, []),
        (
            MATRIX,
            {"prices": [CELL | {"unit_price": "-1"}]},
            [("prices[0].unit_price", "amount_negative")],
        ),
        (MATRIX, {"prices": [CELL | {"price": "1"}]}, [("prices[0].price", "unknown_field")]),
        (MATRIX, {"default_unit_price": "-1"}, [("default_unit_price", "amount_negative")]),
        (CLOCK, {"zone": "Mars/Olympus"}, [("zone", "zone_unknown")]),
        (CLOCK, {"zone": None}, [("zone", "invalid_type")]),
        (CLOCK, {"bands": []}, [("bands", "empty")]),
        (CLOCK, bands(("08:00", "08:00")), [("bands[0].to", "band_empty")]),
        (CLOCK, bands(("24:00", "08:00")), [("bands[0].from", "time_format")]),
        (CLOCK, bands(("8:00", "18:00")), [("bands[0].from", "time_format")]),
        (CLOCK, bands(("08:00", "18:60")), [("bands[0].to", "time_format")]),
        (CLOCK, bands(("08:00", "24:01")), [("bands[0].to", "time_format")]),
        (CLOCK, bands(("08:00\n", "18:00")), [("bands[0].from", "time_format")]),
        (
            CLOCK,
            bands((8, None)),
            [("bands[0].from", "invalid_type"), ("bands[0].to", "invalid_type")],
        ),
        (CLOCK, bands(("08:00", "18:00"), ("18:00", "20:00")), []),
        (CLOCK, bands(("08:00", "18:00"), ("17:59", "20:00")), [("bands[1].from", "band_overlap")]),
        (CLOCK, bands(("08:00", "18:00"), ("22:00", "08:01")), [("bands[1].from", "band_overlap")]),
        (CLOCK, bands(("08:00", "18:00"), ("22:00", "08:00")), []),
        (CLOCK, bands(("08:00", "18:00"), ("22:00", "00:00")), []),
        (
            CLOCK,
            bands(("08:00", "18:00")) | {"default_unit_price": None},
            [("default_unit_price", "required")],
        ),
        (
            CLOCK,
            bands(("00:00", "23:59")) | {"default_unit_price": None},
            [("default_unit_price", "required")],
        ),
        (CLOCK, bands(("00:00", "24:00")) | {"default_unit_price": None}, []),
        (
            CLOCK,
            bands(("x", "18:00")) | {"default_unit_price": None},
            [("bands[0].from", "time_format")],
        ),
        (
            CLOCK,
            bands(("08:00", "08:00")) | {"default_unit_price": None},
            [("bands[0].to", "band_empty")],
        ),
        (
            CLOCK,
            {"bands": [{"from": "08:00", "to": "18:00", "unit_price": "1", "zone": "UTC"}]},
            [("bands[0].zone", "unknown_field")],
        ),
        (CLOCK, bands(("08:30", "18:45"), ("18:45", "18:46")), []),
        (
            CLOCK,
            bands(("08:30", "18:45"), ("18:44", "19:00")),
            [("bands[1].from", "band_overlap")],
        ),
        ({"model": "dynamic"}, {"price": "1"}, [("price", "unknown_field")]),
        ({"model": "flat", "amount": "1"}, {"currency": "USD"}, [("currency", "unknown_field")]),
    ],
)
def test_changes_to_a_good_document(
    base: dict[str, object], change: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    if not expected:
        model = parse_pricing(base | change, currency="USD")
        assert parse_pricing(pricing_document(model), currency="USD") == model
        return
    assert problems(base | change) == [(f"pricing.{path}", code) for path, code in expected]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (None, [("pricing", "invalid_type")]),
        ([], [("pricing", "invalid_type")]),
        ("flat", [("pricing", "invalid_type")]),
        ({}, [("pricing.model", "required")]),
        ({"model": None}, [("pricing.model", "invalid_type")]),
        ({"model": 5}, [("pricing.model", "invalid_type")]),
        ({"model": "tiered"}, [("pricing.model", "unknown_choice")]),
    ],
)
def test_the_model_must_be_named(document: object, expected: list[tuple[str, str]]) -> None:
    assert problems(document) == expected


def test_every_problem_is_reported_at_once() -> None:
    document = {
        "model": "graduated",
        "tierz": [],
        "tiers": [
            {"up_to": "5", "unit_price": "-1", "flat_fee": "0.001"},
            {"up_to": 5, "unit_price": True},
            {"up_to": None, "unit_price": "1e5"},
            {"up_to": "3", "unit_price": "1_000"},
        ],
    }
    assert problems(document) == [
        ("pricing.tiers[1].up_to", "tier_duplicate"),
        ("pricing.tiers[2].up_to", "tier_open"),
        ("pricing.tiers[3].up_to", "last_tier_not_open"),
        ("pricing.tiers[0].unit_price", "amount_negative"),
        ("pricing.tiers[0].flat_fee", "currency_precision"),
        ("pricing.tiers[1].unit_price", "invalid_type"),
        ("pricing.tiers[2].unit_price", "number_format"),
        ("pricing.tiers[3].unit_price", "number_format"),
        ("pricing.tierz", "unknown_field"),
    ]


def test_paths_begin_where_the_caller_says() -> None:
    with pytest.raises(Invalid) as caught:
        parse_pricing({"model": "flat"}, currency="USD", field="charges[3].pricing")
    assert caught.value.errors == (
        FieldError("charges[3].pricing.amount", "required", "this field is required"),
    )


def test_an_unknown_field_offers_the_one_that_was_meant() -> None:
    with pytest.raises(Invalid) as caught:
        parse_pricing({"model": "flat", "amount": "1", "amuont": "2"}, currency="USD")
    assert caught.value.errors == (
        FieldError(
            "pricing.amuont", "unknown_field", "there is no such field; did you mean 'amount'?"
        ),
    )
    with pytest.raises(Invalid) as caught:
        parse_pricing({"model": "flat", "amount": "1", "x" * 500: "2"}, currency="USD")
    assert caught.value.errors == (
        FieldError(f"pricing.{'x' * 60}", "unknown_field", "there is no such field"),
    )


def test_an_unknown_model_lists_what_there_is() -> None:
    with pytest.raises(Invalid) as caught:
        parse_pricing({"model": "gradiated"}, currency="USD")
    assert caught.value.errors[0].detail == "'gradiated' is not known; did you mean 'graduated'?"
    with pytest.raises(Invalid) as caught:
        parse_pricing({"model": "zzz"}, currency="USD")
    assert caught.value.errors[0].detail == (
        f"'zzz' is not known: it is one of {', '.join(MODEL_NAMES)}"
    )


def test_the_currency_must_be_known() -> None:
    with pytest.raises(CurrencyUnknown):
        parse_pricing({"model": "dynamic"}, currency="usd")
