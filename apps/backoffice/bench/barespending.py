"""The limit of spending: the same rows written by SQL, in tables that look the same."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Barrier
from time import perf_counter
from typing import Final
from uuid import UUID

from django.db import connections, transaction
from psycopg import sql

from apps.backoffice.bench.scratch import OWNER

_SCHEMA: Final = "bench_spending"
_COPIED: Final = ("wallets_wallet", "wallets_creditgrant", "wallets_credittransaction")
# the columns of a transaction, from a wallet w, a grant g, and what is named here
_ENTRY: Final = """
(id, tenant_id, wallet_id, number, kind, grant_id, amount, balance_after, grant_after, value,
 covers, source_key, reason, place, places, because, event_id, used_at, actor, at)
SELECT gen_random_uuid(), w.tenant_id, w.id, {number}, 'consume', g.id, -{amount}, w.balance,
       g.remaining, -{amount}, 0, {source}, '', 1, 1, 'age', {event}, {used_at}, 'system:bench',
       now()
"""
_HOT: Final = """
WITH w AS (UPDATE {wallets} SET balance = balance - 1, entries = entries + 1
           WHERE id = %s RETURNING *),
     g AS (UPDATE {grants} SET remaining = remaining - 1, value_left = value_left - 1
           WHERE wallet_id = %s RETURNING *)
INSERT INTO {entries} {entry} FROM w, g
"""
_ALL: Final = """
WITH used AS (
  SELECT e.id, e.customer_id, e.occurred_at,
         0.01 * CASE e.event_name WHEN 'calls' THEN 1 ELSE e.value END AS amount
  FROM metering_usageevent e WHERE e.event_name = ANY (%s)),
  total AS (SELECT customer_id, sum(amount) AS amount, count(*) AS number
            FROM used GROUP BY customer_id),
  w AS (UPDATE {wallets} o SET balance = balance - t.amount, entries = entries + t.number
        FROM total t WHERE t.customer_id = o.customer_id RETURNING o.*),
  g AS (UPDATE {grants} o SET remaining = remaining - t.amount, value_left = value_left - t.amount
        FROM total t JOIN {wallets} s ON s.customer_id = t.customer_id
        WHERE o.wallet_id = s.id RETURNING o.*)
INSERT INTO {entries} {entry}
FROM used u JOIN w ON w.customer_id = u.customer_id JOIN g ON g.wallet_id = w.id
"""


@dataclass(frozen=True, slots=True)
class Bare:
    """Statements over copies of the tables, without foreign keys and triggers."""

    hot: sql.Composed
    all: sql.Composed


@contextmanager
def bare() -> Iterator[Bare]:
    """Make copies of the tables with all their rows, checks and indexes; drop them in the end."""
    schema = sql.Identifier(_SCHEMA)
    with connections[OWNER].cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        for name in _COPIED:
            table, clone = sql.Identifier(name), sql.Identifier(_SCHEMA, name)
            cursor.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(clone, table))
            cursor.execute(sql.SQL("INSERT INTO {} SELECT * FROM {}").format(clone, table))
        cursor.execute("ANALYZE")
    names = dict(
        zip(
            ("wallets", "grants", "entries"),
            (sql.Identifier(_SCHEMA, name) for name in _COPIED),
            strict=True,
        )
    )
    hot = {"number": "w.entries", "amount": "1", "source": "gen_random_uuid()::text"}
    burned = {
        "number": "w.entries - row_number() OVER (PARTITION BY w.id) + 1",
        "amount": "u.amount",
        "source": "u.id::text",
    }
    try:
        yield Bare(
            _filled(_HOT, names, {**hot, "event": "NULL::uuid", "used_at": "NULL::timestamptz"}),
            _filled(_ALL, names, {**burned, "event": "u.id", "used_at": "u.occurred_at"}),
        )
    finally:
        with connections[OWNER].cursor() as cursor:
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(schema))


def spend_hot(tables: Bare, wallet_id: UUID, count: int, *, spenders: int) -> float:
    """Take 1 from a wallet so many times by each of the connections; return the seconds it takes."""
    ready = Barrier(spenders)

    def spend() -> tuple[float, float]:
        own = connections[OWNER]
        try:
            own.ensure_connection()
            ready.wait()
            began = perf_counter()
            for _ in range(count):
                with transaction.atomic(OWNER), own.cursor() as cursor:
                    cursor.execute(tables.hot, [wallet_id, wallet_id])
            return began, perf_counter()
        finally:
            own.close()

    # threads will do: they wait for the server nearly all of the time
    with ThreadPoolExecutor(spenders) as pool:
        times = [future.result() for future in [pool.submit(spend) for _ in range(spenders)]]
    return max(ended for _, ended in times) - min(began for began, _ in times)


def spend_all(tables: Bare, event_names: Sequence[str]) -> None:
    """Take from every wallet what the events of its customer cost, in one statement."""
    with transaction.atomic(OWNER), connections[OWNER].cursor() as cursor:
        cursor.execute(tables.all, [list(event_names)])


def _filled(
    statement: str, names: dict[str, sql.Identifier], values: dict[str, str]
) -> sql.Composed:
    entry = sql.SQL(_ENTRY).format(**{name: sql.SQL(text) for name, text in values.items()})
    return sql.SQL(statement).format(**names, entry=entry)
