"""The catalog as a file: compared, applied, exported."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from apps.catalog.models import AddOnOffer, PlanTransition, PlanVersion
from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant
from tests.make.books import counted_rows
from tests.make.catalog import make_feature, make_plan, make_price_list
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_tenant

pytestmark = pytest.mark.django_db

DOCUMENT = """
meters:
  - key: calls
    aggregation: sum
plans:
  - key: growth
    name: Growth
    currency: USD
    billing_period: monthly
    charges:
      - key: base
        name: Base
        pricing: {model: flat, amount: 49.00}
      - key: calls
        name: Calls
        meter: calls
        pricing: {model: per_unit, unit_price: 0.015}
"""


RULES = """
products:
  - {key: cloud, name: Cloud}
  - {key: storage, name: Storage, kind: add_on}
plans:
  - key: basic
    product: cloud
    currency: USD
    billing_period: monthly
    charges: [{key: base, pricing: {model: flat, amount: 9.00}}]
plan_transitions:
  - from: {plan: growth}
    to: {product: cloud}
    effective: period_end
    behaviour: none
  - to: {plan: basic}
    allowed: false
    reason: Sold no more.
add_on_offers:
  - {base: {product: cloud}, add_on: storage, most: "5"}
  - {base: {plan: growth}, add_on: storage, least: "2"}
"""


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.yaml"
    path.write_text(DOCUMENT)
    return path


def run(capsys: Any, action: str, file: Path | str, tenant: Tenant) -> list[tuple[Any, ...]]:
    call_command("catalog", action, str(file), tenant=f"{tenant.slug}/live", json=True)
    told = json.loads(capsys.readouterr().out)["items"]
    return [(one["kind"], one["key"], one["change"], one["version"]) for one in told]


def test_a_file_is_planned_and_applied_and_then_says_nothing_new(
    tenant: Tenant, file: Path, capsys: Any
) -> None:
    before = counted_rows()
    new = [("meter", "calls", "created", 1), ("plan", "growth", "created", 1)]
    assert run(capsys, "plan", file, tenant) == new
    assert counted_rows() == before
    assert run(capsys, "apply", file, tenant) == new
    after = counted_rows()
    same = [("meter", "calls", "unchanged", 1), ("plan", "growth", "unchanged", 1)]
    assert run(capsys, "plan", file, tenant) == same
    assert run(capsys, "apply", file, tenant) == same
    assert counted_rows() == after


def test_what_is_exported_changes_nothing(tenant: Tenant, tmp_path: Path, capsys: Any) -> None:
    make_price_list(tenant, "partner")
    make_meter(tenant, key="calls", group_by=["region"])
    feature = make_feature(tenant.id, "seats")
    tiers = [{"up_to": "10", "unit_price": "1.5"}, {"up_to": None, "unit_price": "0.000125"}]
    charge = {
        "key": "calls",
        "meter": "calls",
        "included_quantity": "0.5",
        "pricing": {"model": "graduated", "tiers": tiers},
    }
    make_plan(tenant, [charge], key="growth", features=[{"feature": feature.key, "limit": "3"}])
    path = tmp_path / "out.yaml"
    path.write_text(RULES)
    run(capsys, "apply", path, tenant)
    call_command("catalog", "export", str(path), tenant=f"{tenant.slug}/live")
    told = run(capsys, "plan", path, tenant)
    assert {one[2] for one in told} == {"unchanged"}
    assert [
        (kind, key) for kind, key, *_ in told if kind in {"plan_transition", "add_on_offer"}
    ] == [
        ("plan_transition", "the plan growth to any plan of cloud"),
        ("plan_transition", "any plan to the plan basic"),
        ("add_on_offer", "storage for cloud"),
        ("add_on_offer", "storage for growth"),
    ]


def test_an_exported_catalog_makes_the_same_one_elsewhere(
    tenant: Tenant, file: Path, tmp_path: Path, capsys: Any
) -> None:
    run(capsys, "apply", file, tenant)
    file.write_text(RULES)
    run(capsys, "apply", file, tenant)
    there, here, other = tmp_path / "there.yaml", tmp_path / "here.yaml", make_tenant()
    call_command("catalog", "export", str(there), tenant=f"{tenant.slug}/live")
    with tenant_scope(other.id):
        assert {one[2] for one in run(capsys, "apply", there, other)} == {"created"}
        call_command("catalog", "export", str(here), tenant=f"{other.slug}/live")
    assert here.read_text() == there.read_text()


def test_rules_and_offers_are_told_from_others_by_what_they_are_about(
    tenant: Tenant, file: Path, capsys: Any
) -> None:
    run(capsys, "apply", file, tenant)
    file.write_text(RULES)
    run(capsys, "apply", file, tenant)
    rule, offer = PlanTransition.objects.get(from_plan=None), AddOnOffer.objects.get(base_plan=None)
    file.write_text(RULES.replace("Sold no more.", "Gone.").replace('most: "5"', 'most: "6"'))
    before = counted_rows()
    changed = [
        ("plan_transition", "any plan to the plan basic", "changed", None),
        ("add_on_offer", "storage for cloud", "changed", None),
    ]
    told = run(capsys, "plan", file, tenant)
    assert [one for one in told if one[2] != "unchanged"] == changed
    assert counted_rows() == before
    run(capsys, "apply", file, tenant)
    rule.refresh_from_db()
    offer.refresh_from_db()
    assert (rule.reason, offer.most) == ("Gone.", Decimal(6))
    assert {one[2] for one in run(capsys, "apply", file, tenant)} == {"unchanged"}


def test_a_changed_plan_is_a_new_version_and_touches_subscriptions(
    tenant: Tenant, file: Path, capsys: Any
) -> None:
    run(capsys, "apply", file, tenant)
    version = PlanVersion.objects.get(plan__key="growth")
    for _ in range(2):
        make_subscription(make_customer(tenant), version)
    file.write_text(DOCUMENT.replace("49.00", "59.00"))
    before = counted_rows()
    call_command("catalog", "plan", str(file), tenant=f"{tenant.slug}/live", json=True)
    (plan,) = [one for one in json.loads(capsys.readouterr().out)["items"] if one["kind"] == "plan"]
    assert (plan["change"], plan["version"], plan["subscriptions"], plan["previewed"]) == (
        "changed",
        2,
        2,
        2,
    )
    assert [one["currency"] for one in plan["differences"]] == ["USD"]
    assert counted_rows() == before
    call_command("catalog", "apply", str(file), tenant=f"{tenant.slug}/live")
    assert "2 subscriptions keep the version they have" in capsys.readouterr().out
    assert [one.number for one in PlanVersion.objects.order_by("number")] == [1, 2]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("plans: [{key: growth", "cannot be read"),
        ("plans: [{key: growth, prise: 5}]", "prise"),
        ("- 1", "an object is needed"),
        ("plan_transitions: [{to: {plan: nowhere}}]", "no plan 'nowhere'"),
        ("plan_transitions: [{}, {allowed: false}]", "described above already"),
        (
            f"{RULES}  - {{base: {{product: storage}}, add_on: cloud}}",
            "cloud is no add-on, but base",
        ),
        (yaml.safe_dump({"plans": [{"key": "growth", "name": "G", "charges": 7}]}), "charges"),
    ],
)
def test_what_is_no_catalog_is_refused(tenant: Tenant, file: Path, text: str, problem: str) -> None:
    file.write_text(text)
    before = counted_rows()
    for action in ("plan", "apply"):
        with pytest.raises(CommandError, match=problem):
            call_command("catalog", action, str(file), tenant=f"{tenant.slug}/live")
    assert counted_rows() == before


def test_the_tenant_is_named(file: Path) -> None:
    with pytest.raises(CommandError, match="--tenant"):
        call_command("catalog", "plan", str(file))
