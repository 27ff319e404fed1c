"""Burning credit as usage comes in: a reader that skips no event and burns none twice.

As the reader of the rollups, it takes an event once its transaction lies below the horizon of a
snapshot: then none that could still store an event with a lower number is running. One reader at
a time; the frontier moves in the transaction that burns. Where an invoice is issued, or time is
moved, what the reader has not come to burns ahead of it, and it passes over that: docs/adr/0011.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.core.ids import new_ids
from apps.core.locks import lock_rows
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.customers.queries import customer_now, on_clock
from apps.wallets.domain import Settlement
from apps.wallets.models import BurnedAhead, Wallet
from apps.wallets.operations.till import Till, open_till
from apps.wallets.operations.topping_off import close_till
from apps.wallets.operations.usage import Reading, burn_read

CHUNK_EVENTS: Final = 10_000
ACTOR: Final = "system:wallets.burn_usage"
_LOCK: Final = 4_803_112_022  # of this reader, among advisory locks

_HORIZON: Final = "SELECT first, below, is_any, bound FROM wallets_horizon(%s)"
# whose credit burns by events, and who used something or had usage amended
_WHOSE: Final = """
SELECT w.customer_id, w.id FROM wallets_wallet w
WHERE w.tenant_id = %(tenant)s AND w.settlement = 'on_event' AND w.customer_id IN (
  SELECT e.customer_id FROM metering_usageevent e
  WHERE e.tenant_id = %(tenant)s
    AND e.ingest_xid >= %(first)s::text::xid8 AND e.ingest_xid < %(below)s::text::xid8
  UNION
  SELECT x.customer_id FROM metering_eventeffect x
  WHERE x.tenant_id = %(tenant)s
    AND x.xid >= %(first)s::text::xid8 AND x.xid < %(below)s::text::xid8)
"""
# Mark that all has burned that is visible now, and tell what was so marked before; and where the
# reader stands.
_MARK: Final = """
WITH asked AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS a(id, customer)),
now AS MATERIALIZED (
  SELECT core_counted(f.below_xid) AS first, core_snapshot() AS snapshot FROM wallets_burnfrontier f
),
written AS (
  INSERT INTO wallets_burnedahead (id, tenant_id, customer_id, snapshot)
  SELECT a.id, %s, a.customer, n.snapshot::text FROM asked a CROSS JOIN now n ORDER BY a.customer
  ON CONFLICT (customer_id) DO UPDATE SET snapshot = excluded.snapshot
)
SELECT a.customer, b.snapshot, n.first, n.snapshot::text, pg_snapshot_xmax(n.snapshot)::text
FROM asked a CROSS JOIN now n
LEFT JOIN wallets_burnedahead b ON b.customer_id = a.customer
"""


def burn_usage(*, wall: datetime) -> int:
    """Burn credit for every event that can be read, and give back what amendments took out.

    Returns how much was looked at. Safe to run at any time, twice at once and after any crash: each
    event burns once, for ever, also where nothing could be burned. It burns credit that is valid
    when the reader sees it, by its customer's clock or else ``wall``.
    """
    seen = 0
    while (step := _advance(wall)) is not None:
        seen += step
    return seen


def burn_ahead(till: Till, customer_ids: Iterable[UUID], *, tenant_id: UUID) -> int:
    """Burn now what is visible of customers and not burned yet; return how much was read.

    In the caller's transaction, which has all their wallets that are settled on event in ``till``,
    and stores what was done. The reader passes over it.
    """
    customers = sorted(set(customer_ids))
    if not customers:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [new_ids(len(customers)), customers, tenant_id])
        rows = cursor.fetchall()
    *_, first, snapshot, below = rows[0]
    befores = {customer: before for customer, before, *_ in rows}
    return burn_read(till, Reading(tenant_id, befores, first, int(below), snapshot))


@transaction.atomic
def burn_on_clock(at: datetime, *, clock_id: UUID, tenant_id: UUID) -> int:
    """Burn ahead for everybody on a test clock, whose time ``at`` is; return how much was read.

    So that on that clock nothing is burned after the time at which it was sent, however long the
    reader has to wait.
    """
    wallets = dict(
        Wallet.objects.filter(
            on_clock(clock_id, "customer__"), tenant_id=tenant_id, settlement=Settlement.ON_EVENT
        ).values_list("id", "customer_id")
    )
    if not wallets:
        return 0
    till = open_till(wallets, tenant_id=tenant_id, actor=ACTOR, at=at)
    read = burn_ahead(till, wallets.values(), tenant_id=tenant_id)
    close_till(till)
    return read


@transaction.atomic
def _advance(wall: datetime) -> int | None:
    """Burn for a chunk of events and move the frontier; None if there are none, or no turn."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(_HORIZON, [CHUNK_EVENTS])
        first, horizon, is_any, bound = cursor.fetchone()
        if not is_any:
            return None
        below = horizon if bound is None else min(bound, horizon)
        cursor.execute("UPDATE wallets_burnfrontier SET below_xid = %s", [below])
    failpoint("wallets.burn.after_frontier")
    burned = 0
    for tenant_id in tenants_by("wallets_tenants_to_burn", str(first), str(below)):
        with tenant_scope(tenant_id):
            burned += _burn_of(tenant_id, first, below, wall)
    failpoint("wallets.burn.before_commit")
    return burned


def _burn_of(tenant_id: UUID, first: int, below: int, wall: datetime) -> int:
    """Burn for a tenant's customers, in one till per time."""
    with connection.cursor() as cursor:
        cursor.execute(_WHOSE, {"tenant": tenant_id, "first": str(first), "below": str(below)})
        wallets = defaultdict(list)
        for customer_id, wallet_id in cursor.fetchall():
            wallets[customer_id].append(wallet_id)
    customers = Customer.objects.filter(tenant_id=tenant_id, id__in=wallets)
    together: dict[datetime, list[UUID]] = defaultdict(list)
    for one in customers.select_related("test_clock", "tenant__test_clock"):
        together[customer_now(one, wall=wall)].append(one.id)
    if len(together) > 1:  # all at once, in the order in which everybody locks them
        ids = [wallet_id for listed in wallets.values() for wallet_id in listed]
        lock_rows(Wallet, ids, tenant_id=tenant_id)
    read = 0
    for at, chunk in together.items():
        ids = [wallet_id for customer_id in chunk for wallet_id in wallets[customer_id]]
        till = open_till(ids, tenant_id=tenant_id, actor=ACTOR, at=at)
        failpoint("wallets.burn.after_lock")
        # read only now: while the wallets were waited for, an invoice may have burned ahead
        ahead = dict(
            BurnedAhead.objects.filter(customer__in=chunk).values_list("customer_id", "snapshot")
        )
        befores = {customer_id: ahead.get(customer_id) for customer_id in chunk}
        read += burn_read(till, Reading(tenant_id, befores, first, below))
        close_till(till)
    return read
