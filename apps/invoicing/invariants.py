"""What documents must never show; every sentence yielded is about a row that must not exist."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from typing import Final
from uuid import UUID

from django.db.models import Q, Sum

from apps.core.books import Rule, rows_that_break
from apps.core.ids import encode
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.ledger.domain import PER_CUSTOMER, FactKind
from apps.ledger.models import JournalEntry

_SEEN_TO_COME: Final = """
SELECT max(pg_snapshot_xmax(usage_snapshot::pg_snapshot)::text::bigint) AS number
FROM invoicing_invoice
WHERE usage_snapshot <> '' AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
HAVING core_is_to_come(max(pg_snapshot_xmax(usage_snapshot::pg_snapshot)::text::bigint))
"""
_WRONG_SUM: Final = """
SELECT i.id, i.subtotal, coalesce(sum(l.amount), 0) FROM invoicing_invoice i
LEFT JOIN invoicing_invoiceline l ON l.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
GROUP BY i.id
HAVING i.subtotal <> coalesce(sum(l.amount), 0) OR i.total <> i.subtotal - i.discount + i.tax
    OR count(l.id) = 0
"""
_WRONG_TAX: Final = """
SELECT i.id, i.tax, coalesce(sum(t.amount), 0), i.currency FROM invoicing_invoice i
LEFT JOIN invoicing_invoicetax t ON t.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
GROUP BY i.id HAVING i.tax <> coalesce(sum(t.amount), 0)
"""
# a document that was canceled in between may leave what rounding makes of the others
_MISTAXED: Final = """
SELECT t.scope_id, min(t.name), sum(t.taxable), sum(t.amount), min(t.currency)
FROM invoicing_invoicetax t JOIN invoicing_invoice i ON i.id = t.invoice_id
WHERE (%(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s) AND i.status <> 'draft'
GROUP BY t.scope_id, t.rate_id
HAVING NOT bool_or(i.status = 'canceled')
   AND sum(t.amount) <> round(sum(t.taxable) * min(t.percentage) / 100,
                              currency_places(min(t.currency)))
"""
_STRAY_TAX: Final = """
SELECT t.id, t.invoice_id FROM invoicing_invoicetax t
JOIN invoicing_invoice i ON i.id = t.invoice_id
JOIN taxes_taxrate r ON r.id = t.rate_id
WHERE (%(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s)
  AND ((t.tenant_id, t.currency) <> (i.tenant_id, i.currency)
       OR (t.name, t.percentage, t.tenant_id) <> (r.name, r.percentage, r.tenant_id)
       OR t.taxable + t.covered <> coalesce((
         SELECT sum(l.amount) FROM invoicing_invoiceline l
         WHERE l.invoice_id = t.invoice_id AND l.tax_scope_id = t.scope_id
           AND l.tax_rates ? t.rate_id::text), 0))
"""
_TAX_PAYABLE: Final = """
WITH booked AS (
  SELECT a.tenant_id, a.currency, -sum(x.amount) AS total
  FROM ledger_ledgeraccount a JOIN ledger_posting x ON x.account_id = a.id
  WHERE a.kind = 'tax_payable' GROUP BY 1, 2),
shown AS (
  SELECT tenant_id, currency, sum(tax) AS total FROM invoicing_invoice
  WHERE status NOT IN ('draft', 'canceled') GROUP BY 1, 2)
SELECT currency, coalesce(b.total, 0), coalesce(s.total, 0)
FROM booked b FULL JOIN shown s USING (tenant_id, currency)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(s.total, 0)
"""
_STRAY_LINES: Final = """
SELECT l.id, l.invoice_id FROM invoicing_invoiceline l
JOIN invoicing_invoice i ON i.id = l.invoice_id
JOIN customers_customer c ON c.id = i.customer_id
WHERE (%(tenant)s::uuid IS NULL OR l.tenant_id = %(tenant)s)
  AND (l.currency <> i.currency OR l.tenant_id <> i.tenant_id OR c.tenant_id <> i.tenant_id
       OR l.amount <> round(l.amount, currency_places(l.currency)))
"""
_GAPS: Final = """
SELECT coalesce(i.tenant_id, s.tenant_id), coalesce(i.series, s.series),
       i.count, i.lowest, i.highest, coalesce(s.last_number, 0)
FROM (SELECT tenant_id, series, count(*), min(number) AS lowest, max(number) AS highest
      FROM invoicing_invoice WHERE number IS NOT NULL GROUP BY tenant_id, series) i
FULL JOIN invoicing_numbersequence s ON s.tenant_id = i.tenant_id AND s.series = i.series
WHERE (%(tenant)s::uuid IS NULL OR %(tenant)s IN (i.tenant_id, s.tenant_id))
  AND (i.lowest, i.highest, i.count, i.highest) IS DISTINCT FROM (1, i.count, i.count, s.last_number)
"""
_HALF_ISSUED: Final = """
SELECT i.id, i.status FROM invoicing_invoice i
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND CASE WHEN i.status = 'draft'
      THEN i.number IS NOT NULL OR i.issued_at IS NOT NULL OR i.series <> '' OR i.pdf_sha256 <> ''
      ELSE i.number IS NULL OR i.issued_at IS NULL OR i.series = '' OR i.due_at < i.issued_at
           OR i.closed_at < i.issued_at OR i.seller = '{}' OR i.buyer = '{}' END
"""
_WRONG_STATUS: Final = """
SELECT i.id, i.status, i.total - i.credit_applied - i.balance_applied - i.amount_paid, i.currency
FROM invoicing_invoice i
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND NOT CASE
    WHEN i.kind = 'credit_memo' THEN i.status IN ('draft', 'issued') AND i.total < 0
    WHEN i.status IN ('draft', 'issued', 'canceled') THEN i.amount_paid = 0
    WHEN i.status = 'paid' THEN i.total = i.credit_applied + i.balance_applied + i.amount_paid
    WHEN i.status = 'partially_paid' THEN i.amount_paid > 0
         AND i.total > i.credit_applied + i.balance_applied + i.amount_paid
    ELSE i.total > i.credit_applied + i.balance_applied + i.amount_paid END
"""
_TOO_EARLY: Final = """
SELECT i.id, i.due_at FROM invoicing_invoice i
JOIN customers_customer c ON c.id = i.customer_id
JOIN tenants_tenant t ON t.id = i.tenant_id
LEFT JOIN tenants_testclock k ON k.id = coalesce(c.test_clock_id, t.test_clock_id)
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND i.status = 'overdue' AND i.due_at > coalesce(k.now, now())
"""
_WRONG_BALANCE: Final = """
SELECT i.id, i.balance_applied, coalesce(sum(b.amount), 0), i.currency FROM invoicing_invoice i
LEFT JOIN invoicing_balanceapplication b ON b.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
GROUP BY i.id HAVING i.balance_applied <> coalesce(sum(b.amount), 0)
"""
_WRONG_CREDIT: Final = """
SELECT i.id, i.credit_applied, coalesce(t.covers, 0) + coalesce(s.amount, 0), i.currency
FROM invoicing_invoice i
LEFT JOIN (SELECT invoice_id, sum(covers) AS covers FROM wallets_credittransaction
           WHERE kind IN ('consume', 'return') AND invoice_id IS NOT NULL GROUP BY invoice_id) t
  ON t.invoice_id = i.id
LEFT JOIN (SELECT invoice_id, sum(amount) AS amount FROM wallets_usagesettlement
           GROUP BY invoice_id) s ON s.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND i.credit_applied <> coalesce(t.covers, 0) + coalesce(s.amount, 0)
"""
_WRONG_GRANT: Final = """
SELECT coalesce(l.id, g.id), g.value, l.total FROM wallets_creditgrant g
FULL JOIN (SELECT grant_id, (array_agg(id))[1] AS id, sum(amount) AS total
           FROM invoicing_invoiceline WHERE kind = 'credit' AND sequence = 0
           GROUP BY grant_id) l ON l.grant_id = g.id
WHERE (%(tenant)s::uuid IS NULL OR g.tenant_id = %(tenant)s)
  AND (l.grant_id IS NOT NULL OR g.invoice_id IS NOT NULL)
  AND (g.value, g.invoice_id IS NULL) IS DISTINCT FROM (l.total, false)
"""
_UNPAID_CREDIT: Final = """
SELECT g.id, g.status, i.status FROM wallets_creditgrant g
JOIN invoicing_invoice i ON i.id = g.invoice_id
WHERE (%(tenant)s::uuid IS NULL OR g.tenant_id = %(tenant)s)
  AND (g.available_at IS NOT NULL OR g.status = 'scheduled') AND i.status <> 'paid'
"""
_OVERSPENT: Final = """
SELECT m.id, m.credit_applied - m.total, sum(b.amount), m.currency FROM (
  SELECT b.credit_memo_id, b.tenant_id, b.amount,
         (b.currency, b.tenant_id, i.currency, i.customer_id) AS it
  FROM invoicing_balanceapplication b
  JOIN invoicing_invoice i ON i.id = b.invoice_id AND i.status <> 'canceled'
  UNION ALL
  SELECT p.credit_memo_id, p.tenant_id, p.amount,
         (p.currency, p.tenant_id, m.currency, m.customer_id)
  FROM invoicing_creditpaidout p JOIN invoicing_invoice m ON m.id = p.credit_memo_id
  WHERE p.released_at IS NULL) b
JOIN invoicing_invoice m ON m.id = b.credit_memo_id
WHERE (%(tenant)s::uuid IS NULL OR b.tenant_id = %(tenant)s)
GROUP BY m.id
HAVING sum(b.amount) > m.credit_applied - m.total
    OR NOT bool_and(b.it = (m.currency, m.tenant_id, m.currency, m.customer_id))
"""
_OVERCREDITED: Final = """
SELECT i.id, i.total, -sum(m.total), i.currency FROM invoicing_invoice m
JOIN invoicing_invoice i ON i.id = m.credits_id
WHERE (%(tenant)s::uuid IS NULL OR m.tenant_id = %(tenant)s)
GROUP BY i.id
HAVING -sum(m.total) > i.total OR i.status IN ('draft', 'canceled') OR i.kind <> 'invoice'
    OR NOT bool_and(m.kind = 'credit_memo' AND m.status = 'issued'
                    AND (m.customer_id, m.currency) = (i.customer_id, i.currency))
"""
_WRONG_PDF: Final = """
SELECT i.id FROM invoicing_invoice i LEFT JOIN invoicing_issuedpdf p ON p.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND (i.pdf_sha256 <> '' OR p.invoice_id IS NOT NULL)
  AND i.pdf_sha256 IS DISTINCT FROM encode(sha256(p.content), 'hex')
"""
_BROKEN_KEYS: Final = """
SELECT (array_agg(l.id ORDER BY l.sequence))[1], count(*), max(l.sequence) + 1
FROM invoicing_invoiceline l
WHERE (%(tenant)s::uuid IS NULL OR l.tenant_id = %(tenant)s)
GROUP BY l.subscription_id, l.charge_id, l.kind, l.period_start, l.segment_start, l."group"
HAVING count(*) <> max(l.sequence) + 1
"""
_STRAY_CORRECTIONS: Final = """
SELECT l.id, l.corrects_id FROM invoicing_invoiceline l
JOIN invoicing_invoiceline c ON c.id = l.corrects_id
WHERE (%(tenant)s::uuid IS NULL OR l.tenant_id = %(tenant)s)
  AND ((l.subscription_id, l.charge_id, l.kind, l.period_start, l.segment_start, l."group")
       <> (c.subscription_id, c.charge_id, c.kind, c.period_start, c.segment_start, c."group")
       OR c.sequence >= l.sequence)
"""
_OVERDISCOUNTED: Final = """
SELECT (array_agg(l.id ORDER BY l.id) FILTER (WHERE l.kind = 'discount'))[1], sum(l.amount),
       sum(l.amount) FILTER (WHERE l.kind = 'discount')
FROM invoicing_invoiceline l JOIN invoicing_invoice i ON i.id = l.invoice_id
WHERE (%(tenant)s::uuid IS NULL OR l.tenant_id = %(tenant)s)
  AND (l.kind IN ('fixed', 'recurring', 'usage', 'discount')
       OR l.kind IN ('minimum', 'maximum') AND (l.derivation ->> 'bounds_first')::boolean)
GROUP BY l.subscription_id, l.charge_id, l.period_start, l.segment_start
HAVING bool_or(l.kind = 'discount') AND NOT bool_or(i.status = 'canceled')
   AND (sum(l.amount) < 0 OR sum(l.amount) FILTER (WHERE l.kind = 'discount') > 0)
"""
_BATCH: Final = 2000


def documents_add_up(tenant_id: UUID | None) -> Iterator[str]:
    """A document has lines, and is their sum less discount plus tax."""
    for document, subtotal, lines in rows_that_break(_WRONG_SUM, tenant_id):
        yield f"{_document(document)} says {subtotal}, its lines {lines}"


def tax_adds_up(tenant_id: UUID | None) -> Iterator[str]:
    """The tax of a document is the sum of its taxes."""
    for document, said, found, currency in rows_that_break(_WRONG_TAX, tenant_id):
        yield f"{_document(document)} says {said} {currency} of tax, its taxes {found}"


def tax_is_that_of_what_is_billed(tenant_id: UUID | None) -> Iterator[str]:
    """Documents show together, of each scope and rate, the tax on what they bill together."""
    for scope, name, taxable, amount, currency in rows_that_break(_MISTAXED, tenant_id):
        yield f"{name} of scope {scope} is {amount} {currency}, on {taxable}"


def taxes_are_like_their_lines(tenant_id: UUID | None) -> Iterator[str]:
    """A tax is on the lines of its document that name it, at its rate as that was added.

    Less what credit pays of them that was taxed when it was bought.
    """
    for tax, document in rows_that_break(_STRAY_TAX, tenant_id):
        yield f"{encode(InvoiceTax.ID_PREFIX, tax)} is not that of {_document(document)}"


def tax_payable_is_what_documents_show(tenant_id: UUID | None) -> Iterator[str]:
    """The tax in the books is that of the documents that are issued and not canceled."""
    for currency, booked, shown in rows_that_break(_TAX_PAYABLE, tenant_id):
        yield f"{booked} {currency} of tax are in the books, {shown} on documents"


def lines_are_like_their_document(tenant_id: UUID | None) -> Iterator[str]:
    """A line has the tenant and the currency of its document, and no digits beyond it."""
    for line, document in rows_that_break(_STRAY_LINES, tenant_id):
        yield f"{encode(InvoiceLine.ID_PREFIX, line)} does not belong on {_document(document)}"


def lines_of_a_key_follow_each_other(tenant_id: UUID | None) -> Iterator[str]:
    """The lines of a key are numbered from 0 without gaps: none was lost, none billed twice."""
    for line, found, wanted in rows_that_break(_BROKEN_KEYS, tenant_id):
        yield f"{encode(InvoiceLine.ID_PREFIX, line)} is one of {found} lines of {wanted}"


def corrections_correct_their_own_key(tenant_id: UUID | None) -> Iterator[str]:
    """A correction names an earlier line of the same key."""
    for line, corrected in rows_that_break(_STRAY_CORRECTIONS, tenant_id):
        names = [encode(InvoiceLine.ID_PREFIX, one) for one in (line, corrected)]
        yield f"{names[0]} says that it corrects {names[1]}, which is not of its kind"


def discounts_are_within_what_they_discount(tenant_id: UUID | None) -> Iterator[str]:
    """Coupons take something off the charge of a period, and never more than it comes to."""
    for line, left, off in rows_that_break(_OVERDISCOUNTED, tenant_id):
        name = encode(InvoiceLine.ID_PREFIX, line)
        yield f"{name} is of discounts that come to {off} and leave {left} of their charge"


def numbers_have_no_gaps(tenant_id: UUID | None) -> Iterator[str]:
    """The numbers of a series are 1, 2, 3 … up to the last that was given."""
    for owner, series, count, lowest, highest, last in rows_that_break(_GAPS, tenant_id):
        yield (
            f"series {series} of tenant {owner}: {count or 0} documents from {lowest} to {highest},"
            f" the last number given is {last}"
        )


def documents_are_issued_whole(tenant_id: UUID | None) -> Iterator[str]:
    """A draft has no number; an issued document has one, its parties and its dates in order."""
    for document, status in rows_that_break(_HALF_ISSUED, tenant_id):
        yield f"{_document(document)} is {status}, but not as such documents are"


def statuses_agree_with_payments(tenant_id: UUID | None) -> Iterator[str]:
    """What is open of an invoice fits its status; of a credit memo nothing is ever paid."""
    for document, status, left, currency in rows_that_break(_WRONG_STATUS, tenant_id):
        yield f"{_document(document)} is {status} with {left} {currency} open"


def overdue_invoices_were_due(tenant_id: UUID | None) -> Iterator[str]:
    """An overdue invoice had to be paid by now, on its customer's clock."""
    for document, due_at in rows_that_break(_TOO_EARLY, tenant_id):
        yield f"{_document(document)} is overdue, but due only at {due_at}"


def applied_balance_adds_up(tenant_id: UUID | None) -> Iterator[str]:
    """What an invoice took from the balance is what credit memos gave to it."""
    for document, said, given, currency in rows_that_break(_WRONG_BALANCE, tenant_id):
        yield f"{_document(document)} took {said} {currency} from the balance, was given {given}"


def applied_credit_adds_up(tenant_id: UUID | None) -> Iterator[str]:
    """What a document took of prepaid credit, or gave back, is what wallets gave to it or took."""
    for document, said, given, currency in rows_that_break(_WRONG_CREDIT, tenant_id):
        yield f"{_document(document)} took {said} {currency} of credit, was given {given}"


def credit_is_sold_at_its_price(tenant_id: UUID | None) -> Iterator[str]:
    """A line that sells credit asks what its grant was bought for, and there is one per grant."""
    for line, value, asked in rows_that_break(_WRONG_GRANT, tenant_id):
        yield f"{encode(InvoiceLine.ID_PREFIX, line)} asks {asked} for credit bought for {value}"


def credit_is_given_when_paid(tenant_id: UUID | None) -> Iterator[str]:
    """Credit that is sold becomes available once its invoice is paid, and not before."""
    for grant, stands, invoice in rows_that_break(_UNPAID_CREDIT, tenant_id):
        yield f"{encode('grt', grant)} is {stands}, but its invoice is {invoice}"


def credit_memos_are_not_overspent(tenant_id: UUID | None) -> Iterator[str]:
    """A credit memo gives to its customer's invoices and refunds no more than its total."""
    for document, total, given, currency in rows_that_break(_OVERSPENT, tenant_id):
        yield f"{_document(document)} over {total} {currency} gave {given}"


def invoices_are_credited_within_their_total(tenant_id: UUID | None) -> Iterator[str]:
    """Memos that give money of an invoice back are issued, and give no more than it asked for."""
    for document, total, given, currency in rows_that_break(_OVERCREDITED, tenant_id):
        yield f"{given} {currency} of {_document(document)} over {total} were given back"


def kept_pdfs_are_unchanged(tenant_id: UUID | None) -> Iterator[str]:
    """The PDF that is kept is the one whose hash the document has."""
    for (document,) in rows_that_break(_WRONG_PDF, tenant_id):
        yield f"the PDF of {_document(document)} is missing or not the one of its hash"


def documents_are_in_the_books(tenant_id: UUID | None) -> Iterator[str]:
    """An issued document is posted once with its total, and reversed exactly if it is canceled."""
    documents = Invoice.objects.exclude(status=InvoiceStatus.DRAFT).exclude(total=0)
    if tenant_id is not None:
        documents = documents.filter(tenant_id=tenant_id)
    columns = ("id", "tenant_id", "kind", "status", "total")
    stream = documents.order_by("id").values_list(*columns).iterator(chunk_size=_BATCH)
    while batch := list(islice(stream, _BATCH)):
        posted = _posted([encode(Invoice.ID_PREFIX, row[0]) for row in batch])
        for identifier, owner, kind, status, total in batch:
            key = encode(Invoice.ID_PREFIX, identifier)
            wanted = {_FACTS[kind]: abs(Decimal(total))}
            if status == InvoiceStatus.CANCELED:
                wanted[FactKind.INVOICE_CANCELED] = abs(Decimal(total))
            found = posted.get((owner, key), {})
            if found != wanted:
                words = ", ".join(f"{fact} of {amount}" for fact, amount in found.items())
                yield f"{key} over {total} is {status}; in the books: {words or 'nothing'}"


_FACTS: Final = {
    DocumentKind.INVOICE: FactKind.INVOICE_ISSUED,
    DocumentKind.CREDIT_MEMO: FactKind.CREDIT_MEMO_ISSUED,
}


def _posted(keys: list[str]) -> dict[tuple[object, str], dict[str, Decimal]]:
    """Return what the books say of documents: what each fact asks or gives, by its kind."""
    rows = (
        JournalEntry.objects.filter(source_key__in=keys)
        .exclude(kind__in=[FactKind.INVOICE_WRITTEN_OFF, FactKind.INVOICE_REINSTATED])
        .annotate(moved=Sum("postings__amount", filter=Q(postings__account__kind__in=PER_CUSTOMER)))
        .values_list("tenant_id", "source_key", "kind", "moved")
    )
    found: dict[tuple[object, str], dict[str, Decimal]] = {}
    for owner, key, kind, moved in rows:
        found.setdefault((owner, key), {})[kind] = abs(moved or Decimal(0))
    return found


def _document(identifier: UUID) -> str:
    return encode(Invoice.ID_PREFIX, identifier)


def nothing_to_come_was_billed(tenant_id: UUID | None) -> Iterator[str]:
    """What documents have seen of the usage lies behind: what got such a number would be explained."""
    for (number,) in rows_that_break(_SEEN_TO_COME, tenant_id):
        yield f"a document has seen the usage up to transaction {number}, which is still to come"


RULES: Final[tuple[Rule, ...]] = (
    documents_add_up,
    tax_adds_up,
    tax_is_that_of_what_is_billed,
    taxes_are_like_their_lines,
    tax_payable_is_what_documents_show,
    lines_are_like_their_document,
    lines_of_a_key_follow_each_other,
    corrections_correct_their_own_key,
    discounts_are_within_what_they_discount,
    numbers_have_no_gaps,
    documents_are_issued_whole,
    statuses_agree_with_payments,
    overdue_invoices_were_due,
    applied_balance_adds_up,
    applied_credit_adds_up,
    credit_is_sold_at_its_price,
    credit_is_given_when_paid,
    credit_memos_are_not_overspent,
    invoices_are_credited_within_their_total,
    kept_pdfs_are_unchanged,
    documents_are_in_the_books,
    nothing_to_come_was_billed,
)
