"""Tax rates over HTTP."""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.taxes.models import TaxRate
from tests.make.api import Api
from tests.make.taxes import make_tax_rate
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

BODY = {
    "key": "de-vat",
    "tax": "vat",
    "name": "VAT 19 %",
    "percentage": "19",
    "country": "DE",
    "valid_from": "2026-01-01T00:00:00Z",
}


def test_a_rate_is_added_ended_succeeded_and_archived() -> None:
    api = Api(make_key(make_tenant()))
    answer = api.post("/tax-rates", BODY)
    assert answer.status_code == 201
    row = TaxRate.objects.get()
    made = answer.json()
    assert made == {
        **BODY,
        "object": "tax_rate",
        "id": row.public_id,
        "region": "",
        "tax_code": "",
        "valid_until": None,
        "archived_at": None,
        "created_at": made["created_at"],
    }
    end = {"valid_until": "2027-01-01T00:00:00Z"}
    successor = {**BODY, "key": "de-vat-27", "name": "VAT 20 %", "percentage": "20.5"}
    successor["valid_from"] = end["valid_until"]
    refused = api.post("/tax-rates", successor)
    assert (refused.status_code, refused.json()["reason"]) == (409, "tax_rate_overlaps")
    for _ in range(2):
        ended = api.post("/tax-rates/de-vat/end", end)
        assert (ended.status_code, ended.json()) == (200, {**made, **end})
    assert api.post("/tax-rates", successor).json()["percentage"] == "20.5"
    again = api.post("/tax-rates/de-vat/end", {"valid_until": "2028-01-01T00:00:00Z"})
    assert (again.status_code, again.json()["reason"]) == (409, "tax_rate_ended")
    archived = [api.post(f"/tax-rates/{row.public_id}/archive").json() for _ in range(2)]
    assert archived[0] == archived[1]
    assert archived[0]["archived_at"] is not None
    assert api.post("/tax-rates", {**BODY, "key": "again"}).status_code == 409  # the successor
    assert [one["key"] for one in api.get("/tax-rates").json()["data"]] == ["de-vat-27", "de-vat"]
    events = AuditEvent.objects.filter(type__startswith="tax_rate.").order_by("id")
    assert [one.type for one in events] == [
        "tax_rate.created",
        "tax_rate.ended",
        "tax_rate.created",
        "tax_rate.archived",
    ]


def test_an_archived_rate_makes_room() -> None:
    api = Api(make_key(make_tenant()))
    api.post("/tax-rates", BODY)
    api.post("/tax-rates/de-vat/archive")
    assert api.post("/tax-rates", {**BODY, "key": "right"}).status_code == 201


def test_the_same_request_adds_one_rate() -> None:
    api = Api(make_key(make_tenant()))
    made = [api.post("/tax-rates", BODY, key="once").json() for _ in range(2)]
    assert made[0] == made[1]
    assert TaxRate.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "status", "field", "code"),
    [
        ({"percentage": "99999999"}, 422, "percentage", "percentage_range"),
        ({"percentage": "-1"}, 422, "percentage", "percentage_range"),
        ({"percentage": "33.333333333"}, 422, "percentage", "percentage_precision"),
        ({"percentage": "1e1"}, 400, "percentage", "number_format"),
        ({"percentage": "NaN"}, 400, "percentage", "number_format"),
        ({"percentage": None}, 400, "percentage", "null"),
        ({"country": "XX"}, 422, "country", "country_unknown"),
        ({"country": "DEU"}, 400, "country", "max_length"),
        ({"country": "", "region": "Texas"}, 422, "region", "country_missing"),
        ({"name": ""}, 400, "name", "blank"),
        ({"name": "x" * 101}, 400, "name", "max_length"),
        ({"key": "DE VAT"}, 400, "key", "key_format"),
        ({"tax": "x" * 41}, 400, "tax", "max_length"),
        ({"valid_from": "2026-01-01"}, 400, "valid_from", "timestamp_format"),
        ({"valid_until": "2026-01-01T00:00:00Z"}, 422, "valid_until", "end_before_start"),
        ({"valid_until": "2026-12-31T23:59:59Z"}, 400, "valid_until", "end_exclusive"),
        ({"inclusive": True}, 400, "inclusive", "unknown_field"),
        ({"archived_at": "2026-01-01T00:00:00Z"}, 400, "archived_at", "unknown_field"),
    ],
)
@pytest.mark.holds("B71", "B73")
def test_wrong_rates(change: dict[str, Any], status: int, field: str, code: str) -> None:
    answer = Api(make_key(make_tenant())).post("/tax-rates", {**BODY, **change})
    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert not TaxRate.objects.exists()


@pytest.mark.holds("B73")
def test_a_key_is_taken_once() -> None:
    tenant = make_tenant()
    make_tax_rate(tenant, key="de-vat", country="FR")
    answer = Api(make_key(tenant)).post("/tax-rates", BODY)
    assert (answer.status_code, answer.json()["reason"]) == (409, "tax_rate_key_taken")
    assert Api(make_key(make_tenant())).post("/tax-rates", BODY).status_code == 201


@pytest.mark.parametrize(
    ("body", "status", "field", "code"),
    [
        ({}, 400, "valid_until", "required"),
        ({"valid_until": None}, 400, "valid_until", "null"),
        ({"valid_until": "2026-01-01T00:00:00Z"}, 422, "valid_until", "end_before_start"),
        ({"valid_until": "2026-12-31T23:59:59Z"}, 400, "valid_until", "end_exclusive"),
    ],
)
def test_wrong_ends(body: dict[str, Any], status: int, field: str, code: str) -> None:
    api = Api(make_key(make_tenant()))
    api.post("/tax-rates", BODY)
    answer = api.post("/tax-rates/de-vat/end", body)
    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_list_takes_one_query(
    rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = make_tenant()
    for number in range(rows):
        make_tax_rate(tenant, key=f"rate-{number}", tax=f"tax-{number}")
    api = Api(make_key(tenant))
    with django_assert_num_queries(2):
        assert len(api.get("/tax-rates").json()["data"]) == rows


def test_filters_narrow_the_list() -> None:
    tenant = make_tenant()
    make_tax_rate(tenant, key="vat", country="DE")
    make_tax_rate(tenant, key="gst", tax="gst", country="CA")
    api = Api(make_key(tenant))
    for query, keys in (("key=vat", ["vat"]), ("tax=gst", ["gst"]), ("country=FR", [])):
        assert [one["key"] for one in api.get(f"/tax-rates?{query}").json()["data"]] == keys


def test_rates_of_others_do_not_exist() -> None:
    other = make_tenant()
    theirs = make_tax_rate(other, key="theirs")
    api = Api(make_key(make_tenant()))
    for name in (theirs.public_id, "theirs"):
        assert api.get(f"/tax-rates/{name}").status_code == 404
        assert api.post(f"/tax-rates/{name}/archive").status_code == 404
    with tenant_scope(other.id):
        theirs.refresh_from_db()
    assert theirs.archived_at is None
