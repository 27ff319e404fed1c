"""What is refused of plans: status, code, the field to blame, and that nothing is stored."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from apps.catalog.models import Charge, ChargePrice, Phase, Plan, PlanVersion, Product
from apps.rating.aggregation import Aggregation
from tests.make.api import Api
from tests.make.catalog import make_price_list
from tests.make.metering import make_meter
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

Json = Mapping[str, Any]
PRICING: Final = "charges[0].pricing"


def tiers(*bounds: object, **last: object) -> Json:
    return {
        "model": "graduated",
        "tiers": [{"up_to": bound, "unit_price": "1", **last} for bound in bounds],
    }


def priced(pricing: Json, **charge: object) -> Json:
    return {"charges": [{"meter": "calls", "pricing": pricing, **charge}]}


def recurring(pricing: Json, **charge: object) -> Json:
    return {"charges": [{"key": "base", "pricing": pricing, **charge}]}


def phases(*kinds: str, **first: object) -> Json:
    found = [
        {"kind": kind, **({} if kind == "evergreen" else {"duration": "monthly"})} for kind in kinds
    ]
    found[0] = {**found[0], **first}  # type: ignore[dict-item]
    return {"charges": None, "phases": found}


FLAT: Final = {"model": "flat", "amount": "49.00"}
PER_UNIT: Final = {"model": "per_unit", "unit_price": "0.01"}

BAD: Final[dict[str, tuple[Json, int, str, str]]] = {
    # B63 to B67, amounts and currencies
    "negative amount": (
        recurring({"model": "flat", "amount": "-1"}),
        400,
        "amount_negative",
        f"{PRICING}.amount",
    ),
    "negative unit price": (
        priced({"model": "per_unit", "unit_price": "-0.01"}),
        400,
        "amount_negative",
        f"{PRICING}.unit_price",
    ),
    "amount beyond any book": (
        recurring({"model": "flat", "amount": "1000000000001"}),
        400,
        "amount_too_large",
        f"{PRICING}.amount",
    ),
    "13 decimals": (
        priced({"model": "per_unit", "unit_price": "0.0000000000001"}),
        400,
        "too_many_decimals",
        f"{PRICING}.unit_price",
    ),
    "flat fee finer than a cent": (
        recurring({"model": "flat", "amount": "49.001"}),
        400,
        "currency_precision",
        f"{PRICING}.amount",
    ),
    "flat fee finer than a yen": (
        {"currency": "JPY", **recurring({"model": "flat", "amount": "1.5"})},
        400,
        "currency_precision",
        f"{PRICING}.amount",
    ),
    "minimum finer than a cent": (
        priced(PER_UNIT, minimum="0.001"),
        400,
        "currency_precision",
        "charges[0].minimum",
    ),
    "number in words": (
        recurring({"model": "flat", "amount": "1e3"}),
        400,
        "number_format",
        f"{PRICING}.amount",
    ),
    "currency in small letters": ({"currency": "usd"}, 400, "currency_unknown", "currency"),
    "currency too short": ({"currency": "US"}, 400, "currency_unknown", "currency"),
    "currency for testing": ({"currency": "XXX"}, 400, "currency_unknown", "currency"),
    "currency of no country": ({"currency": "BTC"}, 400, "currency_unknown", "currency"),
    "currency with a space": ({"currency": "EUR "}, 400, "currency_unknown", "currency"),
    "no currency at all": ({"currency": None}, 400, "required", PRICING),
    "prices without a currency": (
        {"currency": None, "charges": [{"key": "base", "prices": [{"pricing": FLAT}]}]},
        400,
        "required",
        "charges[0].prices[0].currency",
    ),
    "a currency that the other charge lacks": (
        {
            "charges": [
                {"key": "base", "pricing": FLAT},
                {"key": "more", "prices": [{"currency": "EUR", "pricing": FLAT}]},
            ]
        },
        422,
        "price_missing",
        "charges[0].prices",
    ),
    "only a price list's price": (
        {"charges": [{"key": "base", "prices": [{"price_list": "partner", "pricing": FLAT}]}]},
        422,
        "price_missing",
        "charges[0].prices",
    ),
    "two prices for the same": (
        {"charges": [{"key": "base", "prices": [{"pricing": FLAT}, {"pricing": FLAT}]}]},
        422,
        "duplicate",
        "charges[0].prices[1].currency",
    ),
    "unknown price list": (
        {"charges": [{"key": "base", "prices": [{"price_list": "vip", "pricing": FLAT}]}]},
        422,
        "price_list_unknown",
        "charges[0].prices[0].price_list",
    ),
    "prices that look at usage in two ways": (
        {
            "charges": [
                {
                    "meter": "money",
                    "prices": [
                        {"pricing": {"model": "dynamic"}},
                        {
                            "price_list": "partner",
                            "pricing": {"model": "percentage", "rate": "1", "fixed_fee": "1"},
                        },
                    ],
                }
            ]
        },
        422,
        "measured_differently",
        "charges[0].prices[1].pricing",
    ),
    # B68 and B69, tiers
    "tiers descend": (
        priced(tiers("100", "50", None)),
        422,
        "tier_descending",
        f"{PRICING}.tiers[1].up_to",
    ),
    "the same bound twice": (
        priced(tiers("100", "100", None)),
        422,
        "tier_duplicate",
        f"{PRICING}.tiers[1].up_to",
    ),
    "the last tier is closed": (
        priced(tiers("100", "200")),
        422,
        "last_tier_not_open",
        f"{PRICING}.tiers[1].up_to",
    ),
    "two open tiers": (priced(tiers(None, None)), 422, "tier_open", f"{PRICING}.tiers[0].up_to"),
    "no tiers": (priced(tiers()), 422, "empty", f"{PRICING}.tiers"),
    "a gap": (
        priced(
            {
                "model": "graduated",
                "tiers": [
                    {"from": "0", "up_to": "100", "unit_price": "1"},
                    {"from": "101", "up_to": None, "unit_price": "1"},
                ],
            }
        ),
        422,
        "tier_gap",
        f"{PRICING}.tiers[1].from",
    ),
    "an overlap": (
        priced(
            {
                "model": "volume",
                "tiers": [
                    {"up_to": "100", "unit_price": "1"},
                    {"from": "90", "up_to": None, "unit_price": "1"},
                ],
            }
        ),
        422,
        "tier_overlap",
        f"{PRICING}.tiers[1].from",
    ),
    "the first tier begins late": (
        priced({"model": "volume", "tiers": [{"from": "10", "up_to": None, "unit_price": "1"}]}),
        422,
        "tier_gap",
        f"{PRICING}.tiers[0].from",
    ),
    "bound of zero": (priced(tiers("0", None)), 422, "not_positive", f"{PRICING}.tiers[0].up_to"),
    "negative bound": (
        priced(tiers("-5", None)),
        422,
        "not_positive",
        f"{PRICING}.tiers[0].up_to",
    ),
    "half a call": (
        priced(tiers("1.5", None)),
        422,
        "not_a_whole_number",
        f"{PRICING}.tiers[0].up_to",
    ),
    # B70 and B71, packages and percentages
    "package of nothing": (
        priced({"model": "package", "size": "0", "price": "1"}),
        400,
        "not_positive",
        f"{PRICING}.size",
    ),
    "package of less than nothing": (
        priced({"model": "package", "size": "-1", "price": "1"}),
        400,
        "not_positive",
        f"{PRICING}.size",
    ),
    "block of nothing": (
        priced(
            {
                "model": "tiered_blocks",
                "policy": "all_tiers",
                "tiers": [{"block_size": "0", "max_blocks": None, "block_price": "2"}],
            }
        ),
        400,
        "not_positive",
        f"{PRICING}.tiers[0].block_size",
    ),
    "150 per cent": (
        priced({"model": "percentage", "rate": "150"}, meter="money"),
        400,
        "rate_out_of_range",
        f"{PRICING}.rate",
    ),
    "-25 per cent": (
        priced({"model": "percentage", "rate": "-25"}, meter="money"),
        400,
        "rate_out_of_range",
        f"{PRICING}.rate",
    ),
    "a third of a per cent": (
        priced({"model": "percentage", "rate": "33.333333333"}, meter="money"),
        400,
        "too_many_decimals",
        f"{PRICING}.rate",
    ),
    # B74 and B76, durations and periods
    "trial of -30 days": (
        phases("trial", "evergreen", duration={"unit": "day", "count": -30}),
        400,
        "not_a_whole_number",
        "phases[0].duration.count",
    ),
    "trial of 10,000 days": (
        phases("trial", "evergreen", duration={"unit": "day", "count": 10_000}),
        400,
        "cadence_invalid",
        "phases[0].duration.count",
    ),
    "period of 0 months": (
        {"billing_period": {"unit": "month", "count": 0}},
        400,
        "not_a_whole_number",
        "billing_period.count",
    ),
    "period of -1 month": (
        {"billing_period": {"unit": "month", "count": -1}},
        400,
        "not_a_whole_number",
        "billing_period.count",
    ),
    "period of a million months": (
        {"billing_period": {"unit": "month", "count": 1_000_000}},
        400,
        "cadence_invalid",
        "billing_period.count",
    ),
    "period in fortnights": (
        {"billing_period": "fortnightly"},
        400,
        "unknown_choice",
        "billing_period",
    ),
    "no period": ({"billing_period": None}, 400, "required", "charges[0].period"),
    "a fixed charge with a period": (
        recurring(FLAT, kind="fixed", period="monthly"),
        422,
        "not_for_fixed",
        "charges[0].period",
    ),
    # phases
    "a trial for ever": (phases("trial"), 422, "last_phase", "phases[0].kind"),
    "a discount for ever": (phases("trial", "discount"), 422, "last_phase", "phases[1].kind"),
    "something after for ever": (
        phases("evergreen", "fixed_term"),
        422,
        "phase_unreachable",
        "phases[0].kind",
    ),
    "a trial that comes late": (
        phases("discount", "trial", "evergreen"),
        422,
        "trial_late",
        "phases[1].kind",
    ),
    "for ever, for a month": (
        phases("evergreen", duration="monthly"),
        422,
        "evergreen_ends",
        "phases[0].duration",
    ),
    "a fixed term without an end": (
        phases("fixed_term", duration=None),
        400,
        "required",
        "phases[0].duration",
    ),
    "no phases": ({"charges": None, "phases": []}, 422, "empty", "phases"),
    "both charges and phases": (
        {"phases": [{"kind": "evergreen"}]},
        400,
        "ambiguous",
        "charges",
    ),
    # B78, keys
    "key with a space": ({"key": "my plan"}, 400, "key_format", "key"),
    "key with capitals": ({"key": "Growth"}, 400, "key_format", "key"),
    "key from right to left": ({"key": "\u202egrowth"}, 400, "key_format", "key"),
    "key that climbs": ({"key": "../growth"}, 400, "key_format", "key"),
    "key of a charge": (recurring(FLAT, key="a b"), 400, "key_format", "charges[0].key"),
    "the same charge twice": (
        {"charges": [{"key": "a", "pricing": FLAT}, {"key": "a", "pricing": FLAT}]},
        422,
        "duplicate",
        "charges[1].key",
    ),
    # B79, nothing is evaluated
    "a formula for a number": (
        recurring({"model": "flat", "amount": "__import__('os')"}),
        400,
        "number_format",
        f"{PRICING}.amount",
    ),
    "a division by zero": (
        priced({"model": "per_unit", "unit_price": "1/0"}),
        400,
        "number_format",
        f"{PRICING}.unit_price",
    ),
    "a model of the caller's own": (
        priced({"model": "custom", "expression": "1/0"}),
        400,
        "unknown_choice",
        f"{PRICING}.model",
    ),
    # meters and what can be priced with them
    "unknown meter": (priced(PER_UNIT, meter="cals"), 422, "meter_unknown", "charges[0].meter"),
    "unknown version of a meter": (
        priced(PER_UNIT, meter_version=7),
        422,
        "meter_unknown",
        "charges[0].meter_version",
    ),
    "usage without a meter": (
        recurring(PER_UNIT, kind="usage"),
        422,
        "meter_mismatch",
        "charges[0].meter",
    ),
    "a meter without usage": (
        priced(PER_UNIT, kind="recurring"),
        422,
        "meter_mismatch",
        "charges[0].meter",
    ),
    "a dimension that the meter lacks": (
        priced(
            {
                "model": "matrix",
                "dimensions": ["region", "size"],
                "prices": [{"values": ["eu", "xl"], "unit_price": "1"}],
            },
            meter="money",
        ),
        422,
        "dimension_unknown",
        f"{PRICING}.dimensions[1]",
    ),
    "percentage of a count": (
        priced({"model": "percentage", "rate": "2.9"}),
        422,
        "aggregation_unfit",
        f"{PRICING}.model",
    ),
    "prices by event of a maximum": (
        priced({"model": "dynamic"}, meter="peak"),
        422,
        "aggregation_unfit",
        f"{PRICING}.model",
    ),
    "prices by hour of a maximum": (
        priced(
            {
                "model": "time_of_day",
                "zone": "UTC",
                "bands": [{"from": "00:00", "to": "24:00", "unit_price": "1"}],
            },
            meter="peak",
        ),
        422,
        "aggregation_unfit",
        f"{PRICING}.model",
    ),
    "percentage of seats": (
        recurring({"model": "percentage", "rate": "2.9"}),
        422,
        "model_needs_usage",
        f"{PRICING}.model",
    ),
    "usage in advance": (
        priced(PER_UNIT, timing="advance"),
        422,
        "timing_mismatch",
        "charges[0].timing",
    ),
    "minimum above maximum": (
        priced(PER_UNIT, minimum="10", maximum="5"),
        422,
        "maximum_below_minimum",
        "charges[0].maximum",
    ),
    "minimum of seats": (
        recurring(FLAT, minimum="10"),
        422,
        "only_for_usage",
        "charges[0].minimum",
    ),
    "negative included quantity": (
        priced(PER_UNIT, included_quantity="-1"),
        400,
        "quantity_negative",
        "charges[0].included_quantity",
    ),
    # B18, fields nobody knows
    "unknown field": ({"curency": "USD"}, 400, "unknown_field", "curency"),
    "unknown field of a charge": (
        recurring(FLAT, amout="1"),
        400,
        "unknown_field",
        "charges[0].amout",
    ),
    "unknown field of a tier": (
        priced(tiers(None, unit_prise="1")),
        400,
        "unknown_field",
        f"{PRICING}.tiers[0].unit_prise",
    ),
    "no charges": ({"charges": None}, 400, "required", "charges"),
    "charges in an object": ({"charges": {}}, 400, "invalid_type", "charges"),
    "a charge in a string": ({"charges": ["base"]}, 400, "invalid_type", "charges[0]"),
    "metadata that nests": ({"metadata": {"a": {}}}, 400, "metadata_format", "metadata"),
    "name of 10,000 letters": ({"name": "x" * 10_000}, 400, "text_length", "name"),
    "name with NUL": ({"name": "a\x07b"}, 400, "control_character", "name"),
    "unknown product": ({"product": "seats"}, 422, "product_unknown", "product"),
}


def document(patch: Json) -> dict[str, Any]:
    """Return a good plan, patched; what is patched with None is left out."""
    whole: dict[str, Any] = {
        "key": "growth",
        "currency": "USD",
        "billing_period": "monthly",
        "charges": [{"key": "base", "pricing": FLAT}],
        **patch,
    }
    return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    make_meter(tenant, key="calls", aggregation=Aggregation.COUNT)
    make_meter(tenant, key="money", group_by=["region"])
    make_meter(tenant, key="peak", aggregation=Aggregation.MAX)
    make_price_list(tenant)
    return Api(make_key(tenant))


@pytest.mark.parametrize(
    ("patch", "status", "code", "field"), [pytest.param(*row, id=name) for name, row in BAD.items()]
)
@pytest.mark.holds(
    "B63", "B64", "B65", "B66", "B67", "B68", "B69", "B70", "B71", "B74", "B76", "B78", "B79"
)
def test_a_bad_plan_is_refused(api: Api, patch: Json, status: int, code: str, field: str) -> None:
    answer = api.post("/plans", document(patch))

    problem = answer.json()
    found = {(one["field"], one["code"]) for one in problem["errors"]}
    assert (answer.status_code, (field, code) in found, problem["code"]) == (
        status,
        True,
        "VAL_001",
    ), problem
    for model in (Product, Plan, PlanVersion, Phase, Charge, ChargePrice):
        assert not model.objects.exists()


def test_the_document_that_the_bad_ones_differ_from_is_good(api: Api) -> None:
    assert api.post("/plans", document({})).status_code == 201


def test_every_problem_is_told_at_once(api: Api) -> None:
    answer = api.post(
        "/plans",
        {
            "key": "Growth",
            "currency": "USD",
            "billing_period": "never",
            "phases": [
                {"kind": "trial", "duration": {"unit": "day", "count": 14}},
                {
                    "kind": "evergreen",
                    "charges": [
                        {"key": "base", "period": "monthly", "pricing": FLAT, "prorate": True},
                        {
                            "meter": "calls",
                            "period": "monthly",
                            "pricing": tiers("100", "50", "10"),
                            "minimum": "5",
                            "maximum": "1",
                        },
                    ],
                },
            ],
        },
    )

    assert answer.status_code == 400
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [
        ("key", "key_format"),
        ("billing_period", "unknown_choice"),
        ("phases[1].charges[0].prorate", "unknown_field"),
        ("phases[1].charges[1].maximum", "maximum_below_minimum"),
        ("phases[1].charges[1].pricing.tiers[1].up_to", "tier_descending"),
        ("phases[1].charges[1].pricing.tiers[2].up_to", "last_tier_not_open"),
        ("phases[1].charges[1].pricing.tiers[2].up_to", "tier_descending"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "body_empty"),
        ("{a: 1}", 400, "json_invalid"),
        ("[]", 400, "json_type"),
        ('{"key": "a", "key": "b"}', 400, "json_duplicate_key"),
        ('{"key": NaN}', 400, "json_nan"),
    ],
)
def test_a_body_that_is_no_document_is_refused(api: Api, body: str, status: int, code: str) -> None:
    answer = api.post("/plans", body)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)


@pytest.mark.parametrize("path", ["/products", "/price-lists"])
@pytest.mark.parametrize("key", ["my plan", "Growth", "\u202egrowth", "../growth", "a" * 101])
def test_lists_refuse_bad_keys(api: Api, path: str, key: str) -> None:
    answer = api.post(path, {"key": key, "name": "A name"})

    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [("key", "key_format")]


def test_terms_of_a_version_are_read_as_strictly(api: Api) -> None:
    api.post("/plans", document({}))

    answer = api.post(
        "/plans/growth/versions",
        {"currency": "USD", "key": "growth", "charges": [{"key": "base", "pricing": FLAT}]},
    )

    assert answer.status_code == 400
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [
        ("charges[0].period", "required"),
        ("key", "unknown_field"),
    ]
    assert PlanVersion.objects.count() == 1


def test_whole_bounds_are_asked_of_meters_that_count_alone(api: Api) -> None:
    answer = api.post("/plans", document(priced(tiers("1.5", None), meter="money")))

    assert answer.status_code == 201
