"""Paying money back: what it takes, what it leaves, and what the provider makes of it."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import BillingError, NotFound
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.invoicing.models import CreditPaidOut, Invoice
from apps.ledger.models import JournalEntry
from apps.payments.models import Refund, SandboxRefund
from apps.payments.operations.attempts import begin_payment
from apps.payments.operations.refund_outcomes import (
    apply_refund_outcome,
    fail_refund,
    settle_refund,
)
from apps.payments.operations.refund_resolving import resolve_refunds
from apps.payments.operations.refunding import ByHand, begin_refund
from apps.payments.providers.interface import Outcome, OutcomeStatus
from tests.make.backoffice import all_breaches
from tests.make.books import unguarded
from tests.make.invoicing import credit_of, fresh, make_issued
from tests.make.payments import make_owing, make_payer, usd
from tests.make.refunds import (
    books,
    fresh_refund,
    given_back,
    make_paid_invoice,
    pay_back,
    pay_memo_back,
    receive,
)
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db
FIRST = AT + timedelta(minutes=5)
SECOND = FIRST + timedelta(hours=1)


def told(row: Any, **more: Any) -> dict[str, Any]:
    return {"tenant_id": row.tenant_id, "actor": ACTOR, "at": AT, **more}


def refused(write: Callable[[], object]) -> str:
    """Try to write; return which rule of the database refused it."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError as error:
        return broken(error)
    return ""


def memos(invoice: Invoice) -> list[tuple[str, Decimal]]:
    """What credit memos give back of the invoice, oldest first."""
    found = Invoice.objects.filter(credits=invoice).order_by("id")
    return [(one.display_number, one.total.amount) for one in found]


def test_a_payment_goes_back_whole_by_a_credit_memo() -> None:
    invoice, payment = make_paid_invoice()

    refund = pay_back(payment)

    assert (refund.status, refund.amount, refund.from_account) == (
        "succeeded",
        usd("149.00"),
        Decimal(0),
    )
    assert given_back(payment) == 149
    with tenant_scope(invoice.tenant_id):
        assert memos(invoice) == [("CM-000001", Decimal("-149.00"))]
        (memo,) = Invoice.objects.filter(credits=invoice)
        (line,) = memo.lines.all()
        assert line.description == "Refund of INV-000001: The service was down."
        assert (line.kind, line.subscription_id, line.charge_id) == ("refund", None, None)
        taken = CreditPaidOut.objects.get(credit_memo=memo)
        assert (taken.refund_id, taken.amount, taken.released_at) == (
            refund.id,
            Decimal(149),
            None,
        )
    paid = fresh(invoice)
    assert (paid.status, paid.amount_paid) == ("paid", usd("149.00"))
    assert credit_of(invoice.customer) == {}
    assert books(invoice.tenant) == {"revenue": "-149.00", "refunds": "149.00"}
    assert all_breaches() == []


def test_parts_add_up_to_the_payment_and_no_further() -> None:
    invoice, payment = make_paid_invoice()

    assert [pay_back(payment, part).status for part in ("100.00", "48.99")] == ["succeeded"] * 2
    with pytest.raises(BillingError) as refused:
        pay_back(payment, "0.02")
    assert (refused.value.reason, refused.value.field) == ("refund_exceeds_paid", "amount")
    assert pay_back(payment).amount == usd("0.01")
    with pytest.raises(BillingError) as nothing:
        pay_back(payment)
    assert nothing.value.reason == "nothing_to_refund"

    assert given_back(payment) == 149
    with tenant_scope(invoice.tenant_id):
        assert [amount for _, amount in memos(invoice)] == [
            -100,
            Decimal("-48.99"),
            Decimal("-0.01"),
        ]
    assert all_breaches() == []


def test_what_was_paid_too_much_goes_back_first_and_needs_no_document() -> None:
    invoice = make_issued(make_payer(None), ["100.00"])
    payment = receive(invoice, "130.00")

    first, second = pay_back(payment, "20.00"), pay_back(payment, "25.00")

    assert [(one.from_account, one.provider) for one in (first, second)] == [
        (Decimal(20), "external"),
        (Decimal(10), "external"),
    ]
    with tenant_scope(invoice.tenant_id):
        assert [amount for _, amount in memos(invoice)] == [-15]
    assert books(invoice.tenant) == {
        "revenue": "-100.00",
        "refunds": "15.00",
        "external": "85.00",
    }
    assert all_breaches() == []


def test_what_is_owed_for_the_invoice_goes_back_before_more_is_credited() -> None:
    invoice, payment = make_paid_invoice()
    with tenant_scope(invoice.tenant_id):
        line = invoice.lines.get()
    correction = make_issued(invoice.customer, ["-40.00"])
    with tenant_scope(invoice.tenant_id), unguarded("invoicing_invoiceline"):
        correction.lines.update(corrects=line)

    refund = pay_back(payment, "50.00")

    assert refund.status == "succeeded"
    with tenant_scope(invoice.tenant_id):
        parts = CreditPaidOut.objects.filter(refund_id=refund.id).order_by("-amount")
        assert [(one.credit_memo_id == correction.id, one.amount) for one in parts] == [
            (True, Decimal(40)),
            (False, Decimal(10)),
        ]
    # 40 were taken off, 10 given back: no more than the other 99 is left of it
    assert pay_back(payment).amount == usd("99.00")


def test_a_memo_goes_back_to_the_payments_that_paid() -> None:
    customer = make_payer(None)
    payments = [receive(make_issued(customer, ["30.00"]), "30.00") for _ in range(3)]
    memo = make_issued(customer, ["-70.00"])

    refunds = pay_memo_back(memo)

    assert [(one.payment_id, one.amount) for one in refunds] == [
        (payments[2].id, usd("30.00")),
        (payments[1].id, usd("30.00")),
        (payments[0].id, usd("10.00")),
    ]
    assert credit_of(customer) == {}
    with pytest.raises(BillingError) as nothing:
        pay_memo_back(memo)
    assert nothing.value.reason == "nothing_to_refund"
    assert books(customer.tenant) == {"revenue": "-20.00", "external": "20.00"}
    assert all_breaches() == []


def test_one_transfer_pays_a_memo_back_to_several_payments_once() -> None:
    customer = make_payer(None)
    for _ in range(2):
        receive(make_issued(customer, ["30.00"]), "30.00")
    memo = make_issued(customer, ["-50.00"])
    wire = ByHand(reference="WIRE 7")

    refunds = pay_memo_back(memo, "45.00", by_hand=wire)

    assert [(one.amount, one.reference) for one in refunds] == [
        (usd("30.00"), "WIRE 7"),
        (usd("15.00"), "WIRE 7"),
    ]
    with pytest.raises(BillingError) as again:
        pay_memo_back(memo, by_hand=wire)
    assert again.value.reason == "payment_reference_used"
    assert all_breaches() == []


def test_a_memo_gives_a_named_amount_to_a_named_payment() -> None:
    customer = make_payer(None)
    old, _ = (receive(make_issued(customer, ["30.00"]), "30.00") for _ in range(2))
    memo = make_issued(customer, ["-40.00"])

    (refund,) = pay_memo_back(memo, "12.00", payment_id=old.id)
    assert (refund.payment_id, refund.amount) == (old.id, usd("12.00"))
    assert pay_back(old, "3.00", memo_id=memo.id).amount == usd("3.00")
    assert credit_of(customer) == {"USD": Decimal("25.00")}
    for amount, reason in (("25.01", "refund_exceeds_paid"), ("16.00", "refund_exceeds_paid")):
        with pytest.raises(BillingError) as refused:
            pay_memo_back(memo, amount, payment_id=old.id)
        assert refused.value.reason == reason
    assert all_breaches() == []


def test_money_on_its_way_back_pays_no_invoice() -> None:
    customer = make_payer("sandbox_refund_delayed")
    invoice, payment = make_paid_invoice("sandbox_refund_delayed", "100.00")
    customer = invoice.customer

    refund = pay_back(payment, "60.00")

    assert refund.status == "pending"
    assert credit_of(customer) == {}
    following = make_issued(customer, ["50.00"])
    assert fresh(following).balance_applied == usd("0.00")
    assert all_breaches() == []
    with pytest.raises(BillingError) as refused:
        pay_back(payment, "40.01")
    assert refused.value.reason == "refund_exceeds_paid"


def test_a_refused_refund_leaves_the_customer_his_credit_which_the_next_one_uses() -> None:
    invoice, payment = make_paid_invoice("sandbox_refund_declined_once", "100.00")

    refused = pay_back(payment)
    assert (refused.status, refused.failure_code) == ("failed", "refund_refused")
    assert credit_of(invoice.customer) == {"USD": Decimal(100)}
    assert all_breaches() == []

    assert pay_back(payment).status == "succeeded"
    with tenant_scope(invoice.tenant_id):
        assert [amount for _, amount in memos(invoice)] == [-100]
    assert credit_of(invoice.customer) == {}
    assert books(invoice.tenant) == {"revenue": "-100.00", "refunds": "100.00"}
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("method", "status", "code", "given"),
    [
        ("sandbox_ok", "succeeded", "", 100),
        ("sandbox_refund_declined", "failed", "refund_refused", 0),
        ("sandbox_refund_unreachable", "failed", "provider_unreachable", 0),
        ("sandbox_refund_timeout", "unknown", "timed_out", 100),
        ("sandbox_refund_timeout_lost", "unknown", "timed_out", 0),
        ("sandbox_refund_duplicate", "unknown", "duplicate_request", 100),
        ("sandbox_refund_delayed", "pending", "", 0),
        ("sandbox_refund_delayed_failure", "pending", "", 0),
        ("sandbox_refund_wrong_amount", "unknown", "outcome_mismatch", "99.99"),
    ],
)
def test_what_the_provider_does_is_taken_as_it_is(
    method: str, status: str, code: str, given: str
) -> None:
    _, payment = make_paid_invoice(method, "100.00")

    refund = pay_back(payment)

    assert (refund.status, refund.failure_code) == (status, code)
    assert given_back(payment) == Decimal(given)
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("method", "first", "second"),
    [
        ("sandbox_refund_timeout", "succeeded", "succeeded"),
        ("sandbox_refund_duplicate", "succeeded", "succeeded"),
        ("sandbox_refund_timeout_lost", "unknown", "failed"),
        ("sandbox_refund_delayed", "pending", "succeeded"),
        ("sandbox_refund_delayed_failure", "pending", "failed"),
        ("sandbox_refund_wrong_amount", "unknown", "unknown"),
    ],
)
@pytest.mark.holds("Y3")
def test_an_open_outcome_is_resolved_by_asking(method: str, first: str, second: str) -> None:
    invoice, payment = make_paid_invoice(method, "100.00")
    refund = pay_back(payment)

    found = []
    for at in (FIRST, SECOND):
        resolve_refunds(at)
        found.append(fresh_refund(refund).status)

    assert found == [first, second]
    left = {"USD": Decimal(100)} if second == "failed" else {}
    assert credit_of(invoice.customer) == left
    with tenant_scope(invoice.tenant_id):
        assert [one.calls for one in SandboxRefund.objects.all()] in ([1], [])
    assert all_breaches() == []


def test_a_repeat_with_the_same_id_pays_back_once() -> None:
    _, payment = make_paid_invoice()
    chosen = new_id()

    first, again = pay_back(payment, "10.00", id=chosen), pay_back(payment, "10.00", id=chosen)

    assert first.id == again.id == chosen
    assert given_back(payment) == 10


def test_a_refund_that_was_only_begun_is_continued_under_its_key() -> None:
    _, payment = make_paid_invoice("sandbox_refund_delayed")
    chosen = new_id()
    with tenant_scope(payment.tenant_id):
        begin_refund(payment.id, id=chosen, amount=usd("10.00"), reason="x", **told(payment))

    refund = pay_back(payment, "10.00", id=chosen)

    assert (refund.id, refund.provider_ref) == (chosen, f"sbx_{refund.public_id}")
    assert pay_back(payment, "10.00", id=chosen).id == chosen
    with tenant_scope(payment.tenant_id):
        assert SandboxRefund.objects.get().calls == 1


def test_money_paid_back_by_hand_is_booked_at_once() -> None:
    invoice, payment = make_paid_invoice()
    hand = ByHand(reference="statement 9", paid_at=AT)

    refund = pay_back(payment, "10.00", by_hand=hand)

    assert (refund.status, refund.provider, refund.reference) == (
        "succeeded",
        "external",
        "statement 9",
    )
    assert given_back(payment) == 0
    assert books(invoice.tenant) == {
        "revenue": "-149.00",
        "refunds": "10.00",
        "sandbox": "149.00",
        "external": "-10.00",
    }
    for wrong, reason in (
        (hand, "payment_reference_used"),
        (ByHand(paid_at=AT + timedelta(seconds=1)), "paid_back_in_future"),
        (ByHand(paid_at=AT - timedelta(seconds=1)), "paid_back_before_paid"),
    ):
        with pytest.raises(BillingError) as refused:
            pay_back(payment, "10.00", by_hand=wrong)
        assert refused.value.reason == reason
    assert all_breaches() == []


@pytest.mark.holds("B103")
def test_only_money_that_came_in_goes_back() -> None:
    invoice = make_owing("sandbox_declined")
    with tenant_scope(invoice.tenant_id):
        payment = begin_payment(invoice.id, id=new_id(), **told(invoice))
    with pytest.raises(BillingError) as refused:
        pay_back(payment)
    assert refused.value.reason == "payment_not_refundable"

    unknown = make_paid_invoice()[1]
    unknown.id = new_id()
    with pytest.raises(NotFound):
        pay_back(unknown)


def test_memos_that_paid_other_invoices_are_not_given_back_again() -> None:
    invoice, payment = make_paid_invoice("sandbox_refund_declined_once", "100.00")
    pay_back(payment)  # refused: the customer keeps the memo
    following = make_issued(invoice.customer, ["30.00"])
    assert fresh(following).balance_applied == usd("30.00")

    with pytest.raises(BillingError) as refused:
        pay_back(payment, "70.01")
    assert refused.value.reason == "refund_exceeds_paid"
    assert pay_back(payment).amount == usd("70.00")
    assert all_breaches() == []


def test_outcomes_are_taken_in_any_order_any_number_of_times() -> None:
    _, payment = make_paid_invoice("sandbox_refund_timeout")
    refund = pay_back(payment, "10.00")
    success = Outcome(OutcomeStatus.SUCCEEDED, usd("10.00"), f"sbx_{refund.public_id}")
    with tenant_scope(refund.tenant_id):
        for outcome in (
            Outcome(OutcomeStatus.PENDING, provider_ref=success.provider_ref),
            Outcome(OutcomeStatus.UNKNOWN),
            success,
            Outcome(OutcomeStatus.FAILED),
            Outcome(OutcomeStatus.PENDING),
            success,
        ):
            apply_refund_outcome(refund.id, outcome, **told(refund))
        assert Refund.objects.get().status == "succeeded"
        assert JournalEntry.objects.filter(kind="refund_settled").count() == 1
    assert all_breaches() == []


def test_a_held_refund_waits_for_a_person() -> None:
    invoice, payment = make_paid_invoice("sandbox_refund_wrong_amount", "100.00")
    refund = pay_back(payment)
    resolve_refunds(SECOND)
    assert fresh_refund(refund).status == "unknown"

    with tenant_scope(refund.tenant_id):
        settle_refund(refund.id, paid=usd("100.00"), provider_ref=None, **told(refund))
    assert fresh_refund(refund).status == "succeeded"
    with tenant_scope(refund.tenant_id):
        fail_refund(refund.id, code="x", message="", **told(refund))
    assert fresh_refund(refund).status == "succeeded"
    assert credit_of(invoice.customer) == {}
    assert all_breaches() == []


@pytest.mark.holds("I8", "Y9")
@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"amount": usd("100.01").amount}, "refund_bounded"),
        ({"from_account": 1}, "refund_bounded"),
        ({"amount": usd("0.001").amount}, "refund_like_payment"),
        ({"currency": "EUR"}, "refund_like_payment"),
        ({"status": "succeeded", "settled_at": AT}, "refund_begins_as_pending"),
        ({"from_account": -1}, "refund_positive"),
        ({"amount": 0}, "refund_positive"),
    ],
)
def test_the_database_bounds_refunds(values: dict[str, Any], constraint: str) -> None:
    _, payment = make_paid_invoice("sandbox_ok", "100.00")
    row = {
        "id": new_id(),
        "tenant_id": payment.tenant_id,
        "customer_id": payment.customer_id,
        "payment": payment,
        "provider": "sandbox",
        "currency": "USD",
        "amount": 10,
        "reason": "x",
        "idempotency_key": "k",
        "created_at": AT,
    }
    with tenant_scope(payment.tenant_id):
        assert refused(lambda: Refund.objects.create(**{**row, **values})) == constraint


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"amount": 1}, "refund_immutable"),
        ({"reason": "y"}, "refund_immutable"),
        ({"status": "pending", "settled_at": None}, "refund_transition"),
    ],
)
def test_what_a_refund_is_for_never_changes(change: dict[str, Any], constraint: str) -> None:
    _, payment = make_paid_invoice()
    refund = pay_back(payment)
    with tenant_scope(payment.tenant_id):
        rows = Refund.objects.filter(id=refund.id)
        assert refused(lambda: rows.update(**change)) == constraint
        assert refused(rows.delete) == "refund_kept"


def test_the_database_bounds_what_memos_give() -> None:
    customer = make_payer(None)
    memo = make_issued(customer, ["-40.00"])
    row = {"tenant_id": memo.tenant_id, "credit_memo": memo, "currency": "USD", "taken_at": AT}
    with tenant_scope(memo.tenant_id):
        taken = CreditPaidOut.objects.create(refund_id=new_id(), amount=30, **row)
        for wrong in (
            {"amount": Decimal("10.01")},
            {"amount": Decimal("0.001")},
            {"amount": 10, "currency": "EUR"},
            {"amount": 10, "released_at": AT},
        ):
            more = {**row, **wrong, "refund_id": new_id()}
            assert refused(partial(CreditPaidOut.objects.create, **more)) == "paid_out_bounded"
        rows = CreditPaidOut.objects.filter(id=taken.id)
        for change in ({"amount": 1}, {"taken_at": FIRST}):
            assert refused(partial(rows.update, **change)) == "paid_out_kept"
        assert refused(rows.delete) == "paid_out_kept"
    assert credit_of(customer) == {"USD": Decimal(10)}
    # what is paid out pays no invoice
    assert fresh(make_issued(customer, ["50.00"])).balance_applied == usd("10.00")


def test_the_database_bounds_what_is_given_back_of_an_invoice() -> None:
    invoice, payment = make_paid_invoice("sandbox_ok", "100.00")
    pay_back(payment, "60.00")
    with tenant_scope(invoice.tenant_id):
        memo = Invoice.objects.get(credits=invoice)
        copy = {
            name: getattr(memo, name)
            for name in (
                "tenant_id", "customer_id", "kind", "currency", "credits_id", "cutoff_at", "zone",
                "discount", "tax", "balance_applied", "amount_paid", "created_at",
            )
        }  # fmt: skip
        for amount in ("-40.01", "-100.00"):
            more = {**copy, "id": new_id(), "subtotal": Decimal(amount), "total": Decimal(amount)}
            assert refused(partial(Invoice.objects.create, **more)) == "credited_within"
