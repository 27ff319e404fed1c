"""What customers' events and amendments do to credit that burns by events.

A reading is a set of transactions: those between two numbers, or visible in a snapshot, without
what was read before for each customer. Whoever reads holds the locks of the customers' wallets
from before he reads, so that nobody else burns the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from apps.core.money import ARITHMETIC, EXACT
from apps.subscriptions.queries import held_by
from apps.wallets.domain import ZERO, Insufficient, Settlement, Thing, WalletStatus
from apps.wallets.models import CreditPrice, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.returning import Voided, return_usage, return_voided
from apps.wallets.operations.till import Till

_PLACES: Final = Decimal("1e-12")

# Of a customer nothing that is visible in ``before`` is read again. Customers are compared as text,
# so that the index of customers, with all that they ever used, is of no use here.
_ASKED: Final = """
asked AS MATERIALIZED (
  SELECT * FROM unnest(%(customers)s::text[], %(befores)s::text[]) AS a(customer, before)
)
"""
_IS_READ: Final = """
{xid} >= %(first)s::text::xid8 AND {xid} < %(below)s::text::xid8
AND coalesce(pg_visible_in_snapshot({xid}, %(snapshot)s::pg_snapshot), true)
AND coalesce(NOT pg_visible_in_snapshot({xid}, a.before::pg_snapshot), true)
"""
_SIGNS: Final = """
coalesce((SELECT sum(y.sign) FROM metering_eventeffect y WHERE y.seq = {seq}), 0)
"""
# What the newest version of each priced meter of the tenant counts: of events that came, and of
# those that an undone amendment lets count again, which burn under another name. What does not count
# by now does not burn.
_CAME: Final = f"""
WITH {_ASKED},
priced AS (
  SELECT DISTINCT ON (v.meter_id) v.*, m.key
  FROM metering_meterversion v JOIN metering_meter m ON m.id = v.meter_id
  WHERE v.tenant_id = %(tenant)s AND EXISTS (SELECT FROM wallets_creditprice c
                                             WHERE c.meter_id = v.meter_id)
  ORDER BY v.meter_id, v.number DESC
),
came AS MATERIALIZED (
  SELECT e.*, '' AS again FROM metering_usageevent e JOIN asked a ON a.customer = e.customer_id::text
  WHERE e.tenant_id = %(tenant)s AND {_IS_READ.format(xid="e.ingest_xid")}
  UNION ALL
  SELECT e.*, ':' || r.number FROM (
    SELECT x.seq, x.event_id, x.occurred_at, max(x.number) AS number
    FROM metering_eventeffect x JOIN asked a ON a.customer = x.customer_id::text
    WHERE x.tenant_id = %(tenant)s AND x.sign = 1 AND {_IS_READ.format(xid="x.xid")}
      AND NOT ({_IS_READ.format(xid="x.event_xid")})
    GROUP BY 1, 2, 3) AS r
  JOIN metering_usageevent e ON e.occurred_at = r.occurred_at AND e.id = r.event_id
  WHERE coalesce((SELECT sum(t.amount) FROM wallets_credittransaction t
                  WHERE t.event_id = r.event_id), 0) = 0
)
SELECT e.customer_id, e.subscription_id, e.id, e.occurred_at, p.meter_id, p.key,
       CASE WHEN p.aggregation = 'count' THEN 1 ELSE s.counted END, e.again
FROM came e
JOIN priced p ON p.event_name = e.event_name
CROSS JOIN LATERAL metering_seen(p.aggregation, p.value_property, p.group_by::text[], p.filters,
                                 e.value, e.properties) AS s
WHERE CASE WHEN (SELECT EXISTS (SELECT FROM metering_eventamendment m
                                WHERE m.tenant_id = %(tenant)s))
           THEN {_SIGNS.format(seq="e.seq")} = 0 ELSE true END
ORDER BY e.customer_id, e.seq, p.meter_id
"""  # noqa: S608 -- constants
_VOIDED: Final = f"""
WITH {_ASKED}
SELECT x.event_id, x.subscription_id, x.occurred_at, max(x.number)
FROM metering_eventeffect x JOIN asked a ON a.customer = x.customer_id::text
WHERE x.tenant_id = %(tenant)s AND x.sign = -1 AND {_IS_READ.format(xid="x.xid")}
  AND {_SIGNS.format(seq="x.seq")} <> 0
GROUP BY 1, 2, 3 ORDER BY 4
"""  # noqa: S608 -- constants


@dataclass(frozen=True, slots=True)
class Reading:
    """Transactions of [first, below), visible in ``snapshot`` where there is one.

    Less, for each customer, what is visible in a snapshot by which all had been read before.
    """

    tenant_id: UUID
    customers: Mapping[UUID, str | None]
    first: int
    below: int
    snapshot: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The reading as its statements want it."""
        return {
            "tenant": self.tenant_id,
            "customers": [str(one) for one in self.customers],
            "befores": list(self.customers.values()),
            "first": str(self.first),
            "below": str(self.below),
            "snapshot": self.snapshot,
        }


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
    again: str  # what tells this burning from earlier ones of the same event


def burn_read(till: Till, reading: Reading) -> int:
    """Give back what was voided and burn what came; return how much was read.

    ``till`` has all wallets of the customers in hand that are settled on event. What of it may be
    stored before this returns is told by ``return_usage``.
    """
    voided = [Voided(*row) for row in _rows(_VOIDED, reading)]
    if voided:
        return_voided(till, voided)
    uses = [_Use(*row) for row in _rows(_CAME, reading)]
    if uses:
        _burn_all(till, uses)
    return len(uses) + len(voided)


def _rows(statement: str, reading: Reading) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, reading.parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _burn_all(till: Till, uses: Sequence[_Use]) -> None:
    prices = _prices({one.meter_id for one in uses})
    of_customer: dict[UUID, list[Wallet]] = defaultdict(list)
    for wallet in sorted(till.wallets.values(), key=lambda one: (one.priority, one.id)):
        if wallet.settlement == Settlement.ON_EVENT and wallet.status != WalletStatus.CLOSED:
            of_customer[wallet.customer_id].append(wallet)
    holding = _Holding(of_customer)
    for use in uses:
        _burn(till, use, of_customer[use.customer_id], prices, holding)


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
        source_key=f"{use.event_id.hex}:{use.meter_id.hex}{use.again}",
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
    """Give back what an event takes off the usage before it, the wallet that burned last first."""
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
