"""What payments must never show; every line yielded is a row that must not exist."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from apps.core.books import Rule, rows_that_break

_PAID_NOT_ALLOCATED: Final = """
SELECT i.id, i.amount_paid, coalesce(a.total, 0)
FROM invoicing_invoice i
LEFT JOIN (SELECT invoice_id, sum(amount) AS total FROM payments_allocation GROUP BY invoice_id) a
  ON a.invoice_id = i.id
WHERE (%(tenant)s::uuid IS NULL OR i.tenant_id = %(tenant)s)
  AND i.amount_paid <> coalesce(a.total, 0)
"""
_OVERALLOCATED: Final = """
SELECT p.id, p.status, p.amount, sum(a.amount)
FROM payments_allocation a JOIN payments_payment p ON p.id = a.payment_id
WHERE %(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s
GROUP BY p.id HAVING p.status <> 'succeeded' OR sum(a.amount) > p.amount
"""
_OVERTAKEN: Final = """
SELECT p.id, p.status, p.amount, r.refunded, r.disputed FROM payments_payment p
JOIN (SELECT payment_id, sum(refunded) AS refunded, sum(disputed) AS disputed,
             sum(from_account) AS from_account
      FROM (SELECT payment_id, amount AS refunded, 0 AS disputed, from_account
            FROM payments_refund WHERE status <> 'failed'
            UNION ALL
            SELECT payment_id, 0, amount, from_account
            FROM payments_dispute WHERE status <> 'won') taken
      GROUP BY payment_id) r ON r.payment_id = p.id
LEFT JOIN (SELECT payment_id, sum(amount) AS amount FROM payments_allocation
           GROUP BY payment_id) a ON a.payment_id = p.id
WHERE (%(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s)
  AND (p.status <> 'succeeded' OR r.refunded + r.disputed > p.amount
       OR coalesce(a.amount, 0) + r.from_account > p.amount)
"""
_REFUNDED_FROM: Final = """
SELECT coalesce(r.id, c.refund_id), coalesce(r.amount - r.from_account, 0), coalesce(c.amount, 0)
FROM (SELECT * FROM payments_refund WHERE status <> 'failed') r
FULL JOIN (SELECT tenant_id, refund_id, sum(amount) AS amount FROM invoicing_creditpaidout
           WHERE released_at IS NULL GROUP BY tenant_id, refund_id) c ON c.refund_id = r.id
WHERE (%(tenant)s::uuid IS NULL OR coalesce(r.tenant_id, c.tenant_id) = %(tenant)s)
  AND coalesce(r.amount - r.from_account, 0) <> coalesce(c.amount, 0)
"""
_CASH: Final = """
WITH booked AS (
  SELECT a.tenant_id, a.provider, a.currency, sum(x.amount) AS total
  FROM ledger_ledgeraccount a JOIN ledger_posting x ON x.account_id = a.id
  WHERE a.kind = 'cash_clearing' GROUP BY a.id),
received AS (
  SELECT tenant_id, provider, currency, sum(amount) AS total FROM (
    SELECT tenant_id, provider, currency, amount
    FROM payments_payment WHERE status = 'succeeded'
    UNION ALL
    SELECT tenant_id, provider, currency, -amount
    FROM payments_refund WHERE status = 'succeeded'
    UNION ALL
    SELECT tenant_id, provider, currency, -fee - CASE WHEN status = 'won' THEN 0 ELSE amount END
    FROM payments_dispute) moves
  GROUP BY tenant_id, provider, currency)
SELECT provider, currency, coalesce(b.total, 0), coalesce(r.total, 0)
FROM booked b FULL JOIN received r USING (tenant_id, provider, currency)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(r.total, 0)
"""
_BALANCE: Final = """
WITH booked AS (
  SELECT a.tenant_id, a.customer_id, a.currency, -sum(x.amount) AS total
  FROM ledger_ledgeraccount a JOIN ledger_posting x ON x.account_id = a.id
  WHERE a.kind = 'customer_balance' GROUP BY a.id),
owed AS (
  SELECT tenant_id, customer_id, currency, sum(amount) AS total FROM (
    SELECT tenant_id, customer_id, currency, credit_applied - total AS amount
    FROM invoicing_invoice WHERE kind = 'credit_memo' AND status <> 'draft'
    UNION ALL
    SELECT i.tenant_id, i.customer_id, i.currency, -b.amount
    FROM invoicing_balanceapplication b JOIN invoicing_invoice i ON i.id = b.invoice_id
    WHERE i.status NOT IN ('draft', 'canceled')
    UNION ALL
    SELECT tenant_id, customer_id, currency, amount
    FROM payments_payment WHERE status = 'succeeded'
    UNION ALL
    SELECT tenant_id, customer_id, currency, -amount
    FROM payments_refund WHERE status = 'succeeded'
    UNION ALL
    SELECT tenant_id, customer_id, currency, -from_account
    FROM payments_dispute WHERE status = 'lost'
    UNION ALL
    SELECT p.tenant_id, p.customer_id, p.currency, -a.amount
    FROM payments_allocation a JOIN payments_payment p ON p.id = a.payment_id) moves
  GROUP BY tenant_id, customer_id, currency)
SELECT customer_id, currency, coalesce(b.total, 0), coalesce(o.total, 0)
FROM booked b FULL JOIN owed o USING (tenant_id, customer_id, currency)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(o.total, 0)
"""
_RECEIVABLE: Final = """
WITH booked AS (
  SELECT a.tenant_id, a.customer_id, a.currency, sum(x.amount) AS total
  FROM ledger_ledgeraccount a JOIN ledger_posting x ON x.account_id = a.id
  WHERE a.kind = 'receivable' GROUP BY a.id),
asked AS (
  SELECT tenant_id, customer_id, currency,
         sum(total - credit_applied - balance_applied - amount_paid) AS total
  FROM invoicing_invoice
  WHERE kind = 'invoice' AND status IN ('issued', 'partially_paid', 'overdue', 'paid')
  GROUP BY tenant_id, customer_id, currency)
SELECT customer_id, currency, coalesce(b.total, 0), coalesce(a.total, 0)
FROM booked b FULL JOIN asked a USING (tenant_id, customer_id, currency)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(a.total, 0)
"""
_UNBOOKED: Final = """
WITH booked AS (
  SELECT e.tenant_id, e.source_key AS key, sum(x.amount) AS total
  FROM ledger_journalentry e JOIN ledger_posting x ON x.entry_id = e.id AND x.amount > 0
  WHERE e.kind IN ('payment_settled', 'refund_settled') GROUP BY e.id),
received AS (
  SELECT tenant_id, idempotency_key AS key, amount AS total
  FROM payments_payment WHERE status = 'succeeded'
  UNION ALL
  SELECT tenant_id, idempotency_key, amount FROM payments_refund WHERE status = 'succeeded')
SELECT key, coalesce(b.total, 0), coalesce(r.total, 0)
FROM booked b FULL JOIN received r USING (tenant_id, key)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(r.total, 0)
"""
_DISPUTED: Final = """
WITH booked AS (
  SELECT e.tenant_id, x.currency, e.kind, sum(x.amount) AS total
  FROM ledger_journalentry e JOIN ledger_posting x ON x.entry_id = e.id AND x.amount > 0
  WHERE e.kind IN ('dispute_opened', 'dispute_won', 'dispute_lost')
  GROUP BY e.tenant_id, x.currency, e.kind),
known AS (
  SELECT tenant_id, currency, 'dispute_opened' AS kind, sum(amount + fee) AS total
  FROM payments_dispute GROUP BY tenant_id, currency
  UNION ALL
  SELECT tenant_id, currency, 'dispute_' || status, sum(amount)
  FROM payments_dispute WHERE status <> 'opened' GROUP BY tenant_id, currency, status)
SELECT kind, currency, coalesce(b.total, 0), coalesce(k.total, 0)
FROM booked b FULL JOIN known k USING (tenant_id, currency, kind)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(k.total, 0)
"""
_DISPUTED_CREDIT: Final = """
SELECT x.currency, sum(x.amount) FROM ledger_journalentry e
JOIN ledger_posting x ON x.entry_id = e.id
JOIN ledger_ledgeraccount a ON a.id = x.account_id AND a.kind = 'disputes'
WHERE e.kind IN ('credit_disputed', 'credit_reinstated', 'credit_forfeited')
  AND (%(tenant)s::uuid IS NULL OR e.tenant_id = %(tenant)s)
GROUP BY e.tenant_id, x.currency
HAVING sum(x.amount) > 0 OR sum(x.amount) < -(
  SELECT coalesce(sum(d.amount), 0) FROM payments_dispute d
  WHERE d.tenant_id = e.tenant_id AND d.currency = x.currency
    AND d.credit_taken_at IS NOT NULL AND d.credit_settled_at IS NULL)
"""
_CROWDED: Final = """
SELECT invoice_id, count(*) FROM payments_payment
WHERE status IN ('created', 'sent', 'unknown', 'pending')
  AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
GROUP BY invoice_id HAVING count(*) > 1
"""
_FORGOTTEN: Final = """
SELECT id, status FROM payments_payment
WHERE status IN ('sent', 'unknown', 'pending') AND ask_after IS NULL
  AND failure_code <> 'outcome_mismatch'
  AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
"""
_REFUND_FORGOTTEN: Final = """
SELECT id, status FROM payments_refund
WHERE status IN ('pending', 'unknown') AND ask_after IS NULL
  AND failure_code <> 'outcome_mismatch'
  AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
"""


def invoices_are_paid_by_allocations(tenant_id: UUID | None) -> Iterator[str]:
    """What an invoice counts as paid is what payments allocate to it."""
    for invoice_id, paid, allocated in rows_that_break(_PAID_NOT_ALLOCATED, tenant_id):
        yield f"invoice {invoice_id} counts {paid} as paid, but {allocated} is allocated to it"


def allocations_come_from_received_money(tenant_id: UUID | None) -> Iterator[str]:
    """Only payments that succeeded are allocated, and never more than came in."""
    for payment_id, status, amount, allocated in rows_that_break(_OVERALLOCATED, tenant_id):
        yield f"payment {payment_id} ({status}) of {amount} has {allocated} allocated"


def refunds_are_of_received_money(tenant_id: UUID | None) -> Iterator[str]:
    """What of a payment is paid back, or being, or disputed, is never more than came in and was left."""
    for payment_id, status, amount, refunded, disputed in rows_that_break(_OVERTAKEN, tenant_id):
        yield (
            f"payment {payment_id} ({status}) of {amount} has {refunded} paid back"
            f" and {disputed} disputed"
        )


def disputes_are_in_the_books(tenant_id: UUID | None) -> Iterator[str]:
    """What is posted of disputes is what was withdrawn, came back, and is lost."""
    for kind, currency, booked, known in rows_that_break(_DISPUTED, tenant_id):
        yield f"{kind} comes to {booked} {currency} in the books, but to {known} by the disputes"


def disputed_credit_is_settled(tenant_id: UUID | None) -> Iterator[str]:
    """Credit that disputes took stands among disputes only until they are decided."""
    for currency, standing in rows_that_break(_DISPUTED_CREDIT, tenant_id):
        yield f"credit of {standing} {currency} stands among disputes, more than is undecided"


def refunds_are_owed(tenant_id: UUID | None) -> Iterator[str]:
    """What a refund does not take of the customer's account, credit memos give; if it failed, nothing."""
    for refund_id, wanted, given in rows_that_break(_REFUNDED_FROM, tenant_id):
        yield f"refund {refund_id} wants {wanted} of credit memos, which give {given}"


def succeeded_payments_are_in_the_books(tenant_id: UUID | None) -> Iterator[str]:
    """Every payment and refund that succeeded is posted with its amount, and nothing else is."""
    for key, booked, received in rows_that_break(_UNBOOKED, tenant_id):
        yield f"{key} moved {received}, but the books say {booked}"


def cash_clearing_is_what_came_in(tenant_id: UUID | None) -> Iterator[str]:
    """The cash clearing account of a provider is what came by it less refunds, disputes and their fees."""
    for provider, currency, booked, received in rows_that_break(_CASH, tenant_id):
        yield f"cash by {provider} is {booked} {currency} in the books, but {received} came in"


def receivables_are_the_open_invoices(tenant_id: UUID | None) -> Iterator[str]:
    """A customer's receivable account is what his issued, uncanceled invoices have open."""
    for customer_id, currency, booked, asked in rows_that_break(_RECEIVABLE, tenant_id):
        yield (
            f"customer {customer_id} owes {booked} {currency} in the books,"
            f" but {asked} by his invoices"
        )


def customer_balances_are_what_is_left(tenant_id: UUID | None) -> Iterator[str]:
    """A customer's balance account is what his credit memos and overpayments have not paid yet."""
    for customer_id, currency, booked, left in rows_that_break(_BALANCE, tenant_id):
        yield (
            f"customer {customer_id} has {booked} {currency} to his credit in the books,"
            f" but {left} by his credit memos and payments"
        )


def one_payment_is_in_flight(tenant_id: UUID | None) -> Iterator[str]:
    """At most one payment of an invoice has an open outcome."""
    for invoice_id, number in rows_that_break(_CROWDED, tenant_id):
        yield f"invoice {invoice_id} has {number} payments in flight"


def open_outcomes_are_asked_for(tenant_id: UUID | None) -> Iterator[str]:
    """A payment with an open outcome will be asked about, or waits for a person."""
    for payment_id, status in rows_that_break(_FORGOTTEN, tenant_id):
        yield f"payment {payment_id} is {status}, and nobody will ask about it"


def open_refunds_are_asked_for(tenant_id: UUID | None) -> Iterator[str]:
    """A refund with an open outcome will be asked about, or waits for a person."""
    for refund_id, status in rows_that_break(_REFUND_FORGOTTEN, tenant_id):
        yield f"refund {refund_id} is {status}, and nobody will ask about it"


RULES: Final[tuple[Rule, ...]] = (
    invoices_are_paid_by_allocations,
    allocations_come_from_received_money,
    succeeded_payments_are_in_the_books,
    cash_clearing_is_what_came_in,
    receivables_are_the_open_invoices,
    customer_balances_are_what_is_left,
    one_payment_is_in_flight,
    open_outcomes_are_asked_for,
    refunds_are_of_received_money,
    refunds_are_owed,
    disputes_are_in_the_books,
    disputed_credit_is_settled,
    open_refunds_are_asked_for,
)
