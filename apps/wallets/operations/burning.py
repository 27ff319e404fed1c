"""Burning credit as usage comes in: a reader that skips no event and burns none twice.

As the reader of the rollups, it takes an event once its transaction lies below the horizon of a
snapshot: then none that could still store an event with a lower number is running. One reader at
a time; the frontier moves in the transaction that burns.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.core.money import ARITHMETIC, EXACT
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.subscriptions.queries import held_by
from apps.wallets.domain import ZERO, Insufficient, Settlement, Thing, WalletStatus
from apps.wallets.models import CreditPrice, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.returning import return_usage
from apps.wallets.operations.till import Till, open_till
from apps.wallets.operations.topping_off import close_till
from apps.wallets.queries import is_settled

CHUNK_EVENTS: Final = 10_000
ACTOR: Final = "system:wallets.burn_usage"
_PLACES: Final = Decimal("1e-12")
_LOCK: Final = 4_803_112_022  # of this reader, among advisory locks

_HORIZON: Final = "SELECT first, below, is_any, bound FROM wallets_horizon(%s)"
# what the newest version of each priced meter of the tenant counts, for customers whose credit burns
# by events
_USED: Final = """
WITH priced AS (
  SELECT DISTINCT ON (v.meter_id) v.*, m.key
  FROM metering_meterversion v JOIN metering_meter m ON m.id = v.meter_id
  WHERE v.tenant_id = %s AND EXISTS (SELECT FROM wallets_creditprice c
                                     WHERE c.meter_id = v.meter_id)
  ORDER BY v.meter_id, v.number DESC
)
SELECT e.customer_id, e.subscription_id, e.id, e.occurred_at, p.meter_id, p.key,
       CASE WHEN p.aggregation = 'count' THEN 1 ELSE s.counted END
FROM metering_usageevent e
JOIN priced p ON p.tenant_id = e.tenant_id AND p.event_name = e.event_name
CROSS JOIN LATERAL metering_seen(p.aggregation, p.value_property, p.group_by::text[], p.filters,
                                 e.value, e.properties) AS s
WHERE e.tenant_id = %s AND e.ingest_xid >= %s::text::xid8 AND e.ingest_xid < %s::text::xid8
  AND EXISTS (SELECT FROM wallets_wallet w
              WHERE w.customer_id = e.customer_id AND w.settlement = 'on_event'
                AND w.status <> 'closed')
ORDER BY e.customer_id, e.seq, p.meter_id
"""


@dataclass(frozen=True, slots=True)
class _Use:
    """What one event used of one meter."""

    customer_id: UUID
    subscription_id: UUID | None
    event_id: UUID
    occurred_at: datetime
    meter_id: UUID
    meter: str
    quantity: Decimal


def burn_usage(*, wall: datetime) -> int:
    """Burn credit for every event that can be read; return how many events were looked at.

    Safe to run at any time, twice at once and after any crash: each event burns once, for ever,
    also where nothing could be burned. It burns credit that is valid when the reader sees it, by
    its customer's clock or else ``wall``.
    """
    seen = 0
    while (step := _advance(wall)) is not None:
        seen += step
    return seen


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
            uses = _uses(tenant_id, first, below)
            _burn_all(tenant_id, uses, wall)
            burned += len(uses)
    failpoint("wallets.burn.before_commit")
    return burned


def _uses(tenant_id: UUID, first: int, below: int) -> list[_Use]:
    with connection.cursor() as cursor:
        cursor.execute(_USED, [tenant_id, tenant_id, str(first), str(below)])
        return [_Use(*row) for row in cursor.fetchall()]


def _burn_all(tenant_id: UUID, uses: Sequence[_Use], wall: datetime) -> None:
    """Burn in one till per time."""
    customers = Customer.objects.filter(
        tenant_id=tenant_id, id__in={one.customer_id for one in uses}
    )
    times = {
        one.id: customer_now(one, wall=wall)
        for one in customers.select_related("test_clock", "tenant__test_clock")
    }
    together: dict[datetime, list[_Use]] = defaultdict(list)
    for use in uses:
        together[times[use.customer_id]].append(use)
    prices = _prices({one.meter_id for one in uses})
    for at, chunk in together.items():
        wallets = Wallet.objects.filter(
            customer_id__in={one.customer_id for one in chunk},
            settlement=Settlement.ON_EVENT,
        ).exclude(status=WalletStatus.CLOSED)
        till = open_till(
            list(wallets.values_list("id", flat=True)), tenant_id=tenant_id, actor=ACTOR, at=at
        )
        of_customer: dict[UUID, list[Wallet]] = defaultdict(list)
        for wallet in sorted(till.wallets.values(), key=lambda one: (one.priority, one.id)):
            of_customer[wallet.customer_id].append(wallet)
        holding = _Holding(of_customer)
        for use in chunk:
            _burn(till, use, of_customer[use.customer_id], prices, holding)
        close_till(till)


class _Holding:
    """The subscriptions that customers have, asked for once somebody is short of credit."""

    def __init__(self, customer_ids: Iterable[UUID]) -> None:
        self._customer_ids = customer_ids
        self._found: dict[UUID, list[UUID]] | None = None

    def of(self, use: _Use) -> list[UUID]:
        """Return whose usage it is: the subscription named, or else all of the customer's."""
        if use.subscription_id is not None:
            return [use.subscription_id]
        if self._found is None:
            self._found = held_by(self._customer_ids)
        return self._found.get(use.customer_id, [])


def _burn(
    till: Till,
    use: _Use,
    wallets: Sequence[Wallet],
    prices: dict[tuple[UUID, UUID | None, str], Decimal],
    holding: _Holding,
) -> None:
    thing = Thing(meter=use.meter)
    purpose = Purpose(
        source_key=f"{use.event_id.hex}:{use.meter_id.hex}",
        thing=thing,
        meter_id=use.meter_id,
        subscription_id=use.subscription_id,
        event_id=use.event_id,
        used_at=use.occurred_at,
    )
    if use.quantity < 0:
        _take_less(till, wallets, use, purpose, prices)
        return
    quantity, last, short = use.quantity, None, ZERO
    for wallet in wallets:
        price = prices.get(
            (use.meter_id, wallet.unit_id, "" if wallet.unit_id else wallet.currency)
        )
        if quantity <= 0 or price is None or not wallet.scope.covers(thing):
            continue
        amount = EXACT.multiply(quantity, price).quantize(_PLACES, ROUND_HALF_UP, ARITHMETIC)
        if amount <= 0:
            continue
        short, last = till.spend(wallet, amount, purpose).short, wallet
        quantity = ARITHMETIC.divide(short, price)
    if last is not None and short and last.insufficient != Insufficient.INVOICE:
        till.fall_short(last, short, holding.of(use), meter=use.meter)


def _take_less(
    till: Till,
    wallets: Sequence[Wallet],
    use: _Use,
    purpose: Purpose,
    prices: dict[tuple[UUID, UUID | None, str], Decimal],
) -> None:
    """Give back what an event takes off the usage before it, the wallet that burned last first.

    Not where an invoice has asked for that usage already: the next one gives it back in money.
    """
    if is_settled(use.customer_id, use.meter_id, use.occurred_at):
        return
    quantity = -use.quantity
    for wallet in reversed(wallets):
        price = prices.get(
            (use.meter_id, wallet.unit_id, "" if wallet.unit_id else wallet.currency)
        )
        if quantity <= 0 or price is None:
            continue
        credit = EXACT.multiply(quantity, price).quantize(_PLACES, ROUND_HALF_UP, ARITHMETIC)
        returned = return_usage(till, wallet, credit, purpose)
        quantity = ARITHMETIC.divide(EXACT.subtract(credit, returned), price)


def _prices(meter_ids: set[UUID]) -> dict[tuple[UUID, UUID | None, str], Decimal]:
    rows = CreditPrice.objects.filter(meter_id__in=meter_ids)
    return {
        (meter_id, unit_id, currency): price
        for meter_id, unit_id, currency, price in rows.values_list(
            "meter_id", "unit_id", "currency", "price"
        )
    }
