"""What the database refuses of payments, and what check_books would say of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.constraints import broken
from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.payments import invariants
from apps.payments.models import Allocation, Collection, Payment, PaymentMethod
from apps.payments.operations.attempts import begin_payment, charge_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.tenants.domain import Mode
from tests.make.invoicing import make_issued
from tests.make.payments import make_method, make_owing, make_payer, usd
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def refused(statement: str, *values: Any) -> str:
    """Try the statement; return which rule refused it."""
    try:
        with transaction.atomic():
            execute(statement, *values)
    except IntegrityError as error:
        return broken(error)
    return ""


def changing(payment: Payment, change: str) -> str:
    """Try to change the payment; return which rule refused it."""
    statement = "UPDATE payments_payment SET {} WHERE id = %s"
    return refused(statement.format(change), payment.id)


def payment_in(status: str) -> Payment:
    """Return a payment that is in the status, however it got there."""
    invoice = make_owing()
    payment = begin_payment(
        invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
    )
    settled = AT if status == "succeeded" else None
    with unguarded():
        execute(
            "UPDATE payments_payment SET status = %s, settled_at = %s, ask_after = NULL"
            " WHERE id = %s",
            status,
            settled,
            payment.id,
        )
    return payment


def paid() -> Payment:
    invoice = make_owing()
    return charge_invoice(invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)


@contextmanager
def unguarded() -> Iterator[None]:
    """Let every write through, as if no rule of the database stood guard."""
    execute("SET CONSTRAINTS ALL IMMEDIATE")
    execute("SET CONSTRAINTS ALL DEFERRED")
    with as_superuser():
        execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            execute("SET session_replication_role = origin")


ALLOWED = {
    ("created", "sent"),
    ("created", "canceled"),
    ("sent", "unknown"),
    ("sent", "pending"),
    ("sent", "succeeded"),
    ("sent", "failed"),
    ("unknown", "pending"),
    ("unknown", "succeeded"),
    ("unknown", "failed"),
    ("pending", "succeeded"),
    ("pending", "failed"),
    ("pending", "canceled"),
    ("failed", "succeeded"),
}
STATUSES = ("created", "sent", "unknown", "pending", "succeeded", "failed", "canceled")


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.holds("Y6")
def test_a_payment_goes_only_where_the_table_says(old: str) -> None:
    payment = payment_in(old)

    for new in set(STATUSES) - {old}:
        rule = refused(
            "UPDATE payments_payment SET status = %s, settled_at = %s WHERE id = %s",
            new,
            AT if new == "succeeded" else None,
            payment.id,
        )
        assert rule == ("" if (old, new) in ALLOWED else "payment_transition"), new
        with unguarded():
            execute(
                "UPDATE payments_payment SET status = %s, settled_at = %s WHERE id = %s",
                old,
                AT if old == "succeeded" else None,
                payment.id,
            )


@pytest.mark.parametrize(
    "change",
    [
        "amount = amount + 1",
        "currency = 'EUR'",
        "idempotency_key = 'other'",
        "provider = 'external'",
        "automatic = NOT automatic",
        "created_at = now()",
        "reference = 'x'",
        "method_id = NULL",
        "tenant_id = gen_random_uuid()",
    ],
)
def test_what_a_payment_asked_for_never_changes(change: str) -> None:
    payment = payment_in("sent")

    assert changing(payment, change) == "payment_immutable"


def test_what_was_learned_of_a_payment_never_goes() -> None:
    payment = paid()

    for change in ("provider_ref = NULL", "settled_at = now()", "failure_code = 'x'"):
        assert changing(payment, change) == "payment_immutable", change


def test_payments_and_methods_are_kept() -> None:
    paid()
    execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing may wait for a TRUNCATE

    assert refused("DELETE FROM payments_allocation") == "append_only"
    assert refused("UPDATE payments_allocation SET amount = 1") == "append_only"
    assert refused("DELETE FROM payments_payment") == "payment_kept"
    assert refused("DELETE FROM payments_paymentmethod") == "payment_method_kept"
    assert refused("UPDATE payments_paymentmethod SET provider_ref = 'x'") == "payment_method_kept"
    with as_superuser():  # the program's own role may not even try
        assert refused("TRUNCATE payments_allocation") == "append_only"
        assert refused("TRUNCATE payments_payment CASCADE") == "append_only"


def test_a_detached_method_stays_so() -> None:
    make_payer()
    PaymentMethod.objects.update(detached_at=AT, is_default=False, default_since=None)

    assert refused("UPDATE payments_paymentmethod SET detached_at = NULL") == "payment_method_kept"


def create(invoice: Invoice, **values: Any) -> Payment:
    method = PaymentMethod.objects.get(customer_id=invoice.customer_id)
    return Payment.objects.create(
        **{
            "tenant_id": invoice.tenant_id,
            "customer_id": invoice.customer_id,
            "invoice": invoice,
            "method": method,
            "provider": "sandbox",
            "currency": invoice.currency,
            "amount": Decimal(1),
            "idempotency_key": new_id().hex,
            "created_at": AT,
            **values,
        }
    )


def rule_against(invoice: Invoice, **values: Any) -> str:
    try:
        with transaction.atomic():
            create(invoice, **values)
    except IntegrityError as error:
        return broken(error)
    return ""


@pytest.mark.usefixtures("all_tenants")
def test_a_payment_is_like_its_invoice_and_its_method() -> None:
    invoice, other = make_owing(), make_owing(tenant=make_tenant(mode=Mode.TEST))

    assert rule_against(invoice) == ""
    for values, rule in (
        ({"tenant_id": other.tenant_id}, "payment_like_invoice"),
        ({"customer_id": other.customer_id}, "payment_like_invoice"),
        ({"currency": "EUR"}, "payment_like_invoice"),
        ({"amount": Decimal("0.001")}, "payment_like_invoice"),
        ({"method": make_method(other.customer)}, "payment_like_method"),
        ({"provider": "external"}, "payment_like_method"),
        ({"status": "succeeded", "settled_at": AT}, "payment_begins_as_created"),
        ({"status": "sent"}, "payment_begins_as_created"),
        ({"amount": Decimal(0)}, "payment_positive"),
        ({"amount": Decimal("-1.00")}, "payment_positive"),
    ):
        assert rule_against(make_issued(invoice.customer), **values) == rule, values


@pytest.mark.holds("Y1")
def test_one_payment_of_an_invoice_is_in_flight() -> None:
    invoice = make_owing()
    create(invoice)

    assert rule_against(invoice) == "one_payment_in_flight_per_invoice"


@pytest.mark.holds("Y2", "Y4")
def test_a_key_and_a_name_are_of_one_payment() -> None:
    first = paid()
    invoice = make_issued(first.customer)

    assert rule_against(invoice, idempotency_key=first.idempotency_key) == "payment_key_once"
    assert rule_against(invoice, provider_ref=first.provider_ref) == "provider_ref_once"


def allocate(payment: Payment, invoice: Invoice, amount: str, **values: Any) -> str:
    try:
        with transaction.atomic():
            Allocation.objects.create(
                **{
                    "tenant_id": payment.tenant_id,
                    "payment": payment,
                    "invoice": invoice,
                    "amount": Decimal(amount),
                    "currency": payment.currency,
                    "allocated_at": AT,
                    **values,
                }
            )
    except IntegrityError as error:
        return broken(error)
    return ""


@pytest.mark.holds("Y5")
@pytest.mark.usefixtures("all_tenants")
def test_allocations_stay_within_the_payment_and_the_invoice() -> None:
    payer = make_payer()
    first, second, small = (make_issued(payer, [a]) for a in ("149.00", "149.00", "5.00"))
    over = record_external_payment(
        first.id,
        id=new_id(),
        amount=usd("249.00"),
        tenant_id=payer.tenant_id,
        actor=ACTOR,
        at=AT,
    )

    assert allocate(over, second, "100.01") == "allocation_bounded"  # has 100.00 left
    assert allocate(over, small, "5.01") == "allocation_bounded"
    assert allocate(over, second, "0.001") == "allocation_bounded"
    assert allocate(over, second, "0") == "allocation_positive"
    assert allocate(over, second, "-1.00") == "allocation_positive"
    assert allocate(over, second, "1.00", currency="EUR") == "allocation_bounded"
    assert allocate(over, make_owing(tenant=make_tenant(mode=Mode.TEST)), "1.00") == (
        "allocation_bounded"
    )
    assert allocate(over, first, "1.00") in {"allocated_once", "allocation_bounded"}
    assert allocate(payment_in("sent"), second, "1.00") == "allocation_bounded"
    assert refused(
        "INSERT INTO payments_allocation"
        " (id, tenant_id, payment_id, invoice_id, amount, currency, allocated_at)"
        " VALUES (%s, %s, %s, %s, 'NaN', 'USD', now())",
        new_id(),
        payer.tenant_id,
        over.id,
        small.id,
    ) in {"allocation_bounded", "not_nan_amount"}
    assert allocate(over, second, "100.00") == ""
    assert allocate(over, small, "0.01") == "allocation_bounded"


def test_a_closed_collection_tries_no_more() -> None:
    invoice = make_owing()
    Collection.objects.create(tenant_id=invoice.tenant_id, invoice=invoice, closed_at=AT)

    rule = refused("UPDATE payments_collection SET next_attempt_at = now()")

    assert rule == "closed_collection_tries_no_more"


# --- What the checks see -----------------------------------------------------------------------


def sentences() -> dict[str, list[str]]:
    found = {rule.__name__: sorted(rule(None)) for rule in invariants.RULES}
    return {name: told for name, told in found.items() if told}


def test_the_checks_see_an_invoice_that_counts_too_much_as_paid() -> None:
    payment = paid()
    with unguarded():
        execute("UPDATE invoicing_invoice SET total = 200, subtotal = 200, amount_paid = 200")

    assert sentences() == {
        "invoices_are_paid_by_allocations": [
            (
                f"invoice {payment.invoice_id} counts 200.000000000000 as paid,"
                " but 149.000000000000 is allocated to it"
            )
        ]
    }
    other = make_tenant(mode=Mode.TEST)
    assert list(invariants.invoices_are_paid_by_allocations(other.id)) == []


def test_the_checks_see_allocations_of_money_that_never_came() -> None:
    payment = paid()
    with unguarded():
        execute("UPDATE payments_payment SET status = 'failed', settled_at = NULL")

    assert sentences()["allocations_come_from_received_money"] == [
        f"payment {payment.id} (failed) of 149.000000000000 has 149.000000000000 allocated"
    ]


def test_the_checks_see_a_payment_that_is_not_in_the_books() -> None:
    payment = paid()
    with unguarded():
        execute("UPDATE ledger_journalentry SET source_key = 'x' WHERE kind = 'payment_settled'")

    assert sentences() == {
        "succeeded_payments_are_in_the_books": [
            f"{payment.public_id} moved 149.000000000000, but the books say 0",
            "x moved 0, but the books say 149.000000000000",
        ]
    }


@pytest.mark.holds("L7")
def test_the_checks_see_cash_that_is_not_there() -> None:
    paid()
    with unguarded():
        execute("UPDATE ledger_ledgeraccount SET provider = 'x' WHERE kind = 'cash_clearing'")

    assert sentences() == {
        "cash_clearing_is_what_came_in": [
            "cash by sandbox is 0 USD in the books, but 149.000000000000 came in",
            "cash by x is 149.000000000000 USD in the books, but 0 came in",
        ]
    }


@pytest.mark.holds("L7")
def test_the_checks_see_a_receivable_that_is_off() -> None:
    invoice = make_owing()
    with unguarded():
        execute("UPDATE ledger_posting SET amount = 150 WHERE amount = 149")

    assert sentences() == {
        "receivables_are_the_open_invoices": [
            (
                f"customer {invoice.customer_id} owes 150.000000000000 USD in the books,"
                " but 149.000000000000 by his invoices"
            )
        ]
    }


def test_the_checks_see_a_customer_balance_that_is_off() -> None:
    payer = make_payer()
    make_issued(payer, ["-10.00"])
    with unguarded():
        execute("UPDATE ledger_posting SET amount = -11 WHERE amount = -10")

    assert sentences() == {
        "customer_balances_are_what_is_left": [
            (
                f"customer {payer.id} has 11.000000000000 USD to his credit in the books,"
                " but 10.000000000000 by his credit memos and payments"
            )
        ]
    }


def test_the_checks_see_two_payments_in_flight() -> None:
    payment = payment_in("unknown")
    execute("UPDATE payments_payment SET ask_after = %s", AT + timedelta(days=1))
    with as_superuser():
        execute("DROP INDEX one_payment_in_flight_per_invoice")
    create(payment.invoice)

    assert sentences() == {
        "one_payment_is_in_flight": [f"invoice {payment.invoice_id} has 2 payments in flight"]
    }


def test_the_checks_see_an_open_outcome_that_nobody_asks_for() -> None:
    payment = payment_in("unknown")

    assert sentences() == {
        "open_outcomes_are_asked_for": [
            f"payment {payment.id} is unknown, and nobody will ask about it"
        ]
    }


def test_the_checks_find_nothing_wrong_with_what_was_paid() -> None:
    paid()

    assert sentences() == {}
