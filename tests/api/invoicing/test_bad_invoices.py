"""What is refused about invoices: status, reason, field, and nothing stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moneyed import Money

from apps.core.clock import now
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing.models import Invoice, NumberSequence
from apps.invoicing.operations.closing import cancel_invoice
from apps.invoicing.operations.payments_received import record_payment
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import make_draft, make_issued
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_key, make_tenant

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


def seen() -> list[Any]:
    """Everything of documents that a refused request must leave alone."""
    rows = Invoice.objects.order_by("id").values_list("id", "status", "number", "amount_paid")
    events = AuditEvent.objects.filter(type__startswith="invoice.").count()
    numbers = NumberSequence.objects.order_by("id").values_list("series", "last_number")
    return [list(rows), events, list(numbers)]


# name of the row: the body beside a customer, status, reason, the field and its code
BILLING: dict[str, tuple[dict[str, Any], int, str, str, str]] = {
    "B106 a day's last second": (
        {"cutoff": "2026-04-30T23:59:59Z"},
        *(400, "invalid", "cutoff", "end_exclusive"),
    ),
    "B106 under another name": (
        {"cutoff_date": "2026-04-30T23:59:59.999+02:00"},
        *(400, "invalid", "cutoff_date", "end_exclusive"),
    ),
    "no zone": (
        {"cutoff": "2026-05-01T00:00:00"},
        *(400, "invalid", "cutoff", "timestamp_zone_required"),
    ),
    "no time": ({"cutoff": "tomorrow"}, 400, "invalid", "cutoff", "timestamp_format"),
    "no such day": (
        {"target_date": "2026-02-30"},
        400,
        "invalid",
        "target_date",
        "timestamp_format",
    ),
    "a day of long ago": ({"cutoff": "0001-01-01"}, 400, "invalid", "cutoff", "timestamp_format"),
    "a number": ({"cutoff": 1777593600}, 400, "invalid", "cutoff", "timestamp_format"),
    "two cutoffs": (
        {"cutoff": "2026-05-01", "target_date": "2026-05-01"},
        *(400, "invalid", "target_date", "cutoff_repeated"),
    ),
    "the future": (
        {"cutoff": "2999-01-01T00:00:00Z"},
        *(422, "cutoff_in_future", "cutoff", "cutoff_in_future"),
    ),
    "issue as text": ({"issue": "yes"}, 400, "invalid", "issue", "flag_format"),
    "unknown field": ({"cut_off": "2026-05-01"}, 400, "invalid", "cut_off", "unknown_field"),
    "no customer": ({"customer": None}, 400, "invalid", "customer", "null"),
    "customer as number": ({"customer": 1}, 400, "invalid", "customer", "id_malformed"),
}


@pytest.mark.parametrize("row", BILLING)
@pytest.mark.holds("B106")
def test_billing_that_is_refused(api: Api, tenant: Tenant, row: str) -> None:
    body, status, reason, field, code = BILLING[row]
    customer = make_customer(tenant)
    make_subscription(customer, make_plan(tenant), at=APRIL)
    before = seen()
    answer = api.post("/invoices", {"customer": customer.public_id, **body})
    refused = answer.json()
    assert (answer.status_code, refused["reason"]) == (status, reason)
    assert [(one["field"], one["code"]) for one in refused["errors"]] == [(field, code)]
    assert seen() == before


@pytest.mark.parametrize("name", ["crm-nobody", "cus_01h455vb4pex5vsknk084sn02q"])
def test_nobody_is_billed_who_is_not_there(api: Api, name: str) -> None:
    for path in ("/invoices", "/invoices/preview"):
        assert api.post(path, {"customer": name}).status_code == 404


def test_a_body_must_be_there(api: Api) -> None:
    answer = api.post("/invoices")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "body_empty")
    missing = api.post("/invoices", {})
    assert [one["field"] for one in missing.json()["errors"]] == ["customer"]


@pytest.mark.holds("B107")
def test_b107_a_preview_of_ten_years(api: Api, tenant: Tenant) -> None:
    customer = make_customer(tenant)
    cutoff = instant_text(now().replace(microsecond=0) + timedelta(days=3650))
    answer = api.post("/invoices/preview", {"customer": customer.public_id, "cutoff": cutoff})
    assert (answer.status_code, answer.json()["reason"]) == (422, "preview_too_far")
    assert answer.json()["errors"][0]["field"] == "cutoff"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("POST", "/lines"),
        ("DELETE", "/lines"),
    ],
)
@pytest.mark.holds("B96")
def test_b96_documents_are_not_written_by_hand(
    api: Api, tenant: Tenant, method: str, path: str
) -> None:
    issued, draft = make_issued(make_customer(tenant)), make_draft(make_customer(tenant))
    before = seen()
    for document in (issued, draft):
        answer = api.send(method, f"/invoices/{document.public_id}{path}", {"total": "1.00"})
        assert (answer.status_code, answer.json()["reason"]) == (409, "invoice_immutable")
    assert seen() == before


def _prepare(tenant: Tenant, state: str) -> Invoice:
    customer = make_customer(tenant)
    match state:
        case "draft":
            return make_draft(customer)
        case "empty":
            return make_draft(customer, [])
        case "memo":
            return make_issued(customer, ["-1.00"])
        case "zero":
            return make_issued(customer, ["0.00"])
        case _:
            return _closed(customer, state)


def _closed(customer: Customer, state: str) -> Invoice:
    invoice = make_issued(customer, ["10.00"])
    if state == "canceled":
        return cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)
    if state != "issued":
        amount = Money({"paid": "10.00", "partly": "1.00"}[state], "USD")
        record_payment(invoice.id, amount, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)
    return invoice


# name of the row: the document, the action, status, reason
ACTIONS = {
    "B97 issue an empty draft": ("empty", "issue", 422, "invoice_empty"),
    "B97 issue a canceled invoice": ("canceled", "issue", 409, "invoice_canceled"),
    "B98 cancel a paid invoice": ("paid", "cancel", 409, "illegal_transition"),
    "B98 cancel twice": ("canceled", "cancel", 409, "illegal_transition"),
    "cancel what was paid in part": ("partly", "cancel", 409, "invoice_has_payments"),
    "cancel a draft": ("draft", "cancel", 409, "illegal_transition"),
    "cancel an invoice of nothing": ("zero", "cancel", 409, "illegal_transition"),
    "cancel a credit memo": ("memo", "cancel", 409, "not_an_invoice"),
    "write off a draft": ("draft", "write-off", 409, "invoice_not_collectable"),
    "write off a paid invoice": ("paid", "write-off", 409, "invoice_not_collectable"),
    "write off a canceled invoice": ("canceled", "write-off", 409, "invoice_not_collectable"),
    "write off a credit memo": ("memo", "write-off", 409, "not_an_invoice"),
}


@pytest.mark.parametrize("row", ACTIONS)
@pytest.mark.holds("B97", "B98")
def test_actions_that_are_refused(api: Api, tenant: Tenant, row: str) -> None:
    state, action, status, reason = ACTIONS[row]
    document = _prepare(tenant, state)
    before = seen()
    body = {"reason": "bankrupt"} if action == "write-off" else None
    answer = api.post(f"/invoices/{document.public_id}/{action}", body)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.json()["detail"]
    assert seen() == before


@pytest.mark.holds("B97")
def test_b97_issuing_an_issued_invoice_answers_it(api: Api, tenant: Tenant) -> None:
    document = _prepare(tenant, "issued")
    before = seen()
    answer = api.post(f"/invoices/{document.public_id}/issue")
    assert (answer.status_code, answer.json()["number"]) == (200, "INV-000001")
    assert seen() == before


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "x" * 501}, {"reason": 1}])
def test_a_write_off_has_a_reason(api: Api, tenant: Tenant, body: dict[str, Any]) -> None:
    document = _prepare(tenant, "issued")
    answer = api.post(f"/invoices/{document.public_id}/write-off", body)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == ["reason"]


def test_an_action_knows_no_fields(api: Api, tenant: Tenant) -> None:
    document = _prepare(tenant, "draft")
    answer = api.post(f"/invoices/{document.public_id}/issue", {"number": 7})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "unknown_field")


@pytest.mark.parametrize(
    "name",
    [
        "INV-000002",
        "INV-",
        "INV-1e3",
        "INV-\N{ARABIC-INDIC DIGIT ONE}",
        "INV-99999999999999999999",
        "-1",
        "inv_x",
        "cus_01h455vb4pex5vsknk084sn02q",
        "%00",
        "INV-1%00",
    ],
)
def test_names_of_no_document(api: Api, tenant: Tenant, name: str) -> None:
    _prepare(tenant, "issued")
    for path in ("", "/events", "/html"):
        assert api.get(f"/invoices/{name}{path}").status_code == 404


def test_names_of_no_line(api: Api, tenant: Tenant) -> None:
    _prepare(tenant, "issued")
    for line in ("lin_x", "1", encode("lin", new_id()), "%00"):
        for what in ("explain", "verify", "usage-events"):
            answer = api.get(f"/invoices/INV-000001/lines/{line}/{what}")
            assert answer.status_code == 404


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"status": "open"}, "status"),
        ({"kind": "credit_note"}, "kind"),
        ({"currency": "usd"}, "currency"),
        ({"limit": "0"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"customers": "x"}, "customers"),
    ],
)
def test_filters_that_are_refused(api: Api, parameters: dict[str, str], field: str) -> None:
    answer = api.get("/invoices", **parameters)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == [field]
