"""Disputes over HTTP."""

from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.ids import encode
from apps.payments.models import Dispute, Payment
from tests.make.api import Api
from tests.make.disputes import dispute, lose
from tests.make.payments import broken_rules
from tests.make.refunds import make_paid_invoice
from tests.make.tenants import AT, make_key

pytestmark = pytest.mark.django_db
NOW = "2026-05-01T12:00:00Z"


@pytest.fixture(autouse=True)
def _today() -> Any:
    """Let it be the day on which the invoices of these tests were issued."""
    with time_machine.travel(AT, tick=False):
        yield


def api_of(row: Any, **scopes: Any) -> Api:
    return Api(make_key(row.tenant, **scopes))


def path(payment: Payment) -> str:
    return f"/payments/{payment.public_id}/disputes"


def reason(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["reason"]


def test_a_dispute_is_recorded_and_decided() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice)
    body = {
        "reference": "case 4711",
        "amount": "49.00",
        "fee": "15.00",
        "reason": "Not recognised.",
        "evidence_due_at": "2026-05-20T00:00:00Z",
    }

    answer = api.post(path(payment), body, key="news")

    case = Dispute.objects.get()
    shown = {
        "object": "dispute",
        "id": case.public_id,
        "payment": payment.public_id,
        "customer": encode("cus", invoice.customer_id),
        "status": "opened",
        "provider": "sandbox",
        "reference": "case 4711",
        "amount": "49.00",
        "from_account": "0.00",
        "fee": "15.00",
        "currency": "USD",
        "reason": "Not recognised.",
        "evidence_due_at": "2026-05-20T00:00:00Z",
        "opened_at": NOW,
        "decided_at": None,
    }
    assert (answer.status_code, answer.json()) == (201, shown)
    assert api.post(path(payment), body, key="news").json() == shown
    assert api.post(path(payment), body, key="again").json() == shown
    assert api.get(f"/payments/{payment.public_id}").json()["disputed"] == "49.00"
    assert api.get(f"/invoices/{invoice.public_id}").json()["status"] == "paid"

    won = api.post(f"/disputes/{case.public_id}/win", {"reason": "We had the signature."})
    assert (won.status_code, won.json()) == (200, {**shown, "status": "won", "decided_at": NOW})
    assert api.get(f"/disputes/{case.public_id}").json() == won.json()
    assert reason(api.post(f"/disputes/{case.public_id}/lose", {})) == (409, "illegal_transition")
    assert api.get(f"/payments/{payment.public_id}").json()["disputed"] == "0.00"
    assert broken_rules() == []


@pytest.mark.holds("F58")
def test_what_is_disputed_is_not_refunded_and_what_is_refunded_not_disputed() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice)
    back = f"/payments/{payment.public_id}/refunds"

    assert api.post(path(payment), {"reference": "a", "amount": "100.00"}).status_code == 201
    assert reason(api.post(back, {"amount": "50.00", "reason": "x"})) == (
        422,
        "refund_exceeds_paid",
    )
    assert api.post(back, {"reason": "x"}).json()["amount"] == "49.00"
    assert reason(api.post(back, {"reason": "x"})) == (409, "nothing_to_refund")
    assert reason(api.post(path(payment), {"reference": "b", "amount": "1.00"})) == (
        422,
        "dispute_exceeds_paid",
    )
    assert reason(api.post(path(payment), {"reference": "b"})) == (409, "nothing_to_dispute")
    assert broken_rules() == []


def test_input_is_refused() -> None:
    invoice, payment = make_paid_invoice()
    api = api_of(invoice)
    assert api.post(path(payment), {}).status_code == 400
    assert api.post(path(payment), {"reference": "a", "status": "won"}).status_code == 400
    wrong = {"reference": "a", "amount": "1.00", "currency": "EUR"}
    assert api.post(path(payment), wrong).status_code == 422
    assert api.send("POST", path(payment), {"reference": "a"}).status_code == 400
    assert Dispute.objects.count() == 0


def test_the_list_is_filtered_and_takes_one_query() -> None:
    invoice, payment = make_paid_invoice()
    other = make_paid_invoice(tenant=invoice.tenant)[1]
    first = dispute(payment, "10.00", reference="a")
    lost = lose(dispute(payment, "20.00", reference="b"))
    third = dispute(other, "30.00", reference="c")
    api = api_of(invoice)

    def ids(**parameters: str) -> list[str]:
        return [one["id"] for one in api.get("/disputes", **parameters).json()["data"]]

    in_order = sorted((one.public_id for one in (first, lost, third)), reverse=True)
    of_one = sorted((one.public_id for one in (first, lost)), reverse=True)
    assert ids() == in_order
    assert ids(status="lost") == [lost.public_id]
    assert ids(payment=other.public_id) == [third.public_id]
    assert ids(customer=encode("cus", invoice.customer_id)) == of_one
    assert ids(reference="a") == [first.public_id]
    assert ids(opened_before=NOW) == []
    page = api.get("/disputes", limit="2").json()
    assert [one["id"] for one in page["data"]] == in_order[:2]
    assert ids(cursor=page["next_cursor"]) == in_order[2:]
    with CaptureQueriesContext(connection) as queries:
        ids()
    assert len([q for q in queries if "payments_" in q["sql"]]) == 1
