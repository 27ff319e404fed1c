"""Reading the terms of charges, and what is on sale."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from apps.catalog.domain import ChargeKind, ChargeTerms, MeterTerms, PriceTerms, Timing
from apps.catalog.models import Charge, Plan, PlanVersion
from apps.catalog.operations.plans import archive_plan, replace_draft, retire_version
from apps.catalog.queries import charges_of, price_list_ids, version_on_sale
from apps.core.ids import new_id
from apps.metering.models import MeterVersion
from apps.rating.aggregation import Aggregation, AggregationRule, QuantityRounding, RoundingMode
from apps.rating.periods import Cadence, Unit
from apps.rating.pricing import Flat, PerUnit
from tests.make.catalog import make_plan, make_price_list, make_version, plan_document
from tests.make.metering import make_meter
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db


def phase_ids(version: PlanVersion) -> list[UUID]:
    return list(version.phases.values_list("pk", flat=True))


def test_charges_are_told_as_they_were_published() -> None:
    tenant = make_tenant()
    make_meter(
        tenant,
        key="calls",
        name="API Calls",
        unit="call",
        group_by=["region"],
        rounding=RoundingMode.UP,
        rounding_places=2,
        recurring=True,
    )
    partner = make_price_list(tenant)
    version = make_plan(
        tenant,
        [
            {"key": "setup", "kind": "fixed", "pricing": {"model": "flat", "amount": "99.00"}},
            {
                "key": "usage",
                "meter": "calls",
                "period": {"unit": "week", "count": 2},
                "included_quantity": "100",
                "prorated": False,
                "prices": [
                    {
                        "pricing": {"model": "per_unit", "unit_price": "0.01"},
                        "minimum": "5.00",
                        "maximum": "50.00",
                        "billing_threshold": "20.00",
                    },
                    {
                        "price_list": "partner",
                        "pricing": {"model": "per_unit", "unit_price": "0.008"},
                    },
                ],
            },
        ],
    )

    (found,) = charges_of(phase_ids(version)).values()

    setup, usage = Charge.objects.order_by("position")
    assert found == (
        ChargeTerms(
            id=setup.pk,
            key="setup",
            name="setup",
            kind=ChargeKind.FIXED,
            cadence=None,
            timing=Timing.ADVANCE,
            prorated=True,
            meter=None,
            included_quantity=Decimal(0),
            prices={(None, "USD"): PriceTerms(Flat(Decimal(99)))},
            product=version.plan.product.key,
        ),
        ChargeTerms(
            id=usage.pk,
            key="usage",
            name="API Calls",
            kind=ChargeKind.USAGE,
            cadence=Cadence(Unit.WEEK, 2),
            timing=Timing.ARREARS,
            prorated=False,
            meter=MeterTerms(
                version_id=MeterVersion.objects.get().pk,
                key="calls",
                name="API Calls",
                unit="call",
                rule=AggregationRule(
                    Aggregation.SUM,
                    rounding=QuantityRounding(RoundingMode.UP, 2),
                    recurring=True,
                ),
                group_by=("region",),
            ),
            included_quantity=Decimal(100),
            prices={
                (None, "USD"): PriceTerms(
                    PerUnit(Decimal("0.01")), Decimal(5), Decimal(50), Decimal(20)
                ),
                (partner.pk, "USD"): PriceTerms(PerUnit(Decimal("0.008"))),
            },
            product=version.plan.product.key,
        ),
    )
    assert found[1].price(partner.pk, "USD") == found[1].prices[partner.pk, "USD"]
    assert found[0].price(partner.pk, "USD") == found[0].prices[None, "USD"]
    assert found[0].price(None, "EUR") is None


def test_published_charges_are_read_once(django_assert_num_queries: Any) -> None:
    tenant = make_tenant()
    one, other = make_plan(tenant), make_plan(tenant)

    phases = [*phase_ids(one), *phase_ids(other)]

    with django_assert_num_queries(3):
        first = charges_of(phases)
    with django_assert_num_queries(0):
        second = charges_of(phases)

    assert first == second


def test_drafts_are_read_as_they_are() -> None:
    draft = make_plan(make_tenant(), publish=False)
    before = charges_of(phase_ids(draft))
    document = plan_document([{"key": "other", "pricing": {"model": "flat", "amount": "1.00"}}])
    replace_draft(
        draft.pk,
        document={name: value for name, value in document.items() if name not in {"key", "name"}}
        | {"publish": False},
        actor=ACTOR,
        at=AT,
    )

    after = charges_of(phase_ids(draft))

    assert [one.key for listed in before.values() for one in listed] == ["base"]
    assert [one.key for listed in after.values() for one in listed] == ["other"]


def test_an_unknown_phase_has_no_charges() -> None:
    unknown = new_id()

    assert charges_of([unknown]) == {unknown: ()}
    assert charges_of([]) == {}


def test_price_lists_are_told_by_key() -> None:
    tenant = make_tenant()
    partner = make_price_list(tenant)
    make_price_list(make_tenant())

    assert price_list_ids(tenant.pk) == {"partner": partner.pk}


def test_the_newest_published_version_is_on_sale() -> None:
    first = make_plan(make_tenant())
    second = make_version(first)
    make_version(first, publish=False)
    plan = Plan.objects.get()

    assert version_on_sale(plan) == second
    assert version_on_sale(plan, 1) == first
    assert version_on_sale(plan, 3) is None

    retire_version(second.pk, actor=ACTOR, at=AT)
    assert version_on_sale(plan) == first

    assert version_on_sale(archive_plan(plan.pk, actor=ACTOR, at=AT)) is None
