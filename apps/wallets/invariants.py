"""What wallets must never show; every line yielded is a row that must not exist."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from apps.core.books import Rule, rows_that_break
from apps.core.ids import encode
from apps.wallets.models import CreditGrant, CreditHold, CreditTransaction, Wallet

_BALANCES: Final = """
SELECT w.id, w.balance, coalesce(t.total, 0), coalesce(g.remaining, 0) - w.overdrawn
FROM wallets_wallet w
LEFT JOIN (SELECT wallet_id, sum(amount) AS total FROM wallets_credittransaction
           GROUP BY wallet_id) t ON t.wallet_id = w.id
LEFT JOIN (SELECT wallet_id, sum(remaining) AS remaining FROM wallets_creditgrant
           GROUP BY wallet_id) g ON g.wallet_id = w.id
WHERE (%(tenant)s::uuid IS NULL OR w.tenant_id = %(tenant)s)
  AND (w.balance <> coalesce(t.total, 0)
       OR w.balance <> coalesce(g.remaining, 0) - w.overdrawn
       OR w.balance < -w.overdraft_limit)
"""
_GRANTS: Final = """
SELECT g.id, g.remaining, coalesce(t.total, 0) FROM wallets_creditgrant g
LEFT JOIN (SELECT grant_id, sum(amount) AS total, sum(amount) FILTER (WHERE kind = 'grant') AS given
           FROM wallets_credittransaction GROUP BY grant_id) t ON t.grant_id = g.id
WHERE (%(tenant)s::uuid IS NULL OR g.tenant_id = %(tenant)s)
  AND (g.remaining <> coalesce(t.total, 0) OR g.remaining < 0
       OR (g.available_at IS NULL) <> (t.given IS NULL)
       OR t.given <> g.amount)
"""
_CHAIN: Final = """
SELECT id FROM (
  SELECT t.id, t.number, t.balance_after, t.amount,
         lag(t.balance_after, 1, 0) OVER w AS before, row_number() OVER w AS place
  FROM wallets_credittransaction t
  WHERE %(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s
  WINDOW w AS (PARTITION BY t.wallet_id ORDER BY t.number)) c
WHERE number <> place OR balance_after <> before + amount
"""
_HOLDS: Final = """
SELECT w.id, w.held, coalesce(h.amount, 0), coalesce(g.held, 0) FROM wallets_wallet w
LEFT JOIN (SELECT wallet_id, sum(amount) AS amount FROM wallets_credithold
           WHERE status = 'open' GROUP BY wallet_id) h ON h.wallet_id = w.id
LEFT JOIN (SELECT wallet_id, sum(held) AS held FROM wallets_creditgrant
           GROUP BY wallet_id) g ON g.wallet_id = w.id
WHERE (%(tenant)s::uuid IS NULL OR w.tenant_id = %(tenant)s)
  AND (w.held <> coalesce(h.amount, 0) OR w.held <> coalesce(g.held, 0))
"""
_HOLD_ENTRIES: Final = """
SELECT h.id, h.status, h.amount FROM wallets_credithold h
LEFT JOIN (SELECT hold_id, -sum(amount) FILTER (WHERE kind = 'hold') AS held,
                  coalesce(sum(amount) FILTER (WHERE kind = 'release'), 0) AS released,
                  coalesce(-sum(amount) FILTER (WHERE kind = 'consume'), 0) AS consumed
           FROM wallets_credittransaction WHERE hold_id IS NOT NULL GROUP BY hold_id) t
  ON t.hold_id = h.id
WHERE (%(tenant)s::uuid IS NULL OR h.tenant_id = %(tenant)s)
  AND (t.held, t.released, t.consumed) IS DISTINCT FROM
      (h.amount, CASE WHEN h.status = 'open' THEN 0 ELSE h.amount END, h.captured)
"""
_USED_LATE: Final = """
SELECT t.id, t.grant_id FROM wallets_credittransaction t
JOIN wallets_creditgrant g ON g.id = t.grant_id
WHERE (%(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s)
  AND t.kind IN ('consume', 'hold') AND t.source_key NOT LIKE 'overdraft %%'
  AND ((t.at >= g.expires_at AND NOT (t.kind = 'consume' AND t.hold_id IS NOT NULL))
       OR t.at < g.effective_at)
"""
_LIABILITY: Final = """
WITH booked AS (
  SELECT a.tenant_id, a.currency, -sum(p.amount) AS total
  FROM ledger_ledgeraccount a JOIN ledger_posting p ON p.account_id = a.id
  WHERE a.kind = 'credit_liability' GROUP BY a.tenant_id, a.currency),
owed AS (
  SELECT tenant_id, currency, sum(total) AS total FROM (
    SELECT w.tenant_id, w.currency, g.value_left AS total
    FROM wallets_creditgrant g JOIN wallets_wallet w ON w.id = g.wallet_id WHERE g.kind = 'paid'
    UNION ALL
    SELECT tenant_id, currency, -overdrawn_value FROM wallets_wallet) owed
  GROUP BY tenant_id, currency)
SELECT currency, coalesce(b.total, 0), coalesce(o.total, 0)
FROM booked b FULL JOIN owed o USING (tenant_id, currency)
WHERE (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
  AND coalesce(b.total, 0) <> coalesce(o.total, 0)
"""
_CROWDED: Final = """
SELECT wallet_id, count(*) FROM wallets_creditgrant
WHERE source = 'top_off' AND status IN ('pending', 'payment_failed')
  AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s)
GROUP BY wallet_id HAVING count(*) > 1
"""
_STRAY: Final = """
SELECT t.id FROM wallets_credittransaction t
JOIN wallets_wallet w ON w.id = t.wallet_id
JOIN customers_customer c ON c.id = w.customer_id
LEFT JOIN wallets_creditgrant g ON g.id = t.grant_id
LEFT JOIN metering_meter m ON m.id = t.meter_id
WHERE (%(tenant)s::uuid IS NULL OR t.tenant_id = %(tenant)s)
  AND (w.tenant_id <> t.tenant_id OR c.tenant_id <> t.tenant_id OR g.wallet_id <> t.wallet_id
       OR m.tenant_id <> t.tenant_id)
"""

_BURNED_TO_COME: Final = """
SELECT max(number) FROM (
  SELECT below_xid FROM wallets_burnfrontier
  UNION ALL
  SELECT pg_snapshot_xmax(snapshot::pg_snapshot)::text::bigint FROM wallets_burnedahead
  WHERE %(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s
) AS burned(number)
HAVING core_is_to_come(max(number))
"""


def balances_are_what_moved(tenant_id: UUID | None) -> Iterator[str]:
    """A wallet's balance is the sum of its transactions, and of what its grants have left."""
    for wallet, balance, moved, left in rows_that_break(_BALANCES, tenant_id):
        yield (
            f"{encode(Wallet.ID_PREFIX, wallet)} says {balance}; {moved} moved,"
            f" its grants have {left} left"
        )


def grants_have_what_moved(tenant_id: UUID | None) -> Iterator[str]:
    """What a grant has left is the sum of its transactions, since it was given once and whole."""
    for grant, left, moved in rows_that_break(_GRANTS, tenant_id):
        yield f"{encode(CreditGrant.ID_PREFIX, grant)} says {left} is left; {moved} moved"


def transactions_follow_each_other(tenant_id: UUID | None) -> Iterator[str]:
    """Transactions of a wallet are numbered from 1 without gaps, each going on from the last."""
    for (entry,) in rows_that_break(_CHAIN, tenant_id):
        yield f"{encode(CreditTransaction.ID_PREFIX, entry)} does not follow the one before it"


def holds_are_put_aside(tenant_id: UUID | None) -> Iterator[str]:
    """What a wallet holds is what its open holds are for, and what its grants have put aside."""
    for wallet, held, asked, aside in rows_that_break(_HOLDS, tenant_id):
        yield (
            f"{encode(Wallet.ID_PREFIX, wallet)} holds {held}; its holds are for {asked},"
            f" its grants put {aside} aside"
        )


def holds_end_once(tenant_id: UUID | None) -> Iterator[str]:
    """A hold put its amount aside, gave all of it back when it ended, and took what it captured."""
    for hold, status, amount in rows_that_break(_HOLD_ENTRIES, tenant_id):
        yield f"{encode(CreditHold.ID_PREFIX, hold)} over {amount} is {status}, but not so moved"


def credit_is_used_in_its_time(tenant_id: UUID | None) -> Iterator[str]:
    """Nothing is taken from a grant before it begins, or at or after its expiry but what was held."""
    for entry, grant in rows_that_break(_USED_LATE, tenant_id):
        yield (
            f"{encode(CreditTransaction.ID_PREFIX, entry)} used"
            f" {encode(CreditGrant.ID_PREFIX, grant)} outside its time"
        )


def liability_is_what_was_sold(tenant_id: UUID | None) -> Iterator[str]:
    """The liability for credit is what paid grants are still worth, less what was lent."""
    for currency, booked, owed in rows_that_break(_LIABILITY, tenant_id):
        yield f"credit of {owed} {currency} was sold and not used, but the books owe {booked}"


def one_top_off_is_in_flight(tenant_id: UUID | None) -> Iterator[str]:
    """A wallet has at most one top-off that is not paid."""
    for wallet, number in rows_that_break(_CROWDED, tenant_id):
        yield f"{encode(Wallet.ID_PREFIX, wallet)} has {number} top-offs in flight"


def transactions_are_of_their_wallet(tenant_id: UUID | None) -> Iterator[str]:
    """A transaction's wallet, customer, grant and meter are of its tenant and its wallet."""
    for (entry,) in rows_that_break(_STRAY, tenant_id):
        yield f"{encode(CreditTransaction.ID_PREFIX, entry)} refers to what is not its wallet's"


def nothing_to_come_has_burned(tenant_id: UUID | None) -> Iterator[str]:
    """All that has burned lies behind: what got such a number would not burn."""
    for (number,) in rows_that_break(_BURNED_TO_COME, tenant_id):
        yield f"what transactions below {number} stored has burned, and that is still to come"


RULES: Final[tuple[Rule, ...]] = (
    balances_are_what_moved,
    grants_have_what_moved,
    transactions_follow_each_other,
    holds_are_put_aside,
    holds_end_once,
    credit_is_used_in_its_time,
    liability_is_what_was_sold,
    one_top_off_is_in_flight,
    transactions_are_of_their_wallet,
    nothing_to_come_has_burned,
)
