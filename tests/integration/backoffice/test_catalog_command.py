"""The catalog as a file: compared, applied, exported."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from apps.catalog.models import PlanVersion
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
    call_command("catalog", "export", str(path), tenant=f"{tenant.slug}/live")
    assert {one[2] for one in run(capsys, "plan", path, tenant)} == {"unchanged"}
    assert len(run(capsys, "plan", path, tenant)) >= 4


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
