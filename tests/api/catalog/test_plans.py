"""Plans, versions and lists over HTTP."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import Plan, PlanVersion, Product
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.catalog import make_plan, make_version, plan_document
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

GROWTH: dict[str, Any] = {
    "key": "plan_growth",
    "name": "Growth",
    "currency": "USD",
    "billing_period": "monthly",
    "charges": [
        {
            "metric_key": "api_calls",
            "pricing": {
                "model": "graduated",
                "tiers": [
                    {"up_to": 100000, "unit_price": 0},
                    {"up_to": 1000000, "unit_price": "0.0001"},
                    {"up_to": None, "unit_price": "0.00005"},
                ],
            },
        },
        {
            "metric_key": None,
            "key": "base_fee",
            "name": "Growth base fee",
            "pricing": {"model": "flat", "amount": "49.00"},
        },
    ],
}


def test_a_plan_is_made_published_from_one_document() -> None:
    tenant = make_tenant()
    make_meter(tenant, key="api_calls", name="API Calls")
    api = Api(make_key(tenant))

    answer = api.post("/plans", GROWTH)

    plan = Plan.objects.get()
    version = PlanVersion.objects.get()
    made = answer.json()
    assert answer.status_code == 201
    assert made == {
        "object": "plan",
        "id": plan.public_id,
        "key": "plan_growth",
        "name": "Growth",
        "description": "",
        "product": "plan_growth",
        "metadata": {},
        "version": 1,
        "versions": [
            {
                "object": "plan_version",
                "id": version.public_id,
                "plan": "plan_growth",
                "plan_id": plan.public_id,
                "number": 1,
                "status": "published",
                "created_at": made["created_at"],
                "published_at": made["created_at"],
                "currencies": ["USD"],
                "phases": [
                    {
                        "kind": "evergreen",
                        "name": "Evergreen",
                        "duration": None,
                        "charges": [
                            {
                                "key": "api_calls",
                                "name": "API Calls",
                                "kind": "usage",
                                "meter": "api_calls",
                                "meter_version": 1,
                                "period": {"unit": "month", "count": 1},
                                "timing": "arrears",
                                "prorated": True,
                                "proration": None,
                                "included_quantity": "0",
                                "prices": [
                                    {
                                        "currency": "USD",
                                        "price_list": None,
                                        "pricing": {
                                            "model": "graduated",
                                            "tiers": [
                                                {
                                                    "up_to": "100000",
                                                    "unit_price": "0",
                                                    "flat_fee": "0",
                                                },
                                                {
                                                    "up_to": "1000000",
                                                    "unit_price": "0.0001",
                                                    "flat_fee": "0",
                                                },
                                                {
                                                    "up_to": None,
                                                    "unit_price": "0.00005",
                                                    "flat_fee": "0",
                                                },
                                            ],
                                            "first_flat_fee_at_zero": True,
                                        },
                                        "minimum": None,
                                        "maximum": None,
                                        "billing_threshold": None,
                                    }
                                ],
                            },
                            {
                                "key": "base_fee",
                                "name": "Growth base fee",
                                "kind": "recurring",
                                "meter": None,
                                "meter_version": None,
                                "period": {"unit": "month", "count": 1},
                                "timing": "advance",
                                "prorated": True,
                                "proration": None,
                                "included_quantity": "0",
                                "prices": [
                                    {
                                        "currency": "USD",
                                        "price_list": None,
                                        "pricing": {"model": "flat", "amount": "49.00"},
                                        "minimum": None,
                                        "maximum": None,
                                        "billing_threshold": None,
                                    }
                                ],
                            },
                        ],
                        "features": [],
                    }
                ],
            }
        ],
        "created_at": made["created_at"],
        "archived_at": None,
    }
    assert Product.objects.get().key == "plan_growth"
    assert api.get("/plans/plan_growth").json() == made
    assert api.get(f"/plans/{plan.public_id}").json() == made
    assert api.get(f"/plan-versions/{version.public_id}").json() == made["versions"][0]


def test_a_repeat_makes_nothing_twice() -> None:
    api = Api(make_key(make_tenant()))
    document = plan_document(key="growth")

    first = api.post("/plans", document, key="k-1")
    second = api.post("/plans", document, key="k-1")
    other_key = api.post("/plans", document, key="k-2")

    assert second.json() == first.json()
    assert Plan.objects.count() == 1
    assert other_key.status_code == 409
    assert other_key.json()["reason"] == "key_taken"


def test_versions_follow_each_other_and_drafts_wait() -> None:
    tenant = make_tenant()
    version = make_plan(tenant, key="growth")
    api = Api(make_key(tenant))
    dearer = {
        "currency": "USD",
        "billing_period": "monthly",
        "charges": [{"key": "base", "pricing": {"model": "flat", "amount": "59.00"}}],
    }

    second = api.post("/plans/growth/versions", {**dearer, "publish": False})
    assert second.status_code == 201
    assert (second.json()["number"], second.json()["status"]) == (2, "draft")
    assert api.get("/plans/growth").json()["version"] == 1

    path = f"/plan-versions/{second.json()['id']}"
    dearer["charges"][0]["pricing"] = {"model": "flat", "amount": "69.00"}  # type: ignore[index]
    replaced = api.put(path, {**dearer, "publish": False})
    assert replaced.status_code == 200
    charge = replaced.json()["phases"][0]["charges"][0]
    assert charge["prices"][0]["pricing"] == {"model": "flat", "amount": "69.00"}

    published = api.post(f"{path}/publish")
    assert (published.status_code, published.json()["status"]) == (200, "published")
    assert api.post(f"{path}/publish").json() == published.json()
    assert api.get("/plans/growth").json()["version"] == 2

    refused = api.put(path, dearer)
    assert (refused.status_code, refused.json()["reason"]) == (409, "version_published")

    retired = api.post(f"/plan-versions/{version.public_id}/retire")
    assert (retired.status_code, retired.json()["status"]) == (200, "retired")
    again = api.post(f"/plan-versions/{version.public_id}/publish")
    assert (again.status_code, again.json()["reason"]) == (409, "illegal_transition")


@pytest.mark.holds("B77")
def test_plans_that_were_sold_or_published_are_not_deleted() -> None:
    tenant = make_tenant()
    sold = make_plan(tenant, key="sold")
    make_subscription(make_customer(tenant), sold)
    make_plan(tenant, key="unsold")
    make_plan(tenant, key="draft", publish=False)
    api = Api(make_key(tenant))

    answers = {key: api.delete(f"/plans/{key}") for key in ("sold", "unsold", "draft")}

    assert {key: answer.status_code for key, answer in answers.items()} == {
        "sold": 409,
        "unsold": 409,
        "draft": 204,
    }
    assert answers["sold"].json()["reason"] == "in_use"
    assert answers["unsold"].json()["reason"] == "version_published"
    assert sorted(Plan.objects.values_list("key", flat=True)) == ["sold", "unsold"]
    archived = api.post("/plans/unsold/archive")
    assert archived.status_code == 200
    assert archived.json()["archived_at"] is not None
    assert archived.json()["version"] is None
    assert api.post("/plans/unsold/archive").json() == archived.json()


def test_products_and_price_lists() -> None:
    api = Api(make_key(make_tenant()))

    product = api.post("/products", {"key": "seats", "name": "Seats", "kind": "add_on"})
    price_list = api.post("/price-lists", {"key": "partner", "name": "Partners"})

    assert product.status_code == 201
    assert product.json() == {
        "object": "product",
        "id": product.json()["id"],
        "key": "seats",
        "name": "Seats",
        "kind": "add_on",
        "tax_code": "",
        "description": "",
        "created_at": product.json()["created_at"],
    }
    assert api.get("/products/seats").json() == product.json()
    assert api.get("/products").json()["data"] == [product.json()]
    assert price_list.status_code == 201
    assert price_list.json() == {
        "object": "price_list",
        "id": price_list.json()["id"],
        "key": "partner",
        "name": "Partners",
        "created_at": price_list.json()["created_at"],
    }
    assert api.get(f"/price-lists/{price_list.json()['id']}").json() == price_list.json()
    taken = api.post("/price-lists", {"key": "partner", "name": "Again"})
    assert (taken.status_code, taken.json()["reason"]) == (409, "key_taken")


@pytest.mark.parametrize("count", [1, 3])
def test_lists_take_as_many_queries_for_three_plans_as_for_one(count: int) -> None:
    tenant = make_tenant()
    for _ in range(count):
        make_version(make_plan(tenant))
    api = Api(make_key(tenant))

    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = api.get("/plans")
    with CaptureQueriesContext(connection) as of_versions:
        versions = api.get("/plan-versions", status="published")
    key = answer.json()["data"][0]["key"]
    with CaptureQueriesContext(connection) as of_one:
        api.get(f"/plans/{key}")

    assert len(answer.json()["data"]) == count
    assert len(versions.json()["data"]) == 2 * count
    assert (len(queries), len(of_versions), len(of_one)) == (3, 2, 7)


def test_another_tenant_sees_and_touches_nothing() -> None:
    version = make_plan(make_tenant(), key="growth")
    api = Api(make_key(make_tenant(mode=Mode.TEST)))

    assert api.get("/plans").json()["data"] == []
    assert api.get("/catalog").json() == {
        "products": [],
        "price_lists": [],
        "meters": [],
        "features": [],
        "plans": [],
        "plan_transitions": [],
        "add_on_offers": [],
    }
    for path in (f"/plans/{version.plan.public_id}", f"/plan-versions/{version.public_id}"):
        assert api.get(path).status_code == 404
    for path in (
        f"/plans/{version.plan.public_id}/versions",
        f"/plan-versions/{version.public_id}/retire",
        "/plans/growth/archive",
    ):
        body = plan_document() if path.endswith("/versions") else None
        assert api.post(path, body).status_code == 404


def test_scopes() -> None:
    tenant = make_tenant()
    reader = Api(make_key(tenant, scopes=["catalog:read"]))

    assert reader.get("/plans").status_code == 200
    refused = reader.post("/plans", plan_document())
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
