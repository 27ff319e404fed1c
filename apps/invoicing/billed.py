"""Reading what was billed before of what is looked at."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from apps.invoicing.domain import SETTLEMENTS, LineKind
from apps.invoicing.lines import Billed, LineKey
from apps.invoicing.slicing import Charges, Reach, has_threshold, in_window
from apps.subscriptions.domain import ContractTerms, SubscriptionTerms

# canceled documents bill nothing, but their lines keep their place in the key's sequence
_BILLED: Final = """
SELECT i.customer_id, l.subscription_id, l.charge_id, l.kind, l.period_start, l.segment_start,
       l."group",
       coalesce(sum(l.amount) FILTER (WHERE i.status <> 'canceled'), 0),
       max(l.sequence) + 1,
       (array_agg(l.id ORDER BY l.sequence) FILTER (WHERE i.status <> 'canceled'))[1],
       (array_agg(l.period_end ORDER BY l.sequence))[1],
       (array_agg(l.service_start ORDER BY l.sequence))[1],
       (array_agg(l.service_end ORDER BY l.sequence))[1],
       (array_agg(l.description ORDER BY l.sequence))[1],
       (array_agg(l.unit ORDER BY l.sequence))[1],
       max(l.service_end) FILTER (WHERE i.status <> 'canceled')
FROM unnest(%s::uuid[], %s::timestamptz[]) AS w(subscription_id, since)
JOIN invoicing_invoiceline l
  ON l.subscription_id = w.subscription_id AND l.period_end >= w.since
JOIN invoicing_invoice i ON i.id = l.invoice_id AND i.status <> 'draft'
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


def billed_before(
    everybody: Mapping[UUID, Sequence[SubscriptionTerms]],
    reaches: Mapping[UUID, Reach],
    charges: Charges,
    contracts: Mapping[UUID, Sequence[ContractTerms]],
) -> dict[UUID, dict[LineKey, Billed]]:
    """Return what issued documents have billed within the windows, by customer and key.

    What settles a commitment is within while the turn is, as its contract has it now: an early end may
    have cut it short since.
    """
    asked = [
        (terms.id, reaches[terms.id].window)
        for subscriptions in everybody.values()
        for terms in subscriptions
        if terms.billed_until is not None
    ]
    billed: dict[UUID, dict[LineKey, Billed]] = {}
    if not asked:
        return billed
    listed = {terms.id: terms for subscriptions in everybody.values() for terms in subscriptions}
    running: set[tuple[UUID, UUID, datetime, datetime]] = set()
    with connection.cursor() as cursor:
        cursor.execute(_BILLED, [[one[0] for one in asked], [one[1] for one in asked]])
        for row in cursor.fetchall():
            customer_id, subscription_id, charge_id, kind, start, segment_start, group = row[:7]
            amount, count, first, end, service_start, service_end, description, unit, to = row[7:]
            key = LineKey(subscription_id, charge_id, LineKind(kind), start, segment_start, group)
            terms, cutoff = listed[subscription_id], reaches[subscription_id].cutoff
            until = end
            if key.kind in SETTLEMENTS:
                until = _turn_ends(key, terms, contracts.get(customer_id, ())) or end
            if not in_window(start, until, reaches[subscription_id].window):
                continue
            is_running = (
                end > cutoff
                and key.kind is LineKind.USAGE
                and _is_used(terms, charges, charge_id, cutoff)
            )
            if is_running:
                running.add((subscription_id, charge_id, start, segment_start))
            billed.setdefault(customer_id, {})[key] = Billed(
                amount=Decimal(amount),
                currency=terms.currency,
                count=count,
                first_line_id=first,
                period_end=end,
                service_start=service_start,
                service_end=service_end,
                description=description,
                unit=unit,
                billed_to=to,
                is_running=is_running,
            )
    return _discounts_run_too(billed, running) if running else billed


def _turn_ends(
    key: LineKey, terms: SubscriptionTerms, contracts: Sequence[ContractTerms]
) -> datetime | None:
    """Return when the turn ends that a line settles; None if the contract has no such turn now."""
    for contract in contracts:
        for turn in contract.turns(terms.started_at) if contract.public_id == key.group else ():
            if turn.span.start >= key.period_start:
                return turn.span.end if turn.span.start == key.period_start else None
    return None


def _is_used(terms: SubscriptionTerms, charges: Charges, charge_id: UUID, cutoff: datetime) -> bool:
    """Say whether usage of a charge goes on at the cutoff, and may be billed before its period ends."""
    return any(
        one.starts_at <= cutoff
        and (one.ends_at is None or cutoff < one.ends_at)
        and any(
            charge.id == charge_id and has_threshold(terms, charge)
            for charge in charges[one.phase_id]
        )
        for track in terms.tracks
        for one in track.segments
    )


def _discounts_run_too(
    billed: dict[UUID, dict[LineKey, Billed]],
    running: set[tuple[UUID, UUID, datetime, datetime]],
) -> dict[UUID, dict[LineKey, Billed]]:
    """Let discounts of usage that goes on go on with it."""
    for keys in billed.values():
        for key, past in keys.items():
            if (
                key.kind is LineKind.DISCOUNT
                and key.charge_id is not None
                and (key.subscription_id, key.charge_id, key.period_start, key.segment_start)
                in running
            ):
                keys[key] = replace(past, is_running=True)
    return billed
