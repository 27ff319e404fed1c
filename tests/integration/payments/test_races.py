"""Many at once, on real connections: one charge, one settlement, nothing lost."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from apps.core.ids import new_id
from apps.invoicing.domain import NotCollectable
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice
from apps.ledger.models import JournalEntry
from apps.payments.domain import PaymentInProgress, ReferenceUsed
from apps.payments.models import Allocation, Collection, Payment
from apps.payments.operations.attempts import begin_payment, charge_invoice
from apps.payments.operations.collecting import collect_invoice, retry_collections
from apps.payments.operations.outcomes import fail_payment, settle_payment
from apps.payments.operations.receiving import record_external_payment
from apps.payments.operations.resolving import resolve_unknown
from tests.make.invoicing import fresh, make_issued
from tests.make.payments import broken_rules, make_owing, make_payer, taken, usd
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Call all in threads that begin together; return results and errors, in their order."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(number: int) -> None:
        try:
            barrier.wait(timeout=60)
            results[number] = works[number]()
        except Exception as error:  # noqa: BLE001 -- handed to the test
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def told(invoice: Invoice, **more: Any) -> dict[str, Any]:
    return {"tenant_id": invoice.tenant_id, "actor": ACTOR, "at": AT, **more}


def kinds(results: list[Any]) -> set[str]:
    return {type(result).__name__ for result in results}


def test_twenty_callers_pay_one_invoice_once() -> None:
    invoice = make_owing("sandbox_ok")

    results = at_once(
        *(lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice)) for _ in range(20))
    )

    winners = [one for one in results if isinstance(one, Payment)]
    assert len(winners) == 1
    losers = [one for one in results if not isinstance(one, Payment)]
    assert all(isinstance(one, PaymentInProgress | NotCollectable) for one in losers)
    assert taken(invoice) == Decimal(149)
    assert fresh(invoice).status == "paid"
    assert Payment.objects.count() == 1
    assert broken_rules() == []


def test_twenty_callers_with_one_key_make_one_payment() -> None:
    invoice = make_owing("sandbox_ok")
    payment_id = new_id()

    results = at_once(
        *(lambda: charge_invoice(invoice.id, id=payment_id, **told(invoice)) for _ in range(20))
    )

    assert kinds(results) == {"Payment"}
    assert {one.id for one in results} == {payment_id}
    assert taken(invoice) == Decimal(149)
    assert Allocation.objects.count() == 1
    assert broken_rules() == []


def test_the_same_success_is_settled_once_however_often_it_is_told() -> None:
    invoice = make_owing()
    payment = begin_payment(invoice.id, id=new_id(), **told(invoice))

    results = at_once(
        *(
            lambda: settle_payment(
                payment.id, received=usd("149.00"), provider_ref="ch_1", **told(invoice)
            )
            for _ in range(10)
        )
    )

    assert {one.status for one in results} == {"succeeded"}
    assert Allocation.objects.count() == 1
    assert JournalEntry.objects.filter(kind="payment_settled").count() == 1
    assert fresh(invoice).amount_paid == usd("149.00")
    assert broken_rules() == []


def test_success_and_failure_told_at_once_end_in_success() -> None:
    invoice = make_owing()
    payment = begin_payment(invoice.id, id=new_id(), **told(invoice))

    at_once(
        *(
            lambda: settle_payment(
                payment.id, received=usd("149.00"), provider_ref=None, **told(invoice)
            ),
            lambda: fail_payment(payment.id, code="card_declined", message="", **told(invoice)),
        )
        * 5
    )

    assert Payment.objects.get().status == "succeeded"
    assert fresh(invoice).status == "paid"
    assert broken_rules() == []


def test_automatic_collection_retry_and_paying_by_hand_charge_once() -> None:
    invoice = make_owing("sandbox_declined_once")
    collect_invoice(invoice.id, **told(invoice))
    due = AT + DAY

    at_once(
        *[lambda: retry_collections(due)] * 4,
        *(
            lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice, at=due))
            for _ in range(4)
        ),
        *[lambda: collect_invoice(invoice.id, **told(invoice, at=due))] * 4,
    )

    assert taken(invoice) == Decimal(149)
    assert fresh(invoice).status == "paid"
    assert sorted(p.status for p in Payment.objects.all()) == ["failed", "succeeded"]
    assert Collection.objects.get().closed_at == due
    assert broken_rules() == []


def test_ten_first_collections_make_one_attempt() -> None:
    invoice = make_owing("sandbox_ok")

    results = at_once(*[lambda: collect_invoice(invoice.id, **told(invoice))] * 10)

    assert sorted(kinds(results)) == ["NoneType", "Payment"]
    assert Payment.objects.count() == 1
    assert taken(invoice) == Decimal(149)


def test_ten_sweeps_make_each_attempt_once() -> None:
    invoices = [make_owing("sandbox_declined") for _ in range(3)]
    for invoice in invoices:
        collect_invoice(invoice.id, **told(invoice))

    made = at_once(*[lambda: retry_collections(AT + DAY)] * 10)

    assert sum(made) == 3
    assert [invoice.payments.count() for invoice in invoices] == [2, 2, 2]
    assert {(c.attempts, c.next_attempt_at) for c in Collection.objects.all()} == {
        (2, AT + 3 * DAY)
    }


def test_ten_sweeps_ask_once() -> None:
    invoices = [make_owing("sandbox_timeout") for _ in range(3)]
    for invoice in invoices:
        charge_invoice(invoice.id, id=new_id(), **told(invoice))
    due = AT + timedelta(minutes=5)

    decided = at_once(*[lambda: resolve_unknown(due)] * 10)

    assert sum(decided) == 3
    assert {p.asked for p in Payment.objects.all()} == {1}
    assert {fresh(invoice).status for invoice in invoices} == {"paid"}
    assert broken_rules() == []


def test_paying_and_canceling_at_once_leaves_no_money_behind() -> None:
    invoice = make_owing("sandbox_ok")

    at_once(
        lambda: charge_invoice(invoice.id, id=new_id(), **told(invoice)),
        lambda: cancel_invoice(invoice.id, **told(invoice)),
    )

    assert fresh(invoice).status in {"paid", "canceled"}
    assert sum(p.amount.amount for p in Payment.objects.filter(status="succeeded")) == taken(
        invoice
    )
    assert broken_rules() == []


def test_money_on_account_is_used_once_by_invoices_collected_at_once() -> None:
    customer = make_payer(None)
    first = make_issued(customer, ["10.00"])
    record_external_payment(first.id, id=new_id(), amount=usd("110.00"), **told(first))
    invoices = [make_issued(customer, ["60.00"]) for _ in range(4)]

    results = at_once(
        *(
            lambda invoice=invoice: collect_invoice(invoice.id, **told(invoice))
            for invoice in invoices
        )
    )

    assert kinds(results) == {"NoneType"}
    assert sorted(fresh(invoice).amount_paid.amount for invoice in invoices) == [
        Decimal(0),
        Decimal(0),
        Decimal(40),
        Decimal(60),
    ]
    assert broken_rules() == []


def test_a_reference_is_recorded_once_for_all_invoices_of_a_customer() -> None:
    customer = make_payer(None)
    invoices = [make_issued(customer) for _ in range(6)]

    results = at_once(
        *(
            lambda invoice=invoice: record_external_payment(
                invoice.id, id=new_id(), reference="statement 7", **told(invoice)
            )
            for invoice in invoices
        )
    )

    assert sum(isinstance(one, Payment) for one in results) == 1
    assert sum(isinstance(one, ReferenceUsed) for one in results) == 5
    assert broken_rules() == []
