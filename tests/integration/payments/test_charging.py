"""Charging an invoice: begin, call, take the outcome; and every way in which it can go."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.money import AmountTooFine
from apps.invoicing.domain import NotAnInvoice, NotCollectable, PaymentCurrency, PaymentNotPositive
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.ledger.domain import AccountKind, AccountRef, FactKind
from apps.ledger.models import JournalEntry
from apps.ledger.queries import account_balance, entry_of
from apps.payments.domain import (
    AmountExceedsDue,
    MethodNotChargeable,
    MethodUnusable,
    NoPaymentMethod,
    OutcomeMismatch,
    PaymentInProgress,
)
from apps.payments.models import Allocation, Payment, SandboxCharge
from apps.payments.operations.attempts import begin_payment, carry_out, charge_invoice
from apps.payments.operations.methods import detach
from apps.payments.operations.outcomes import (
    apply_outcome,
    fail_payment,
    mark_pending,
    mark_unknown,
    settle_payment,
)
from apps.payments.operations.resolving import resolve_unknown
from apps.payments.providers.interface import Outcome, OutcomeStatus
from apps.payments.queries import money_on_account
from apps.tenants.domain import Mode
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.payments import (
    broken_rules,
    fresh_payment,
    make_method,
    make_owing,
    make_payer,
    taken,
    usd,
)
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db
LATER = AT + timedelta(minutes=1)


def charge(invoice: Invoice, **values: Any) -> Payment:
    return charge_invoice(
        invoice.id,
        **{"id": new_id(), "tenant_id": invoice.tenant_id, "actor": ACTOR, "at": LATER, **values},
    )


def begin(invoice: Invoice, **values: Any) -> Payment:
    return begin_payment(
        invoice.id,
        **{"id": new_id(), "tenant_id": invoice.tenant_id, "actor": ACTOR, "at": LATER, **values},
    )


def told(payment: Payment | Invoice) -> dict[str, Any]:
    return {"tenant_id": payment.tenant_id, "actor": ACTOR, "at": LATER}


def settle(payment: Payment, amount: str = "149.00", ref: str | None = "ch_1") -> Payment:
    return settle_payment(payment.id, received=usd(amount), provider_ref=ref, **told(payment))


def lose(work: Callable[[], object]) -> None:
    """Do the work, and lose everything that it wrote here, as a crash before the commit would."""
    with transaction.atomic():
        work()
        transaction.set_rollback(True)


def test_a_charge_that_succeeds_pays_the_invoice_and_is_in_the_books() -> None:
    invoice = make_owing("sandbox_ok")

    payment = charge(invoice)

    stored = fresh_payment(payment)
    assert (stored.status, stored.amount, stored.settled_at, stored.ask_after) == (
        "succeeded",
        usd("149.00"),
        LATER,
        None,
    )
    assert stored.provider_ref == f"sbx_{payment.public_id}"
    paid = fresh(invoice)
    assert (paid.status, paid.amount_paid, paid.closed_at) == ("paid", usd("149.00"), LATER)
    allocation = Allocation.objects.get()
    assert (allocation.payment_id, allocation.invoice_id, allocation.amount) == (
        payment.id,
        invoice.id,
        Decimal(149),
    )
    entry = entry_of(invoice.tenant_id, FactKind.PAYMENT_SETTLED, payment.public_id)
    assert entry is not None
    assert [(p.account.kind, p.amount) for p in entry.postings.all()] == [
        ("cash_clearing", Decimal(149)),
        ("receivable", Decimal(-149)),
    ]
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


def test_every_step_is_in_the_audit_trail() -> None:
    invoice = make_owing("sandbox_ok")

    payment = charge(invoice)

    events = AuditEvent.objects.filter(object_id=payment.public_id).order_by("id")
    assert [(e.type, e.data["was"]) for e in events] == [
        ("payment.sent", "created"),
        ("payment.succeeded", "sent"),
    ]
    assert events[0].data == {
        "was": "created",
        "invoice": invoice.public_id,
        "amount": "149.00",
        "currency": "USD",
        "provider": "sandbox",
    }


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("sandbox_declined", "card_declined"),
        ("sandbox_insufficient_funds", "insufficient_funds"),
        ("sandbox_unreachable", "provider_unreachable"),
    ],
)
@pytest.mark.holds("F49")
def test_a_refused_charge_fails_and_another_may_follow(method: str, code: str) -> None:
    invoice = make_owing(method)

    payment = charge(invoice)

    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_code, stored.ask_after) == ("failed", code, None)
    assert stored.failure_message != ""
    assert fresh(invoice).status == "issued"
    assert not Allocation.objects.exists()
    good = make_method(invoice.customer)
    assert charge(invoice, method_id=good.id).status == "succeeded"
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


@pytest.mark.parametrize(
    ("method", "status", "code"),
    [
        ("sandbox_timeout", "unknown", "timed_out"),
        ("sandbox_timeout_lost", "unknown", "timed_out"),
        ("sandbox_duplicate", "unknown", "duplicate_request"),
        ("sandbox_delayed", "pending", ""),
    ],
)
@pytest.mark.holds("Y3", "F46")
def test_an_open_outcome_stays_in_flight_and_nothing_is_charged_beside_it(
    method: str, status: str, code: str
) -> None:
    invoice = make_owing(method)

    payment = charge(invoice)

    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_code) == (status, code)
    assert stored.ask_after == LATER + timedelta(minutes=5)
    with pytest.raises(PaymentInProgress) as refused:
        charge(invoice)
    assert payment.public_id in refused.value.detail
    assert Payment.objects.count() == 1
    assert fresh(invoice).status == "issued"
    assert broken_rules() == []


@pytest.mark.holds("Y8", "F57", "S42")
def test_another_amount_than_asked_is_held_and_pays_nothing() -> None:
    invoice = make_owing("sandbox_wrong_amount")

    payment = charge(invoice)

    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_code, stored.ask_after) == (
        "unknown",
        "outcome_mismatch",
        None,
    )
    assert "148.99" in stored.failure_message
    assert fresh(invoice).status == "issued"
    assert not JournalEntry.objects.filter(kind="payment_settled").exists()
    held = AuditEvent.objects.get(type="payment.held")
    assert held.object_id == payment.public_id
    with pytest.raises(PaymentInProgress):
        charge(invoice)
    assert broken_rules() == []


@pytest.mark.parametrize(
    ("received", "ref"),
    [
        (usd("149.01"), "ch_1"),
        (usd("148.99"), "ch_1"),
        (Money(Decimal("149.00"), "EUR"), "ch_1"),
        (None, "ch_1"),
    ],
)
def test_settling_another_amount_or_currency_raises(received: Money | None, ref: str) -> None:
    payment = begin(make_owing())

    with pytest.raises(OutcomeMismatch):
        settle_payment(payment.id, received=received, provider_ref=ref, **told(payment))

    assert fresh_payment(payment).status == "sent"


def test_a_charge_has_one_name() -> None:
    one, two = begin(make_owing()), begin(make_owing())
    settle(one, ref="ch_1")
    mark_pending(two.id, provider_ref="ch_2", **told(two))

    with pytest.raises(OutcomeMismatch):
        settle(two, ref="ch_3")

    assert settle(two, ref="ch_2").status == "succeeded"


def test_the_name_of_another_payment_of_the_tenant_is_a_mismatch() -> None:
    payer = make_payer()
    one, two = (begin(make_issued(payer)) for _ in range(2))
    settle(one, ref="ch_1")

    held = apply_outcome(
        two.id,
        Outcome(OutcomeStatus.SUCCEEDED, amount=usd("149.00"), provider_ref="ch_1"),
        **told(two),
    )

    assert (held.status, held.failure_code) == ("unknown", "outcome_mismatch")


def test_a_held_payment_is_settled_by_a_person() -> None:
    invoice = make_owing("sandbox_wrong_amount")
    payment = charge(invoice)

    settle(payment, ref=None)

    stored = fresh_payment(payment)
    assert (stored.status, stored.failure_code, stored.failure_message) == ("succeeded", "", "")
    assert fresh(invoice).status == "paid"


def test_part_of_an_invoice_can_be_charged() -> None:
    invoice = make_owing()

    charge(invoice, amount=usd("49.00"))

    assert (fresh(invoice).status, fresh(invoice).amount_paid) == ("partially_paid", usd("49.00"))
    charge(invoice)
    assert (fresh(invoice).status, fresh(invoice).amount_paid) == ("paid", usd("149.00"))
    assert sorted(a.amount for a in Allocation.objects.all()) == [Decimal(49), Decimal(100)]
    assert broken_rules() == []


def test_the_same_id_is_the_same_payment() -> None:
    invoice = make_owing()
    payment_id = new_id()

    first = charge(invoice, id=payment_id)
    again = charge(invoice, id=payment_id)

    assert first == again
    assert again.status == "succeeded"
    assert SandboxCharge.objects.get(idempotency_key=first.public_id).calls == 1


@pytest.mark.holds("F2")
def test_a_repeat_after_a_crash_before_the_call_carries_on() -> None:
    invoice = make_owing()
    begun = begin(invoice)

    payment = charge(invoice, id=begun.id)

    assert (payment.id, payment.status) == (begun.id, "succeeded")
    assert taken(invoice) == Decimal(149)


@pytest.mark.holds("Y2", "F1")
def test_a_repeat_after_a_crash_behind_the_call_charges_nothing_again() -> None:
    invoice = make_owing()
    begun = begin(invoice)
    lose(lambda: carry_out(begun, actor=ACTOR, at=LATER))

    payment = charge(invoice, id=begun.id)

    assert payment.status == "succeeded"
    assert SandboxCharge.objects.get(idempotency_key=begun.public_id).calls == 2
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


@pytest.mark.holds("Y2", "J9")
def test_what_was_asked_for_is_committed_before_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    invoice = make_owing()
    seen: list[tuple[str, str]] = []

    def look(_self: object, request: Any) -> Outcome:
        stored = Payment.objects.get()
        seen.append((stored.status, stored.idempotency_key))
        return Outcome(OutcomeStatus.UNKNOWN)

    monkeypatch.setattr("apps.payments.providers.sandbox.Sandbox.charge", look)

    payment = charge(invoice)

    assert seen == [("sent", payment.public_id)]


def test_the_request_names_everything_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    customer = make_payer(
        payment_provider="sandbox", payment_provider_customer_id="cus_at_provider"
    )
    invoice = make_issued(customer)
    asked = []

    def remember(_self: object, request: Any) -> Outcome:
        asked.append(request)
        return Outcome(OutcomeStatus.UNKNOWN)

    monkeypatch.setattr("apps.payments.providers.sandbox.Sandbox.charge", remember)

    payment = charge(invoice)

    (request,) = asked
    assert (request.amount, request.method_ref, request.customer_ref, request.description) == (
        usd("149.00"),
        "sandbox_ok",
        "cus_at_provider",
        f"Invoice {invoice.display_number}",
    )
    assert request.metadata == {
        "tenant": customer.tenant.public_id,
        "customer": customer.public_id,
        "invoice": invoice.public_id,
        "payment": payment.public_id,
    }


@pytest.mark.holds("S42")
def test_a_provider_that_raises_leaves_the_payment_to_be_asked_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def crash(_self: object, _request: Any) -> Outcome:
        raise ZeroDivisionError

    monkeypatch.setattr("apps.payments.providers.sandbox.Sandbox.charge", crash)
    invoice = make_owing()

    with pytest.raises(ZeroDivisionError):
        charge(invoice)

    payment = Payment.objects.get()
    assert (payment.status, payment.ask_after) == ("sent", LATER + timedelta(minutes=5))


@pytest.mark.holds("F48")
def test_an_error_that_comes_again_and_again_for_a_key_brings_no_other_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider repeats its stored error; who asks it by the key learns what became of it."""
    keys: list[str] = []

    def repeat(_self: object, request: Any) -> Outcome:
        keys.append(request.idempotency_key)
        return Outcome(OutcomeStatus.UNKNOWN, failure_message="500")

    invoice, chosen = make_owing(), new_id()
    with monkeypatch.context() as broken:
        broken.setattr("apps.payments.providers.sandbox.Sandbox.charge", repeat)
        first = charge(invoice, id=chosen)
        assert charge(invoice, id=chosen).status == first.status == "unknown"
        with pytest.raises(PaymentInProgress):
            charge(invoice)
    assert set(keys) == {first.idempotency_key}
    # once the provider has said that it knows of none, a new charge has a key of its own
    resolve_unknown(LATER + timedelta(days=3))
    assert fresh_payment(first).status == "failed"
    second = charge(invoice, at=LATER + timedelta(days=3))
    assert second.status == "succeeded"
    assert second.idempotency_key != first.idempotency_key
    assert taken(invoice) == Decimal(149)


@pytest.mark.holds("S42")
def test_what_a_provider_says_is_cut_to_what_can_be_kept() -> None:
    invoice = make_owing()
    said = Outcome(OutcomeStatus.FAILED, failure_message="no\x00\ud800\n" + "x" * 10_000)
    payment = apply_outcome(begin(invoice).id, said, **told(invoice))
    assert (payment.status, payment.failure_message) == ("failed", "no   " + "x" * 495)
    for name in ("", "a\x00b", "x" * 256, "a b", "\u202e"):
        with pytest.raises(ValueError, match="no charge is called"):
            Outcome(OutcomeStatus.SUCCEEDED, amount=usd("149.00"), provider_ref=name)


@pytest.mark.django_db(transaction=True)
def test_a_charge_never_begins_inside_a_transaction() -> None:
    invoice = make_owing()

    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        charge(invoice)

    assert not Payment.objects.exists()
    assert taken(invoice) == Decimal(0)


def credit_memo() -> Invoice:
    return make_issued(make_payer(), ["-10.00"])


def canceled() -> Invoice:
    invoice = make_owing()
    return cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=LATER)


def written_off() -> Invoice:
    invoice = make_owing()
    return write_off_invoice(
        invoice.id, reason="gone", tenant_id=invoice.tenant_id, actor=ACTOR, at=LATER
    )


def paid() -> Invoice:
    invoice = make_owing()
    charge(invoice)
    return invoice


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: make_draft(make_payer()), NotCollectable),
        (lambda: make_owing(amount="0.00"), NotCollectable),
        (paid, NotCollectable),
        (canceled, NotCollectable),
        (written_off, NotCollectable),
        (credit_memo, NotAnInvoice),
        (lambda: make_owing(None), NoPaymentMethod),
    ],
)
def test_what_asks_for_no_money_cannot_be_charged(
    make: Callable[[], Invoice], error: type[Exception]
) -> None:
    invoice = make()
    before = Payment.objects.count()

    with pytest.raises(error):
        charge(invoice)

    assert Payment.objects.count() == before


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        (usd("149.01"), AmountExceedsDue),
        (usd("0"), PaymentNotPositive),
        (usd("-1"), PaymentNotPositive),
        (usd("1.001"), AmountTooFine),
        (Money(Decimal(1), "EUR"), PaymentCurrency),
    ],
)
def test_amounts_that_cannot_be_charged(amount: Money, error: type[Exception]) -> None:
    with pytest.raises(error):
        charge(make_owing(), amount=amount)

    assert not Payment.objects.exists()


def test_methods_that_cannot_be_charged() -> None:
    invoice = make_owing()
    payer = invoice.customer
    others = make_method(make_payer(None, tenant=payer.tenant))
    foreign = make_method(make_payer(None, tenant=make_tenant(mode=Mode.TEST)))
    gone = make_method(payer, default=False)
    detach(gone.id, tenant_id=payer.tenant_id, actor=ACTOR, at=AT)
    bank = make_method(payer, "iban", default=False, provider="external")

    for method, error in (
        (others, MethodUnusable),
        (gone, MethodUnusable),
        (bank, MethodNotChargeable),
        (foreign, NotFound),
    ):
        with pytest.raises(error):
            charge(invoice, method_id=method.id)
    with pytest.raises(NotFound):
        charge(invoice, tenant_id=make_customer().tenant_id)

    assert not Payment.objects.exists()


def test_outcomes_told_twice_change_nothing() -> None:
    invoice = make_owing()
    payment = begin(invoice)
    unknown = mark_unknown(payment.id, code="timed_out", message="", **told(payment))
    again = mark_unknown(payment.id, code="other", message="", **told(payment))
    assert (unknown.status, again.failure_code) == ("unknown", "timed_out")

    mark_pending(payment.id, provider_ref="ch_1", **told(payment))
    assert mark_pending(payment.id, provider_ref="ch_1", **told(payment)).status == "pending"
    # what is known to be pending does not become unknown by a question that went unanswered
    assert mark_unknown(payment.id, code="x", message="", **told(payment)).status == "pending"

    settle(payment)
    assert settle(payment).status == "succeeded"
    # a failure told after the success is old news
    assert fail_payment(payment.id, code="x", message="", **told(payment)).status == "succeeded"
    assert mark_pending(payment.id, provider_ref=None, **told(payment)).status == "succeeded"

    assert Allocation.objects.count() == 1
    assert JournalEntry.objects.filter(kind="payment_settled").count() == 1
    types = AuditEvent.objects.filter(object_id=payment.public_id).order_by("id")
    assert [event.type for event in types] == [
        "payment.sent",
        "payment.unknown",
        "payment.pending",
        "payment.succeeded",
    ]
    assert broken_rules() == []


@pytest.mark.parametrize("first", ["pending", "unknown", "failed", "succeeded"])
@pytest.mark.parametrize("second", ["pending", "unknown", "failed", "succeeded"])
@pytest.mark.parametrize("third", ["pending", "unknown", "failed", "succeeded"])
@pytest.mark.holds("F51")
def test_any_order_of_tidings_ends_where_the_provider_is(
    first: str, second: str, third: str
) -> None:
    invoice = make_owing()
    payment = begin(invoice)
    tidings = {
        "pending": Outcome(OutcomeStatus.PENDING, provider_ref="ch_1"),
        "unknown": Outcome(OutcomeStatus.UNKNOWN),
        "failed": Outcome(OutcomeStatus.FAILED, provider_ref="ch_1"),
        "succeeded": Outcome(OutcomeStatus.SUCCEEDED, amount=usd("149.00"), provider_ref="ch_1"),
    }

    for one in (first, second, third):
        apply_outcome(payment.id, tidings[one], **told(payment))

    said = {first, second, third}
    final = next(s for s in ("succeeded", "failed", "pending", "unknown") if s in said)
    assert fresh_payment(payment).status == final
    assert fresh(invoice).status == ("paid" if final == "succeeded" else "issued")
    assert broken_rules() == []


def test_a_late_success_of_a_failed_payment_is_real_money() -> None:
    invoice = make_owing("sandbox_declined")
    failed = charge(invoice)

    settle(failed, ref=None)

    assert fresh_payment(failed).status == "succeeded"
    assert fresh(invoice).status == "paid"
    assert broken_rules() == []


def test_money_that_is_over_stays_on_the_customers_account() -> None:
    invoice = make_owing("sandbox_declined")
    failed = charge(invoice)
    charge(invoice, method_id=make_method(invoice.customer).id)

    settle(failed, ref=None)

    assert fresh(invoice).amount_paid == usd("149.00")
    on_account = money_on_account(invoice.customer_id, "USD", tenant_id=invoice.tenant_id)
    assert [(one.payment_id, one.left) for one in on_account] == [(failed.id, Decimal(149))]
    balance = AccountRef(AccountKind.CUSTOMER_BALANCE, "USD", customer_id=invoice.customer_id)
    assert account_balance(invoice.tenant_id, balance) == Decimal(-149)
    assert broken_rules() == []


def test_money_for_an_invoice_canceled_meanwhile_is_the_customers() -> None:
    invoice = make_owing()
    payment = begin(invoice)
    cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=LATER)

    settle(payment)

    assert fresh(invoice).status == "canceled"
    on_account = money_on_account(invoice.customer_id, "USD", tenant_id=invoice.tenant_id)
    assert [one.left for one in on_account] == [Decimal(149)]
    assert not Allocation.objects.exists()
    assert broken_rules() == []


def test_money_for_an_invoice_written_off_meanwhile_reinstates_it() -> None:
    invoice = make_owing()
    payment = begin(invoice)
    write_off_invoice(invoice.id, reason="gone", tenant_id=invoice.tenant_id, actor=ACTOR, at=LATER)

    settle(payment)

    assert fresh(invoice).status == "paid"
    bad_debt = AccountRef(AccountKind.BAD_DEBT, "USD")
    assert account_balance(invoice.tenant_id, bad_debt) == Decimal(0)
    assert broken_rules() == []
