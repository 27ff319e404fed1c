"""Bad input to the event endpoints: what is answered, and that nothing is stored."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from apps.core.clock import now
from apps.metering.models import OrphanEvent
from apps.metering.operations import archive_meter
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    make_meter(tenant, key="calls")
    make_meter(tenant, key="seats", refuses_negative=True)
    make_meter(tenant, key="bytes", value_property="size")
    old = make_meter(tenant, key="old")
    archive_meter(old.pk, tenant_id=tenant.pk, actor=ACTOR, at=now())
    customer = make_customer(tenant, external_id="acme")
    start = datetime(2026, 1, 1, tzinfo=UTC)
    make_subject(
        customer, external_id="ended", opens_at=start, closes_at=now() - timedelta(hours=1)
    )
    return Api(make_key(tenant))


def good(**values: Any) -> dict[str, Any]:
    return {
        "idempotency_key": "k1",
        "event_name": "calls",
        "customer": "acme",
        "timestamp": now().isoformat(),
        "value": "1",
        **values,
    }


def ago(**span: float) -> str:
    return (now() - timedelta(**span)).isoformat()


def count() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM metering_usageevent)"
            " + (SELECT count(*) FROM metering_usageeventkey)"
        )
        stored: int = cursor.fetchone()[0]
    return stored + OrphanEvent.objects.count()


ITEMS: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("B35", {"idempotency_key": None}, 400, "idempotency_key", "required"),
    ("B41 archived", {"event_name": "old"}, 409, "event_name", "meter_archived"),
    ("B44", {"event_name": "seats", "value": "-1"}, 422, "value", "value_negative"),
    ("B45 missing", {"value": None}, 400, "value", "required"),
    ("B45 text", {"value": "many"}, 400, "value", "number_format"),
    ("B45 bool", {"value": True}, 400, "value", "number_format"),
    ("B45 list", {"value": [1]}, 400, "value", "number_format"),
    ("B45 object", {"value": {"n": 1}}, 400, "value", "number_format"),
    ("B46 NaN", {"value": "NaN"}, 400, "value", "number_format"),
    ("B46 Infinity", {"value": "Infinity"}, 400, "value", "number_format"),
    ("B47", {"value": "0.1234567890123"}, 400, "value", "too_many_decimals"),
    ("B48", {"value": 0.1 + 0.2}, 400, "value", "too_many_decimals"),
    ("B49 underscore", {"value": "1_000"}, 400, "value", "number_format"),
    ("B49 full width", {"value": "\uff11\uff12"}, 400, "value", "number_format"),
    ("B49 exponent", {"value": "1e5"}, 400, "value", "number_format"),
    ("B49 spaces", {"value": " 1 "}, 400, "value", "number_format"),
    ("B49 plus", {"value": "+1"}, 400, "value", "number_format"),
    ("B49 empty", {"value": ""}, 400, "value", "number_format"),
    ("B50 comma", {"value": "1,000"}, 400, "value", "number_format"),
    ("B50 both", {"value": "1.000,00"}, 400, "value", "number_format"),
    ("B51 text", {"value": "1" + "0" * 25}, 400, "value", "value_out_of_range"),
    ("B51 number", {"value": 10**25}, 400, "value", "value_out_of_range"),
    ("B52", {"timestamp": "2026-05-01T00:00:00"}, 400, "timestamp", "timestamp_zone_required"),
    ("B53 date", {"timestamp": "2026-05-01"}, 400, "timestamp", "timestamp_format"),
    ("B53 week", {"timestamp": "2026-W01-1T00:00:00Z"}, 400, "timestamp", "timestamp_format"),
    ("B54 seconds", {"timestamp": 1714521600}, 400, "timestamp", "timestamp_format"),
    ("B54 text", {"timestamp": "1714521600000"}, 400, "timestamp", "timestamp_format"),
    ("B55 1969", {"timestamp": "1969-12-31T23:59:59Z"}, 400, "timestamp", "timestamp_format"),
    ("B55 year 1", {"timestamp": "0001-01-01T00:00:00+01:00"}, 400, "timestamp", "timestamp_format"),
    ("B55 9999", {"timestamp": "9999-12-31T23:59:59-23:00"}, 400, "timestamp", "timestamp_format"),
    ("B55 :60", {"timestamp": "2026-05-01T00:00:60Z"}, 400, "timestamp", "timestamp_format"),
    ("B55 24:00", {"timestamp": "2026-05-01T24:00:00Z"}, 400, "timestamp", "timestamp_format"),
    ("B55 +25:00", {"timestamp": "2026-05-01T00:00:00+25:00"}, 400, "timestamp", "timestamp_format"),
    ("B55 30 Feb", {"timestamp": "2026-02-30T00:00:00Z"}, 400, "timestamp", "timestamp_format"),
    ("B56", {"timestamp": "2026-05-01T00:00:00.123456789Z"}, 400, "timestamp", "timestamp_precision"),
    ("B57 old", {"timestamp": ago(days=400)}, 422, "timestamp", "timestamp_too_old"),
    ("B57 future", {"timestamp": ago(hours=-2)}, 422, "timestamp", "timestamp_future"),
    ("B59 keys", {"properties": {str(n): n for n in range(101)}}, 400, "properties", "too_many_properties"),
    ("B59 bytes", {"properties": {"a": "x" * 17_000}}, 400, "properties", "properties_too_large"),
    ("B59 name", {"properties": {"n" * 101: 1}}, 400, "properties", "property_name_length"),
    ("B59 no name", {"properties": {"": 1}}, 400, "properties", "property_name_length"),
    ("B59 list", {"properties": []}, 400, "properties", "json_type"),
    ("B60 missing", {"event_name": "bytes"}, 422, "properties.size", "property_missing"),
    ("B60 wrong", {"event_name": "bytes", "properties": {"size": "big"}}, 422, "properties.size", "property_missing"),
    ("B61 long", {"idempotency_key": "k" * 256}, 400, "idempotency_key", "key_format"),
    ("B61 space", {"idempotency_key": "a b"}, 400, "idempotency_key", "key_format"),
    ("B61 emoji", {"idempotency_key": "a😀"}, 400, "idempotency_key", "key_format"),
    ("B61 bidi", {"idempotency_key": "a\u202eb"}, 400, "idempotency_key", "key_format"),
    ("B61 empty", {"idempotency_key": ""}, 400, "idempotency_key", "key_format"),
    ("B61 number", {"idempotency_key": 7}, 400, "idempotency_key", "key_format"),
    ("no name", {"event_name": None}, 400, "event_name", "required"),
    ("list name", {"event_name": ["calls"]}, 400, "event_name", "name_format"),
    ("long name", {"event_name": "n" * 101}, 400, "event_name", "name_format"),
    ("two names", {"meter": "calls"}, 400, "meter", "event_ambiguous"),
    ("no subject", {"customer": None}, 400, "subject", "required"),
    ("two subjects", {"subscription": "ended"}, 400, "subscription", "subject_ambiguous"),
    ("object subject", {"customer": {"id": "acme"}}, 400, "customer", "subject_format"),
    ("price point", {"properties": {"price_point": 7}}, 400, "properties.price_point", "invalid"),
    ("unknown field", {"amout": 1}, 400, "amout", "unknown_field"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "field", "code"), [one[1:] for one in ITEMS],
                         ids=[one[0] for one in ITEMS])  # fmt: skip
@pytest.mark.holds(
    "B35",
    "B40",
    "B44",
    "B45",
    "B46",
    "B47",
    "B48",
    "B49",
    "B50",
    "B51",
    "B52",
    "B53",
    "B54",
    "B55",
    "B56",
    "B57",
    "B59",
    "B60",
    "B61",
    "F64",
)
def test_a_bad_event_is_refused_by_itself(
    api: Api, change: dict[str, Any], status: int, field: str, code: str
) -> None:
    item = good(**change)
    alone = api.post("/events", item, key=None)
    told = alone.json()
    assert alone.status_code == told["status"] == status
    reasons = {400: "event_invalid", 422: "event_impossible", 409: code}
    assert told["reason"] == reasons[status]
    if status != 409:
        assert [(one["field"], one["code"]) for one in told["errors"]] == [(field, code)]
    assert count() == 0
    among = api.post("/events/batch", {"events": [item, good(idempotency_key="k2")]}, key=None)
    assert among.status_code == 202
    refused, taken = among.json()["results"]
    assert (refused["status"], refused["field"], refused["reason"]) == ("rejected", field, code)
    assert refused["detail"]
    assert (taken["status"], taken["idempotency_key"]) == ("accepted", "k2")
    assert count() == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_name": "nothing"}, "unknown_meter"),
        ({"customer": "nobody"}, "unknown_subject"),
        ({"customer": None, "subscription": "nothing"}, "unknown_subject"),
        ({"customer": None, "subscription": "ended"}, "outside_subscription"),
    ],
    ids=["B41", "B42 customer", "B42 subscription", "B43"],
)
@pytest.mark.holds("B41", "B42", "B43", "F70")
def test_what_matches_nothing_is_kept(api: Api, change: dict[str, Any], reason: str) -> None:
    answer = api.post("/events", good(**change), key=None)
    assert (answer.status_code, answer.json()["orphan"]) == (202, reason)
    assert OrphanEvent.objects.get().reason == reason


@pytest.mark.holds("B46")
def test_minus_zero_is_zero(api: Api) -> None:
    event = good(value="-0")
    assert api.post("/events", event, key=None).status_code == 202
    assert api.post("/events", {**event, "value": "0.0"}, key=None).json()["duplicate"] is True


@pytest.mark.holds("B36", "B37", "B38", "U2")
def test_repeats_and_conflicts(api: Api) -> None:
    """B36, B37 and B38: in one batch a repeat is a duplicate, another payload a conflict."""
    event = good()
    assert api.post("/events", event, key=None).status_code == 202
    assert api.post("/events", event, key=None).json()["duplicate"] is True
    other = api.post("/events", {**event, "value": "2"}, key=None)
    assert (other.status_code, other.json()["reason"]) == (409, "event_conflict")
    twice = [good(idempotency_key="k2"), good(idempotency_key="k2", value="2")]
    results = api.post("/events/batch", {"events": twice}, key=None).json()["results"]
    assert [one["status"] for one in results] == ["accepted", "conflict"]


@pytest.mark.holds("B58", "F64")
def test_late_events_are_taken(api: Api) -> None:
    """B58: a period that was billed is corrected by the next run."""
    assert api.post("/events", good(timestamp=ago(days=200)), key=None).status_code == 202


EVENT = json.dumps(good(timestamp="2026-05-01T00:00:00Z"))
BODIES: list[tuple[str, str, bytes | str, int, str]] = [
    ("B1", "/events", b"", 400, "body_empty"),
    ("B2 no JSON", "/events", "{a:1}", 400, "json_invalid"),
    ("B2 comma", "/events", EVENT[:-1] + ",}", 400, "json_invalid"),
    ("B3 array", "/events", "[]", 400, "json_type"),
    ("B3 string", "/events/batch", '"x"', 400, "json_type"),
    ("B4", "/events", EVENT.replace('"1"', "NaN"), 400, "json_nan"),
    ("B5", "/events", EVENT[:-1] + ', "properties": {"a": 1e400}}', 400, "number_out_of_range"),
    ("B6", "/events", EVENT[:-1] + ', "value": "999"}', 400, "json_duplicate_key"),
    ("B6 below", "/events", EVENT[:-1] + ', "properties": {"a": 1, "a": 2}}', 400,
     "json_duplicate_key"),
    ("B7 brackets", "/events", "[" * 100_000, 400, "json_depth"),
    ("B7 nested", "/events", EVENT[:-1] + ', "properties": {"a": ' + "[" * 20 + "]" * 20 + "}}",
     400, "json_depth"),
    ("B8", "/events", EVENT[:-1] + ', "properties": {"a": "\\u0000"}}', 400, "nul_character"),
    ("B9", "/events", EVENT[:-1] + ', "properties": {"a": "\\ud800"}}', 400, "invalid_unicode"),
    ("B11 UTF-8", "/events", EVENT.encode()[:-1] + b', "properties": {"a": "\xff"}}', 400,
     "encoding"),
    ("B11 UTF-16", "/events", EVENT.encode("utf-16"), 400, "encoding"),
    ("B11 BOM", "/events", b"\xef\xbb\xbf" + EVENT.encode(), 400, "encoding"),
    ("B12", "/events", EVENT[:-1] + ', "properties": {"a": ' + "1" * 5000 + "}}", 400,
     "number_too_long"),
    ("B12 41", "/events/batch", '{"events": [' + EVENT[:-1] + ', "properties": {"a": ' + "1" * 41
     + "}}]}", 400, "number_too_long"),
    ("B39 empty", "/events/batch", '{"events": []}', 400, "batch_empty"),
    ("B39 absent", "/events/batch", "{}", 400, "json_type"),
    ("B18", "/events/batch", '{"events": [], "evnts": []}', 400, "unknown_field"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "code"), [one[1:] for one in BODIES],
                         ids=[one[0] for one in BODIES])  # fmt: skip
@pytest.mark.holds("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B11", "B12", "B39")
def test_a_bad_body_is_refused_whole(
    api: Api, path: str, body: bytes | str, status: int, code: str
) -> None:
    answer = api.send("POST", path, body)
    assert answer.status_code == status
    assert [one["code"] for one in answer.json()["errors"]] == [code]
    assert count() == 0


@pytest.mark.holds("B15", "B39")
def test_too_much_is_refused(api: Api) -> None:
    """B15 and B39."""
    many = api.post("/events/batch", {"events": [good()] * 1001}, key=None)
    assert (many.status_code, many.json()["reason"]) == (413, "batch_too_large")
    large = api.send("POST", "/events", b" " * 1_048_577)
    assert (large.status_code, large.json()["reason"]) == (413, "body_too_large")
    larger = api.send("POST", "/events/batch", b" " * 5_242_881)
    assert (larger.status_code, larger.json()["reason"]) == (413, "body_too_large")
    assert count() == 0


def test_other_forms_are_refused(api: Api) -> None:
    """B13, B14, B16, B17, B19 and B24."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = api.send("POST", "/events", EVENT, content_type=kind)
        assert (answer.status_code, answer.json()["reason"]) == (415, "unsupported_media_type")
    zipped = api.send("POST", "/events", EVENT, headers={"Content-Encoding": "gzip"})
    assert zipped.status_code == 415
    assert api.get("/events/batch").status_code == 405
    assert api.send("POST", "/events/", EVENT).status_code == 404
    asked = api.send("POST", "/events?dry=1", EVENT)
    assert (asked.status_code, asked.json()["reason"]) == (400, "parameter_invalid")
    secret = api.headers["Authorization"].removeprefix("Bearer ")
    assert api.send("POST", f"/events?api_key={secret}", EVENT).json()["reason"] in {
        "api_key_in_url",
        "parameter_invalid",
    }
    assert count() == 0


def test_harmless_oddities_are_read_exactly(api: Api) -> None:
    """What the fast reader is not sure about is read by the slow one, to the same effect."""
    body = EVENT[:-1] + ', "properties": {"a:b": "c:d", "e": {"f": [1.50, "\\u00e9"]}, "g": 1e2}}'
    body = body.replace("2026-05-01T00:00:00Z", now().isoformat())
    assert api.send("POST", "/events", body).status_code == 202
    with connection.cursor() as cursor:
        cursor.execute("SELECT properties::text FROM metering_usageevent")
        (stored,) = cursor.fetchone()
    assert stored == '{"e": {"f": [1.50, "é"]}, "g": 100, "a:b": "c:d"}'
