"""Meters and streams over HTTP."""

from typing import Any

import pytest

from apps.metering.models import MeterVersion
from tests.make.api import Api
from tests.make.metering import make_meter
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Api:
    return Api(make_key(make_tenant()))


def test_a_meter_is_the_sum_of_what_is_called_like_it(api: Api) -> None:
    body = {"key": "api_calls", "name": "API Calls", "aggregation": "sum", "description": "Calls"}
    answer = api.post("/meters", body)
    assert answer.status_code == 201
    told = answer.json()
    assert told["id"].startswith("met_")
    assert {name: told[name] for name in ("object", "key", "name", "aggregation", "status")} == {
        "object": "meter",
        "key": "api_calls",
        "name": "API Calls",
        "aggregation": "sum",
        "status": "active",
    }
    assert (told["event_name"], told["value_property"], told["version"]) == ("api_calls", "", 1)
    assert api.get("/meters/api_calls").json() == told
    assert api.get(f"/meters/{told['id']}").json() == told
    assert api.get("/meters").json()["data"] == [told]
    assert api.get("/meters", key="nothing").json()["data"] == []


def test_everything_that_a_meter_can_say_comes_back(api: Api) -> None:
    body: dict[str, Any] = {
        "key": "storage",
        "event_name": "storage.changed",
        "aggregation": "percentile",
        "value_property": "gigabytes",
        "percentile": "99.5",
        "recurring": True,
        "filters": [
            {"property": "region", "op": "in", "value": ["eu", 5]},
            {"property": "size", "op": "gt", "value": "1.50"},
            {"property": "test", "op": "exists", "value": False},
        ],
        "group_by": ["region", "class"],
        "rounding": {"mode": "up", "precision": 2},
        "refuses_negative": True,
        "unit": "GB",
        "metadata": {"crm": "1"},
    }
    told = api.post("/meters", body).json()
    assert {name: told[name] for name in body} == {
        **body,
        "filters": [
            body["filters"][0],
            {"property": "size", "op": "gt", "value": "1.50"},
            body["filters"][2],
        ],
    }
    assert told["name"] == "storage"
    assert api.get("/meters/storage").json() == told


WRONG: list[tuple[dict[str, Any], int, list[tuple[str, str]]]] = [
    ({"aggregation": "total"}, 400, [("aggregation", "invalid_choice")]),
    ({"key": "API Calls"}, 400, [("key", "key_format")]),
    ({"agregation": "sum"}, 400, [("agregation", "unknown_field")]),
    ({"aggregation": "percentile"}, 422, [("percentile", "aggregation_invalid")]),
    ({"percentile": "50"}, 422, [("percentile", "aggregation_invalid")]),
    ({"aggregation": "percentile", "percentile": "0"}, 422, [("percentile", "aggregation_invalid")]),
    ({"aggregation": "count", "value_property": "size"}, 422, [("value_property", "not_used")]),
    ({"filters": [{"property": "a", "op": "like", "value": "x"}]}, 422, [("filters[0].op", "unknown_choice")]),
    ({"filters": [{"property": "a", "op": "gt", "value": "x"}]}, 422, [("filters[0].value", "number_format")]),
    ({"filters": "a = 1"}, 400, [("filters", "not_a_list")]),
    ({"group_by": ["a", "a", "price_point"]}, 422, [("group_by[1]", "duplicate"), ("group_by[2]", "reserved")]),
    ({"group_by": list("abcdef")}, 422, [("group_by", "too_many")]),
    ({"rounding": {"mode": "even"}}, 400, [("rounding.mode", "invalid_choice")]),
    ({"rounding": {"mode": "up", "precision": 13}}, 400, [("rounding.precision", "max_value")]),
    ({"event_name": "two words"}, 422, [("event_name", "name_format")]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "status", "errors"), WRONG)
def test_a_definition_that_makes_no_sense_is_refused(
    api: Api, change: dict[str, Any], status: int, errors: list[tuple[str, str]]
) -> None:
    answer = api.post("/meters", {"key": "calls", "aggregation": "sum", **change})
    assert answer.status_code == status
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == errors
    assert not MeterVersion.objects.exists()


def test_a_key_is_taken_once_and_a_repeat_makes_nothing(api: Api) -> None:
    body = {"key": "calls", "aggregation": "sum"}
    first = api.post("/meters", body, key="once")
    assert api.post("/meters", body, key="once").json() == first.json()
    other = api.post("/meters", body)
    assert (other.status_code, other.json()["reason"]) == (409, "meter_key_taken")


def test_a_revision_is_a_new_version(api: Api) -> None:
    api.post("/meters", {"key": "calls", "aggregation": "sum"})
    revised = api.post("/meters/calls/versions", {"aggregation": "max"})
    assert revised.status_code == 201
    told = revised.json()
    assert (told["object"], told["meter"], told["version"]) == ("meter_version", "calls", 2)
    versions = api.get("/meters/calls/versions").json()["data"]
    assert [(one["version"], one["aggregation"]) for one in versions] == [(2, "max"), (1, "sum")]
    now = api.get("/meters/calls").json()
    assert (now["version"], now["aggregation"], now["event_name"]) == (2, "max", "calls")


def test_an_archived_meter_is_revised_no_more(api: Api) -> None:
    api.post("/meters", {"key": "calls", "aggregation": "sum"})
    archived = api.post("/meters/calls/archive")
    assert (archived.status_code, archived.json()["status"]) == (200, "archived")
    assert api.post("/meters/calls/archive").json()["archived_at"] is not None
    refused = api.post("/meters/calls/versions", {"aggregation": "max"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "meter_archived")


@pytest.mark.parametrize("rows", [1, 3])
def test_a_page_takes_the_same_queries_for_any_number_of_rows(
    rows: int, django_assert_num_queries: Any
) -> None:
    tenant = make_tenant()
    for _ in range(rows):
        make_meter(tenant)
    api = Api(make_key(tenant))
    with django_assert_num_queries(3):  # the key, the meters, their versions
        assert len(api.get("/meters").json()["data"]) == rows


def test_meters_of_others_are_not_there(api: Api) -> None:
    other = make_meter()
    assert api.get(f"/meters/{other.public_id}").status_code == 404
    assert api.post(f"/meters/{other.public_id}/archive").status_code == 404


STREAM = {
    "handle": "clicks",
    "event_name": "ad.clicked",
    "subject_path": "account_id",
    "value_path": "data.clicks[0]",
}


def test_streams_are_made_changed_and_archived(api: Api) -> None:
    made = api.post("/streams", STREAM)
    assert made.status_code == 201
    told = made.json()
    assert {name: told[name] for name in STREAM} == STREAM
    changed = api.patch("/streams/clicks", {"key_path": "id", "value_path": ""})
    assert changed.json() == {**told, "key_path": "id", "value_path": ""}
    assert api.get("/streams").json()["data"] == [changed.json()]
    assert api.post("/streams/clicks/archive").json()["archived_at"] is not None
    taken = api.post("/streams", STREAM)
    assert (taken.status_code, taken.json()["reason"]) == (409, "stream_handle_taken")


def test_a_path_that_is_none_is_refused(api: Api) -> None:
    body = {**STREAM, "value_path": "a..b", "key_path": "x[y]"}
    answer = api.post("/streams", body)
    assert answer.status_code == 422
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [
        ("value_path", "path_invalid"),
        ("key_path", "path_invalid"),
    ]
