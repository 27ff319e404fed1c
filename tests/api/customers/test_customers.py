"""Customers over HTTP."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer, TaxId
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.tenants import make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db

BODY = {
    "external_id": "crm-4711",
    "name": "Globex",
    "email": "billing@globex.example",
    "currency": "EUR",
    "zone": "Europe/Berlin",
    "address": {"line1": "Hauptstr. 1", "city": "Berlin", "country": "DE"},
    "tax_ids": [
        {"kind": "eu_vat", "value": "DE 136,695 976"},
        {"kind": "us_ein", "value": "91-1144442"},
    ],
    "tax_exempt": "reverse_charge",
    "tax_exempt_reason": "Art. 196",
    "metadata": {"segment": "enterprise"},
    "payment_provider": "sandbox",
    "payment_provider_customer_id": "cus_1",
}


def test_a_customer_is_created_whole() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    answer = api.post("/customers", BODY)
    assert answer.status_code == 201
    body = answer.json()
    row = Customer.objects.get()
    assert body == {
        **BODY,
        "object": "customer",
        "id": row.public_id,
        "address": {
            "line1": "Hauptstr. 1",
            "line2": "",
            "city": "Berlin",
            "postal_code": "",
            "state": "",
            "country": "DE",
        },
        "tax_ids": [
            {"kind": "eu_vat", "value": "DE136695976"},
            {"kind": "us_ein", "value": "911144442"},
        ],
        "test_clock": None,
        "created_at": row.created_at.isoformat().replace("+00:00", "Z"),
    }
    assert row.tenant_id == tenant.id
    for name in (row.public_id, "crm-4711"):
        assert api.get(f"/customers/{name}").json() == body


def test_currency_and_zone_are_the_tenants_unless_given() -> None:
    api = Api(make_key(make_tenant(currency="JPY", zone="Asia/Tokyo")))
    bodies = [
        api.post("/customers", {"name": "A"}).json(),
        api.post("/customers", {"name": "B", "currency": "EUR"}).json(),
    ]
    assert [(one["currency"], one["zone"]) for one in bodies] == [
        ("JPY", "Asia/Tokyo"),
        ("EUR", "Asia/Tokyo"),
    ]


@pytest.mark.holds("B84")
def test_an_external_id_is_one_customers_of_a_tenant() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    first = api.post("/customers", BODY).json()
    again = api.post("/customers", BODY)
    assert (again.status_code, again.json()["reason"]) == (409, "external_id_taken")
    assert again.json()["errors"][0]["field"] == "external_id"
    other = api.post("/customers", {"name": "Initech", "external_id": "b"}).json()
    changed = api.patch(f"/customers/{other['id']}", {"external_id": "crm-4711"})
    assert (changed.status_code, changed.json()["reason"]) == (409, "external_id_taken")
    assert Api(make_key(make_tenant())).post("/customers", BODY).status_code == 201
    assert [row["id"] for row in api.get("/customers", external_id="crm-4711").json()["data"]] == [
        first["id"]
    ]
    assert TaxId.objects.filter(tenant=tenant).count() == 2


def test_changes_change_what_they_name() -> None:
    api = Api(make_key(make_tenant()))
    before = api.post("/customers", BODY).json()
    answer = api.patch(
        "/customers/crm-4711",
        {
            "name": "Globex Corp",
            "zone": "Asia/Tokyo",
            "address": {"line1": "2 Road", "country": "JP"},
            "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}],
            "metadata": {},
        },
    )
    assert answer.status_code == 200
    assert answer.json() == {
        **before,
        "name": "Globex Corp",
        "zone": "Asia/Tokyo",
        "address": {**before["address"], "line1": "2 Road", "city": "", "country": "JP"},
        "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}],
        "metadata": {},
    }
    event = AuditEvent.objects.get(type="customer.changed")
    assert event.data == {"fields": "address, metadata, name, zone, tax_ids"}
    assert api.patch("/customers/crm-4711", {"name": "Globex Corp"}).status_code == 200
    assert api.patch("/customers/crm-4711", {}).status_code == 200
    assert AuditEvent.objects.filter(type="customer.changed").count() == 1


@pytest.mark.holds("B85")
def test_the_currency_changes_while_there_are_no_amounts() -> None:
    api = Api(make_key(make_tenant()))
    made = api.post("/customers", {"name": "Globex"}).json()
    changed = api.patch(f"/customers/{made['id']}", {"currency": "EUR"})
    assert (changed.status_code, changed.json()["currency"]) == (200, "EUR")


@pytest.mark.parametrize(
    ("change", "status", "field", "code"),
    [
        ({"name": None}, 400, "name", "null"),
        ({"name": "  "}, 400, "name", "blank"),
        ({"name": "x" * 201}, 400, "name", "max_length"),
        ({"name": "a\x07b"}, 400, "name", "control_character"),
        ({"name": "a\nb"}, 400, "name", "control_character"),
        ({"email": "nobody"}, 400, "email", "invalid"),
        ({"currency": "XXX"}, 400, "currency", "currency_unknown"),
        ({"currency": "usd"}, 400, "currency", "currency_unknown"),
        ({"zone": "CEST"}, 400, "zone", "zone_unknown"),
        ({"external_id": "a b"}, 400, "external_id", "external_id_format"),
        ({"external_id": ""}, 400, "external_id", "blank"),
        ({"external_id": "x" * 256}, 400, "external_id", "external_id_format"),
        ({"metadata": {"a": 1}}, 400, "metadata", "metadata_format"),
        ({"metadata": {str(n): "" for n in range(51)}}, 400, "metadata", "metadata_format"),
        ({"address": {"country": "XX"}}, 422, "address.country", "country_unknown"),
        ({"address": {"planet": "Mars"}}, 400, "address.planet", "unknown_field"),
        ({"address": "Berlin"}, 400, "address", "json_type"),
        ({"tax_ids": [{"kind": "xx", "value": "1"}]}, 400, "tax_ids[0].kind", "invalid_choice"),
        (
            {"tax_ids": [{"kind": "eu_vat", "value": "DE136695977"}]},
            422,
            "tax_ids[0].value",
            "tax_id_invalid",
        ),
        (
            {"tax_ids": [{"kind": "us_ein", "value": "91-1144442"}] * 2},
            422,
            "tax_ids[1].value",
            "tax_id_repeated",
        ),
        ({"tax_exempt": "maybe"}, 400, "tax_exempt", "invalid_choice"),
        ({"tax_exempt": None}, 400, "tax_exempt", "null"),
        ({"tax_exempt_reason": "x" * 201}, 400, "tax_exempt_reason", "max_length"),
        ({"tax_exempt": "none"}, 422, "tax_exempt_reason", "tax_exempt_invalid"),
        ({"tax_ids": []}, 422, "tax_exempt", "tax_exempt_invalid"),
        ({"test_clock": "cus_01h455vb4pex5vsknk084sn02q"}, 400, "test_clock", "id_malformed"),
        ({"test_clock": encode("clk", new_id())}, 404, "test_clock", "not_found"),
        ({"tenant": "ten_01h455vb4pex5vsknk084sn02q"}, 400, "tenant", "unknown_field"),
        ({"created_at": "2020-01-01T00:00:00Z"}, 400, "created_at", "unknown_field"),
        ({"id": "cus_01h455vb4pex5vsknk084sn02q"}, 400, "id", "unknown_field"),
    ],
)
@pytest.mark.holds("B80", "B81", "B82", "B83", "B95")
def test_wrong_customers(change: dict[str, Any], status: int, field: str, code: str) -> None:
    answer = Api(make_key(make_tenant())).post("/customers", {**BODY, **change})
    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert (Customer.objects.count(), TaxId.objects.count()) == (0, 0)
    assert not AuditEvent.objects.filter(type__startswith="customer.").exists()


def test_who_is_exempt_may_change() -> None:
    api = Api(make_key(make_tenant()))
    api.post("/customers", BODY)
    refused = api.patch("/customers/crm-4711", {"tax_ids": []})
    assert (refused.status_code, refused.json()["reason"]) == (422, "tax_exempt_invalid")
    assert TaxId.objects.count() == 2
    changed = api.patch("/customers/crm-4711", {"tax_exempt": "none", "tax_ids": []}).json()
    assert (changed["tax_exempt"], changed["tax_exempt_reason"]) == ("none", "")


def test_every_error_is_told_at_once() -> None:
    answer = Api(make_key(make_tenant())).post("/customers", {"currency": "x", "nmae": "y"})
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [
        ("name", "required"),
        ("currency", "currency_unknown"),
        ("nmae", "unknown_field"),
    ]
    assert "Did you mean 'name'?" in answer.json()["errors"][2]["detail"]


def test_a_customer_keeps_its_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=datetime(2025, 1, 31, tzinfo=UTC))
    api = Api(make_key(tenant))
    made = api.post("/customers", {"name": "G", "test_clock": clock.public_id}).json()
    assert made["test_clock"] == clock.public_id
    changed = api.patch(f"/customers/{made['id']}", {"test_clock": None})
    assert (changed.status_code, changed.json()["errors"][0]["code"]) == (400, "unknown_field")
    page = api.get("/customers", test_clock=clock.public_id).json()
    assert [row["id"] for row in page["data"]] == [made["id"]]


def test_filters_narrow_the_list() -> None:
    tenant = make_tenant()
    first = make_customer(tenant, email="A@globex.example", at=datetime(2026, 1, 1, tzinfo=UTC))
    second = make_customer(
        tenant,
        email="b@globex.example",
        currency="EUR",
        payment_provider_customer_id="p1",
        at=datetime(2026, 2, 1, tzinfo=UTC),
    )
    api = Api(make_key(tenant))
    expected = {
        "email=a%40globex.example": [first],
        "currency=EUR": [second],
        "payment_provider_customer_id=p1": [second],
        "created_from=2026-02-01T00:00:00Z": [second],
        "created_before=2026-02-01T00:00:00Z": [first],
        "currency=EUR&email=a%40globex.example": [],
        "": [second, first],
    }
    assert {
        query: [row["id"] for row in api.get(f"/customers?{query}").json()["data"]]
        for query in expected
    } == {query: [one.public_id for one in rows] for query, rows in expected.items()}


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("currency=usd", "currency", "invalid"),
        ("test_clock=1", "test_clock", "id_malformed"),
        ("created_from=yesterday", "created_from", "invalid"),
        (f"email={'x' * 256}", "email", "invalid"),
    ],
)
def test_wrong_filters(query: str, field: str, code: str) -> None:
    answer = Api(make_key(make_tenant())).get(f"/customers?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "parameter_invalid")
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]


def test_pages_follow_each_other() -> None:
    tenant = make_tenant()
    made = [make_customer(tenant).public_id for _ in range(5)]
    api = Api(make_key(tenant))
    seen: list[str] = []
    page = api.get("/customers", limit=2).json()
    make_customer(tenant)  # a new one comes before what has been read
    while True:
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        page = api.get("/customers", limit=2, cursor=page["next_cursor"]).json()
    assert seen == made[::-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize("rows", [1, 3])
def test_a_list_takes_one_query_and_one_for_tax_ids(
    rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = make_tenant()
    for _ in range(rows):
        make_customer(tenant, tax_ids=[("us_ein", "91-1144442")])
    api = Api(make_key(tenant))
    with django_assert_num_queries(3):
        assert len(api.get("/customers").json()["data"]) == rows


def test_customers_of_others_do_not_exist() -> None:
    tenant = make_tenant()
    other = make_customer(make_tenant(), external_id="theirs")
    api = Api(make_key(tenant), X_Request_Id="same")
    unknown = encode("cus", new_id())
    for method, body in (("GET", None), ("PATCH", {"name": "Mine"})):
        bodies = {
            api.send(method, f"/customers/{name}", body).content.decode().replace(name, "…")
            for name in (other.public_id, "theirs", unknown)
        }
        assert len(bodies) == 1
        assert '"status":404' in bodies.pop()
    with tenant_scope(other.tenant_id):
        other.refresh_from_db()
    assert other.name == "Globex"


def test_the_other_mode_is_hinted_at() -> None:
    live = make_tenant()
    customer = make_customer(Tenant.objects.get(pk=live.twin_id))
    answer = Api(make_key(live)).get(f"/customers/{customer.public_id}")
    assert (answer.status_code, answer.json()["reason"]) == (404, "mode_mismatch")
