"""Every rule about documents finds what it is for, and nothing in right books."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from apps.invoicing.invariants import RULES
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.invoicing.operations.rendering import keep_pdf
from tests.make.books import unguarded
from tests.make.customers import make_customer
from tests.make.invoicing import make_draft, make_issued, make_lines
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

TABLES = (
    "invoicing_invoice",
    "invoicing_invoiceline",
    "invoicing_balanceapplication",
    "invoicing_numbersequence",
    "invoicing_issuedpdf",
    "ledger_journalentry",
    "ledger_posting",
)


def broken(document: Invoice | None = None) -> dict[str, int]:
    """How many sentences each rule that is broken has, for the document's tenant or for all."""
    tenant_id = document.tenant_id if document else None
    found = {rule.__name__: len(list(rule(tenant_id))) for rule in RULES}
    return {name: count for name, count in found.items() if count}


def run(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def drop_checks(*names: str) -> None:
    for name in names:
        with as_superuser():
            run(f"ALTER TABLE invoicing_invoice DROP CONSTRAINT {name}")


def test_right_books_break_no_rule() -> None:
    customer = make_customer()
    make_issued(customer, ["-30.00"])
    canceled = make_issued(customer, ["100.00"])
    cancel_invoice(canceled.id, tenant_id=canceled.tenant_id, actor=ACTOR, at=AT)
    kept = make_issued(customer, ["100.00"])
    keep_pdf(kept.id, tenant_id=kept.tenant_id, at=AT)
    written = make_issued(customer, ["10.00"])
    write_off_invoice(written.id, tenant_id=written.tenant_id, actor=ACTOR, at=AT)
    make_issued(customer, ["0.00"])
    make_draft(customer)
    make_issued(make_customer(), ["5.00"])
    assert broken() == {}
    assert broken(kept) == {}


def _line(document: Invoice, assignment: str) -> None:
    sql = f"UPDATE invoicing_invoiceline SET {assignment} WHERE invoice_id = %s"  # noqa: S608 -- ours
    run(sql, document.id)


def _document(document: Invoice, assignment: str) -> None:
    sql = f"UPDATE invoicing_invoice SET {assignment} WHERE id = %s"  # noqa: S608 -- our own
    run(sql, document.id)


BREAKS: dict[str, tuple[str, Callable[[Invoice], None]]] = {
    "a line was changed": ("documents_add_up", lambda it: _line(it, "amount = 1")),
    "the lines are gone": (
        "documents_add_up",
        lambda it: run("DELETE FROM invoicing_invoiceline WHERE invoice_id = %s", it.id),
    ),
    "a line is in another currency": (
        "lines_are_like_their_document",
        lambda it: _line(it, "currency = 'EUR'"),
    ),
    "a line of the key was lost": (
        "lines_of_a_key_follow_each_other",
        lambda it: _line(it, "sequence = 1"),
    ),
    "a correction of something else": (
        "corrections_correct_their_own_key",
        lambda it: _line(it, "corrects_id = id"),
    ),
    "a number was left out": ("numbers_have_no_gaps", lambda it: _document(it, "number = 2")),
    "a number was lost": (
        "numbers_have_no_gaps",
        lambda _: run("UPDATE invoicing_numbersequence SET last_number = 9"),
    ),
    "nobody sells": ("documents_are_issued_whole", lambda it: _document(it, "seller = '{}'")),
    "due before it was issued": (
        "documents_are_issued_whole",
        lambda it: _document(it, "due_at = issued_at - interval '1 day'"),
    ),
    "balance from nowhere": (
        "applied_balance_adds_up",
        lambda it: _document(it, "balance_applied = 1"),
    ),
    "not what the books say": (
        "documents_are_in_the_books",
        lambda _: run("UPDATE ledger_posting SET amount = amount * 2"),
    ),
    "a PDF that is not there": (
        "kept_pdfs_are_unchanged",
        lambda it: _document(it, "pdf_sha256 = 'x'"),
    ),
    "not in the books": (
        "documents_are_in_the_books",
        lambda _: run("UPDATE ledger_journalentry SET source_key = 'x'"),
    ),
    "overdue before it is due": (
        "overdue_invoices_were_due",
        lambda it: _document(it, "status = 'overdue', due_at = now() + interval '1 day'"),
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_what_must_not_exist_is_found(case: str) -> None:
    rule, break_it = BREAKS[case]
    document = make_issued(make_customer(), ["100.00"])
    assert broken(document) == {}
    with unguarded(*TABLES):
        break_it(document)
    assert broken(document)[rule] == 1
    assert broken()[rule] == 1
    assert broken(make_issued(make_customer(make_tenant()))) == {}


@pytest.mark.parametrize(
    "assignment",
    [
        "amount_paid = 1",
        "status = 'paid', closed_at = now()",
        "status = 'partially_paid'",
        "status = 'overdue', amount_paid = total",
    ],
)
def test_a_status_that_does_not_fit_is_found(assignment: str) -> None:
    document = make_issued(make_customer())
    with unguarded(*TABLES):
        drop_checks("invoice_status_agrees_with_paid")
        _document(document, assignment)
    assert broken(document)["statuses_agree_with_payments"] == 1


def test_a_draft_with_a_number_is_found() -> None:
    document = make_draft(make_customer())
    with unguarded(*TABLES):
        drop_checks("invoice_numbered_when_issued")
        _document(document, "number = 1, series = 'INV'")
    assert broken(document)["documents_are_issued_whole"] == 1


def test_a_credit_memo_that_gave_too_much_is_found() -> None:
    customer = make_customer()
    make_issued(customer, ["-30.00"])
    invoice = make_issued(customer, ["100.00"])
    with unguarded(*TABLES):
        run("UPDATE invoicing_balanceapplication SET amount = 31")
    assert broken(invoice)["credit_memos_are_not_overspent"] == 1


def test_a_canceled_invoice_that_is_still_in_the_books_is_found() -> None:
    invoice = make_issued(make_customer())
    with unguarded(*TABLES):
        _document(invoice, "status = 'canceled', closed_at = now()")
    assert set(broken(invoice)) == {"documents_are_in_the_books"}


def test_a_lost_line_of_a_draft_is_found() -> None:
    draft = make_draft(make_customer(), ["10.00"])
    make_lines(draft, ["1.00"], first=1)
    assert set(broken(draft)) == {"documents_add_up"}
