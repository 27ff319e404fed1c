"""Subscriptions over HTTP."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import PlanVersion
from apps.core.ids import decode
from apps.customers.models import Customer
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.catalog import make_plan, make_price_list, make_version
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _the_same_day() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def shop(**customer: Any) -> Api:
    """Return the API of a tenant with the plan ``growth`` and the customer ``acme``."""
    tenant = make_tenant(slug="shop")
    make_meter(tenant, key="calls")
    make_plan(
        tenant,
        [
            {"key": "base", "pricing": {"model": "flat", "amount": "49.00"}},
            {"meter": "calls", "pricing": {"model": "per_unit", "unit_price": "0.01"}},
        ],
        key="growth",
    )
    make_customer(tenant, external_id="acme", **{"zone": "Europe/Berlin", **customer})
    return Api(make_key(tenant))


def test_a_subscription_begins_on_a_day_of_the_customer_s_zone() -> None:
    api = shop()

    answer = api.post(
        "/subscriptions", {"customer": "acme", "plan": "growth", "start_date": "2026-04-01"}
    )

    row = Subscription.objects.get()
    version = row.plan_version
    segment = row.segments.get()
    made = answer.json()
    assert answer.status_code == 201
    assert made == {
        "object": "subscription",
        "id": row.public_id,
        "status": "active",
        "customer": row.customer.public_id,
        "external_id": None,
        "plan": "growth",
        "plan_id": version.plan.public_id,
        "plan_version": 1,
        "plan_version_id": version.public_id,
        "price_list": None,
        "currency": "USD",
        "zone": "Europe/Berlin",
        "quantity": "1",
        "alignment": "anniversary",
        "anchor_day": None,
        "started_at": "2026-03-31T22:00:00Z",
        "ends_at": None,
        "term": None,
        "term_ends_at": None,
        "auto_renew": True,
        "current_period": {"start": "2026-04-30T22:00:00Z", "end": "2026-05-31T22:00:00Z"},
        "add_ons": [],
        "segments": [
            {
                "starts_at": "2026-03-31T22:00:00Z",
                "ends_at": None,
                "plan_version": 1,
                "plan_version_id": version.public_id,
                "phase": {
                    "id": segment.phase.public_id,
                    "kind": "evergreen",
                    "name": "Evergreen",
                },
                "quantity": "1",
                "anchor_at": "2026-03-31T22:00:00Z",
                "standing": "active",
                "paid_from": None,
                "settlement": "prorate",
            }
        ],
        "scheduled_changes": [],
        "next_bill_at": "2026-03-31T22:00:00Z",
        "billed_until": None,
        "uncovered_since": None,
        "metadata": {},
        "created_at": "2026-05-04T09:30:00Z",
    }
    assert api.get(f"/subscriptions/{row.public_id}").json() == made
    assert api.get("/subscriptions").json()["data"] == [made]


def test_everything_that_can_be_said_about_a_beginning() -> None:
    api = shop()
    customer = Customer.objects.get()
    make_price_list(customer.tenant, "partner")
    make_version(PlanVersion.objects.get())

    answer = api.post(
        "/subscriptions",
        {
            "customer": customer.public_id,
            "plan": "growth",
            "plan_version": 1,
            "started_at": "2026-06-10T00:00:00+02:00",
            "alignment": "calendar",
            "anchor_day": 15,
            "quantity": "3",
            "price_list": "partner",
            "external_id": "account-4711",
            "term": {"unit": "year"},
            "auto_renew": False,
            "currency": "USD",
            "metadata": {"crm": "17"},
        },
    )

    made = answer.json()
    assert answer.status_code == 201
    assert {
        name: made[name]
        for name in (
            "status",
            "plan_version",
            "alignment",
            "anchor_day",
            "quantity",
            "price_list",
            "external_id",
            "term",
            "term_ends_at",
            "auto_renew",
            "current_period",
            "metadata",
        )
    } == {
        "status": "scheduled",
        "plan_version": 1,
        "alignment": "calendar",
        "anchor_day": 15,
        "quantity": "3",
        "price_list": "partner",
        "external_id": "account-4711",
        "term": {"unit": "year", "count": 1},
        "term_ends_at": "2027-06-09T22:00:00Z",
        "auto_renew": False,
        "current_period": None,
        "metadata": {"crm": "17"},
    }
    assert api.get("/subscriptions/account-4711").json() == made


def test_a_start_date_may_be_an_instant_and_the_default_is_now() -> None:
    api = shop()

    dated = api.post(
        "/subscriptions",
        {"customer": "acme", "plan": "growth", "start_date": "2026-04-01T00:00:00Z"},
    )
    now = api.post("/subscriptions", {"customer": "acme", "plan": "growth"})

    assert dated.json()["started_at"] == "2026-04-01T00:00:00Z"
    assert now.json()["started_at"] == "2026-05-04T09:30:00Z"


def test_the_newest_published_version_is_taken_and_kept() -> None:
    api = shop()
    first = api.post("/subscriptions", {"customer": "acme", "plan": "growth"}).json()
    make_version(PlanVersion.objects.get())

    second = api.post("/subscriptions", {"customer": "acme", "plan": "growth"}).json()

    assert (first["plan_version"], second["plan_version"]) == (1, 2)
    assert api.get(f"/subscriptions/{first['id']}").json()["plan_version"] == 1


def test_a_customer_on_a_clock_lives_in_its_time() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=datetime(2027, 1, 15, tzinfo=UTC))
    make_plan(tenant, key="growth")
    make_customer(tenant, external_id="acme", test_clock_id=clock.pk)
    api = Api(make_key(tenant))

    made = api.post(
        "/subscriptions", {"customer": "acme", "plan": "growth", "start_date": "2027-01-01"}
    ).json()

    assert (made["status"], made["created_at"]) == ("active", "2027-01-15T00:00:00Z")
    assert made["current_period"] == {
        "start": "2027-01-01T00:00:00Z",
        "end": "2027-02-01T00:00:00Z",
    }
    canceled = api.post(f"/subscriptions/{made['id']}/cancel", {"mode": "now"}).json()
    assert canceled["ends_at"] == "2027-01-15T00:00:00Z"


def test_a_repeat_begins_nothing_twice() -> None:
    api = shop()
    body = {"customer": "acme", "plan": "growth", "external_id": "account-1"}

    first = api.post("/subscriptions", body, key="k-1")
    replayed = api.post("/subscriptions", body, key="k-1")
    other_key = api.post("/subscriptions", body, key="k-2")

    assert replayed.json() == first.json()
    assert (other_key.status_code, other_key.json()["reason"]) == (409, "external_id_taken")
    assert Subscription.objects.count() == 1


def test_a_cancellation_waits_is_seen_and_is_withdrawn() -> None:
    api = shop()
    api.post("/subscriptions", {"customer": "acme", "plan": "growth", "external_id": "s-1"})

    canceled = api.post("/subscriptions/s-1/cancel", {"mode": "period_end"})

    made = canceled.json()
    change = {
        "object": "scheduled_change",
        "id": made["scheduled_changes"][0]["id"],
        "subscription": made["id"],
        "verb": "cancel",
        "status": "pending",
        "effective_at": "2026-06-04T09:30:00Z",
        "settlement": "prorate",
        "created_at": "2026-05-04T09:30:00Z",
    }
    assert canceled.status_code == 200
    assert (made["status"], made["ends_at"], made["scheduled_changes"]) == (
        "active",
        None,
        [change],
    )
    twice = api.post("/subscriptions/s-1/cancel", {"mode": "period_end"})
    assert (twice.status_code, twice.json()["reason"]) == (409, "cancellation_pending")

    withdrawn = api.delete(f"/subscriptions/s-1/scheduled-changes/{change['id']}")

    assert (withdrawn.status_code, withdrawn.json()) == (200, {**change, "status": "withdrawn"})
    assert api.get("/subscriptions/s-1").json()["scheduled_changes"] == []
    assert api.get("/subscriptions/s-1/scheduled-changes").json() == {
        "object": "list",
        "data": [{**change, "status": "withdrawn"}],
    }
    assert api.delete(f"/subscriptions/s-1/scheduled-changes/{change['id']}").status_code == 200


def test_a_change_belongs_to_its_subscription() -> None:
    api = shop()
    for name in ("s-1", "s-2"):
        api.post("/subscriptions", {"customer": "acme", "plan": "growth", "external_id": name})
    canceled = api.post("/subscriptions/s-1/cancel", {"mode": "period_end"}).json()
    change = canceled["scheduled_changes"][0]["id"]

    assert api.delete(f"/subscriptions/s-2/scheduled-changes/{change}").status_code == 404
    assert api.delete("/subscriptions/s-1/scheduled-changes/sch_nothing").status_code == 404


def test_an_end_in_the_past_takes_effect_at_once() -> None:
    api = shop()
    api.post(
        "/subscriptions",
        {"customer": "acme", "plan": "growth", "external_id": "s", "start_date": "2026-01-01"},
    )

    ended = api.post(
        "/subscriptions/s/cancel",
        {"mode": "date", "ends_at": "2026-03-10T00:00:00Z", "settlement": "none"},
    ).json()

    assert (ended["status"], ended["ends_at"]) == ("ended", "2026-03-10T00:00:00Z")
    assert ended["segments"][0]["ends_at"] == "2026-03-10T00:00:00Z"
    assert ended["segments"][0]["settlement"] == "none"
    assert (ended["current_period"], ended["next_bill_at"]) == (None, "2025-12-31T23:00:00Z")
    again = api.post("/subscriptions/s/cancel", {"mode": "now"})
    assert (again.status_code, again.json()["reason"]) == (409, "subscription_ended")
    assert again.json()["detail"].startswith("This subscription is ended")


def test_a_term_is_renewed() -> None:
    api = shop()
    api.post(
        "/subscriptions",
        {
            "customer": "acme",
            "plan": "growth",
            "external_id": "s",
            "term": {"unit": "month", "count": 3},
            "auto_renew": False,
        },
    )

    renewed = api.post("/subscriptions/s/renew")

    assert renewed.status_code == 200
    assert renewed.json()["term_ends_at"] == "2026-11-04T10:30:00Z"  # winter time by then
    assert api.post("/subscriptions/s/renew").json() == renewed.json()
    api.post("/subscriptions", {"customer": "acme", "plan": "growth", "external_id": "open"})
    refused = api.post("/subscriptions/open/renew")
    assert (refused.status_code, refused.json()["reason"]) == (409, "no_term")


def test_the_calendar_can_be_inspected() -> None:
    api = shop()
    made = api.post(
        "/subscriptions",
        {"customer": "acme", "plan": "growth", "external_id": "s", "start_date": "2026-01-31"},
    ).json()

    answer = api.get("/subscriptions/s/periods", count=2, **{"from": "2026-03-01T00:00:00Z"})

    phase = made["segments"][0]["phase"]["id"]
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "billing_calendar",
        "subscription": made["id"],
        "zone": "Europe/Berlin",
        "periods": [
            {
                "start": "2026-02-27T23:00:00Z",
                "end": "2026-03-30T22:00:00Z",
                "local_start": "2026-02-28T00:00:00+01:00",
                "local_end": "2026-03-31T00:00:00+02:00",
                "phase": phase,
                "cadence": {"unit": "month", "count": 1},
                "charges": ["base", "calls"],
                "whole": True,
            },
            {
                "start": "2026-03-30T22:00:00Z",
                "end": "2026-04-29T22:00:00Z",
                "local_start": "2026-03-31T00:00:00+02:00",
                "local_end": "2026-04-30T00:00:00+02:00",
                "phase": phase,
                "cadence": {"unit": "month", "count": 1},
                "charges": ["base", "calls"],
                "whole": True,
            },
        ],
    }
    assert len(api.get("/subscriptions/s/periods").json()["periods"]) == 24
    for parameters in ({"count": 0}, {"count": 101}, {"count": "x"}, {"from": "yesterday"}):
        assert api.get("/subscriptions/s/periods", **parameters).status_code == 400
    assert api.get("/subscriptions", count=2).json()["errors"][0]["code"] == "unknown_parameter"


def test_lists_are_filtered() -> None:
    api = shop()
    customer = Customer.objects.get()
    other = make_customer(customer.tenant)
    make_plan(customer.tenant, key="basic")
    for name, who, plan, start in (
        ("a", "acme", "growth", "2026-05-01"),
        ("b", "acme", "basic", "2026-06-01"),
        ("c", other.public_id, "basic", "2026-05-01"),
    ):
        body = {"customer": who, "plan": plan, "external_id": name, "start_date": start}
        assert api.post("/subscriptions", body).status_code == 201

    def found(**filters: str) -> list[str]:
        rows = api.get("/subscriptions", **filters).json()["data"]
        return sorted(row["external_id"] for row in rows)

    assert found() == ["a", "b", "c"]
    assert found(customer="acme") == ["a", "b"]
    assert found(customer=other.public_id) == ["c"]
    assert found(plan="basic") == ["b", "c"]
    assert found(status="scheduled") == ["b"]
    assert found(external_id="a") == ["a"]
    assert found(customer="acme", plan="growth", status="active") == ["a"]
    refused = api.get("/subscriptions", status="asleep")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "status")


@pytest.mark.parametrize("count", [1, 3])
def test_three_subscriptions_take_as_many_queries_as_one(count: int) -> None:
    tenant = make_tenant()
    for _ in range(count):
        row = make_subscription(make_customer(tenant), make_plan(tenant), NOW)
        cancel_subscription(row.pk, mode=CancelMode.PERIOD_END, actor=ACTOR, at=NOW)
    api = Api(make_key(tenant))
    api.get("/subscriptions")  # published charges are read once

    with CaptureQueriesContext(connection) as of_list:
        listed = api.get("/subscriptions").json()["data"]
    with CaptureQueriesContext(connection) as of_one:
        api.get(f"/subscriptions/{listed[0]['id']}")

    assert len(listed) == count
    assert (len(of_list), len(of_one)) == (4, 4)


def test_another_tenant_finds_and_changes_nothing() -> None:
    api = shop()
    made = api.post("/subscriptions", {"customer": "acme", "plan": "growth"}).json()
    stranger_tenant = make_tenant()
    stranger = Api(make_key(stranger_tenant))
    make_plan(stranger_tenant, key="growth")
    make_customer(stranger_tenant, external_id="theirs")

    assert stranger.get("/subscriptions").json()["data"] == []
    assert stranger.get("/subscriptions", customer=made["customer"]).json()["data"] == []
    for path in ("", "/periods", "/scheduled-changes"):
        assert stranger.get(f"/subscriptions/{made['id']}{path}").status_code == 404
    for path, body in (("cancel", {"mode": "now"}), ("renew", None)):
        refused = stranger.post(f"/subscriptions/{made['id']}/{path}", body)
        assert refused.status_code == 404
    for body in (
        {"customer": made["customer"], "plan": "growth"},
        {"customer": "theirs", "plan": made["plan_id"]},
    ):
        assert stranger.post("/subscriptions", body).status_code == 404
    row = Subscription.objects.get(pk=decode("sub", made["id"]))
    assert (row.status, row.quantity) == ("active", Decimal(1))


def test_scopes() -> None:
    tenant = make_tenant()
    reader = Api(make_key(tenant, scopes=["subscriptions:read"]))

    assert reader.get("/subscriptions").status_code == 200
    refused = reader.post("/subscriptions", {"customer": "acme", "plan": "growth"})
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
