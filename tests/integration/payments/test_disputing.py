"""Disputes: what they take, what they leave, and what is refused because of them."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import BillingError
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.states import IllegalTransition
from apps.core.tenancy import tenant_scope
from apps.invoicing.models import Invoice
from apps.ledger.models import JournalEntry
from apps.payments.models import Dispute, Payment, Refund
from apps.payments.operations.attempts import begin_payment
from tests.make.backoffice import all_breaches
from tests.make.disputes import dispute, lose, win
from tests.make.invoicing import credit_of, fresh, make_issued
from tests.make.payments import make_owing, make_payer, usd
from tests.make.refunds import books, make_paid_invoice, pay_back, receive
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db


def refused(work: Callable[[], object]) -> tuple[str, str | None]:
    with pytest.raises(BillingError) as error:
        work()
    return error.value.reason, error.value.field


def constraint(write: Callable[[], object]) -> str:
    """Try to write; return which rule of the database refused it."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError as error:
        return broken(error)
    return ""


def test_money_that_is_disputed_has_left_until_that_is_decided() -> None:
    invoice, payment = make_paid_invoice()

    case = dispute(payment, reason="fraudulent", fee=usd("15.00"))

    assert (case.status, case.amount, case.from_account, case.fee) == (
        "opened",
        usd("149.00"),
        Decimal(0),
        Decimal(15),
    )
    assert fresh(invoice).status == "paid"
    assert books(invoice.tenant) == {
        "revenue": "-149.00",
        "disputes": "149.00",
        "provider_fees": "15.00",
        "sandbox": "-15.00",
    }
    assert all_breaches() == []


def test_a_dispute_that_is_won_brings_the_money_back_but_not_the_fee() -> None:
    invoice, payment = make_paid_invoice()
    case = dispute(payment, fee=usd("15.00"))

    assert win(case, reason="the evidence sufficed").status == "won"
    assert win(case).decided_at == AT
    assert refused(lambda: lose(case)) == (IllegalTransition.reason, None)

    assert books(invoice.tenant) == {
        "revenue": "-149.00",
        "provider_fees": "15.00",
        "sandbox": "134.00",
    }
    assert all_breaches() == []
    assert pay_back(payment).amount == usd("149.00")
    assert all_breaches() == []


def test_a_dispute_that_is_lost_is_a_loss() -> None:
    invoice, payment = make_paid_invoice()
    case = dispute(payment, "100.00")

    assert lose(case).status == "lost"
    assert lose(case).status == "lost"
    assert refused(lambda: win(case)) == (IllegalTransition.reason, None)

    assert fresh(invoice).status == "paid"
    assert books(invoice.tenant) == {
        "revenue": "-149.00",
        "bad_debt": "100.00",
        "sandbox": "49.00",
    }
    assert all_breaches() == []


def test_what_was_paid_too_much_is_disputed_first_and_pays_nothing_meanwhile() -> None:
    customer = make_payer(None)
    invoice = make_issued(customer, ["100.00"])
    payment = receive(invoice, "130.00")

    case = dispute(payment, "50.00")
    assert case.from_account == 30
    later = make_issued(customer, ["25.00"])
    assert fresh(later).status == "issued"
    assert all_breaches() == []

    lose(case)
    assert books(customer.tenant) == {
        "revenue": "-125.00",
        "bad_debt": "20.00",
        "external": "80.00",
    }
    assert all_breaches() == []


def test_what_was_paid_too_much_is_there_again_once_it_is_won() -> None:
    customer = make_payer(None)
    payment = receive(make_issued(customer, ["100.00"]), "130.00")

    win(dispute(payment))
    later = make_issued(customer, ["25.00"])

    assert (fresh(later).status, fresh(later).amount_paid) == ("issued", usd("0.00"))
    assert pay_back(payment).amount == usd("130.00")
    assert all_breaches() == []


@pytest.mark.holds("F58", "I8")
def test_a_dispute_takes_what_refunds_left_and_refunds_what_disputes_left() -> None:
    _, payment = make_paid_invoice()

    pay_back(payment, "49.00")
    assert refused(lambda: dispute(payment, "100.01")) == ("dispute_exceeds_paid", "amount")
    assert dispute(payment, "60.00").amount == usd("60.00")
    assert refused(lambda: pay_back(payment, "40.01")) == ("refund_exceeds_paid", "amount")
    pay_back(payment, "15.00")
    assert dispute(payment).amount == usd("25.00")
    assert refused(lambda: dispute(payment)) == ("nothing_to_dispute", None)
    assert refused(lambda: pay_back(payment)) == ("nothing_to_refund", None)
    assert all_breaches() == []


def test_a_credit_memo_is_not_paid_back_to_a_payment_that_is_disputed() -> None:
    customer = make_payer(None)
    invoice = make_issued(customer, ["100.00"])
    payment = receive(invoice, "100.00")
    make_issued(customer, ["-30.00"])
    dispute(payment, "80.00")

    assert refused(lambda: pay_back(payment, "30.00")) == ("refund_exceeds_paid", "amount")
    assert pay_back(payment).amount == usd("20.00")
    assert credit_of(customer) == {"USD": Decimal(30)}  # it is about other lines
    assert all_breaches() == []


@pytest.mark.holds("Y9", "F58")
def test_the_same_news_twice_is_one_dispute() -> None:
    invoice, payment = make_paid_invoice()

    first = dispute(payment, "100.00", reference="dp_1")
    assert dispute(payment, "100.00", reference="dp_1").id == first.id
    assert dispute(payment, id=first.id, reference="dp_2").reference == "dp_1"

    with tenant_scope(invoice.tenant_id):
        assert Dispute.objects.count() == 1
        assert JournalEntry.objects.filter(kind="dispute_opened").count() == 1
        told = AuditEvent.objects.filter(type="dispute.opened")
        assert [one.data for one in told] == [
            {
                "payment": payment.public_id,
                "amount": "100.00",
                "currency": "USD",
                "reference": "dp_1",
                "reason": "",
            }
        ]
    other = make_paid_invoice(tenant=invoice.tenant)[1]
    assert refused(lambda: dispute(other, reference="dp_1")) == ("payment_reference_used", None)


def test_only_money_that_came_in_is_disputed() -> None:
    invoice = make_owing("sandbox_ok")
    with tenant_scope(invoice.tenant_id):
        begun = begin_payment(
            invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
        )
    assert refused(lambda: dispute(begun)) == ("payment_not_disputable", None)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [(usd("0.001"), "currency_precision"), (usd("-1"), "payment_not_positive")],
)
def test_amounts_are_money(amount: Any, reason: str) -> None:
    _, payment = make_paid_invoice()
    assert refused(lambda: dispute(payment, str(amount.amount)))[0] == reason
    assert refused(lambda: dispute(payment, fee=amount))[0] == reason


def raw(payment: Payment, **values: Any) -> Dispute:
    row = {
        "id": new_id(),
        "tenant_id": payment.tenant_id,
        "customer_id": payment.customer_id,
        "payment": payment,
        "provider": payment.provider,
        "reference": str(new_id()),
        "currency": "USD",
        "amount": Decimal(1),
        "opened_at": AT,
        **values,
    }
    return Dispute.objects.create(**row)


@pytest.mark.holds("F58", "Y9", "Y6")
def test_the_database_keeps_the_bounds_too() -> None:
    invoice, payment = make_paid_invoice()
    other = make_paid_invoice(tenant=invoice.tenant)[1]
    pay_back(payment, "100.00")
    with tenant_scope(payment.tenant_id):
        case = raw(payment, amount=Decimal(40), reference="dp_1")
        tries: dict[str, Callable[[], object]] = {
            "dispute_reference_once": lambda: raw(payment, reference="dp_1"),
            "dispute_bounded": lambda: raw(payment, amount=Decimal("9.01")),
            "dispute_like_payment": lambda: raw(payment, provider="external"),
            "dispute_begins_as_opened": lambda: raw(payment, status="lost", decided_at=AT),
            "dispute_positive": lambda: raw(payment, amount=Decimal(0)),
            "dispute_transition": lambda: Dispute.objects.filter(id=lost.id).update(status="won"),
            "dispute_immutable": lambda: Dispute.objects.filter(id=case.id).update(amount=1),
            "dispute_decided_once": lambda: Dispute.objects.filter(id=case.id).update(
                status="lost"
            ),
            "dispute_kept": lambda: Dispute.objects.filter(id=case.id).delete(),
            "refund_bounded": lambda: Refund.objects.create(
                tenant_id=payment.tenant_id,
                customer_id=payment.customer_id,
                payment=payment,
                provider=payment.provider,
                currency="USD",
                amount=Decimal("9.01"),
                reason="x",
                idempotency_key="x",
                created_at=AT,
                ask_after=AT,
            ),
        }
        lost = lose(dispute(other, "5.00"))
        assert {name: constraint(write) for name, write in tries.items()} == {
            name: name for name in tries
        }


def test_money_on_account_that_is_disputed_is_not_allocated() -> None:
    customer = make_payer(None)
    payment = receive(make_issued(customer, ["100.00"]), "130.00")
    dispute(payment, "30.00")
    later = make_issued(customer, ["30.00"])
    with tenant_scope(customer.tenant_id):
        assert Invoice.objects.get(id=later.id).amount_paid == usd("0.00")
