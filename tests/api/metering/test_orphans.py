"""The orphan desk over HTTP: what matched nothing, why, and how it is mended."""

from datetime import timedelta
from typing import Any

import pytest

from apps.core.jobs import run_due
from apps.metering.models import OrphanEvent
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject, send
from tests.make.tenants import AT, make_key, make_tenant

pytestmark = pytest.mark.django_db


class Desk:
    """A tenant with a meter, a customer and a subscription."""

    def __init__(self) -> None:
        self.tenant = make_tenant()
        self.api = Api(make_key(self.tenant))
        make_meter(self.tenant, key="api.calls")
        self.customer = make_customer(self.tenant, external_id="acme-corp")
        make_subject(self.customer, external_id="acct-1", closes_at=AT + timedelta(hours=1))

    def send(self, key: str, *, at: Any = AT, **change: Any) -> str:
        item = {
            "idempotency_key": key,
            "event_name": "api.calls",
            "customer": "acme-corp",
            "value": 2,
            "timestamp": at.isoformat(),
            **change,
        }
        if "subscription" in change:
            del item["customer"]
        (receipt,) = send(self.tenant, [item], at=AT + timedelta(days=1))
        return receipt.status

    def quantity(self) -> str:
        told = self.api.get(
            "/customers/acme-corp/usage", meter="api.calls", start="2026-04-01", end="2026-06-01"
        ).json()
        quantity: str = told["meters"][0]["buckets"][0]["quantity"]
        return quantity


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_orphans_are_listed_with_what_would_mend_them(desk: Desk) -> None:
    desk.send("1", event_name="api.cals")
    desk.send("2", customer="ACME-Corp")
    desk.send("3", customer="entirely-else")
    desk.send("4", subscription="acct-1", at=AT + timedelta(hours=1))
    told = desk.api.get("/orphan-events").json()["data"]
    assert [(one["idempotency_key"], one["reason"], one["suggestion"]) for one in told] == [
        ("4", "outside_subscription", None),
        ("3", "unknown_subject", None),
        ("2", "unknown_subject", {"subject": "acme-corp"}),
        ("1", "unknown_meter", {"event_name": "api.calls"}),
    ]
    assert told[3] == {
        "object": "orphan_event",
        "id": told[3]["id"],
        "idempotency_key": "1",
        "status": "open",
        "reason": "unknown_meter",
        "event_name": "api.cals",
        "subject": "acme-corp",
        "subject_kind": "customer",
        "timestamp": "2026-05-01T12:00:00Z",
        "value": "2",
        "properties": {},
        "suggestion": {"event_name": "api.calls"},
        "received_at": "2026-05-02T12:00:00Z",
        "attached_at": None,
    }
    assert desk.api.get(f"/orphan-events/{told[3]['id']}").json() == told[3]
    counted = desk.api.get("/orphan-events/count").json()
    assert counted == {
        "object": "orphan_count",
        "open": 4,
        "by_reason": {"outside_subscription": 1, "unknown_subject": 2, "unknown_meter": 1},
    }
    assert len(desk.api.get("/orphan-events", reason="unknown_subject").json()["data"]) == 2


def test_orphans_become_usage_once(desk: Desk) -> None:
    desk.send("1", event_name="api.cals")
    desk.send("2", event_name="api.cals")
    mend = {"filter": {"event_name": "api.cals"}, "event_name": "api.calls"}
    done = desk.api.post("/orphan-events/reattach", mend)
    assert (done.status_code, done.json()) == (
        200,
        {"object": "reattachment", "attached": 2, "left": 0},
    )
    assert desk.api.post("/orphan-events/reattach", mend).json()["attached"] == 0
    assert desk.quantity() == "4"
    assert desk.api.get("/orphan-events", status="open").json()["data"] == []
    kept = desk.api.get("/orphan-events").json()["data"]
    assert [(one["status"], one["attached_at"] is not None) for one in kept] == [
        ("attached", True)
    ] * 2
    # the key is taken for ever, by what was sent
    assert desk.send("2", event_name="api.cals") == "duplicate"
    assert desk.quantity() == "4"


def test_single_orphans_get_another_subject(desk: Desk) -> None:
    desk.send("1", customer="ACME-Corp")
    desk.send("2", customer="ACME-Corp")
    first = OrphanEvent.objects.get(key="1").public_id
    done = desk.api.post("/orphan-events/reattach", {"ids": [first], "customer": "acme-corp"})
    assert done.json()["attached"] == 1
    assert desk.quantity() == "2"


def test_what_still_matches_nothing_stays_with_its_new_reason(desk: Desk) -> None:
    desk.send("1", event_name="api.cals", customer="nobody")
    mend = {"filter": {"reason": "unknown_meter"}, "event_name": "api.calls"}
    assert desk.api.post("/orphan-events/reattach", mend).json() == {
        "object": "reattachment",
        "attached": 0,
        "left": 1,
    }
    assert OrphanEvent.objects.get().reason == "unknown_subject"


def test_what_its_meter_cannot_measure_stays(desk: Desk) -> None:
    desk.send("1", event_name="storage", value=None, properties={"size": 1.5})
    desk.send("2", event_name="storage", value=None)
    make_meter(desk.tenant, key="storage", value_property="size")
    run_due()
    assert list(OrphanEvent.objects.order_by("key").values_list("status", "reason")) == [
        ("attached", "unknown_meter"),
        ("open", "unfit"),
    ]


def test_a_new_meter_gets_what_waited_for_it(desk: Desk) -> None:
    desk.send("1", event_name="new.thing")
    desk.send("2", event_name="by_key")
    make_meter(desk.tenant, key="new.thing")
    make_meter(desk.tenant, key="by_key", event_name="other.name")
    run_due()
    assert [one.status for one in OrphanEvent.objects.all()] == ["attached"] * 2
    told = desk.api.get("/customers/acme-corp/usage", start="2026-04-01", end="2026-06-01").json()
    assert {one["meter"]: one["buckets"][0]["quantity"] for one in told["meters"]} == {
        "api.calls": "0",
        "by_key": "2",
        "new.thing": "2",
    }


def test_a_new_subscription_gets_what_waited_for_it(desk: Desk) -> None:
    desk.send("1", subscription="acct-2")
    make_subject(desk.customer, external_id="acct-2")
    run_due()
    assert OrphanEvent.objects.get().status == "attached"
    assert desk.quantity() == "2"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "required"),
        ({"ids": [], "filter": {}}, "required"),
        ({"ids": ["inv_01h455vb4pex5vsknk084sn02q"]}, "id_malformed"),
        ({"filter": {"reson": "unknown_meter"}}, "unknown_field"),
        ({"filter": {}, "customer": "a", "subscription": "b"}, "subject_ambiguous"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    desk: Desk, body: dict[str, Any], code: str
) -> None:
    answer = desk.api.post("/orphan-events/reattach", body)
    assert answer.status_code == 400
    assert [one["code"] for one in answer.json()["errors"]] == [code]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_page_takes_the_same_queries_for_any_number_of_rows(
    desk: Desk, rows: int, django_assert_num_queries: Any
) -> None:
    for number in range(rows):
        desk.send(str(number), customer=f"nobody-{number}")
    with django_assert_num_queries(3):  # the key, the orphans, names like theirs
        assert len(desk.api.get("/orphan-events").json()["data"]) == rows
