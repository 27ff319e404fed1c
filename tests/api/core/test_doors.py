"""What every door of the API does, whatever is behind it."""

import logging
from typing import Any

import pytest
import yaml
from django.db import InterfaceError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.core.ids import decode
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db


def test_an_answer_names_its_request() -> None:
    api = Api(make_key(make_tenant()))
    own = api.get("/customers").headers["X-Request-Id"]
    decode("req", own)
    api.headers["X-Request-Id"] = "trace-42.a_B"
    assert api.get("/customers").headers["X-Request-Id"] == "trace-42.a_B"
    assert api.get("/customers/x").json()["request_id"] == "trace-42.a_B"
    for unusable in ("", "x" * 65, "a b", "<script>"):
        api.headers["X-Request-Id"] = unusable
        decode("req", api.get("/customers").headers["X-Request-Id"])


@pytest.mark.holds("B129")
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/customers", "created"),
        ("/payments", "created"),
        ("/refunds", "created"),
        ("/ledger/entries", "effective"),
        ("/orphan-events", "received"),
    ],
)
def test_a_range_that_runs_backwards_is_refused(path: str, name: str) -> None:
    api = Api(make_key(make_tenant()))
    may, june = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z"

    def asked(start: str, end: str) -> Any:
        return api.get(path, **{f"{name}_from": start, f"{name}_before": end})

    assert asked(may, june).status_code == asked(may, may).status_code == 200
    answer = asked(june, may)
    errors = [(one["field"], one["code"]) for one in answer.json()["errors"]]
    assert (answer.status_code, errors) == (400, [(f"{name}_before", "range_backwards")])


@pytest.mark.holds("S50")
def test_answers_are_not_kept_by_caches() -> None:
    api = Api(make_key(make_tenant()))
    for answer in (api.get("/customers"), api.get("/customers/x"), api.post("/customers", {})):
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.holds("B130")
def test_json_is_answered_whatever_is_accepted() -> None:
    api = Api(make_key(make_tenant()), Accept="text/html, application/xml;q=0.9")
    answer = api.get("/customers")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_an_empty_list() -> None:
    assert Api(make_key(make_tenant())).get("/customers").json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }


def test_a_head_is_a_get_without_a_body() -> None:
    answer = Api(make_key(make_tenant())).send("HEAD", "/customers")
    assert (answer.status_code, answer.content) == (200, b"")


def test_unknown_objects_take_one_lookup_and_one_in_the_other_mode(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    api = Api(make_key(make_tenant()))
    known_to_nobody = "cus_01h455vb4pex5vsknk084sn02q"
    with django_assert_num_queries(4):  # who asks; by id; by external id; in the other mode
        assert api.get(f"/customers/{known_to_nobody}").status_code == 404
    with django_assert_num_queries(2):
        assert api.get("/customers/no-id-at-all").status_code == 404


def test_an_external_id_that_looks_like_an_id_is_found_where_no_id_is() -> None:
    tenant = make_tenant()
    looks = "cus_01h455vb4pex5vsknk084sn02q"
    customer = make_customer(tenant, external_id=looks)
    assert Api(make_key(tenant)).get(f"/customers/{looks}").json()["id"] == customer.public_id


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/v1/nowhere", 404, "endpoint_not_found"),
        ("/api/nowhere", 404, "endpoint_not_found"),
        ("/api/v1/", 404, "endpoint_not_found"),
        ("/api/v1/customers/a/b/c", 404, "endpoint_not_found"),
    ],
)
def test_unknown_paths_below_api_are_problems(path: str, status: int, reason: str) -> None:
    answer = Client().get(path)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_unknown_paths_elsewhere_are_plain_and_show_no_markup() -> None:
    answer = Client().get("/<script>alert(1)</script>")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.filterwarnings("ignore:Invalid HTTP_HOST")
@pytest.mark.holds("S49")
def test_a_request_for_another_host_is_a_problem() -> None:
    answer = Client().get("/api/v1/customers", headers={"Host": "evil.example"})
    body = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (400, "REQ_004", "bad_request")
    assert "evil" not in answer.content.decode()


def test_a_defect_shows_nothing_and_is_logged_under_its_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the secret of the house")

    api = Api(make_key(make_tenant()), X_Request_Id="req-of-the-defect")
    api.client.raise_request_exception = False
    monkeypatch.setattr("apps.customers.api.views.create_customer", fail)
    with caplog.at_level(logging.ERROR):
        answer = api.post("/customers", {"name": "G"})
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "https://countinghouse.dev/problems/internal",
        "title": "Internal error",
        "status": 500,
        "code": "INT_001",
        "reason": "internal",
        "detail": "The error was logged; quote the request id.",
        "request_id": "req-of-the-defect",
    }
    assert "the error of request req-of-the-defect" in caplog.text
    assert "the secret of the house" in caplog.text


def test_a_database_that_went_away_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr("apps.customers.api.views.create_customer", fail)
    answer = Api(make_key(make_tenant())).post("/customers", {"name": "G"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_the_schema_tells_what_doors_take() -> None:
    schema = yaml.safe_load(Client().get("/api/openapi.json").content)
    customers = schema["paths"]["/api/v1/customers"]
    asked = {one["name"]: one["in"] for one in customers["get"]["parameters"]}
    assert asked == {
        "limit": "query",
        "cursor": "query",
        "external_id": "query",
        "email": "query",
        "currency": "query",
        "payment_provider_customer_id": "query",
        "test_clock": "query",
        "created_from": "query",
        "created_before": "query",
    }
    (key,) = customers["post"]["parameters"]
    assert (key["name"], key["in"], key.get("required", False)) == (
        "Idempotency-Key",
        "header",
        False,
    )
    problem = customers["post"]["responses"]["default"]["content"]["application/problem+json"]
    assert problem["schema"]["$ref"].endswith("/ProblemView")
    assert customers["get"]["security"] == [{"bearer": []}, {"api_key": []}, {"basic": []}]
    pay = schema["paths"]["/api/v1/invoices/{id}/pay"]["post"]["parameters"]
    assert [one["required"] for one in pay if one["name"] == "Idempotency-Key"] == [True]
    view = schema["components"]["schemas"]["CustomerView"]["properties"]
    assert view["object"] == {"type": "string", "const": "customer", "readOnly": True}
    assert view["id"]["pattern"] == "^cus_[0-7][0-9a-hjkmnp-tv-z]{25}$"


def test_every_write_has_an_example() -> None:
    schema = yaml.safe_load(Client().get("/api/openapi.json").content)
    without = [
        f"{method} {path}"
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
        and not operation["requestBody"]["content"].get("application/json", {}).get("examples")
    ]
    assert without == []


@pytest.mark.holds("S5")
def test_every_path_of_the_api_asks_who_is_there() -> None:
    """Nothing below /api/v1 but logging in answers a stranger."""
    schema = yaml.safe_load(Client().get("/api/openapi.json").content)
    strangers_welcome = []
    for path, methods in schema["paths"].items():
        concrete = path.replace("{", "").replace("}", "")
        for method in methods:
            answer = Client().generic(method.upper(), concrete, b"{}", "application/json")
            if answer.status_code != 401:
                strangers_welcome.append((method, path, answer.status_code))
    assert strangers_welcome == [("post", "/api/v1/auth/login", 400)]
