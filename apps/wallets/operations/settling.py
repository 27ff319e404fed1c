"""Taking off documents what was burned event by event for the same usage."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from apps.core.ids import encode, new_id
from apps.core.money import EXACT
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.wallets.domain import ZERO, refundable
from apps.wallets.models import UsageSettlement
from apps.wallets.operations.asking import Asking, Line

# of each line's meter and time: what burned, and what documents that count took off
_BURNED: Final = """
SELECT l.line_id,
       coalesce((
         SELECT -sum(t.amount * coalesce(u.rate, 1))
         FROM wallets_wallet w
         LEFT JOIN wallets_creditunit u ON u.id = w.unit_id
         JOIN wallets_credittransaction t ON t.wallet_id = w.id AND t.event_id IS NOT NULL
         WHERE w.customer_id = l.customer_id AND w.settlement = 'on_event'
           AND w.currency = l.currency AND t.meter_id = l.meter_id
           AND t.used_at >= l.starts AND t.used_at < l.ends
           AND (t.subscription_id IS NULL OR t.subscription_id = l.subscription_id)), 0),
       coalesce((
         SELECT sum(s.amount) FROM wallets_usagesettlement s
         WHERE s.customer_id = l.customer_id AND s.meter_id = l.meter_id
           AND s.currency = l.currency
           AND s.service_start < l.ends AND s.service_end > l.starts
           AND NOT EXISTS (SELECT FROM wallets_settlementundone d
                           WHERE d.invoice_id = s.invoice_id)), 0)
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::timestamptz[],
            %s::timestamptz[])
     AS l(line_id, customer_id, currency, meter_id, subscription_id, starts, ends)
"""


class Settling:
    """What burned for the usage that documents ask for, and what of it is taken off them.

    Together documents take off what burned, as far as they ask for that usage: where less has
    burned by now, because usage became less, a line that gives money back gives less of it.
    """

    def __init__(self, asking: Sequence[Asking], *, tenant_id: UUID) -> None:
        self._tenant_id = tenant_id
        self._rows: list[UsageSettlement] = []
        self._burned: dict[UUID, tuple[Decimal, Decimal]] = {}
        lines = [(one, line) for one in asking for line in one.lines if line.meter_id is not None]
        if not lines:
            return
        with connection.cursor() as cursor:
            cursor.execute(
                _BURNED,
                [
                    [line.id for _, line in lines],
                    [one.customer_id for one, _ in lines],
                    [one.currency for one, _ in lines],
                    [line.meter_id for _, line in lines],
                    [line.subscription_id for _, line in lines],
                    [line.service_start for _, line in lines],
                    [line.service_end for _, line in lines],
                ],
            )
            self._burned = {line_id: figures for line_id, *figures in cursor.fetchall()}

    def take_off(self, one: Asking, line: Line, most: Decimal) -> Decimal:
        """Take off a line what burned and was not taken off yet; return it, at most ``most``."""
        burned, settled = self._figures(one, line)
        there = refundable(max(EXACT.subtract(burned, settled), ZERO), one.currency)
        return self._settle(one, line, min(there, most))

    def put_back(self, one: Asking, line: Line, most: Decimal) -> Decimal:
        """Return what was taken off for the line's usage and came back to wallets since.

        At most ``most`` of it: so much of what the line gives back is no money.
        """
        burned, settled = self._figures(one, line)
        over = EXACT.subtract(settled, refundable(max(burned, ZERO), one.currency))
        return -self._settle(one, line, -min(max(over, ZERO), most))

    def store(self, *, at: datetime) -> None:
        """Write it down, in the books too."""
        UsageSettlement.objects.bulk_create(self._rows)
        totals: dict[tuple[UUID, UUID, str], Decimal] = {}
        for row in self._rows:
            key = (row.invoice_id, row.customer_id, row.currency)
            totals[key] = EXACT.add(totals.get(key, ZERO), row.amount)
        facts = [
            Fact(
                kind=FactKind.USAGE_SETTLED,
                tenant_id=self._tenant_id,
                source_key=usage_key(invoice_id),
                effective_at=at,
                currency=currency,
                customer_id=customer_id,
                amounts={Amount.MOVED: total},
            )
            for (invoice_id, customer_id, currency), total in totals.items()
            if total
        ]
        post_all([entry_for(fact) for fact in facts], at=at)

    def _figures(self, one: Asking, line: Line) -> tuple[Decimal, Decimal]:
        """Return what burned for a line's usage and what is taken off for it so far."""
        burned, settled = self._burned.get(line.id, (ZERO, ZERO))
        now = sum(
            (
                row.amount
                for row in self._rows
                if (row.customer_id, row.currency) == (one.customer_id, one.currency)
                and row.meter_id == line.meter_id
                and row.service_start < line.service_end
                and row.service_end > line.service_start
            ),
            ZERO,
        )
        return burned, EXACT.add(settled, now)

    def _settle(self, one: Asking, line: Line, amount: Decimal) -> Decimal:
        if not amount or line.meter_id is None:
            return ZERO
        self._rows.append(
            UsageSettlement(
                id=new_id(),
                tenant_id=self._tenant_id,
                customer_id=one.customer_id,
                invoice_id=one.invoice_id,
                line_id=line.id,
                meter_id=line.meter_id,
                service_start=line.service_start,
                service_end=line.service_end,
                amount=amount,
                currency=one.currency,
            )
        )
        return amount


def usage_key(invoice_id: UUID) -> str:
    """Return under which name the books have what a document takes off."""
    return f"{encode('inv', invoice_id)}:usage"
