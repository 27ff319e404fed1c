"""Paying over HTTP: methods, pay, charge, and reading payments."""

from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.ids import encode, new_id
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.payments.models import Payment, PaymentMethod
from apps.payments.operations.attempts import begin_payment
from apps.payments.operations.receiving import record_external_payment
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_issued
from tests.make.payments import broken_rules, make_method, make_owing, make_payer, taken, usd
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db
NOW = "2026-05-01T12:00:00Z"


@pytest.fixture(autouse=True)
def _today() -> Any:
    """Let it be the day on which the invoices of these tests were issued."""
    with time_machine.travel(AT, tick=False):
        yield


def api_of(row: Customer | Invoice, **scopes: Any) -> Api:
    return Api(make_key(row.tenant, **scopes))


# --- Payment methods ---------------------------------------------------------------------------


def test_a_method_is_attached_and_is_the_default_only_if_asked_for() -> None:
    customer = make_payer(None, external_id="globex")
    api = api_of(customer)

    answer = api.post(
        "/customers/globex/payment-methods",
        {"provider": "sandbox", "provider_ref": "sandbox_ok", "label": "Visa 4242"},
    )

    method = PaymentMethod.objects.get()
    shown = {
        "object": "payment_method",
        "id": method.public_id,
        "customer": customer.public_id,
        "provider": "sandbox",
        "provider_ref": "sandbox_ok",
        "label": "Visa 4242",
        "expires": None,
        "default": False,
        "created_at": NOW,
        "detached_at": None,
    }
    assert (answer.status_code, answer.json()) == (201, shown)
    assert api.get(f"/payment-methods/{method.public_id}").json() == shown
    listed = api.get(f"/customers/{customer.public_id}/payment-methods")
    assert listed.json()["data"] == [shown]

    made = api.post(f"/payment-methods/{method.public_id}/set-default")
    assert (made.status_code, made.json()) == (200, {**shown, "default": True})

    gone = api.delete(f"/payment-methods/{method.public_id}")
    assert (gone.status_code, gone.json()) == (200, {**shown, "detached_at": NOW})
    assert api.get(f"/customers/{customer.public_id}/payment-methods").json()["data"] == []
    refused = api.post(f"/payment-methods/{method.public_id}/set-default")
    assert (refused.status_code, refused.json()["reason"]) == (409, "payment_method_detached")


def test_an_external_method_is_named_by_its_key() -> None:
    customer = make_customer()

    answer = api_of(customer).post(
        f"/customers/{customer.public_id}/payment-methods",
        {"provider": "external", "external_key": "ExternalKey", "default": True},
    )

    assert answer.status_code == 201
    assert (answer.json()["provider_ref"], answer.json()["default"]) == ("ExternalKey", True)


def test_attaching_again_with_the_same_key_attaches_once() -> None:
    customer = make_payer(None)
    api, body = api_of(customer), {"provider": "sandbox", "provider_ref": "sandbox_ok"}
    path = f"/customers/{customer.public_id}/payment-methods"

    first, again = api.post(path, body, key="k"), api.post(path, body, key="k")

    assert first.json() == again.json()
    assert again.headers["Idempotent-Replayed"] == "true"
    assert PaymentMethod.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "field", "code"),
    [
        ({}, 400, "provider", "required"),
        ({"provider": "sandbox"}, 400, "provider_ref", "required"),
        (
            {"provider": "sandbox", "provider_ref": "sandbox_ok", "external_key": "x"},
            400,
            "provider_ref",
            "required",
        ),
        ({"provider": "stripe", "provider_ref": "pm_1"}, 422, "provider", "provider_unknown"),
        (
            {"provider": "sandbox", "provider_ref": "4242424242424242"},
            422,
            "provider_ref",
            "provider_ref_invalid",
        ),
        (
            {"provider": "external", "external_key": "x", "default": "yes"},
            400,
            "default",
            "flag_format",
        ),
        (
            {"provider": "external", "external_key": "a\x00b"},
            400,
            "external_key",
            "nul_character",
        ),
        ({"provider": "external", "external_key": "x" * 256}, 400, "external_key", "max_length"),
        ({"provider": "external", "external_kee": "x"}, 400, "external_kee", "unknown_field"),
    ],
)
def test_methods_that_are_none(body: dict[str, Any], status: int, field: str, code: str) -> None:
    customer = make_payer(None)

    answer = api_of(customer).post(f"/customers/{customer.public_id}/payment-methods", body)

    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert not PaymentMethod.objects.exists()


@pytest.mark.holds("Y10")
def test_the_sandbox_is_refused_to_live_tenants() -> None:
    customer = make_customer()

    answer = api_of(customer).post(
        f"/customers/{customer.public_id}/payment-methods",
        {"provider": "sandbox", "provider_ref": "sandbox_ok"},
    )

    assert (answer.status_code, answer.json()["reason"]) == (422, "provider_not_for_mode")


# --- Paying ------------------------------------------------------------------------------------


def test_paying_charges_all_that_is_due_to_the_default_method() -> None:
    invoice = make_owing()
    api = api_of(invoice)

    answer = api.post(f"/invoices/{invoice.public_id}/pay", {})

    payment = Payment.objects.get()
    shown = {
        "object": "payment",
        "id": payment.public_id,
        "invoice": invoice.public_id,
        "customer": invoice.customer.public_id,
        "payment_method": PaymentMethod.objects.get().public_id,
        "provider": "sandbox",
        "provider_ref": f"sbx_{payment.public_id}",
        "status": "succeeded",
        "automatic": False,
        "amount": "149.00",
        "unapplied": "0.00",
        "refunded": "0.00",
        "disputed": "0.00",
        "currency": "USD",
        "reference": None,
        "failure_code": "",
        "failure_message": "",
        "created_at": NOW,
        "settled_at": NOW,
    }
    assert (answer.status_code, answer.json()) == (200, shown)
    assert fresh(invoice).status == "paid"
    assert api.get(f"/payments/{payment.public_id}").json() == shown
    assert api.get("/payments", invoice=invoice.public_id).json()["data"] == [shown]
    assert broken_rules() == []


def test_charging_answers_what_became_of_the_invoice() -> None:
    invoice = make_owing()

    answer = api_of(invoice).post(f"/invoices/{invoice.display_number}/charge", {})

    payment = Payment.objects.get()
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "object": "charge",
            "invoice_id": invoice.public_id,
            "status": "paid",
            "payment_id": payment.public_id,
            "payment_status": "succeeded",
            "provider_ref": f"sbx_{payment.public_id}",
            "amount": "149.00",
            "currency": "USD",
            "charged_at": NOW,
        },
    )


def test_a_body_is_not_needed() -> None:
    invoice = make_owing()

    assert api_of(invoice).post(f"/invoices/{invoice.public_id}/charge").status_code == 200


def test_part_of_it_by_a_certain_method() -> None:
    invoice = make_owing("sandbox_declined")
    method = make_method(invoice.customer, default=False)

    answer = api_of(invoice).post(
        f"/invoices/{invoice.public_id}/pay",
        {"payment_method": method.public_id, "amount": "49.00", "currency": "USD"},
    )

    assert answer.status_code == 200
    assert answer.json()["amount"] == "49.00"
    assert fresh(invoice).status == "partially_paid"


def test_money_by_bank_is_recorded_and_what_is_over_stays_on_account() -> None:
    invoice = make_issued(make_customer())
    api = api_of(invoice)

    answer = api.post(
        f"/invoices/{invoice.public_id}/pay",
        {
            "amount": "150.00",
            "reference": "statement 7",
            "received_at": "2026-05-01T14:00:00+02:00",
        },
    )

    shown = answer.json()
    assert answer.status_code == 200
    assert (shown["provider"], shown["reference"], shown["settled_at"]) == (
        "external",
        "statement 7",
        NOW,
    )
    assert (shown["amount"], shown["unapplied"]) == ("150.00", "1.00")
    assert api.get("/payments", reference="statement 7").json()["data"] == [shown]


@pytest.mark.parametrize("action", ["pay", "charge"])
@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("sandbox_declined", "card_declined"),
        ("sandbox_insufficient_funds", "insufficient_funds"),
        ("sandbox_expired", "payment_method_expired"),
        ("sandbox_authentication", "authentication_required"),
        ("sandbox_unreachable", "provider_unreachable"),
    ],
)
def test_a_refusal_is_402_and_the_payment_stays(method: str, reason: str, action: str) -> None:
    invoice = make_owing(method)
    api = api_of(invoice)
    path = f"/invoices/{invoice.public_id}/{action}"

    answer = api.post(path, {}, key="k")

    payment = Payment.objects.get()
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["reason"]) == (402, "PAY_001", reason)
    assert payment.public_id in problem["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    shown = api.get(f"/payments/{payment.public_id}").json()
    assert (shown["status"], shown["failure_code"], shown["unapplied"]) == (
        "failed",
        reason,
        "0.00",
    )

    # the same key is the same refusal; a new one is a new attempt
    again = api.post(path, {}, key="k")
    assert (again.status_code, again.json()["detail"]) == (402, problem["detail"])
    assert Payment.objects.count() == 1
    assert api.post(path, {}, key="l").status_code == 402
    assert Payment.objects.count() == 2


@pytest.mark.parametrize(
    ("method", "status"), [("sandbox_timeout", "unknown"), ("sandbox_delayed", "pending")]
)
@pytest.mark.holds("B101", "Y3")
def test_an_open_outcome_is_202_and_in_the_way_of_others(method: str, status: str) -> None:
    invoice = make_owing(method)
    api = api_of(invoice)

    answer = api.post(f"/invoices/{invoice.public_id}/pay", {})
    refused = api.post(f"/invoices/{invoice.public_id}/charge", {})

    assert (answer.status_code, answer.json()["status"]) == (202, status)
    assert (refused.status_code, refused.json()["reason"]) == (409, "payment_in_progress")
    assert answer.json()["id"] in refused.json()["detail"]
    assert Payment.objects.count() == 1


def test_the_same_key_pays_once() -> None:
    invoice = make_owing()
    api = api_of(invoice)

    answers = [api.post(f"/invoices/{invoice.public_id}/pay", {}, key="k") for _ in range(3)]

    assert [a.status_code for a in answers] == [200] * 3
    assert len({a.json()["id"] for a in answers}) == 1
    assert str(taken(invoice)) == "149.000000000000"


@pytest.mark.parametrize("action", ["pay", "charge"])
@pytest.mark.holds("B28")
def test_moving_money_needs_a_key(action: str) -> None:
    invoice = make_owing()

    answer = api_of(invoice).post(f"/invoices/{invoice.public_id}/{action}", {}, key=None)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "idempotency_key_required"
    assert not Payment.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": "149.01"}, 422, "amount_exceeds_due"),
        ({"amount": "0"}, 422, "payment_not_positive"),
        ({"amount": "-1"}, 422, "payment_not_positive"),
        ({"amount": "1.001"}, 422, "currency_precision"),
        ({"amount": "1e2"}, 400, "number_format"),
        ({"amount": "NaN"}, 400, "number_format"),
        ({"amount": 1.5}, 200, ""),
        ({"amount": "1", "currency": "EUR"}, 422, "payment_currency"),
        ({"currency": "EUR"}, 422, "payment_currency"),
        ({"currency": "XXX"}, 400, "currency_unknown"),
        ({"payment_method": "pm_1"}, 400, "id_malformed"),
        ({"payment_method": encode("pam", new_id())}, 404, ""),
        ({"received_at": "2026-05-01T12:00:01Z"}, 422, "received_in_future"),
        ({"received_at": "2026-05-01T11:59:59Z"}, 422, "received_before_issue"),
        ({"received_at": "2026-05-01"}, 400, "timestamp_format"),
        ({"received_at": "2026-05-01T12:00:00"}, 400, "timestamp_zone_required"),
        ({"reference": ""}, 400, "blank"),
        ({"reference": "x" * 256}, 400, "max_length"),
        ({"amuont": "1"}, 400, "unknown_field"),
        ([], 400, None),
        ("{", 400, None),
    ],
)
@pytest.mark.holds("B100", "B105")
def test_bad_bodies(body: Any, status: int, code: str | None) -> None:
    invoice = make_owing()

    answer = api_of(invoice).post(f"/invoices/{invoice.public_id}/pay", body)

    assert answer.status_code == status, answer.content
    if code:
        assert code in {e["code"] for e in answer.json()["errors"]}
    if status != 200:
        assert not Payment.objects.exists()
        assert str(taken(invoice)) == "0"


@pytest.mark.holds("B102")
def test_methods_of_others_or_detached_cannot_be_used() -> None:
    invoice = make_owing()
    api = api_of(invoice)
    others = make_method(make_payer(None, tenant=invoice.tenant))
    foreign = make_method(make_payer(None, tenant=make_tenant(mode=Mode.TEST)))
    gone = make_method(invoice.customer, default=False)
    api.delete(f"/payment-methods/{gone.public_id}")

    answers = [
        api.post(f"/invoices/{invoice.public_id}/pay", {"payment_method": one.public_id})
        for one in (others, gone, foreign)
    ]

    assert [(a.status_code, a.json()["reason"]) for a in answers] == [
        (422, "payment_method_unusable"),
        (422, "payment_method_unusable"),
        (404, "not_found"),
    ]
    assert not Payment.objects.exists()


def test_without_a_default_method_nothing_is_charged() -> None:
    invoice = make_owing(None)

    answer = api_of(invoice).post(f"/invoices/{invoice.public_id}/charge", {})

    assert (answer.status_code, answer.json()["reason"]) == (409, "no_payment_method")


def test_a_default_that_is_external_is_paid_but_not_charged() -> None:
    invoice = make_owing(None)
    make_method(invoice.customer, "iban", provider="external")
    api = api_of(invoice)

    refused = api.post(f"/invoices/{invoice.public_id}/charge", {})
    paid = api.post(f"/invoices/{invoice.public_id}/pay", {})

    assert (refused.status_code, refused.json()["reason"]) == (422, "payment_method_not_chargeable")
    assert (paid.status_code, paid.json()["provider"]) == (200, "external")
    assert fresh(invoice).status == "paid"


@pytest.mark.holds("B99")
def test_a_paid_invoice_is_not_paid_again() -> None:
    invoice = make_owing()
    api = api_of(invoice)
    api.post(f"/invoices/{invoice.public_id}/pay", {})

    for action, body in (("pay", {}), ("charge", {}), ("pay", {"reference": "x"})):
        answer = api.post(f"/invoices/{invoice.public_id}/{action}", body)
        assert (answer.status_code, answer.json()["reason"]) == (409, "invoice_not_collectable")
    assert Payment.objects.count() == 1


@pytest.mark.holds("B105")
def test_a_reference_used_before_is_a_conflict() -> None:
    customer = make_customer()
    one, two = make_issued(customer), make_issued(customer)
    api = api_of(customer)
    api.post(f"/invoices/{one.public_id}/pay", {"reference": "statement 7"})

    answer = api.post(f"/invoices/{two.public_id}/pay", {"reference": "statement 7"})

    assert (answer.status_code, answer.json()["reason"]) == (409, "payment_reference_used")


def test_a_customer_on_a_clock_pays_in_his_own_time() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    invoice = make_issued(make_payer(tenant=tenant, test_clock_id=clock.id))
    api = api_of(invoice)

    with time_machine.travel("2027-01-01T00:00:00Z", tick=False):
        answer = api.post(f"/invoices/{invoice.public_id}/pay", {})

    assert answer.json()["settled_at"] == NOW


# --- Reading, and who may ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
def test_a_page_of_payments_is_one_query(number: int) -> None:
    customer = make_customer()
    for _ in range(number):
        invoice = make_issued(customer)
        record_external_payment(
            invoice.id, id=new_id(), tenant_id=customer.tenant_id, actor=ACTOR, at=AT
        )
    api = api_of(customer)

    with CaptureQueriesContext(connection) as queries:
        answer = api.get("/payments")

    assert len(answer.json()["data"]) == number
    assert len([q for q in queries if "payments_" in q["sql"]]) == 1


@pytest.mark.parametrize("number", [1, 3])
def test_a_page_of_methods_is_one_query(number: int) -> None:
    customer = make_payer(None)
    for _ in range(number):
        make_method(customer, default=False)
    api = api_of(customer)

    with CaptureQueriesContext(connection) as queries:
        answer = api.get(f"/customers/{customer.public_id}/payment-methods")

    assert len(answer.json()["data"]) == number
    assert len([q for q in queries if "payments_" in q["sql"]]) == 1


def test_payments_are_filtered() -> None:
    customer = make_payer(None)
    first, second = make_issued(customer, ["10.00"]), make_issued(customer, ["20.00"])
    card = make_method(customer)
    begin_payment(first.id, id=new_id(), tenant_id=first.tenant_id, actor=ACTOR, at=AT)
    record_external_payment(
        second.id, id=new_id(), amount=usd("5.00"), tenant_id=first.tenant_id, actor=ACTOR, at=AT
    )
    api = api_of(customer)

    def found(**filters: str) -> list[str]:
        # the clock stands still here, so the order of ids is none
        return sorted(one["amount"] for one in api.get("/payments", **filters).json()["data"])

    assert found() == ["10.00", "5.00"]
    assert found(customer=customer.public_id) == ["10.00", "5.00"]
    assert found(status="sent") == ["10.00"]
    assert found(status="succeeded") == ["5.00"]
    assert found(provider="external") == ["5.00"]
    assert found(invoice=first.public_id) == ["10.00"]
    assert found(payment_method=card.public_id) == ["10.00"]
    assert found(currency="EUR") == []
    assert found(created_from="2026-05-01T12:00:01Z") == []
    assert found(created_before="2026-05-01T12:00:01Z") == ["10.00", "5.00"]
    assert api.get("/payments", status="lost").status_code == 400


def test_others_see_and_move_nothing() -> None:
    invoice = make_owing()
    method = PaymentMethod.objects.get()
    api_of(invoice).post(f"/invoices/{invoice.public_id}/pay", {"amount": "1.00"})
    payment = Payment.objects.get()
    stranger = Api(make_key(make_tenant(mode=Mode.TEST)))

    assert stranger.get("/payments").json()["data"] == []
    for answer in (
        stranger.get(f"/payments/{payment.public_id}"),
        stranger.get(f"/payment-methods/{method.public_id}"),
        stranger.get(f"/customers/{invoice.customer.public_id}/payment-methods"),
        stranger.post(f"/payment-methods/{method.public_id}/set-default"),
        stranger.delete(f"/payment-methods/{method.public_id}"),
        stranger.post(f"/invoices/{invoice.public_id}/pay", {}),
        stranger.post(f"/invoices/{invoice.public_id}/charge", {}),
        stranger.post(
            f"/customers/{invoice.customer.public_id}/payment-methods",
            {"provider": "sandbox", "provider_ref": "sandbox_ok"},
        ),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
    assert Payment.objects.count() == 1


def test_paying_needs_the_right_scope() -> None:
    invoice = make_owing()

    for scopes in (["payments:read"], ["invoices:write", "customers:write"]):
        answer = api_of(invoice, scopes=scopes).post(f"/invoices/{invoice.public_id}/pay", {})
        assert (answer.status_code, answer.json()["reason"]) == (403, "scope_missing")
    assert not Payment.objects.exists()
