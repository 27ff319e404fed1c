"""Corrections of events over HTTP: what they do, what they are refused for."""

from datetime import timedelta
from typing import Any

import pytest

from apps.metering.models import EventAmendment
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject, send
from tests.make.tenants import AT, make_key, make_tenant

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


class Desk:
    """A tenant with a meter, a customer, and three calls of his worth 1, 2 and 4."""

    def __init__(self) -> None:
        self.tenant = make_tenant()
        self.api = Api(make_key(self.tenant))
        make_meter(self.tenant, key="calls")
        make_meter(
            self.tenant,
            key="eu_calls",
            event_name="calls",
            filters=[{"property": "region", "op": "eq", "value": "eu"}],
        )
        self.customer = make_customer(self.tenant, external_id="acme")
        make_subject(self.customer, external_id="acct-1", opens_at=AT - 9 * HOUR)
        self.send("one", 1, region="eu")
        self.send("two", 2, at=AT + HOUR, region="us")
        self.send("four", 4, at=AT + 2 * HOUR, subscription="acct-1")

    def send(self, key: str, value: int, *, at: Any = AT, **more: Any) -> None:
        subject = {"customer": "acme"}
        if "subscription" in more:
            subject = {"subscription": more.pop("subscription")}
        item = {
            "idempotency_key": key,
            "event_name": "calls",
            "value": value,
            "timestamp": at.isoformat(),
            "properties": more,
            **subject,
        }
        (receipt,) = send(self.tenant, [item], at=AT + 3 * HOUR)
        assert (receipt.status, receipt.orphan) == ("accepted", None)

    def amend(self, action: str, *, query: str = "", **body: Any) -> Any:
        given = {"action": action, "reason": "INC-71", **body}
        return self.api.post(f"/event-amendments{query}", given)

    def quantity(self, meter: str = "calls") -> str:
        told = self.api.get(
            "/customers/acme/usage", meter=meter, start="2026-04-01", end="2026-06-01"
        ).json()
        quantity: str = told["meters"][0]["buckets"][0]["quantity"]
        return quantity


@pytest.fixture
def desk() -> Desk:
    return Desk()


def where(**more: Any) -> dict[str, Any]:
    return {
        "start": (AT - HOUR).isoformat(),
        "end": (AT + 9 * HOUR).isoformat(),
        "event_name": "calls",
        **more,
    }


def effects(api: Api, amendment: str) -> list[tuple[str, str]]:
    told = api.get(f"/event-amendments/{amendment}/events").json()
    return [(one["effect"], one["idempotency_key"]) for one in told["data"]]


def test_events_are_voided_by_key(desk: Desk) -> None:
    made = desk.amend("void", keys=["two"])
    assert made.status_code == 201
    told = made.json()
    assert told == {
        "object": "event_amendment",
        "id": told["id"],
        "action": "void",
        "reason": "INC-71",
        "actor": told["actor"],
        "created_at": told["created_at"],
        "selected": {"keys": ["two"]},
        "change": {},
        "undoes": None,
        "undone_by": None,
        "voided": 1,
        "restored": 0,
        "added": 0,
        "customers": 1,
        "since": "2026-05-01T13:00:00Z",
        "until": "2026-05-01T13:00:00Z",
    }
    assert desk.quantity() == "5"
    assert effects(desk.api, told["id"]) == [("voided", "two")]
    # what is sent again stays a duplicate
    desk.api.post(
        "/events",
        {
            "idempotency_key": "two",
            "event_name": "calls",
            "customer": "acme",
            "value": 2,
            "timestamp": (AT + HOUR).isoformat(),
            "properties": {"region": "us"},
        },
    )
    assert desk.quantity() == "5"


@pytest.mark.parametrize(
    ("narrowed", "left"),
    [
        ({}, "0"),
        ({"end": (AT + HOUR).isoformat()}, "6"),
        ({"start": (AT + HOUR).isoformat()}, "1"),
        ({"customer": "acme"}, "0"),
        ({"subscription": "acct-1"}, "3"),
        ({"filters": [{"property": "region", "op": "eq", "value": "us"}]}, "5"),
        ({"event_name": None, "meter": "eu_calls"}, "6"),
    ],
)
def test_events_are_voided_by_time_and_more(
    desk: Desk, narrowed: dict[str, Any], left: str
) -> None:
    asked = {name: one for name, one in where(**narrowed).items() if one is not None}
    assert desk.amend("void", where=asked).status_code == 201
    assert desk.quantity() == left


@pytest.mark.parametrize(
    ("change", "quantity", "in_europe"),
    [
        ({"value": "10"}, "15", "1"),
        ({"factor": "0.5"}, "6", "1"),
        ({"properties": {"region": "eu"}}, "7", "3"),
        ({"timestamp": "2027-01-01T00:00:00Z"}, "5", "1"),
    ],
)
def test_an_event_is_replaced(
    desk: Desk, change: dict[str, str], quantity: str, in_europe: str
) -> None:
    if "timestamp" in change:
        change = {"timestamp": "2026-03-01T00:00:00Z"}
    made = desk.amend("replace", keys=["two"], change=change).json()
    assert (made["voided"], made["added"]) == (1, 1)
    assert (desk.quantity(), desk.quantity("eu_calls")) == (quantity, in_europe)
    assert effects(desk.api, made["id"]) == [("voided", "two"), ("added", f"{made['id']}:0")]


def test_each_key_is_replaced_in_its_own_way(desk: Desk) -> None:
    make_customer(desk.tenant, external_id="beta")
    replacements = [
        {"key": "one", "value": "100"},
        {"key": "four", "customer": "beta"},
    ]
    assert desk.amend("replace", replacements=replacements).status_code == 201
    assert desk.quantity() == "102"
    told = desk.api.get("/customers/beta/usage", meter="calls", start="2026-05-01").json()
    assert told["meters"][0]["buckets"][0]["quantity"] == "4"


def test_events_are_backfilled_however_old(desk: Desk) -> None:
    event = {
        "idempotency_key": "lost",
        "meter": "calls",
        "customer": "acme",
        "timestamp": "2019-04-20T00:00:00Z",
        "value": "8",
    }
    assert desk.api.post("/events", event).status_code == 422  # older than is taken in general
    made = desk.amend("backfill", events=[{**event, "timestamp": "2019-04-20T00:00:00Z"}])
    assert made.status_code == 201, made.json()
    told = desk.api.get("/customers/acme/usage", meter="calls", start="2019-01-01").json()
    assert told["meters"][0]["buckets"][0]["quantity"] == "15"


def test_an_amendment_is_undone_by_another_and_that_again(desk: Desk) -> None:
    first = desk.amend("replace", keys=["two"], change={"value": "10"}).json()["id"]
    second = desk.amend("undo", amendment=first).json()
    assert (second["voided"], second["restored"], second["undoes"]) == (1, 1, first)
    assert desk.quantity() == "7"
    refused = desk.amend("undo", amendment=first)
    assert (refused.status_code, refused.json()["reason"]) == (409, "amendment_undone")
    assert desk.amend("undo", amendment=second["id"]).status_code == 201
    assert desk.quantity() == "15"
    assert desk.api.get(f"/event-amendments/{first}").json()["undone_by"] == second["id"]


def test_what_was_amended_since_is_undone_first(desk: Desk) -> None:
    first = desk.amend("replace", keys=["two"], change={"value": "10"}).json()["id"]
    later = desk.amend("void", keys=[f"{first}:0"]).json()["id"]
    refused = desk.amend("undo", amendment=first)
    assert (refused.status_code, refused.json()["reason"]) == (409, "amendment_overlaid")
    assert desk.amend("undo", amendment=later).status_code == 201
    assert desk.amend("undo", amendment=first).status_code == 201
    assert desk.quantity() == "7"


def test_a_repeat_changes_nothing_more(desk: Desk) -> None:
    body = {
        "action": "replace",
        "reason": "wrong unit",
        "where": where(),
        "change": {"factor": "10"},
    }
    first = desk.api.post("/event-amendments", body, key="k")
    again = desk.api.post("/event-amendments", body, key="k")
    assert (first.status_code, again.json()) == (201, first.json())
    assert desk.quantity() == "70"
    keyless = desk.api.post("/event-amendments", body, key=None)
    assert keyless.status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"action": "void", "keys": ["two", "nobody"]}, 422, "amendment_invalid"),
        ({"action": "void", "keys": ["two", "two"]}, 400, "invalid"),
        ({"action": "void", "keys": []}, 400, "invalid"),
        ({"action": "void"}, 400, "invalid"),
        ({"action": "void", "keys": ["two"], "reason": ""}, 400, "invalid"),
        ({"action": "void", "keys": ["two"], "where": where()}, 400, "invalid"),
        ({"action": "void", "keys": ["k"] * 1001}, 400, "invalid"),
        ({"action": "void", "where": where(end=AT.isoformat(), start=AT.isoformat())}, 400, ""),
        ({"action": "void", "where": where(end="2026-05-01T23:59:59Z")}, 400, ""),
        ({"action": "void", "where": where(customer="nobody")}, 404, ""),
        ({"action": "void", "where": where(meter="calls")}, 400, ""),
        ({"action": "void", "where": where(filters=[{"property": "a", "op": "is"}])}, 422, ""),
        ({"action": "void", "where": where(event_name="other")}, 409, "nothing_matched"),
        ({"action": "replace", "keys": ["two"]}, 400, ""),
        ({"action": "replace", "keys": ["two"], "change": {}}, 400, ""),
        ({"action": "replace", "keys": ["two"], "change": {"value": "1", "factor": "2"}}, 400, ""),
        ({"action": "replace", "keys": ["two"], "change": {"value": "1e3"}}, 400, ""),
        (
            {"action": "replace", "keys": ["two"], "change": {"factor": "0.0000000000001"}},
            400,
            "",
        ),
        (
            {"action": "replace", "keys": ["two"], "change": {"customer": "nobody"}},
            422,
            "amendment_invalid",
        ),
        (
            {
                "action": "replace",
                "keys": ["four"],
                "change": {"timestamp": "2026-04-01T00:00:00Z"},
            },
            422,
            "amendment_invalid",
        ),
        ({"action": "backfill", "events": [{"value": 1}]}, 422, "amendment_invalid"),
        ({"action": "backfill", "events": [7]}, 422, "amendment_invalid"),
        ({"action": "undo", "amendment": "amd_01h455vb4pex5vsknk084sn02q"}, 404, ""),
        ({"action": "undo", "amendment": "inv_01h455vb4pex5vsknk084sn02q"}, 400, ""),
        ({"action": "erase", "keys": ["two"]}, 400, ""),
        ({"action": "void", "keys": ["two"], "force": True}, 400, ""),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    desk: Desk, body: dict[str, Any], status: int, reason: str
) -> None:
    for query in ("", "?preview=true"):
        answer = desk.api.post(f"/event-amendments{query}", {"reason": "INC-71", **body})
        assert answer.status_code == status, answer.json()
        assert reason in {"", answer.json()["reason"]}, answer.json()
    assert desk.quantity() == "7"
    assert not EventAmendment.objects.exists()


def test_an_event_is_voided_once(desk: Desk) -> None:
    desk.amend("void", keys=["two"])
    refused = desk.amend("void", keys=["one", "two"]).json()
    assert [(one["field"], one["code"]) for one in refused["errors"]] == [
        ("keys[1]", "event_voided")
    ]
    assert desk.amend("void", where=where()).json()["voided"] == 2
    assert desk.quantity() == "0"


def test_amendments_are_listed_newest_first(desk: Desk) -> None:
    desk.amend("void", keys=["one"])
    desk.amend("void", keys=["two"])
    listed = desk.api.get("/event-amendments").json()["data"]
    assert [one["selected"] for one in listed] == [{"keys": ["two"]}, {"keys": ["one"]}]
    assert desk.api.get("/event-amendments", action="undo").json()["data"] == []
