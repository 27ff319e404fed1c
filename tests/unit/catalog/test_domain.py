"""Which pricing models fit which meters, and which descriptions say the same."""

from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from apps.catalog.documents.drafts import ChargeDraft, Known, PhaseDraft, PriceDraft, same_terms
from apps.catalog.documents.reading import Reader
from apps.catalog.documents.writing import phases_document
from apps.catalog.domain import (
    ChargeKind,
    MeterTerms,
    PhaseKind,
    PriceTerms,
    Timing,
    misfits,
)
from apps.rating.aggregation import Aggregation, AggregationRule
from apps.rating.periods import Cadence, Unit
from apps.rating.pricing import (
    MODEL_NAMES,
    PerUnit,
    PricingModel,
    parse_pricing,
)

DOCUMENTS: dict[str, dict[str, object]] = {
    "flat": {"amount": "1"},
    "per_unit": {"unit_price": "1"},
    "graduated": {"tiers": [{"up_to": None, "unit_price": "1"}]},
    "volume": {"tiers": [{"up_to": None, "unit_price": "1"}]},
    "package": {"size": "10", "price": "1"},
    "stairstep": {"tiers": [{"up_to": None, "price": "1"}]},
    "capacity": {"tiers": [{"up_to": None, "price": "1"}]},
    "percentage": {"rate": "1"},
    "graduated_percentage": {"tiers": [{"up_to": None, "rate": "1"}]},
    "matrix": {"dimensions": ["region"], "prices": [{"values": ["eu"], "unit_price": "1"}]},
    "tiered_blocks": {
        "policy": "all_tiers",
        "tiers": [{"block_size": "10", "max_blocks": None, "block_price": "1"}],
    },
    "dynamic": {},
    "time_of_day": {
        "zone": "UTC",
        "bands": [{"from": "00:00", "to": "24:00", "unit_price": "1"}],
    },
}
FOR_SEATS = set(MODEL_NAMES) - {
    "percentage",
    "graduated_percentage",
    "matrix",
    "dynamic",
    "time_of_day",
}


def model(name: str, **more: object) -> PricingModel:
    return parse_pricing({"model": name, **DOCUMENTS[name], **more}, currency="USD")


def meter(aggregation: Aggregation, *, recurring: bool = False) -> MeterTerms:
    percentile = Decimal(95) if aggregation is Aggregation.PERCENTILE else None
    rule = AggregationRule(aggregation, percentile, recurring=recurring)
    return MeterTerms(uuid4(), "calls", "Calls", "call", rule, ("region",))


def codes(found: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    return [(path, code) for path, code, _ in found]


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_seats_are_priced_by_their_number_alone(name: str) -> None:
    expected = [] if name in FOR_SEATS else [("model", "model_needs_usage")]

    assert codes(misfits(model(name), None)) == expected


@pytest.mark.parametrize("aggregation", Aggregation)
@pytest.mark.parametrize("name", MODEL_NAMES)
def test_every_model_says_which_aggregations_it_can_price(
    name: str, aggregation: Aggregation
) -> None:
    money = aggregation not in {Aggregation.COUNT, Aggregation.UNIQUE_COUNT}
    additive = aggregation in {Aggregation.COUNT, Aggregation.SUM}
    fits = {
        "percentage": money,
        "graduated_percentage": money,
        "dynamic": additive,
        "time_of_day": additive,
    }.get(name, True)

    found = codes(misfits(model(name), meter(aggregation)))

    assert found == ([] if fits else [("model", "aggregation_unfit")])


def test_a_percentage_of_each_transaction_needs_their_sum() -> None:
    each = model("percentage", fixed_fee="0.30")

    assert misfits(each, meter(Aggregation.SUM)) == []
    assert codes(misfits(each, meter(Aggregation.MAX))) == [("model", "aggregation_unfit")]


@pytest.mark.parametrize("name", ["dynamic", "time_of_day"])
def test_a_level_that_is_carried_on_has_no_price_per_event(name: str) -> None:
    carried = meter(Aggregation.SUM, recurring=True)

    assert codes(misfits(model(name), carried)) == [("model", "aggregation_unfit")]
    assert misfits(model("graduated"), carried) == []


def test_each_dimension_must_be_one_of_the_meter() -> None:
    matrix = parse_pricing(
        {
            "model": "matrix",
            "dimensions": ["size", "region", "colour"],
            "prices": [{"values": ["xl", "eu", "red"], "unit_price": "1"}],
        },
        currency="USD",
    )

    assert codes(misfits(matrix, meter(Aggregation.SUM))) == [
        ("dimensions[0]", "dimension_unknown"),
        ("dimensions[2]", "dimension_unknown"),
    ]


@pytest.mark.parametrize("name", ["graduated", "volume"])
def test_bounds_between_whole_numbers_are_for_what_is_not_counted(name: str) -> None:
    halves = parse_pricing(
        {
            "model": name,
            "tiers": [
                {"up_to": "1", "unit_price": "1"},
                {"up_to": "2.5", "unit_price": "1"},
                {"up_to": None, "unit_price": "1"},
            ],
        },
        currency="USD",
    )

    assert codes(misfits(halves, meter(Aggregation.UNIQUE_COUNT))) == [
        ("tiers[1].up_to", "not_a_whole_number")
    ]
    assert misfits(halves, meter(Aggregation.AVERAGE)) == []


# --- descriptions -------------------------------------------------------------------------------

CHARGE = ChargeDraft(
    key="calls",
    name="Calls",
    kind=ChargeKind.USAGE,
    cadence=Cadence(Unit.MONTH),
    timing=Timing.ARREARS,
    prorated=True,
    meter="calls",
    included_quantity=Decimal(0),
    prices=(PriceDraft("USD", None, PriceTerms(PerUnit(Decimal("0.10")))),),
    meter_version=1,
)


def phases(charge: ChargeDraft) -> tuple[PhaseDraft, ...]:
    return (PhaseDraft(PhaseKind.EVERGREEN, "Evergreen", None, (charge,)),)


def test_the_same_terms_in_other_words() -> None:
    stored = phases(CHARGE)
    shorter = replace(
        CHARGE, prices=(PriceDraft("USD", None, PriceTerms(PerUnit(Decimal("0.1")))),)
    )

    assert same_terms(phases(shorter), stored)
    assert same_terms(phases(replace(CHARGE, meter_version=None)), stored)
    assert same_terms(phases(replace(CHARGE, included_quantity=Decimal("0E-12"))), stored)


@pytest.mark.parametrize(
    "other",
    [
        replace(CHARGE, name="API calls"),
        replace(CHARGE, meter="requests"),
        replace(CHARGE, meter_version=2),
        replace(CHARGE, included_quantity=Decimal(1)),
        replace(CHARGE, cadence=Cadence(Unit.MONTH, 3)),
        replace(CHARGE, prices=()),
    ],
)
def test_other_terms(other: ChargeDraft) -> None:
    assert not same_terms(phases(other), phases(CHARGE))


def test_what_is_written_is_read_as_the_same() -> None:
    calls = meter(Aggregation.SUM)
    known = Known(meters={"calls": calls}, meter_versions={("calls", 1): calls})
    stored = phases(CHARGE)

    reader = Reader(known)
    fields = reader.fields({"phases": phases_document(stored)})
    read = reader.version(fields)
    fields.close()

    assert reader.errors == []
    assert read == stored
    assert same_terms(read, stored)
