"""Events over HTTP: what is answered is committed."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from apps.core.clock import now
from apps.tenants.models import ApiKey
from apps.tenants.operations import revoke_api_key
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db


class Shop:
    """A tenant with a meter ``calls``, a customer ``acme`` and his subscription ``acct_1``."""

    def __init__(self) -> None:
        self.tenant = make_tenant()
        self.secret = make_key(self.tenant)
        self.api = Api(self.secret)
        self.meter = make_meter(self.tenant, key="calls")
        self.customer = make_customer(self.tenant, external_id="acme")
        make_subject(self.customer, external_id="acct_1", opens_at=now() - timedelta(days=30))

    def event(self, **values: Any) -> dict[str, Any]:
        return {
            "idempotency_key": "k1",
            "event_name": "calls",
            "customer": "acme",
            "timestamp": now().isoformat(),
            "value": 3,
            **values,
        }


@pytest.fixture
def shop() -> Shop:
    return Shop()


def stored() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key, value, properties FROM metering_usageevent ORDER BY seq")
        return [(key, str(value), properties) for key, value, properties in cursor.fetchall()]


def test_one_event_is_stored_before_it_is_answered(shop: Shop) -> None:
    event = shop.event()
    answer = shop.api.post("/events", event, key=None)
    assert (answer.status_code, answer.json()) == (
        202,
        {"object": "receipt", "idempotency_key": "k1", "status": "accepted", "duplicate": False},
    )
    again = shop.api.post("/events", event, key=None)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    other = shop.api.post("/events", {**event, "value": 4}, key=None)
    assert (other.status_code, other.json()["reason"]) == (409, "event_conflict")
    assert stored() == [("k1", "3", "{}")]


def test_what_other_systems_call_things_is_understood(shop: Shop) -> None:
    event = shop.event()
    del event["event_name"], event["customer"]
    names = [
        {"metric_key": "calls", "customer_id": shop.customer.public_id},
        {"meter": "calls", "external_customer_id": "acme"},
        {"event_name": "calls", "subscription_id": "acct_1"},
        {"meter": "calls", "subject": "acct_1"},
    ]
    body = {
        "events": [
            {**event, **one, "idempotency_key": str(number)} for number, one in enumerate(names)
        ]
    }
    answer = shop.api.post("/events/batch", body, key=None)
    assert answer.status_code == 202
    assert [one.get("orphan") for one in answer.json()["results"]] == [None] * 4
    assert [row[0] for row in stored()] == ["0", "1", "2", "3"]


def test_a_batch_answers_for_every_item(shop: Shop) -> None:
    event = shop.event(properties={"region": "eu", "size": 1.25})
    body = {
        "events": [
            event,
            event,
            {**event, "value": 9},
            {**event, "idempotency_key": "k2", "customer": "nobody"},
            {**event, "idempotency_key": "k3", "value": "many"},
            "no event",
        ]
    }
    answer = shop.api.post("/events/batch", body, key=None)
    assert answer.status_code == 202
    told = answer.json()
    results = told.pop("results")
    assert told == {
        "object": "receipts",
        "accepted": 2,
        "duplicate": 1,
        "conflict": 1,
        "rejected": 2,
    }
    assert [one["status"] for one in results] == [
        "accepted",
        "duplicate",
        "conflict",
        "accepted",
        "rejected",
        "rejected",
    ]
    assert results[2]["stored"] != results[2]["sent"]
    assert results[3]["orphan"] == "unknown_subject"
    assert (results[4]["field"], results[4]["reason"]) == ("value", "number_format")
    assert stored() == [("k1", "3", '{"size": 1.25, "region": "eu"}')]


def test_a_revoked_key_stores_nothing_more_at_once(shop: Shop) -> None:
    assert shop.api.post("/events", shop.event(), key=None).status_code == 202
    key = ApiKey.objects.get(tenant=shop.tenant)
    revoke_api_key(key.pk, actor=ACTOR, at=now())
    answer = shop.api.post("/events", shop.event(idempotency_key="k2"), key=None)
    assert (answer.status_code, answer.json()["reason"]) == (401, "api_key_revoked")
    assert [row[0] for row in stored()] == ["k1"]


def test_a_key_that_expires_in_the_meantime_is_refused(shop: Shop) -> None:
    assert shop.api.post("/events", shop.event(), key=None).status_code == 202
    ApiKey.objects.filter(tenant=shop.tenant).update(expires_at=now() - timedelta(seconds=1))
    answer = shop.api.post("/events", shop.event(idempotency_key="k2"), key=None)
    assert (answer.status_code, answer.json()["reason"]) == (401, "api_key_expired")


def test_a_meter_made_elsewhere_counts_at_once(shop: Shop) -> None:
    assert shop.api.post("/events", shop.event(), key=None).status_code == 202
    make_meter(shop.tenant, key="other")
    event = shop.event(idempotency_key="k2", event_name="other")
    assert "orphan" not in shop.api.post("/events", event, key=None).json()


def test_a_key_needs_the_scope(shop: Shop) -> None:
    reader = Api(make_key(shop.tenant, scopes=["events:read"]))
    answer = reader.post("/events", shop.event(), key=None)
    assert (answer.status_code, answer.json()["reason"]) == (403, "scope_missing")
    nobody = Api().post("/events", shop.event(), key=None)
    assert (nobody.status_code, nobody.json()["reason"]) == (401, "api_key_missing")
    read = shop.api.get("/events")
    assert (read.status_code, read.headers["Allow"]) == (405, "POST")


def test_an_event_of_another_tenant_is_an_orphan_here(shop: Shop) -> None:
    elsewhere = make_customer()
    answer = shop.api.post("/events", shop.event(customer=elsewhere.public_id), key=None)
    assert (answer.status_code, answer.json()["orphan"]) == (202, "unknown_subject")
