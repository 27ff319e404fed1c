"""Paying money back over HTTP."""

from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.ids import encode, new_id
from apps.invoicing.models import Invoice
from apps.payments.models import Payment, Refund
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.payments import broken_rules, make_owing, make_payer
from tests.make.refunds import make_paid_invoice, pay_back, receive
from tests.make.tenants import AT, make_key

pytestmark = pytest.mark.django_db
NOW = "2026-05-01T12:00:00Z"
WHY = {"reason": "The service was down."}


@pytest.fixture(autouse=True)
def _today() -> Any:
    """Let it be the day on which the invoices of these tests were issued."""
    with time_machine.travel(AT, tick=False):
        yield


def api_of(row: Any, **scopes: Any) -> Api:
    return Api(make_key(row.tenant, **scopes))


def path(payment: Payment) -> str:
    return f"/payments/{payment.public_id}/refunds"


def test_a_payment_is_paid_back() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice)

    answer = api.post(path(payment), {"amount": "49.00", **WHY}, key="back")

    refund = Refund.objects.get()
    memo = Invoice.objects.get(credits=invoice)
    shown = {
        "object": "refund",
        "id": refund.public_id,
        "payment": payment.public_id,
        "customer": encode("cus", invoice.customer_id),
        "status": "succeeded",
        "provider": "sandbox",
        "provider_ref": f"sbx_{refund.public_id}",
        "amount": "49.00",
        "from_account": "0.00",
        "currency": "USD",
        "credit_memos": [memo.public_id],
        "reason": "The service was down.",
        "reference": None,
        "failure_code": "",
        "failure_message": "",
        "created_at": NOW,
        "settled_at": NOW,
    }
    assert (answer.status_code, answer.json()) == (200, shown)
    again = api.post(path(payment), {"amount": "49.00", **WHY}, key="back")
    assert (again.json(), Refund.objects.count()) == (shown, 1)
    assert api.get(f"/refunds/{refund.public_id}").json() == shown
    assert api.get(f"/payments/{payment.public_id}").json()["refunded"] == "49.00"
    document = api.get(f"/invoices/{memo.public_id}").json()
    assert (document["total"], document["credits"]) == ("-49.00", invoice.public_id)
    line = document["lines"][0]
    assert (line["kind"], line["subscription"]) == ("refund", None)
    explained = api.get(f"/invoices/{memo.public_id}/lines/{line['id']}/explain")
    assert (explained.status_code, explained.json()["reason"]) == (409, "line_gives_back")
    assert api.get(f"/invoices/{memo.public_id}/html").status_code == 200
    assert broken_rules() == []


def test_money_that_moves_wants_a_key() -> None:
    invoice, payment = make_paid_invoice()
    answer = api_of(invoice).send("POST", path(payment), WHY)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (
        400,
        "idempotency_key_required",
    )


def test_what_is_not_decided_is_202_and_what_was_refused_402() -> None:
    invoice, payment = make_paid_invoice("sandbox_refund_delayed")
    answer = api_of(invoice).post(path(payment), WHY)
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")

    other, refused = make_paid_invoice("sandbox_refund_declined")
    answer = api_of(other).post(path(refused), WHY)
    assert (answer.status_code, answer.json()["reason"]) == (402, "refund_refused")


def test_a_credit_memo_is_paid_back_by_id_and_by_number() -> None:
    customer = make_payer(None)
    payment = receive(make_issued(customer, ["100.00"]), "100.00")
    memo = make_issued(customer, ["-70.00"])
    api = api_of(customer)

    first = api.post(f"/credit-memos/{memo.public_id}/refund", {"amount": "20.00", **WHY})
    second = api.post(f"/credit-memos/{memo.display_number}/refund", WHY)

    assert (first.status_code, second.status_code) == (200, 200)
    assert [one["amount"] for one in first.json()["data"]] == ["20.00"]
    (rest,) = second.json()["data"]
    assert (rest["amount"], rest["payment"], rest["credit_memos"]) == (
        "50.00",
        payment.public_id,
        [memo.public_id],
    )
    assert broken_rules() == []


@pytest.mark.holds("B103")
@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        ({}, 400, "required", "reason"),
        ({"reason": ""}, 400, "blank", "reason"),
        ({**WHY, "amount": "0"}, 422, "payment_not_positive", "amount"),
        ({**WHY, "amount": "-1"}, 422, "payment_not_positive", "amount"),
        ({**WHY, "amount": "149.01"}, 422, "refund_exceeds_paid", "amount"),
        ({**WHY, "amount": "1.001"}, 422, "currency_precision", "amount"),
        ({**WHY, "amount": "1", "currency": "EUR"}, 422, "payment_currency", "currency"),
        ({**WHY, "paid_at": "2026-05-02T00:00:00Z"}, 422, "paid_back_in_future", "paid_at"),
        ({**WHY, "paid_at": "2026-04-02T00:00:00Z"}, 422, "paid_back_before_paid", "paid_at"),
        ({**WHY, "credit_memo": encode("inv", new_id())}, 404, "not_found", None),
        ({**WHY, "unknown": 1}, 400, "unknown_field", "unknown"),
    ],
)
def test_what_cannot_be_paid_back_is_refused(
    body: dict[str, Any], status: int, reason: str, field: str | None
) -> None:
    invoice, payment = make_paid_invoice()
    answer = api_of(invoice).post(path(payment), body)
    told = answer.json()
    assert answer.status_code == status, told
    if field is not None and told.get("errors"):
        assert (told["errors"][0]["field"], told["errors"][0]["code"]) == (field, reason)
    else:
        assert told["reason"] == reason
    assert Refund.objects.count() == 0


@pytest.mark.holds("B103")
def test_a_failed_payment_a_payment_paid_back_and_an_invoice_are_refused() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice)
    assert api.post(path(payment), WHY).status_code == 200
    answer = api.post(path(payment), WHY)
    assert (answer.status_code, answer.json()["reason"]) == (409, "nothing_to_refund")
    answer = api.post(f"/credit-memos/{invoice.public_id}/refund", WHY)
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_a_credit_memo")

    owing = make_owing("sandbox_declined")
    api = api_of(owing)
    api.post(f"/invoices/{owing.public_id}/charge", {})
    failed = Payment.objects.get(invoice=owing)
    answer = api.post(path(failed), WHY)
    assert (answer.status_code, answer.json()["reason"]) == (409, "payment_not_refundable")


@pytest.mark.parametrize("number", [1, 4])
def test_a_page_of_refunds_is_one_query(number: int) -> None:
    invoice, payment = make_paid_invoice()
    found = [pay_back(payment, "1.00").public_id for _ in range(number)]
    api = api_of(invoice)
    with CaptureQueriesContext(connection) as queries:
        answer = api.get("/refunds")
    assert sorted(one["id"] for one in answer.json()["data"]) == sorted(found)
    assert len([q for q in queries if "payments_" in q["sql"]]) == 1


def test_refunds_are_found_by_what_they_are() -> None:
    invoice, payment = make_paid_invoice()
    pay_back(payment, "1.00")
    api = api_of(invoice)
    for query, number in (
        (f"payment={payment.public_id}", 1),
        (f"customer={encode('cus', invoice.customer_id)}", 1),
        (f"customer={make_customer(invoice.tenant).public_id}", 0),
        ("status=succeeded", 1),
        ("status=failed", 0),
        ("provider=external", 0),
    ):
        assert len(api.get(f"/refunds?{query}").json()["data"]) == number, query


def test_who_may_only_read_pays_nothing_back() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice, scopes=["payments:read"])
    assert api.get("/refunds").status_code == 200
    assert api.post(path(payment), WHY).status_code == 403
