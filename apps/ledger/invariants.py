"""What the books must never show; every line yielded is a row that must not exist."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from apps.core.books import Rule, rows_that_break

_UNBALANCED: Final = """
SELECT p.entry_id, p.currency, sum(p.amount) FROM ledger_posting p
WHERE %(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s
GROUP BY p.entry_id, p.currency HAVING sum(p.amount) <> 0
"""
_INCOMPLETE: Final = """
SELECT e.id, e.legs, count(p.id) FROM ledger_journalentry e
LEFT JOIN ledger_posting p ON p.entry_id = e.id
WHERE %(tenant)s::uuid IS NULL OR e.tenant_id = %(tenant)s
GROUP BY e.id HAVING count(p.id) < 2 OR count(p.id) <> e.legs
"""
_STRAY: Final = """
SELECT p.id, p.currency, a.currency FROM ledger_posting p
LEFT JOIN ledger_ledgeraccount a ON a.id = p.account_id
LEFT JOIN ledger_journalentry e ON e.id = p.entry_id
WHERE (%(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s)
  AND (a.currency = p.currency AND a.tenant_id = p.tenant_id AND e.tenant_id = p.tenant_id)
      IS NOT TRUE
"""
_OUT_OF_BALANCE: Final = """
SELECT p.tenant_id, p.currency, sum(p.amount) FROM ledger_posting p
WHERE %(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s
GROUP BY p.tenant_id, p.currency HAVING sum(p.amount) <> 0
"""
_NOT_NEGATED: Final = """
SELECT r.id, r.reverses_id FROM ledger_journalentry r
JOIN ledger_posting p ON p.entry_id IN (r.id, r.reverses_id)
WHERE r.reverses_id IS NOT NULL
  AND (%(tenant)s::uuid IS NULL OR r.tenant_id = %(tenant)s)
GROUP BY r.id, p.account_id HAVING sum(p.amount) <> 0
"""


def every_entry_balances(tenant_id: UUID | None) -> Iterator[str]:
    """Every journal entry adds up to zero in every currency."""
    for entry_id, currency, total in rows_that_break(_UNBALANCED, tenant_id):
        yield f"journal entry {entry_id} is off by {total} {currency}"


def every_entry_is_whole(tenant_id: UUID | None) -> Iterator[str]:
    """Every journal entry has all its legs, and at least two."""
    for entry_id, legs, found in rows_that_break(_INCOMPLETE, tenant_id):
        yield f"journal entry {entry_id} has {found} of {legs} postings"


def postings_match_their_accounts(tenant_id: UUID | None) -> Iterator[str]:
    """A posting has the currency of its account, and the tenant of both account and entry."""
    for posting_id, currency, accounts in rows_that_break(_STRAY, tenant_id):
        yield f"posting {posting_id} in {currency} is on an account in {accounts} or of others"


def every_currency_adds_up_to_zero(tenant_id: UUID | None) -> Iterator[str]:
    """All postings of a tenant add up to zero in every currency."""
    for owner, currency, total in rows_that_break(_OUT_OF_BALANCE, tenant_id):
        yield f"the books of tenant {owner} are off by {total} {currency}"


def reversals_are_exact(tenant_id: UUID | None) -> Iterator[str]:
    """A reversal is the exact negation, account by account, of what it reverses."""
    for entry_id, reverses in rows_that_break(_NOT_NEGATED, tenant_id):
        yield f"journal entry {entry_id} does not negate {reverses}"


RULES: Final[tuple[Rule, ...]] = (
    every_entry_balances,
    every_entry_is_whole,
    postings_match_their_accounts,
    every_currency_adds_up_to_zero,
    reversals_are_exact,
)
