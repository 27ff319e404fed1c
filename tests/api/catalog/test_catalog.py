"""Uploading and exporting a whole catalog."""

import threading
from json import dumps, loads
from typing import Any

import pytest
from django.db import connections

from apps.catalog.models import Charge, Plan, PlanVersion, PriceList, Product
from apps.catalog.operations.upload_catalog import Change, upload_catalog
from apps.core.models import AuditEvent
from apps.metering.models import Meter, MeterVersion
from tests.make.api import Api
from tests.make.tenants import ACTOR, AT, make_key, make_tenant

BLOCKS: dict[str, Any] = {
    "model": "tiered_blocks",
    "policy": "all_tiers",
    "tiers": [{"block_size": 1000000, "max_blocks": None, "block_price": "2.0"}],
}
CATALOG: dict[str, Any] = {
    "products": [{"key": "usage-demo", "name": "Usage demo", "kind": "base"}],
    "price_lists": [{"key": "partner", "name": "Partners"}],
    "meters": [
        {
            "key": "input-m-tokens",
            "name": "Input Tokens (per Million)",
            "event_name": "input.tokens",
            "aggregation": "sum",
            "filters": [{"property": "model", "op": "in", "value": ["a", "b", 3]}],
        }
    ],
    "plans": [
        {
            "key": "usage-monthly",
            "name": "Usage Monthly Scenario",
            "product": "usage-demo",
            "phases": [
                {"kind": "trial", "duration": {"unit": "day", "count": 14}},
                {
                    "kind": "evergreen",
                    "name": "Premium",
                    "charges": [
                        {
                            "key": "usage-monthly-1",
                            "meter": "input-m-tokens",
                            "period": "monthly",
                            "prices": [
                                {"currency": "USD", "pricing": BLOCKS, "minimum": "1.00"},
                                {"currency": "USD", "price_list": "partner", "pricing": BLOCKS},
                            ],
                        }
                    ],
                },
            ],
        },
        {
            "key": "seats",
            "currency": "EUR",
            "billing_period": "yearly",
            "charges": [{"key": "seat", "pricing": {"model": "per_unit", "unit_price": "9"}}],
        },
    ],
}


@pytest.mark.django_db
def test_a_catalog_is_uploaded_whole_and_again_changes_nothing() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))

    first = api.post("/catalog", CATALOG)

    ids = {
        row.key: row.public_id
        for model in (Product, PriceList, Meter, Plan)
        for row in model.objects.all()
    }
    seats = Plan.objects.get(key="seats").public_id
    assert first.status_code == 200
    assert first.json() == {
        "object": "catalog_upload",
        "items": [
            {
                "kind": kind,
                "key": key,
                "id": seats if key == "seats" else ids[key],
                "change": "created",
                "version": version,
            }
            for kind, key, version in (
                ("product", "usage-demo", None),
                ("price_list", "partner", None),
                ("meter", "input-m-tokens", 1),
                ("plan", "usage-monthly", 1),
                ("plan", "seats", 1),
            )
        ],
    }
    events = AuditEvent.objects.count()

    again = api.post("/catalog", CATALOG)
    exported = api.get("/catalog").json()
    once_more = api.post("/catalog", exported)

    for answer in (again, once_more):
        assert answer.status_code == 200
        assert {item["change"] for item in answer.json()["items"]} == {"unchanged"}
    assert AuditEvent.objects.count() == events
    assert PlanVersion.objects.count() == 2
    assert [plan["key"] for plan in exported["plans"]] == ["seats", "usage-monthly"]
    assert exported["meters"][0]["filters"] == CATALOG["meters"][0]["filters"]

    other = Api(make_key(make_tenant()))
    moved = other.post("/catalog", exported)
    assert moved.status_code == 200
    assert other.get("/catalog").json() == exported


@pytest.mark.django_db
def test_what_changed_gets_its_next_version() -> None:
    tenant = make_tenant()
    upload_catalog(tenant.id, document=CATALOG, actor=ACTOR, at=AT)
    changed = loads(dumps(CATALOG))
    changed["products"][0]["name"] = "Demo"
    charge = changed["plans"][0]["phases"][1]["charges"][0]
    charge["prices"][0]["pricing"]["tiers"][0]["block_price"] = "3.00"
    changed["plans"][1]["name"] = "Seats by the year"

    made = upload_catalog(tenant.id, document=changed, actor=ACTOR, at=AT)

    assert [(one.key, one.change, one.version) for one in made] == [
        ("usage-demo", Change.CHANGED, None),
        ("partner", Change.UNCHANGED, None),
        ("input-m-tokens", Change.UNCHANGED, 1),
        ("usage-monthly", Change.CHANGED, 2),
        ("seats", Change.CHANGED, 1),
    ]
    assert Product.objects.get(key="usage-demo").name == "Demo"
    assert Plan.objects.get(key="seats").name == "Seats by the year"
    assert list(
        PlanVersion.objects.filter(plan__key="usage-monthly").values_list("number", "status")
    ) == [(1, "published"), (2, "published")]


@pytest.mark.django_db
def test_a_meter_that_is_described_anew_takes_its_plans_along() -> None:
    tenant = make_tenant()
    upload_catalog(tenant.id, document=CATALOG, actor=ACTOR, at=AT)
    revised = loads(dumps(CATALOG))
    revised["meters"][0]["aggregation"] = "max"

    made = upload_catalog(tenant.id, document=revised, actor=ACTOR, at=AT)
    without_meters = upload_catalog(
        tenant.id, document={"plans": CATALOG["plans"]}, actor=ACTOR, at=AT
    )

    assert [(one.key, one.change, one.version) for one in made if one.version] == [
        ("input-m-tokens", Change.CHANGED, 2),
        ("usage-monthly", Change.CHANGED, 2),
        ("seats", Change.UNCHANGED, 1),
    ]
    pinned = Charge.objects.get(phase__version__number=2, phase__version__plan__key="usage-monthly")
    assert pinned.meter_version == MeterVersion.objects.get(number=2)
    assert {one.change for one in without_meters} == {Change.UNCHANGED}


@pytest.mark.django_db
def test_a_draft_is_published_when_it_is_uploaded_again() -> None:
    tenant = make_tenant()
    draft = {"plans": [{**CATALOG["plans"][1], "publish": False}]}
    upload_catalog(tenant.id, document=draft, actor=ACTOR, at=AT)
    assert PlanVersion.objects.get().status == "draft"

    again = upload_catalog(tenant.id, document=draft, actor=ACTOR, at=AT)
    published = upload_catalog(
        tenant.id, document={"plans": [CATALOG["plans"][1]]}, actor=ACTOR, at=AT
    )

    assert [one.change for one in again] == [Change.UNCHANGED]
    assert [one.change for one in published] == [Change.CHANGED]
    assert PlanVersion.objects.get().status == "published"


@pytest.mark.django_db
def test_a_bad_catalog_stores_nothing_and_tells_everything() -> None:
    bad = loads(dumps(CATALOG))
    bad["meters"][0]["filters"] = [{"property": "model", "op": "like", "value": "a"}]
    bad["meters"].append({"key": "input-m-tokens", "aggregation": "count"})
    bad["products"].append({"key": "usage-demo"})
    bad["plans"][0]["phases"][1]["charges"][0]["prices"][0]["pricing"]["tiers"][0] |= {
        "block_size": 0,
        "max_blocks": 5,
    }
    bad["plans"][1]["charges"].append({"meter": "tokens", "pricing": {"model": "dynamic"}})
    bad["plan"] = []
    api = Api(make_key(make_tenant()))

    answer = api.post("/catalog", bad)

    assert answer.status_code == 400
    tier = "plans[0].phases[1].charges[0].prices[0].pricing.tiers[0]"
    assert sorted((one["field"], one["code"]) for one in answer.json()["errors"]) == [
        ("meters[0].filters[0].op", "unknown_choice"),
        ("meters[1].key", "duplicate"),
        ("plan", "unknown_field"),
        (f"{tier}.block_size", "not_positive"),
        (f"{tier}.max_blocks", "last_tier_not_open"),
        ("plans[1].charges[1].meter", "meter_unknown"),
        ("products[1].key", "duplicate"),
    ]
    for model in (Product, PriceList, Meter, MeterVersion, Plan, PlanVersion):
        assert not model.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "status", "field", "code"),
    [
        ({"plans": {}}, 400, "plans", "invalid_type"),
        ({"plans": ["growth"]}, 400, "plans[0]", "invalid_type"),
        ({"meters": [{"key": "calls"}]}, 400, "meters[0].aggregation", "required"),
        (
            {"meters": [{"key": "calls", "aggregation": "count", "group_by": [1]}]},
            400,
            "meters[0].group_by",
            "invalid_type",
        ),
        ({"price_lists": [{"key": "VIP"}]}, 400, "price_lists[0].key", "key_format"),
        ({"products": [{"key": "a", "kind": "thing"}]}, 400, "products[0].kind", "unknown_choice"),
    ],
)
def test_catalogs_of_a_wrong_form_are_refused(
    body: dict[str, Any], status: int, field: str, code: str
) -> None:
    answer = Api(make_key(make_tenant())).post("/catalog", body)

    assert answer.status_code == status
    assert (field, code) in [(one["field"], one["code"]) for one in answer.json()["errors"]]


@pytest.mark.django_db
def test_an_empty_section_is_no_section() -> None:
    api = Api(make_key(make_tenant()))

    answer = api.post("/catalog", {"products": [], "plans": []})

    assert answer.json() == {"object": "catalog_upload", "items": []}


@pytest.mark.django_db
def test_an_archived_plan_is_not_sold_again_by_an_upload() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    api.post("/catalog", CATALOG)
    api.post("/plans/seats/archive")

    answer = api.post("/catalog", CATALOG)

    assert (answer.status_code, answer.json()["errors"]) == (
        422,
        [
            {
                "field": "plans[1].key",
                "code": "plan_archived",
                "detail": "the plan 'seats' is archived",
            }
        ],
    )


@pytest.mark.django_db(transaction=True)
def test_uploads_at_the_same_time_take_turns() -> None:
    tenant = make_tenant()
    barrier = threading.Barrier(4)
    results: list[list[str]] = []

    def upload() -> None:
        barrier.wait()
        made = upload_catalog(tenant.id, document=CATALOG, actor=ACTOR, at=AT)
        results.append([one.change.value for one in made])
        connections.close_all()

    threads = [threading.Thread(target=upload) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == [["created"] * 5, *[["unchanged"] * 5] * 3]
    assert PlanVersion.objects.count() == 2
