"""Asking about payments whose outcome is open, until it is not."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.payments.models import Payment, SandboxCharge
from apps.payments.operations.attempts import begin_payment, carry_out, charge_invoice
from apps.payments.operations.resolving import resolve_unknown
from apps.payments.providers.interface import ChargeRequest, Outcome, OutcomeStatus
from apps.payments.providers.sandbox import Sandbox
from apps.tenants.domain import Mode
from tests.make.invoicing import fresh, make_issued
from tests.make.payments import broken_rules, make_method, make_owing, make_payer, taken
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIRST = AT + 5 * MINUTE
SECOND = FIRST + HOUR


def charge(invoice: Invoice, **values: Any) -> Payment:
    return charge_invoice(
        invoice.id,
        **{"id": new_id(), "tenant_id": invoice.tenant_id, "actor": ACTOR, "at": AT, **values},
    )


def begin(invoice: Invoice) -> Payment:
    return begin_payment(invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)


def test_nobody_is_asked_before_it_is_time() -> None:
    invoice = make_owing("sandbox_timeout")
    charge(invoice)

    assert resolve_unknown(FIRST - timedelta(seconds=1)) == 0

    assert SandboxCharge.objects.get(invoice=invoice.public_id).asked == 0


@pytest.mark.parametrize("method", ["sandbox_timeout", "sandbox_duplicate"])
@pytest.mark.holds("F46", "Y3")
def test_a_timeout_after_which_the_money_is_found(method: str) -> None:
    invoice = make_owing(method)
    charge(invoice)

    assert resolve_unknown(FIRST) == 1

    payment = Payment.objects.get()
    assert (payment.status, payment.settled_at, payment.failure_code, payment.asked) == (
        "succeeded",
        FIRST,
        "",
        1,
    )
    assert fresh(invoice).status == "paid"
    assert resolve_unknown(FIRST + 99 * DAY) == 0
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


@pytest.mark.holds("F47")
def test_a_timeout_after_which_nothing_is_found_fails_only_when_it_is_surely_lost() -> None:
    invoice = make_owing("sandbox_timeout_lost")
    charge(invoice)

    assert resolve_unknown(FIRST) == 0
    payment = Payment.objects.get()
    assert (payment.status, payment.ask_after) == ("unknown", SECOND)
    assert resolve_unknown(SECOND) == 1

    payment.refresh_from_db()
    assert (payment.status, payment.failure_code) == ("failed", "never_arrived")
    good = make_method(invoice.customer)
    assert charge(invoice, method_id=good.id, at=SECOND).status == "succeeded"
    assert taken(invoice) == Decimal(149)


def test_a_delayed_charge_succeeds_later() -> None:
    invoice = make_owing("sandbox_delayed")
    charge(invoice)

    assert resolve_unknown(FIRST) == 0
    payment = Payment.objects.get()
    assert (payment.status, payment.ask_after) == ("pending", SECOND)
    assert resolve_unknown(SECOND) == 1

    assert fresh(invoice).status == "paid"
    assert broken_rules() == []


def test_a_delayed_charge_fails_later() -> None:
    invoice = make_owing("sandbox_delayed_failure")
    charge(invoice)
    resolve_unknown(FIRST)

    assert resolve_unknown(SECOND) == 1

    payment = Payment.objects.get()
    assert (payment.status, payment.failure_code) == ("failed", "card_declined")


def test_a_caller_that_died_before_the_call_never_charged() -> None:
    invoice = make_owing("sandbox_ok")
    begin(invoice)

    assert resolve_unknown(FIRST) == 0
    assert Payment.objects.get().status == "unknown"
    assert resolve_unknown(SECOND) == 1

    payment = Payment.objects.get()
    assert (payment.status, payment.failure_code) == ("failed", "never_arrived")
    assert taken(invoice) == Decimal(0)


def test_a_caller_that_died_behind_the_call_is_settled() -> None:
    invoice = make_owing("sandbox_ok")
    payment = begin(invoice)
    with transaction.atomic():
        carry_out(payment, actor=ACTOR, at=AT)
        transaction.set_rollback(True)
    assert Payment.objects.get().status == "sent"

    assert resolve_unknown(FIRST) == 1

    assert fresh(invoice).status == "paid"
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


def test_questions_go_on_every_day_for_as_long_as_it_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sandbox, "find", lambda *_: Outcome(OutcomeStatus.PENDING))
    charge(make_owing("sandbox_delayed"))
    asked, at = [], AT

    for _ in range(5):
        at = Payment.objects.get().ask_after or at
        asked.append(at - AT)
        resolve_unknown(at)

    assert asked == [
        5 * MINUTE,
        5 * MINUTE + HOUR,
        5 * MINUTE + HOUR + DAY,
        5 * MINUTE + HOUR + 2 * DAY,
        5 * MINUTE + HOUR + 3 * DAY,
    ]
    assert Payment.objects.get().asked == 5


def test_what_was_acknowledged_is_not_lost_because_it_cannot_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    charge(make_owing("sandbox_delayed"))
    monkeypatch.setattr(Sandbox, "find", lambda *_: None)

    assert resolve_unknown(AT + 99 * DAY) == 0

    assert Payment.objects.get().status == "pending"


def test_a_question_that_goes_unanswered_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    charge(make_owing("sandbox_timeout"))
    monkeypatch.setattr(Sandbox, "find", lambda *_: Outcome(OutcomeStatus.UNKNOWN))

    assert resolve_unknown(FIRST) == 0

    payment = Payment.objects.get()
    assert (payment.status, payment.ask_after) == ("unknown", SECOND)


@pytest.mark.holds("J7")
def test_one_question_that_breaks_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = charge(make_owing("sandbox_timeout")), charge(make_owing("sandbox_timeout"))
    find = Sandbox.find

    def crash_for_one(self: Sandbox, key: str) -> Outcome | None:
        if key == broken.idempotency_key:
            raise ZeroDivisionError
        return find(self, key)

    monkeypatch.setattr(Sandbox, "find", crash_for_one)

    assert resolve_unknown(FIRST) == 1

    assert Payment.objects.get(id=fine.id).status == "succeeded"
    assert Payment.objects.get(id=broken.id).ask_after == SECOND
    assert f"asking about the payment {broken.public_id} failed" in caplog.text


def test_customers_on_a_clock_are_asked_about_in_their_time() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant)
    real = make_issued(make_payer("sandbox_timeout", tenant=tenant))
    simulated = make_issued(make_payer("sandbox_timeout", tenant=tenant, test_clock_id=clock.id))
    for invoice in (real, simulated):
        charge(invoice)

    assert resolve_unknown(FIRST) == 1
    assert (fresh(real).status, fresh(simulated).status) == ("paid", "issued")
    assert resolve_unknown(FIRST, clock_id=clock.id, tenant_id=make_tenant().id) == 0
    assert resolve_unknown(FIRST, clock_id=clock.id) == 1
    assert fresh(simulated).status == "paid"


def test_a_held_payment_is_not_asked_about() -> None:
    charge(make_owing("sandbox_wrong_amount"))

    assert resolve_unknown(AT + 99 * DAY) == 0

    assert Payment.objects.get().asked == 0


def test_a_wrong_amount_learned_by_asking_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "charge", lambda *_: Outcome(OutcomeStatus.UNKNOWN))
    invoice = make_owing("sandbox_wrong_amount")
    payment = charge(invoice)
    monkeypatch.undo()
    Sandbox().charge(_request_of(payment, invoice))

    assert resolve_unknown(FIRST) == 0

    payment.refresh_from_db()
    assert (payment.status, payment.failure_code, payment.ask_after) == (
        "unknown",
        "outcome_mismatch",
        None,
    )


def _request_of(payment: Payment, invoice: Invoice) -> ChargeRequest:
    return ChargeRequest(
        amount=payment.amount,
        idempotency_key=payment.idempotency_key,
        method_ref="sandbox_wrong_amount",
        customer_ref="",
        description="",
        metadata={"tenant": invoice.tenant.public_id, "invoice": invoice.public_id},
    )
