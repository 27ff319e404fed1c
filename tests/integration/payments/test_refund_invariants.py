"""Every rule about refunds finds what it is for, and nothing in right books."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from apps.invoicing import invariants as documents
from apps.invoicing.models import Invoice
from apps.payments import invariants as payments
from apps.payments.models import Payment, Refund
from tests.make.books import unguarded
from tests.make.refunds import make_paid_invoice, pay_back
from tests.make.tenants import AT
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db
LATER = AT + timedelta(days=1)


def broken() -> dict[str, list[str]]:
    """Return what each rule that is broken says."""
    found = {rule.__name__: list(rule(None)) for rule in (*documents.RULES, *payments.RULES)}
    return {name: told for name, told in found.items() if told}


def change(table: str, assignment: str, *values: Any) -> None:
    with unguarded(table), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {assignment}", values)  # noqa: S608 -- names of the test


def drop(table: str, constraint: str) -> None:
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")


@pytest.fixture
def paid() -> Payment:
    return make_paid_invoice("sandbox_refund_delayed", "100.00")[1]


def test_right_books_break_no_rule(paid: Payment) -> None:
    pay_back(paid, "60.00")
    assert broken() == {}


def test_more_paid_back_than_came_in_is_found(paid: Payment) -> None:
    refund = pay_back(paid, "60.00")
    change("payments_refund", "amount = 101, from_account = 41")
    assert broken() == {
        "refunds_are_of_received_money": [
            (
                f"payment {refund.payment_id} (succeeded) of 100.000000000000 has 101.000000000000"
                " paid back and 0 disputed"
            )
        ]
    }


def test_an_account_that_pays_back_what_an_invoice_has_is_found(paid: Payment) -> None:
    pay_back(paid, "60.00")
    change("payments_refund", "amount = 61, from_account = 1")
    assert list(broken()) == ["refunds_are_of_received_money"]


def test_a_refund_that_nobody_owes_is_found(paid: Payment) -> None:
    refund = pay_back(paid, "60.00")
    change("invoicing_creditpaidout", "amount = 59")
    assert broken() == {
        "refunds_are_owed": [
            f"refund {refund.id} wants 60.000000000000 of credit memos, which give 59.000000000000"
        ]
    }
    change("invoicing_creditpaidout", "amount = 60, released_at = %s", LATER)
    assert list(broken()) == ["refunds_are_owed"]


def test_credit_that_is_paid_out_to_nobody_is_found(paid: Payment) -> None:
    refund = pay_back(paid, "60.00")
    change("payments_refund", "status = 'failed', ask_after = NULL")
    assert broken() == {
        "refunds_are_owed": [
            f"refund {refund.id} wants 0 of credit memos, which give 60.000000000000"
        ]
    }


def test_a_refund_that_nobody_asks_about_is_found(paid: Payment) -> None:
    refund = pay_back(paid, "60.00")
    change("payments_refund", "ask_after = NULL")
    assert broken() == {
        "open_refunds_are_asked_for": [
            f"refund {refund.id} is pending, and nobody will ask about it"
        ]
    }


def test_a_refund_that_is_not_in_the_books_is_found(paid: Payment) -> None:
    pay_back(paid, "60.00")
    change("payments_refund", "status = 'succeeded', settled_at = %s, ask_after = NULL", AT)
    assert sorted(broken()) == [
        "cash_clearing_is_what_came_in",
        "customer_balances_are_what_is_left",
        "succeeded_payments_are_in_the_books",
    ]


def test_a_memo_that_pays_out_too_much_is_found(paid: Payment) -> None:
    pay_back(paid, "60.00")
    change("invoicing_creditpaidout", "amount = 61")
    assert sorted(broken()) == ["credit_memos_are_not_overspent", "refunds_are_owed"]


def test_an_invoice_that_gives_back_more_than_it_asked_for_is_found(paid: Payment) -> None:
    refund = pay_back(paid, "60.00")
    invoice = Invoice.objects.get(id=paid.invoice_id)
    other = make_paid_invoice("sandbox_ok", "10.00", tenant=invoice.tenant)[0]
    assert Refund.objects.get(id=refund.id).status == "pending"
    memo = Invoice.objects.get(credits=invoice)
    with unguarded("invoicing_invoice"):
        Invoice.objects.filter(id=memo.id).update(credits=other)
    (told,) = broken()["invoices_are_credited_within_their_total"]
    assert told.startswith("60.000000000000 USD of inv_")
