"""Money that arrived by itself."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.money import AmountTooFine
from apps.invoicing.domain import NotAnInvoice, NotCollectable, PaymentCurrency, PaymentNotPositive
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.ledger.domain import FactKind
from apps.ledger.queries import entry_of, provider_balances
from apps.payments.domain import (
    MethodUnusable,
    ReceivedBeforeIssue,
    ReceivedInFuture,
    ReferenceUsed,
)
from apps.payments.models import Payment
from apps.payments.operations.attempts import begin_payment, charge_invoice
from apps.payments.operations.paying import pay_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.payments.queries import money_on_account
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_draft, make_issued
from tests.make.payments import broken_rules, make_method, make_owing, make_payer, taken, usd
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db
LATER = AT + timedelta(days=3)


def receive(invoice: Invoice, **values: Any) -> Payment:
    return record_external_payment(
        invoice.id,
        **{"id": new_id(), "tenant_id": invoice.tenant_id, "actor": ACTOR, "at": LATER, **values},
    )


def test_money_by_bank_pays_the_invoice_when_it_arrived() -> None:
    invoice = make_issued(make_customer())
    arrived = AT + timedelta(days=1)

    payment = receive(invoice, reference="statement 7", received_at=arrived)

    assert (payment.status, payment.provider, payment.reference, payment.settled_at) == (
        "succeeded",
        "external",
        "statement 7",
        arrived,
    )
    assert fresh(invoice).status == "paid"
    entry = entry_of(invoice.tenant_id, FactKind.PAYMENT_SETTLED, payment.public_id)
    assert entry is not None
    assert entry.effective_at == arrived
    assert provider_balances(invoice.tenant_id) == {("external", "USD"): Decimal(149)}
    event = AuditEvent.objects.get(type="payment.succeeded")
    assert (event.object_id, event.data) == (
        payment.public_id,
        {
            "invoice": invoice.public_id,
            "amount": "149.00",
            "currency": "USD",
            "provider": "external",
        },
    )
    assert broken_rules() == []


def test_part_of_it_and_then_too_much() -> None:
    invoice = make_issued(make_customer())

    receive(invoice, amount=usd("100.00"))
    assert fresh(invoice).status == "partially_paid"
    over = receive(invoice, amount=usd("60.00"))

    assert (fresh(invoice).status, fresh(invoice).amount_paid) == ("paid", usd("149.00"))
    left = money_on_account(invoice.customer_id, "USD", tenant_id=invoice.tenant_id)
    assert [(one.payment_id, one.left) for one in left] == [(over.id, Decimal(11))]
    assert broken_rules() == []


def test_the_same_id_is_recorded_once() -> None:
    invoice = make_issued(make_customer())
    payment_id = new_id()

    first = receive(invoice, id=payment_id, amount=usd("10.00"))

    assert receive(invoice, id=payment_id, amount=usd("10.00")) == first
    assert fresh(invoice).amount_paid == usd("10.00")


def test_a_reference_is_used_once_per_customer() -> None:
    customer = make_customer()
    one, two = make_issued(customer), make_issued(customer)
    receive(one, reference="statement 7")

    with pytest.raises(ReferenceUsed):
        receive(two, reference="statement 7")

    other = make_issued(make_customer(customer.tenant))
    assert receive(other, reference="statement 7").status == "succeeded"


def test_it_is_recorded_also_while_a_charge_is_under_way() -> None:
    invoice = make_owing()
    begin_payment(invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)

    receive(invoice)

    assert fresh(invoice).status == "paid"
    assert sorted(p.status for p in Payment.objects.all()) == ["sent", "succeeded"]


def test_money_for_a_written_off_invoice_is_taken() -> None:
    invoice = make_issued(make_customer())
    write_off_invoice(invoice.id, reason="gone", tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)

    receive(invoice, amount=usd("50.00"))

    assert fresh(invoice).status == "partially_paid"
    assert broken_rules() == []


def canceled() -> Invoice:
    invoice = make_issued(make_customer())
    return cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)


def paid() -> Invoice:
    invoice = make_owing()
    charge_invoice(invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)
    return invoice


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: make_draft(make_customer()), NotCollectable),
        (lambda: make_issued(make_customer(), ["0.00"]), NotCollectable),
        (paid, NotCollectable),
        (canceled, NotCollectable),
        (lambda: make_issued(make_customer(), ["-5.00"]), NotAnInvoice),
    ],
)
def test_what_takes_no_money(make: Callable[[], Invoice], error: type[Exception]) -> None:
    invoice = make()
    before = Payment.objects.count()

    with pytest.raises(error):
        receive(invoice, amount=usd("1.00"))

    assert Payment.objects.count() == before


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"amount": usd("0")}, PaymentNotPositive),
        ({"amount": usd("-1")}, PaymentNotPositive),
        ({"amount": usd("1.001")}, AmountTooFine),
        ({"amount": Money(Decimal(1), "EUR")}, PaymentCurrency),
        ({"received_at": LATER + timedelta(microseconds=1)}, ReceivedInFuture),
        ({"received_at": AT - timedelta(microseconds=1)}, ReceivedBeforeIssue),
    ],
)
def test_values_that_cannot_be_right(values: dict[str, Any], error: type[Exception]) -> None:
    invoice = make_issued(make_customer())

    with pytest.raises(error):
        receive(invoice, **values)

    assert not Payment.objects.exists()
    assert fresh(invoice).status == "issued"


def test_a_method_of_a_provider_that_collects_is_no_way_for_it() -> None:
    invoice = make_owing()
    card = make_method(invoice.customer)

    with pytest.raises(MethodUnusable):
        receive(invoice, method_id=card.id)
    with pytest.raises(NotFound):
        receive(invoice, tenant_id=make_customer().tenant_id)


def pay(invoice: Invoice, **values: Any) -> Payment:
    return pay_invoice(invoice, **{"id": new_id(), "actor": ACTOR, "at": LATER, **values})


def test_paying_charges_the_default_method() -> None:
    invoice = make_owing()

    assert pay(invoice).provider == "sandbox"
    assert taken(invoice) == Decimal(149)


def test_paying_by_a_default_that_is_external_records_it() -> None:
    invoice = make_owing(None)
    bank = make_method(invoice.customer, "iban", provider="external")

    payment = pay(invoice)

    assert (payment.status, payment.provider, payment.method_id) == (
        "succeeded",
        "external",
        bank.id,
    )
    assert (payment.settled_at, payment.amount) == (LATER, usd("149.00"))
    assert fresh(invoice).status == "paid"


@pytest.mark.parametrize("told", [{"reference": "statement 7"}, {"received_at": AT}])
def test_a_reference_or_a_time_of_arrival_means_that_it_came_by_itself(
    told: dict[str, Any],
) -> None:
    invoice = make_owing("sandbox_ok")

    payment = pay(invoice, **told)

    assert (payment.provider, payment.method_id) == ("external", None)
    assert taken(invoice) == Decimal(0)


def test_a_named_method_is_charged_also_if_the_default_is_external() -> None:
    invoice = make_issued(make_payer(None))
    make_method(invoice.customer, "iban", provider="external")
    card = make_method(invoice.customer, default=False)

    assert pay(invoice, method_id=card.id).provider == "sandbox"
