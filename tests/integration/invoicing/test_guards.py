"""What the database refuses of documents, whoever writes."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.ids import new_id
from apps.core.money import CURRENCIES
from apps.customers.models import Customer
from apps.invoicing.domain import INVOICE_TRANSITIONS, DocumentKind, InvoiceStatus
from apps.invoicing.models import BalanceApplication, Invoice, IssuedPdf, NumberSequence
from tests.make.books import unguarded
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, issued, make_draft, make_issued, make_lines
from tests.make.tenants import AT
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db


def run(sql: str, *values: UUID) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, values)


def refused_by(statement: Callable[[], object]) -> str:
    """The constraint that refuses the statement."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        statement()
    return constraint_of(error.value)


def constraint_of(error: IntegrityError) -> str:
    cause: Any = error.__cause__
    return str(cause.diag.constraint_name)


def change(document: Invoice, assignment: str) -> str:
    return refused_by(
        lambda: run(
            f"UPDATE invoicing_invoice SET {assignment} WHERE id = %s",  # noqa: S608 -- our own
            document.id,
        )
    )


@pytest.mark.parametrize(
    "assignment",
    [
        "number = number + 1",
        "series = 'X'",
        "currency = 'EUR'",
        "subtotal = 1, total = 1",
        "discount = 1, total = total - 1",
        "tax = 1, total = total + 1",
        "balance_applied = 1",
        "seller = '{}'",
        "buyer = '{}'",
        "zone = 'Europe/Berlin'",
        "usage_snapshot = 'x'",
        "issued_at = now()",
        "due_at = now()",
        "cutoff_at = now()",
        "period_end = now()",
        "created_at = now()",
        "issue_after = now()",
        "request_id = gen_random_uuid()",
        "customer_id = gen_random_uuid()",
        "closed_at = now()",
    ],
)
@pytest.mark.holds("I3")
def test_an_issued_document_does_not_change(assignment: str) -> None:
    document = make_issued(make_customer())
    assert change(document, assignment) in {"invoice_frozen", "invoice_closed_when_over"}


@pytest.mark.holds("I5")
def test_an_issued_document_cannot_be_deleted() -> None:
    document = make_issued(make_customer())
    assert (
        refused_by(lambda: run("DELETE FROM invoicing_invoice WHERE id = %s", document.id))
        == "invoice_frozen"
    )
    run("SET CONSTRAINTS ALL IMMEDIATE")
    with as_superuser():  # the program's own role may not even try
        assert refused_by(lambda: run("TRUNCATE invoicing_invoice CASCADE")) == "append_only"


def test_a_draft_can_change_and_go() -> None:
    draft = make_draft(make_customer())
    run("UPDATE invoicing_invoice SET zone = 'Europe/Berlin' WHERE id = %s", draft.id)
    assert fresh(draft).zone == "Europe/Berlin"
    draft.delete()
    assert not Invoice.objects.filter(pk=draft.pk).exists()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE invoicing_invoiceline SET amount = 1 WHERE invoice_id = %s",
        "UPDATE invoicing_invoiceline SET description = 'x' WHERE invoice_id = %s",
        "DELETE FROM invoicing_invoiceline WHERE invoice_id = %s",
    ],
)
@pytest.mark.holds("I3")
def test_the_lines_of_an_issued_document_do_not_change(sql: str) -> None:
    document = make_issued(make_customer())
    assert refused_by(lambda: run(sql, document.id)) == "line_frozen"


def test_no_line_comes_to_an_issued_document() -> None:
    customer = make_customer()
    document = make_issued(customer)
    assert refused_by(lambda: make_lines(document, ["1.00"], first=1)) == "line_frozen"
    draft = make_draft(customer)
    moved = (
        "UPDATE invoicing_invoiceline SET invoice_id = %s WHERE invoice_id = %s AND position = 1"
    )
    assert refused_by(lambda: run(moved, document.id, draft.id)) == "line_frozen"


def test_a_line_has_a_document_of_its_own_tenant() -> None:
    customer = make_customer()
    draft = make_draft(customer)
    stray = "UPDATE invoicing_invoiceline SET invoice_id = gen_random_uuid() WHERE invoice_id = %s"
    assert refused_by(lambda: run(stray, draft.id)) == "line_frozen"
    foreign = "UPDATE invoicing_invoiceline SET tenant_id = gen_random_uuid() WHERE invoice_id = %s"
    other = Invoice(id=draft.id, tenant_id=make_customer().tenant_id, currency="USD")
    with as_superuser():
        assert refused_by(lambda: run(foreign, draft.id)) == "line_of_tenant"
        assert refused_by(lambda: make_lines(other, ["1.00"], first=9)) == "line_of_tenant"


@pytest.mark.parametrize("column", ["id", "tenant_id"])
def test_a_draft_keeps_what_its_lines_go_by(column: str) -> None:
    draft = make_draft(make_customer())
    assert change(draft, f"{column} = gen_random_uuid()") == "invoice_frozen"


def test_a_draft_goes_with_its_lines() -> None:
    draft = make_draft(make_customer())
    gone = "DELETE FROM invoicing_invoice WHERE id = %s"
    assert refused_by(lambda: run(gone, draft.id)) == "lines_gone"
    run("DELETE FROM invoicing_invoiceline WHERE invoice_id = %s", draft.id)
    run(gone, draft.id)
    assert not Invoice.objects.filter(pk=draft.pk).exists()


def test_no_line_leaves_an_issued_document() -> None:
    customer = make_customer()
    document = make_issued(customer, ["1.00"])
    draft = make_draft(customer, ["1.00", "2.00"])
    moved = "UPDATE invoicing_invoiceline SET invoice_id = %s, position = 7 WHERE invoice_id = %s"
    assert refused_by(lambda: run(moved, draft.id, document.id)) == "line_frozen"


def test_a_document_begins_as_a_draft() -> None:
    draft = make_draft(make_customer())
    again = Invoice.objects.get(pk=draft.pk)
    draft.delete()
    again.status = InvoiceStatus.ISSUED
    again.number, again.issued_at, again.due_at = 1, AT, AT
    assert refused_by(lambda: again.save(force_insert=True)) == "invoice_begins_as_draft"


def _issue_by_hand(draft: Invoice, **values: object) -> None:
    Invoice.objects.filter(pk=draft.pk).update(
        **{
            "status": InvoiceStatus.ISSUED,
            "series": "INV",
            "number": 1,
            "issued_at": AT,
            "due_at": AT,
            **values,
        }
    )


@pytest.mark.holds("I1")
def test_a_document_adds_up_to_its_lines() -> None:
    draft = make_draft(make_customer(), ["10.00"], subtotal=Decimal(9), total=Decimal(9))
    assert refused_by(lambda: _issue_by_hand(draft)) == "invoice_adds_up"


def test_a_document_without_lines_stays_a_draft() -> None:
    draft = make_draft(make_customer(), [])
    assert refused_by(lambda: _issue_by_hand(draft)) == "invoice_adds_up"


@pytest.mark.holds("I11")
def test_lines_are_in_the_currency_of_their_document() -> None:
    draft = make_draft(make_customer(), [], subtotal=1, total=1)
    make_lines(draft, ["1.00"], currency="EUR")
    assert refused_by(lambda: _issue_by_hand(draft)) == "invoice_adds_up"


@pytest.mark.parametrize(
    ("currency", "amount"), [("USD", "1.001"), ("JPY", "1.5"), ("KWD", "1.0001")]
)
@pytest.mark.holds("I1", "M4", "F68")
def test_lines_fit_the_exponent_of_their_currency(currency: str, amount: str) -> None:
    draft = make_draft(make_customer(), [amount], currency=currency)
    assert refused_by(lambda: _issue_by_hand(draft)) == "invoice_adds_up"


@pytest.mark.parametrize(("currency", "amount"), [("USD", "1.01"), ("JPY", "15"), ("KWD", "1.001")])
def test_amounts_of_the_exponent_are_issued(currency: str, amount: str) -> None:
    assert issued(make_draft(make_customer(), [amount], currency=currency)).number == 1


def test_the_database_knows_the_same_exponents() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT code, currency_places(code) FROM unnest(%s::text[]) AS c(code)",
            [list(CURRENCIES)],
        )
        assert dict(cursor.fetchall()) == dict(CURRENCIES)


def test_the_database_knows_the_same_transitions() -> None:
    """Every move that the table allows passes; every other is refused."""
    customer = make_customer()
    allowed = set()
    for was in InvoiceStatus:
        for to in InvoiceStatus:
            if was == to:
                continue
            with transaction.atomic():
                reached = _in_status(was, customer)
                paid = max(_PAID.get(was, 0), _PAID.get(to, 0))
                shape = _shape(to) | {"amount_paid": Decimal(paid)}
                refusal = _refusal(reached, shape)
                if refusal is None:
                    allowed.add((was, to))
                else:
                    assert refusal == "invoice_transition", (was, to)
                transaction.set_rollback(True)
    assert allowed == {(was, to) for was, targets in INVOICE_TRANSITIONS.items() for to in targets}


def _refusal(document: Invoice, shape: dict[str, object]) -> str | None:
    try:
        with transaction.atomic():
            _issue_by_hand(document, **shape)
    except IntegrityError as error:
        return constraint_of(error)
    return None


_PAID = {InvoiceStatus.PARTIALLY_PAID: 4, InvoiceStatus.PAID: 10}


def _in_status(status: InvoiceStatus, customer: Customer) -> Invoice:
    document = make_draft(customer, ["10.00"])
    with unguarded("invoicing_invoice"):
        _issue_by_hand(document, **_shape(status))
    return document


def _shape(status: InvoiceStatus) -> dict[str, object]:
    """The columns that a document in this status has."""
    over = {InvoiceStatus.PAID, InvoiceStatus.WRITTEN_OFF, InvoiceStatus.CANCELED}
    shape: dict[str, object] = {
        "status": status,
        "amount_paid": Decimal(_PAID.get(status, 0)),
        "closed_at": AT if status in over else None,
    }
    if status == InvoiceStatus.DRAFT:
        shape |= {"number": None, "issued_at": None, "due_at": None}
    return shape


@pytest.mark.parametrize(
    ("status", "paid", "closed_at"),
    [
        ("issued", 1, None),
        ("partially_paid", 10, None),
        ("overdue", 10, None),
        ("written_off", 10, AT),
        ("paid", 9, AT),
        ("canceled", 1, AT),
    ],
)
def test_a_status_agrees_with_what_was_paid(
    status: str, paid: int, closed_at: datetime | None
) -> None:
    document = make_issued(make_customer(), ["10.00"])
    assert (
        refused_by(
            lambda: Invoice.objects.filter(pk=document.pk).update(
                status=status, amount_paid=Decimal(paid), closed_at=closed_at
            )
        )
        == "invoice_status_agrees_with_paid"
    )


def test_a_credit_memo_is_never_paid() -> None:
    memo = make_issued(make_customer(), ["-10.00"])
    assert change(memo, "status = 'paid', closed_at = now()") == "invoice_status_agrees_with_paid"


def test_what_was_paid_does_not_fall() -> None:
    document = make_issued(make_customer(), ["10.00"])
    run(
        "UPDATE invoicing_invoice SET amount_paid = 4, status = 'partially_paid' WHERE id = %s",
        document.id,
    )
    assert change(document, "amount_paid = 3") == "invoice_frozen"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE invoicing_invoice SET subtotal = 'NaN', total = 'NaN' WHERE id = %s",
        "UPDATE invoicing_invoiceline SET amount = 'NaN' WHERE invoice_id = %s",
        "UPDATE invoicing_invoiceline SET quantity = 'NaN' WHERE invoice_id = %s",
        (
            "INSERT INTO invoicing_balanceapplication SELECT gen_random_uuid(), 'NaN', currency,"
            " now(), tenant_id, id, id FROM invoicing_invoice WHERE id = %s"
        ),
    ],
)
def test_nan_is_no_amount(sql: str) -> None:
    draft = make_draft(make_customer())
    assert refused_by(lambda: run(sql, draft.id)).startswith("not_nan_")


def _apply(memo: Invoice, invoice: Invoice, amount: str, **values: object) -> str:
    return refused_by(lambda: _application(memo, invoice, amount, **values))


def _application(
    memo: Invoice, invoice: Invoice, amount: str, **values: object
) -> BalanceApplication:
    return BalanceApplication.objects.create(
        **{
            "tenant_id": invoice.tenant_id,
            "credit_memo": memo,
            "invoice": invoice,
            "amount": Decimal(amount),
            "currency": invoice.currency,
            "applied_at": AT,
            **values,
        }
    )


@pytest.mark.holds("I8")
def test_balance_is_bounded_by_memo_and_invoice() -> None:
    customer = make_customer()
    earlier = make_issued(customer)
    memo = make_issued(customer, ["-10.00"])
    draft = make_draft(customer, ["8.00"])
    assert _apply(memo, earlier, "1") == "balance_bounded"  # issued already
    assert _apply(memo, draft, "8.01") == "balance_bounded"
    assert _apply(memo, draft, "10.01") == "balance_bounded"
    assert _apply(memo, draft, "1.001") == "balance_bounded"
    assert _apply(memo, draft, "0") == "applied_positive"
    assert _apply(memo, draft, "1", currency="EUR") == "balance_bounded"
    assert _apply(draft, draft, "1") == "balance_bounded"
    issued(draft)
    assert _apply(memo, draft, "1") == "memo_applied_once_per_invoice"
    assert _apply(memo, make_draft(make_customer(customer.tenant)), "1") == "balance_bounded"
    assert _apply(make_draft(customer, ["-5.00"]), draft, "1") == "balance_bounded"


def test_balance_applied_is_what_the_invoice_says() -> None:
    customer = make_customer()
    memo = make_issued(customer, ["-10.00"])
    draft = make_draft(customer, ["8.00"])
    _application(memo, draft, "8")
    assert refused_by(lambda: _issue_by_hand(draft, balance_applied=7)) == "invoice_adds_up"


def test_balance_applications_are_append_only() -> None:
    customer = make_customer()
    make_issued(customer, ["-10.00"])
    make_issued(customer, ["8.00"])
    assert refused_by(lambda: run("UPDATE invoicing_balanceapplication SET amount = 1")) == (
        "append_only"
    )
    assert refused_by(lambda: run("DELETE FROM invoicing_balanceapplication")) == "append_only"


@pytest.mark.holds("I4")
def test_a_series_only_counts_up() -> None:
    make_issued(make_customer())
    series = NumberSequence.objects.all()
    assert refused_by(lambda: series.update(last_number=0)) == "series_counts_up"
    assert refused_by(lambda: series.update(series="X")) == "series_counts_up"
    assert refused_by(series.delete) == "series_counts_up"


@pytest.mark.holds("I4")
def test_a_number_is_given_once() -> None:
    customer = make_customer()
    make_issued(customer)
    assert refused_by(lambda: _issue_by_hand(make_draft(customer))) == "invoice_number_once"


def test_a_customer_has_one_draft_per_currency() -> None:
    customer = make_customer()
    make_draft(customer)
    assert refused_by(lambda: make_draft(customer)) == "one_draft_per_customer"
    assert make_draft(customer, currency="EUR").kind == DocumentKind.INVOICE


@pytest.mark.holds("I3")
@pytest.mark.usefixtures("all_tenants")
def test_the_kept_pdf_is_the_one_of_the_hash() -> None:
    document = make_issued(make_customer())
    kept = IssuedPdf(invoice=document, tenant_id=document.tenant_id, content=b"%PDF", made_at=AT)
    assert refused_by(lambda: kept.save(force_insert=True)) == "pdf_matches"
    draft = make_draft(make_customer())
    assert change(draft, "pdf_sha256 = 'x'") == "invoice_frozen"
    run("UPDATE invoicing_invoice SET pdf_sha256 = 'x' WHERE id = %s", document.id)
    assert change(document, "pdf_sha256 = 'y'") == "invoice_frozen"
    assert change(document, "pdf_sha256 = ''") == "invoice_frozen"


@pytest.mark.usefixtures("all_tenants")
def test_a_document_belongs_to_its_customers_tenant() -> None:
    draft = make_draft(make_customer())
    other = make_customer()

    def hand_over() -> None:
        run("UPDATE invoicing_invoice SET customer_id = %s WHERE id = %s", other.id, draft.id)
        run("SET CONSTRAINTS ALL IMMEDIATE")

    assert refused_by(hand_over).startswith("invoicing_invoice_customer_id_")


def test_ids_of_nobody_are_refused() -> None:
    draft = make_draft(make_customer())
    assert (
        refused_by(lambda: run("UPDATE invoicing_invoiceline SET invoice_id = %s", new_id()))
        == "line_frozen"
    )
    assert fresh(draft).status == InvoiceStatus.DRAFT
