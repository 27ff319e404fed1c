"""What a database holds, names instead of ids, so that two histories can be compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connection

from apps.backoffice.books import breaches
from apps.core.audit import verify_chain
from apps.tenants.models import Tenant

# what the same winter must come to, crash or no crash
_LOOKS: Final = {
    "invoices": """
        SELECT c.external_id, i.kind, i.number, i.status, i.currency, i.cutoff_at, i.period_start,
               i.period_end, i.subtotal, i.tax, i.total, i.balance_applied, i.amount_paid,
               i.issued_at, i.due_at, i.buyer ->> 'name'
        FROM invoicing_invoice i JOIN customers_customer c ON c.id = i.customer_id
    """,
    "lines": """
        SELECT c.external_id, i.number, l.position, l.kind, h.key, l.period_start, l.period_end,
               l.service_start, l.service_end, l.sequence, l.corrects_id IS NOT NULL,
               l.description, l.quantity, l.amount, l.currency
        FROM invoicing_invoiceline l JOIN invoicing_invoice i ON i.id = l.invoice_id
        JOIN customers_customer c ON c.id = i.customer_id
        LEFT JOIN catalog_charge h ON h.id = l.charge_id
    """,
    "balances": """
        SELECT a.kind, a.currency, c.external_id, a.provider, sum(p.amount)
        FROM ledger_posting p JOIN ledger_ledgeraccount a ON a.id = p.account_id
        LEFT JOIN customers_customer c ON c.id = a.customer_id GROUP BY 1, 2, 3, 4
    """,
    "entries": "SELECT kind, count(*) FROM ledger_journalentry GROUP BY 1",
    "events": """
        SELECT e.key, c.external_id, s.external_id, e.event_name, e.occurred_at, e.value
        FROM metering_usageevent e JOIN customers_customer c ON c.id = e.customer_id
        LEFT JOIN subscriptions_subscription s ON s.id = e.subscription_id
    """,
    "amendments": """
        SELECT a.action, a.reason, a.voided, x.key, x.sign
        FROM metering_eventamendment a JOIN metering_eventeffect x ON x.amendment_id = a.id
    """,
    "orphans": "SELECT key, subject, status, occurred_at, value FROM metering_orphanevent",
    "rollups": """
        SELECT m.key, v.number, c.external_id, r.grain, r.starts_at, r."group", r.count, r.total,
               r.moment, r.low, r.high, r.last_at, r.last_value
        FROM metering_usagerollup r JOIN metering_meterversion v ON v.id = r.meter_version_id
        JOIN metering_meter m ON m.id = v.meter_id JOIN customers_customer c ON c.id = r.customer_id
    """,
    "subscriptions": """
        SELECT external_id, status, billed_until, next_bill_at, changed_from, ends_at, term_ends_at
        FROM subscriptions_subscription
    """,
    "money received": """
        SELECT i.number, p.provider, sum(p.amount) FROM payments_payment p
        JOIN invoicing_invoice i ON i.id = p.invoice_id
        WHERE p.status = 'succeeded' GROUP BY 1, 2
    """,
    "payments in flight": """
        SELECT id FROM payments_payment WHERE status NOT IN ('succeeded', 'failed', 'canceled')
    """,
    "money paid back": """
        SELECT c.external_id, r.provider, r.status, sum(r.amount) FROM payments_refund r
        JOIN customers_customer c ON c.id = r.customer_id GROUP BY 1, 2, 3
    """,
    "disputes": """
        SELECT c.external_id, d.reference, d.status, d.amount, d.from_account, d.fee,
               d.credit_taken_at IS NOT NULL, d.credit_settled_at IS NOT NULL
        FROM payments_dispute d JOIN customers_customer c ON c.id = d.customer_id
    """,
    "given by the sandbox": "SELECT outcome, sum(amount) FROM payments_sandboxrefund GROUP BY 1",
    "taken by the sandbox": """
        SELECT i.number, sum(s.amount) FROM payments_sandboxcharge s
        JOIN payments_payment p ON p.idempotency_key = s.idempotency_key
        JOIN invoicing_invoice i ON i.id = p.invoice_id
        WHERE s.outcome = 'succeeded' GROUP BY 1
    """,
    "backtests": """
        SELECT b.status, b.done, b.customers, c.external_id, f.priced_in, f.outcome, f.billed,
               f.would_be_billed, f.delta
        FROM invoicing_backtest b JOIN invoicing_backtestcustomer f ON f.backtest_id = b.id
        JOIN customers_customer c ON c.id = f.customer_id
    """,
    "keys": """
        SELECT k.name, k.scopes, r.id IS NOT NULL, k.revoked_at IS NOT NULL
        FROM tenants_apikey k LEFT JOIN tenants_apikey r ON r.id = k.replaced_by_id
    """,
    "clocks": "SELECT name, now FROM tenants_testclock",
    "advances": 'SELECT "to", reached, failure FROM backoffice_clockadvance',
    "wallets": """
        SELECT c.external_id, w.settlement, w.status, w.balance, w.held, w.entries
        FROM wallets_wallet w JOIN customers_customer c ON c.id = w.customer_id
    """,
    # credit that is bought comes when it is paid, and that depends on what was lost
    "grants": """
        SELECT c.external_id, g.kind, g.source, g.status, g.amount, g.remaining, g.held, g.value,
               g.value_left, CASE WHEN g.invoice_id IS NULL THEN g.effective_at END, g.expires_at,
               g.invoice_id IS NOT NULL
        FROM wallets_creditgrant g JOIN wallets_wallet w ON w.id = g.wallet_id
        JOIN customers_customer c ON c.id = w.customer_id
    """,
    "holds": "SELECT status, amount, captured, expires_at, ended_at FROM wallets_credithold",
    "credit that moved": """
        SELECT t.number, t.kind, t.amount, t.balance_after, t.value, t.covers, e.key,
               CASE WHEN t.kind <> 'grant' THEN t.at END
        FROM wallets_credittransaction t LEFT JOIN metering_usageevent e ON e.id = t.event_id
    """,
    "settlements": "SELECT service_start, amount FROM wallets_usagesettlement",
    "meters": "SELECT key, archived_at FROM metering_meter",
    "plans": """
        SELECT p.key, v.number, v.status, count(h.id) FROM catalog_plan p
        JOIN catalog_planversion v ON v.plan_id = p.id JOIN catalog_phase f ON f.version_id = v.id
        JOIN catalog_charge h ON h.phase_id = f.id GROUP BY 1, 2, 3
    """,
    "jobs": "SELECT name, state FROM core_job WHERE state <> 'done'",
    # how often a charge was tried, and where the clock stopped for it, depends on what was lost
    "happenings": """
        SELECT type, count(*) FROM core_auditevent
        WHERE type NOT LIKE 'payment.%%' AND type NOT IN ('test_clock.advanced',
              'invoice.uncollected', 'credit_grant.payment_failed', 'wallet.payment_failed', 'wallet.active') GROUP BY 1
    """,
    "unsealed": "SELECT event_id FROM core_auditpending",
    "partitions": """
        SELECT inhrelid::regclass FROM pg_inherits
        WHERE inhparent = 'metering_usageevent'::regclass
    """,
}


@contextmanager
def everything() -> Iterator[None]:
    """Let this child see the rows of all tenants, whatever they are kept apart by."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('role', rolname, false) FROM pg_roles"
            " WHERE rolsuper AND pg_has_role(session_user, oid, 'member') LIMIT 1"
        )
        assert cursor.fetchone() is not None
        yield
        cursor.execute("RESET ROLE")


def look() -> dict[str, list[str]]:
    """Return every row of what counts, as sorted text."""
    found = {}
    with everything(), connection.cursor() as cursor:
        for name, query in _LOOKS.items():
            cursor.execute(query, [])
            found[name] = sorted(" | ".join(map(str, row)) for row in cursor.fetchall())
    return found


def check() -> list[str]:
    """Return what is wrong with the books and the chains of all tenants: nothing, if all is well."""
    with everything():
        wrong = [f"{one.rule}: {one.detail}" for one in breaches(None)]
        for tenant_id in Tenant.objects.values_list("id", flat=True):
            wrong += verify_chain(tenant_id)
    return wrong


def is_any(query: str) -> bool:
    """Say whether a query has a row, among those of all tenants."""
    with everything(), connection.cursor() as cursor:
        cursor.execute(query, [])
        return cursor.fetchone() is not None


def lapse_leases() -> None:
    """Let time pass for what a dead process had claimed, and for jobs that wait for their time."""
    with everything(), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE core_idempotencyrecord SET leased_until = '2000-01-01' WHERE status IS NULL"
        )
        cursor.execute("UPDATE core_job SET lease_until = '2000-01-01' WHERE state = 'running'")
        cursor.execute("UPDATE core_job SET due_at = '2000-01-01' WHERE state = 'pending'")


def summary() -> dict[str, Any]:
    """Return what a history came to: its rows, and what is wrong with them."""
    return {"rows": look(), "wrong": check()}
