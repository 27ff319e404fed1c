"""Invoices over HTTP."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from apps.core.clock import now
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.models import Invoice, InvoiceLine
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.metering import make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import AT, make_clock, make_key, make_member, make_tenant

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
IN_ARREARS = {**BASE_FEE, "timing": "arrears"}
TIERS = {
    "model": "graduated",
    "tiers": [
        {"up_to": "100000", "unit_price": "0"},
        {"up_to": "1000000", "unit_price": "0.0001"},
        {"up_to": None, "unit_price": "0.00005"},
    ],
}


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


def subscribed(tenant: Tenant, *charges: dict[str, Any], **values: Any) -> Customer:
    """A customer on the charges (a base fee in arrears) from 1 April."""
    customer = make_customer(tenant, **{"external_id": f"crm-{new_id().hex[:8]}", **values})
    make_subscription(customer, make_plan(tenant, charges or [IN_ARREARS]), at=APRIL)
    return customer


def abaxus(tenant: Tenant) -> Customer:
    """A customer with 1,200,000 calls in April on the Growth plan."""
    make_meter(tenant, key="api_calls", unit="calls", at=APRIL)
    calls = {"meter": "api_calls", "name": "API calls", "pricing": TIERS}
    customer = subscribed(tenant, calls, {**IN_ARREARS, "name": "Growth base fee"})
    event = {"meter": "api_calls", "customer": customer.public_id}
    usage = [
        {**event, "timestamp": f"2026-04-0{day}T09:30:00Z", "value": "400000"} for day in (1, 2, 3)
    ]
    assert {one.status for one in send(tenant, usage, at=APRIL + timedelta(days=9))} == {"accepted"}
    return customer


def test_a_customer_is_billed_to_a_cutoff(api: Api, tenant: Tenant) -> None:
    customer = abaxus(tenant)
    answer = api.post(
        "/invoices", {"customer": customer.external_id, "cutoff": "2026-05-01T00:00:00Z"}
    )
    assert answer.status_code == 201
    listed = answer.json()
    assert {**listed, "data": []} == {
        "object": "list",
        "data": [],
        "has_more": False,
        "next_cursor": None,
    }
    (body,) = listed["data"]
    document = Invoice.objects.get()
    calls, fee = body.pop("lines")
    assert body == {
        "object": "invoice",
        "id": document.public_id,
        "kind": "invoice",
        "number": "INV-000001",
        "status": "issued",
        "customer": customer.public_id,
        "currency": "USD",
        "cutoff_at": "2026-05-01T00:00:00Z",
        "period_start": "2026-04-01T00:00:00Z",
        "period_end": "2026-05-01T00:00:00Z",
        "zone": "UTC",
        "subtotal": "149.00",
        "discount": "0.00",
        "tax": "0.00",
        "total": "149.00",
        "credit_applied": "0.00",
        "balance_applied": "0.00",
        "amount_paid": "0.00",
        "amount_due": "149.00",
        "created_at": instant_text(document.created_at),
        "issue_after": instant_text(document.created_at),
        "issued_at": instant_text(document.created_at),
        "due_at": instant_text(document.created_at + timedelta(days=30)),
        "closed_at": None,
        "credits": None,
        "taxes": [],
        "pdf_sha256": "",
        "seller": {"name": "Acme", "address": "", "email": "", "tax_ids": []},
        "buyer": {
            "name": "Globex",
            "email": "billing@globex.example",
            "external_id": customer.external_id,
            "address": document.buyer["address"],
            "tax_ids": [],
            "tax_exempt": "none",
            "tax_exempt_reason": "",
        },
    }
    stored = InvoiceLine.objects.order_by("position")[0]
    assert stored.subscription_id is not None
    assert stored.charge_id is not None
    assert calls == {
        "object": "invoice_line",
        "id": stored.public_id,
        "kind": "usage",
        "description": "API calls",
        "subscription": encode("sub", stored.subscription_id),
        "charge": encode("chg", stored.charge_id),
        "grant": None,
        "period_start": "2026-04-01T00:00:00Z",
        "period_end": "2026-05-01T00:00:00Z",
        "service_start": "2026-04-01T00:00:00Z",
        "service_end": "2026-05-01T00:00:00Z",
        "price_point": "",
        "quantity": "1200000",
        "unit": "calls",
        "amount": "100.00",
        "currency": "USD",
        "tax_rates": [],
        "corrects": None,
    }
    assert (fee["kind"], fee["amount"]) == ("recurring", "49.00")


def test_billing_again_bills_nothing(api: Api, tenant: Tenant) -> None:
    body = {"customer": subscribed(tenant).public_id, "cutoff": "2026-05-01T00:00:00Z"}
    first = api.post("/invoices", body, key="once")
    replayed = api.post("/invoices", body, key="once")
    assert replayed.json() == first.json()
    assert replayed.headers["Idempotent-Replayed"] == "true"
    again = api.post("/invoices", body)
    assert (again.status_code, again.json()["data"]) == (200, [])
    assert Invoice.objects.count() == 1


@pytest.mark.parametrize("name", ["cutoff", "cutoff_date", "target_date"])
def test_a_day_is_its_start_where_the_customer_lives(api: Api, tenant: Tenant, name: str) -> None:
    customer = subscribed(tenant, zone="America/New_York")
    answer = api.post("/invoices", {"customer": customer.public_id, name: "2026-05-02"})
    (document,) = answer.json()["data"]
    assert document["cutoff_at"] == "2026-05-02T04:00:00Z"
    assert document["zone"] == "America/New_York"


def test_without_a_cutoff_it_is_the_customers_now(api: Api, tenant: Tenant) -> None:
    (document,) = api.post("/invoices", {"customer": subscribed(tenant).public_id}).json()["data"]
    cutoff = datetime.fromisoformat(document["cutoff_at"])
    assert timedelta(0) <= now() - cutoff < timedelta(minutes=1)


def test_a_customer_on_a_clock_is_billed_in_its_time() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=datetime(2026, 4, 20, tzinfo=UTC))
    customer = subscribed(tenant, test_clock_id=clock.id)
    api = Api(make_key(tenant))
    refused = api.post("/invoices", {"customer": customer.public_id, "cutoff": "2026-05-01"})
    assert (refused.status_code, refused.json()["reason"]) == (422, "cutoff_in_future")
    assert api.post("/invoices", {"customer": customer.public_id}).json()["data"] == []


def test_drafts_wait_to_be_issued_by_hand(api: Api, tenant: Tenant) -> None:
    body = {"customer": subscribed(tenant).public_id, "cutoff": "2026-05-01", "issue": False}
    (draft,) = api.post("/invoices", body).json()["data"]
    assert (draft["status"], draft["number"], draft["issue_after"]) == ("draft", "", None)
    assert (draft["seller"], draft["buyer"]) == (None, None)
    issued = api.post(f"/invoices/{draft['id']}/issue").json()
    assert (issued["status"], issued["number"]) == ("issued", "INV-000001")
    again = api.post(f"/invoices/{draft['id']}/issue")
    assert (again.status_code, again.json()) == (200, issued)


def test_a_preview_stores_nothing_and_may_look_ahead(api: Api, tenant: Tenant) -> None:
    customer = abaxus(tenant)
    ahead = instant_text((now() + timedelta(days=40)).replace(microsecond=0))
    body = {"customer": customer.public_id, "cutoff": "2026-05-01T00:00:00Z"}
    (document,) = api.post("/invoices/preview", body).json()["data"]
    assert (document["object"], document["kind"], document["total"]) == (
        "invoice_preview",
        "invoice",
        "149.00",
    )
    assert [line["amount"] for line in document["lines"]] == ["100.00", "49.00"]
    assert set(document["lines"][0]) == {
        *("kind", "description", "subscription", "charge", "period_start", "period_end"),
        *("service_start", "service_end", "price_point", "quantity", "unit", "amount"),
        *("currency", "corrects"),
    }
    later = api.post("/invoices/preview", {"customer": customer.public_id, "cutoff": ahead})
    assert float(later.json()["data"][0]["total"]) > 149
    assert not Invoice.objects.exists()
    assert not AuditEvent.objects.filter(type__startswith="invoice.").exists()


def test_a_document_is_named_by_id_or_number(api: Api, tenant: Tenant) -> None:
    document = make_issued(make_customer(tenant))
    by_id = api.get(f"/invoices/{document.public_id}")
    by_number = api.get("/invoices/INV-000001")
    assert by_id.status_code == by_number.status_code == 200
    assert by_id.json() == by_number.json()
    assert api.get("/invoices/INV-1").json() == by_id.json()


def test_the_list_is_filtered(api: Api, tenant: Tenant) -> None:
    customer = make_customer(tenant, external_id="crm-1")
    memo = make_issued(customer, ["-5.00"])
    invoice = make_issued(customer, ["100.00"])
    yen = make_issued(make_customer(tenant), ["100"], currency="JPY")
    draft = make_draft(customer)
    make_issued(make_customer())  # another tenant's
    documents = {one.public_id: one for one in (memo, invoice, yen, draft)}

    def found(**filters: str) -> set[Any]:
        answer = api.get("/invoices", **filters).json()
        return {documents[one["id"]] for one in answer["data"]}

    assert found() == {memo, invoice, yen, draft}
    assert found(customer="crm-1") == found(customer=customer.public_id) == {memo, invoice, draft}
    assert found(status="draft") == {draft}
    assert found(kind="credit_memo") == {memo}
    assert found(currency="JPY") == {yen}
    assert found(customer="crm-2") == set()
    assert "lines" not in api.get("/invoices").json()["data"][0]


def test_a_list_takes_the_same_queries_however_long(
    api: Api, tenant: Tenant, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for count in (1, 3):
        while Invoice.objects.count() < count:
            make_issued(make_customer(tenant), ["1.00", "2.00"])
        with django_assert_num_queries(2):
            assert len(api.get("/invoices").json()["data"]) == count
    name = Invoice.objects.first().public_id  # type: ignore[union-attr]  # there are three
    with django_assert_num_queries(4):
        assert len(api.get(f"/invoices/{name}").json()["lines"]) == 2


def test_tax_is_shown_rate_by_rate_and_explained(api: Api, tenant: Tenant) -> None:
    rate = make_tax_rate(tenant)
    customer = subscribed(tenant)
    body = {"customer": customer.public_id, "cutoff": "2026-05-01T00:00:00Z"}
    (foreseen,) = api.post("/invoices/preview", body).json()["data"]
    (made,) = api.post("/invoices", body).json()["data"]
    tax = {
        "rate": rate.public_id,
        "name": "VAT 19 %",
        "percentage": "19",
        "taxable": "49.00",
        "amount": "9.31",
    }
    for document in (foreseen, made, api.get(f"/invoices/{made['id']}").json()):
        assert document["taxes"] == [tax]
        amounts = (document["subtotal"], document["tax"], document["total"])
        assert amounts == ("49.00", "9.31", "58.31")
    (line,) = made["lines"]
    assert (line["amount"], line["tax_rates"]) == ("49.00", [rate.public_id])
    explained = api.get(f"/invoices/{made['id']}/lines/{line['id']}/explain").json()
    assert explained["taxes"] == [
        {
            **tax,
            "rounding": "per_rate",
            "covered": "0.00",
            "taxable_before": "0.00",
            "amount_before": "0.00",
        }
    ]


def test_canceling_and_writing_off(api: Api, tenant: Tenant) -> None:
    first, second = (make_issued(make_customer(tenant)) for _ in range(2))
    canceled = api.post(f"/invoices/{first.public_id}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert canceled.json()["amount_due"] == "0.00"
    twice = api.post(f"/invoices/{first.public_id}/cancel")
    assert (twice.status_code, twice.json()["reason"]) == (409, "illegal_transition")
    written = api.post(f"/invoices/{second.public_id}/write-off", {"reason": "bankrupt"})
    assert (written.status_code, written.json()["status"]) == (200, "written_off")
    event = AuditEvent.objects.get(type="invoice.written_off")
    assert event.data["reason"] == "bankrupt"


def test_the_event_log_tells_what_happened(api: Api, tenant: Tenant) -> None:
    body = {"customer": subscribed(tenant).public_id, "cutoff": "2026-05-01"}
    (document,) = api.post("/invoices", body).json()["data"]
    api.post(f"/invoices/{document['number']}/cancel")
    log = api.get(f"/invoices/{document['number']}/events").json()
    assert [one["type"] for one in log["data"]] == [
        "invoice.canceled",
        "invoice.issued",
        "invoice.drafted",
    ]
    canceled = log["data"][0]
    assert canceled["object"] == "event"
    assert canceled["actor"].startswith("api_key:key_")
    assert canceled["data"] == {"was": "issued"}
    page = api.get(f"/invoices/{document['number']}/events", limit=2).json()
    assert (len(page["data"]), page["has_more"]) == (2, True)
    rest = api.get(f"/invoices/{document['number']}/events", cursor=page["next_cursor"]).json()
    assert [one["type"] for one in rest["data"]] == ["invoice.drafted"]


def test_a_line_is_explained_and_verified(api: Api, tenant: Tenant) -> None:
    body = {"customer": abaxus(tenant).public_id, "cutoff": "2026-05-01"}
    (document,) = api.post("/invoices", body).json()["data"]
    line = document["lines"][0]["id"]
    path = f"/invoices/{document['number']}/lines/{line}"
    explanation = api.get(f"{path}/explain").json()
    assert explanation.pop("sentences")[2:] == [
        "Tier 1: 100,000 × 0.00 = 0.00 USD.",
        "Tier 2: 900,000 × 0.0001 = 90.00 USD.",
        "Tier 3: 200,000 × 0.00005 = 10.00 USD.",
        "Together: 0.00 + 90.00 + 10.00 = 100.00 USD.",
    ]
    tiers = explanation.pop("pricing")["tiers"]
    assert [tier["up_to"] for tier in tiers] == ["100000", "1000000", None]
    steps = explanation.pop("steps")
    assert steps[1] == {
        "label": "Tier 2",
        "quantity": "900000",
        "unit_price": "0.0001",
        "flat_fee": "0",
        "amount": "90",
        "lower": "100000",
        "upper": "1000000",
    }
    assert explanation == {
        "object": "explanation",
        "line": line,
        "invoice": document["id"],
        "kind": "usage",
        "quantity": "1200000",
        "unit": "calls",
        "included": "0",
        "usage": {
            "meter": "api_calls",
            "meter_version": 1,
            "aggregation": "sum",
            "events": 3,
            "groups": [],
            "spans": [
                {
                    "start": "2026-04-01T00:00:00Z",
                    "end": "2026-05-01T00:00:00Z",
                    "unassigned": True,
                }
            ],
        },
        "price_point": "",
        "contract_price": "",
        "commitment": None,
        "discount": None,
        "share": {"numerator": 1, "denominator": 1},
        "basis": None,
        "exact": "100",
        "expected": "100.00",
        "already_billed": "0.00",
        "amount": "100.00",
        "currency": "USD",
        "earlier": [],
        "taxes": [],
    }
    assert api.get(f"{path}/verify").json() == {
        "object": "verification",
        "verified": True,
        "quantity": "1200000",
        "expected": "100.00",
        "already_billed": "0.00",
        "amount": "100.00",
        "currency": "USD",
        "differences": [],
    }


def test_the_events_behind_a_line_come_in_pages(api: Api, tenant: Tenant) -> None:
    body = {"customer": abaxus(tenant).public_id, "cutoff": "2026-05-01"}
    (document,) = api.post("/invoices", body).json()["data"]
    usage, fee = document["lines"]
    path = f"/invoices/{document['id']}/lines/{usage['id']}/usage-events"
    first = api.get(path, limit=2).json()
    assert [one["timestamp"] for one in first["data"]] == [
        "2026-04-01T09:30:00Z",
        "2026-04-02T09:30:00Z",
    ]
    assert first["data"][0]["value"] == "400000"
    rest = api.get(path, limit=2, cursor=first["next_cursor"]).json()
    assert [one["timestamp"] for one in rest["data"]] == ["2026-04-03T09:30:00Z"]
    assert (rest["has_more"], rest["next_cursor"]) == (False, None)
    none = api.get(f"/invoices/{document['id']}/lines/{fee['id']}/usage-events")
    assert (none.status_code, none.json()["reason"]) == (409, "no_usage_behind")


def test_a_fee_is_explained_without_usage(api: Api, tenant: Tenant) -> None:
    body = {"customer": subscribed(tenant).public_id, "cutoff": "2026-05-01"}
    (document,) = api.post("/invoices", body).json()["data"]
    path = f"/invoices/{document['id']}/lines/{document['lines'][0]['id']}"
    explanation = api.get(f"{path}/explain").json()
    assert (explanation["usage"], explanation["amount"]) == (None, "49.00")
    assert explanation["sentences"][1] == "Flat fee: 49.00 USD."
    assert api.get(f"{path}/verify").json()["verified"] is True


@pytest.mark.holds("S33")
def test_what_a_file_is_called_is_made_of_harmless_characters(api: Api, tenant: Tenant) -> None:
    document = make_issued(make_customer(tenant))
    desk = Client()
    desk.force_login(make_member(tenant).operator)
    page = reverse("admin:invoicing_invoice_download", args=[document.pk, "pdf"])
    told = set()
    for hostile in ('A"; filename=x', "../../etc/", "\u202egpj", "é/ü"):
        with unguarded("invoicing_invoice"):
            Invoice.objects.filter(pk=document.pk).update(series=hostile)
        answers = [api.get(f"/invoices/{document.public_id}/pdf"), desk.get(page)]
        assert [one.status_code for one in answers] == [200, 200]
        told |= {one["Content-Disposition"] for one in answers}
    assert len(told) == 4
    for header in told:
        assert re.fullmatch(r'inline; filename="[A-Za-z0-9._-]+\.pdf"', header), header


def test_a_document_is_read_as_pdf_and_as_page(api: Api, tenant: Tenant) -> None:
    document = make_issued(make_customer(tenant))
    pdf = api.get("/invoices/INV-000001/pdf")
    assert (pdf.status_code, pdf["Content-Type"]) == (200, "application/pdf")
    assert pdf["Content-Disposition"] == 'inline; filename="INV-000001.pdf"'
    assert pdf.content.startswith(b"%PDF-")
    assert api.get("/invoices/INV-000001/pdf").content == pdf.content
    body = api.get("/invoices/INV-000001").json()
    assert body["pdf_sha256"] == fresh(document).pdf_sha256 != ""
    page = api.get("/invoices/INV-000001/html")
    assert page["Content-Type"] == "text/html; charset=utf-8"
    assert page["Content-Security-Policy"].startswith("default-src 'none'")
    assert "INV-000001" in page.content.decode()


def test_a_key_that_may_only_read_writes_nothing(tenant: Tenant) -> None:
    document = make_issued(make_customer(tenant))
    reader = Api(make_key(tenant, scopes=["invoices:read"]))
    assert reader.get(f"/invoices/{document.public_id}").status_code == 200
    for path in ("", "/preview", f"/{document.public_id}/cancel"):
        refused = reader.post(f"/invoices{path}", {})
        assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
    stranger = Api(make_key(tenant, scopes=["customers:read"]))
    assert stranger.get("/invoices").status_code == 403


def test_nobody_sees_the_documents_of_others(api: Api, tenant: Tenant) -> None:
    document = make_issued(make_customer())
    with tenant_scope(document.tenant_id):
        line = document.lines.get()
    make_issued(make_customer(tenant))
    mine = "INV-000001"
    for path in ("", "/events", "/pdf", "/html", f"/lines/{line.public_id}/explain"):
        assert api.get(f"/invoices/{document.public_id}{path}").status_code == 404
    for path in ("/issue", "/cancel"):
        assert api.post(f"/invoices/{document.public_id}{path}").status_code == 404
    assert api.get(f"/invoices/{mine}/lines/{line.public_id}/explain").status_code == 404
    other = make_customer()
    assert api.post("/invoices", {"customer": other.public_id}).status_code == 404
    assert api.get("/invoices", customer=other.public_id).json()["data"] == []
    with tenant_scope(document.tenant_id):
        assert fresh(document).status == "issued"
    assert now() > AT
