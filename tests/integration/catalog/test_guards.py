"""What the database itself refuses of the catalog, and what the books show if it is tricked."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.catalog import invariants
from apps.catalog.models import Charge, ChargePrice, Feature, Phase, PhaseFeature, PlanVersion
from apps.core.constraints import broken
from apps.core.ids import new_id
from tests.make.catalog import make_feature, make_plan, make_price_list
from tests.make.metering import make_meter
from tests.make.tenants import AT, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db


def copy_of(row: Any) -> Any:
    row.pk = new_id()
    row.key = "another"
    row.position = 9
    row.currency = "EUR"
    return row


CHANGES: dict[str, Callable[[], object]] = {
    "the number of a version": lambda: PlanVersion.objects.update(number=7),
    "the time of publishing": lambda: PlanVersion.objects.update(published_at=AT.replace(hour=1)),
    "back to a draft": lambda: PlanVersion.objects.update(status="draft", published_at=None),
    "a version gone": lambda: PlanVersion.objects.all().delete(),
    "the name of a phase": lambda: Phase.objects.update(name="Other"),
    "the end of a phase": lambda: Phase.objects.update(
        kind="fixed_term", length_unit="month", length_count=1
    ),
    "a phase more": lambda: copy_of(Phase.objects.get()).save(force_insert=True),
    "timing": lambda: Charge.objects.update(timing="arrears"),
    "the included quantity": lambda: Charge.objects.update(included_quantity=5),
    "a charge more": lambda: copy_of(Charge.objects.get()).save(force_insert=True),
    "a charge gone": lambda: Charge.objects.all().delete(),
    "an amount": lambda: ChargePrice.objects.update(pricing={"model": "flat", "amount": "1.00"}),
    "a minimum": lambda: ChargePrice.objects.update(minimum=5),
    "a price more": lambda: copy_of(ChargePrice.objects.get()).save(force_insert=True),
    "a price gone": lambda: ChargePrice.objects.all().delete(),
    "a feature more": lambda: PhaseFeature.objects.create(
        tenant_id=Phase.objects.get().tenant_id,
        phase=Phase.objects.get(),
        feature=make_feature(Phase.objects.get().tenant_id, "more"),
    ),
    "a limit": lambda: PhaseFeature.objects.update(limit=5),
    "a feature gone": lambda: PhaseFeature.objects.all().delete(),
}


@pytest.mark.parametrize("retired", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.holds("P5", "F69")
def test_nothing_of_a_published_version_changes(
    change: Callable[[], object], *, retired: bool
) -> None:
    tenant = make_tenant()
    make_feature(tenant.id, "seats")
    make_plan(tenant, features=[{"feature": "seats", "limit": "3"}])
    if retired:
        PlanVersion.objects.update(status="retired")

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        change()

    assert broken(caught.value) == "published_is_frozen"


@pytest.mark.parametrize(
    "name",
    [
        "the name of a phase",
        "a phase more",
        "timing",
        "a charge more",
        "an amount",
        "a price more",
        "a price gone",
        "a version gone",
        "a limit",
        "a feature more",
        "a feature gone",
    ],
)
def test_a_draft_may_still_change(name: str) -> None:
    tenant = make_tenant()
    make_feature(tenant.id, "seats")
    make_plan(tenant, features=[{"feature": "seats", "limit": "3"}], publish=False)

    CHANGES[name]()


@pytest.mark.parametrize(
    ("before", "after"), [("draft", "retired"), ("published", "draft"), ("draft", "sold")]
)
def test_a_version_goes_its_way(before: str, after: str) -> None:
    make_plan(make_tenant(), publish=before == "published")

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        PlanVersion.objects.update(status=after, published_at=AT)

    assert broken(caught.value) == "published_is_frozen"


@pytest.mark.parametrize("changed", [{"kind": "boolean"}, {"key": "other"}])
def test_a_feature_is_what_it_is_for_ever(changed: dict[str, str]) -> None:
    make_feature(make_tenant().id, "seats")
    Feature.objects.update(name="Seats", unit="seat")

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        Feature.objects.update(**changed)

    assert broken(caught.value) == "feature_kept"


def test_a_published_version_is_not_deleted_by_hand_either() -> None:
    make_plan(make_tenant())

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        execute("DELETE FROM catalog_planversion")

    assert broken(caught.value) == "published_is_frozen"


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("catalog_charge", "included_quantity"),
        ("catalog_phasefeature", "limit"),
        ("catalog_chargeprice", "minimum"),
        ("catalog_chargeprice", "maximum"),
        ("catalog_chargeprice", "billing_threshold"),
    ],
)
def test_what_is_no_number_is_refused(table: str, column: str) -> None:
    tenant = make_tenant()
    make_feature(tenant.id, "seats")
    make_plan(tenant, features=[{"feature": "seats", "limit": "3"}], publish=False)

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        execute(f"UPDATE {table} SET \"{column}\" = 'NaN'")  # noqa: S608 -- the test's own words

    assert broken(caught.value) == f"not_nan_{column}"


# --- the books ----------------------------------------------------------------------------------


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def tricked(*statements: str) -> list[tuple[str, int]]:
    """Run SQL with the triggers off; return which rules then complain, and how often."""
    with as_superuser():
        execute(
            "SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED",
            "SET session_replication_role = replica",
            *statements,
            "SET session_replication_role = DEFAULT",
        )
        counts = [(rule.__name__, len(list(rule(None)))) for rule in invariants.RULES]
    return [(name, count) for name, count in counts if count]


def sell() -> None:
    """Have a plan with usage and a price list."""
    tenant = make_tenant()
    make_meter(tenant, key="calls")
    make_price_list(tenant)
    make_plan(
        tenant,
        [
            {
                "meter": "calls",
                "prices": [
                    {"pricing": {"model": "per_unit", "unit_price": "1"}},
                    {
                        "price_list": "partner",
                        "pricing": {"model": "per_unit", "unit_price": "0.9"},
                    },
                ],
            }
        ],
    )


def test_books_that_are_right_are_not_complained_about() -> None:
    sell()
    make_plan(make_tenant(), publish=False)

    assert tricked() == []


@pytest.mark.parametrize(
    ("statement", "complaints"),
    [
        (
            "DELETE FROM catalog_chargeprice WHERE price_list_id IS NULL",
            [("every_charge_has_its_standard_prices", 1)],
        ),
        (
            "UPDATE catalog_chargeprice SET pricing = '{}' WHERE price_list_id IS NULL",
            [("every_price_can_be_read", 1)],
        ),
        (
            "UPDATE catalog_phase SET kind = 'trial', length_unit = 'day', length_count = 1",
            [("every_version_goes_on", 1)],
        ),
        ("UPDATE catalog_phase SET position = 1", [("every_version_goes_on", 1)]),
        (
            "UPDATE catalog_pricelist SET tenant_id = gen_random_uuid()",
            [("parts_belong_to_one_tenant", 1)],
        ),
        (
            "UPDATE catalog_charge SET tenant_id = gen_random_uuid()",
            [("parts_belong_to_one_tenant", 3)],
        ),
        (
            "UPDATE metering_meterversion SET tenant_id = gen_random_uuid()",
            [("parts_belong_to_one_tenant", 1)],
        ),
        (
            "UPDATE catalog_planversion SET tenant_id = gen_random_uuid()",
            [("parts_belong_to_one_tenant", 1)],
        ),
        (
            "UPDATE catalog_product SET tenant_id = gen_random_uuid()",
            [("parts_belong_to_one_tenant", 1)],
        ),
    ],
)
def test_each_rule_of_the_books_sees_what_it_is_for(
    statement: str, complaints: list[tuple[str, int]]
) -> None:
    sell()

    assert tricked(statement) == complaints
