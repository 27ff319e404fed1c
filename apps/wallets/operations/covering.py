"""Paying lines of invoices with credit, as they are issued; and giving it back when canceled.

Two ways lead to one figure. What was burned event by event is taken off the lines that ask for the
same usage; what is left of them is paid by wallets that are settled on invoice. So no usage is
charged twice, whichever way took credit for it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.core.ids import encode, new_id
from apps.core.money import EXACT, exponent
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all, reverse_entry
from apps.wallets.domain import (
    ZERO,
    EntryKind,
    Insufficient,
    Settlement,
    Thing,
    WalletStatus,
    refundable,
    worth,
)
from apps.wallets.models import (
    CreditTransaction,
    SettlementUndone,
    UsageSettlement,
    Wallet,
)
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.returning import Back
from apps.wallets.operations.terms import credit_that_covers, rate_of
from apps.wallets.operations.till import Till, open_till
from apps.wallets.operations.topping_off import close_till

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
           AND (t.subscription_id IS NULL OR t.subscription_id = l.subscription_id)), 0)
     - coalesce((
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that credit may pay, amounts in the currency of its invoice."""

    id: UUID
    amount: Decimal
    is_usage: bool
    thing: Thing
    charge_id: UUID
    subscription_id: UUID
    meter_id: UUID | None
    service_start: datetime
    service_end: datetime  # exclusive


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """An invoice that is being issued: ``total`` is what it asks for, and the most credit pays."""

    invoice_id: UUID
    invoice: str  # its public id
    customer_id: UUID
    currency: str
    total: Decimal
    lines: tuple[Line, ...]


@transaction.atomic
def cover_invoices(
    asking: Sequence[Asking], *, tenant_id: UUID, actor: str, at: datetime
) -> dict[UUID, Decimal]:
    """Pay what credit can of invoices that are being issued; return how much of each, by its id.

    Only usage is paid, and what credit is named for. In the transaction that issues them, before
    their rows are locked: wallets come first. An invoice is asked for once; there is no repeat.
    """
    wallets = list(
        Wallet.objects.filter(customer_id__in=[one.customer_id for one in asking])
        .exclude(status=WalletStatus.CLOSED)
        .values_list("id", "customer_id", "currency", "settlement")
    )
    if not wallets:
        return {}
    open_lines = {one.invoice_id: _net_lines(one) for one in asking}
    by_event = {
        (customer, currency)
        for _, customer, currency, settlement in wallets
        if settlement == Settlement.ON_EVENT
    }
    settled = _settle(
        [one for one in asking if (one.customer_id, one.currency) in by_event],
        open_lines,
        tenant_id=tenant_id,
        at=at,
    )
    failpoint("wallets.cover.after_settle")
    by_invoice = [one[0] for one in wallets if one[3] == Settlement.ON_INVOICE]
    till = open_till(by_invoice, tenant_id=tenant_id, actor=actor, at=at)
    covered = dict(settled)
    for one in asking:
        most = EXACT.subtract(one.total, settled.get(one.invoice_id, ZERO))
        paid = _pay(till, one, open_lines[one.invoice_id], most)
        if paid:
            covered[one.invoice_id] = EXACT.add(covered.get(one.invoice_id, ZERO), paid)
    close_till(till)
    return covered


@transaction.atomic
def return_credit(
    invoice_id: UUID, invoice: str, *, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Give back what paid lines of an invoice that is canceled; a repeat does nothing.

    What comes back to credit that has expired expires at once. Usage that was burned event by event
    stays burned: the next invoice that asks for it takes it off.
    """
    entries = list(
        CreditTransaction.objects.filter(
            tenant_id=tenant_id, invoice_id=invoice_id, kind=EntryKind.CONSUME
        ).order_by("wallet_id", "number")
    )
    till = open_till(
        {one.wallet_id for one in entries},
        tenant_id=tenant_id,
        also={one.grant_id for one in entries if one.grant_id is not None},
        actor=actor,
        at=at,
    )
    returned = CreditTransaction.objects.filter(invoice_id=invoice_id, kind=EntryKind.RETURN)
    if not returned.exists():
        for entry in entries:
            _return(till, entry)
        for wallet in till.wallets.values():
            till.write_off_over(list(till.grants[wallet.id]), wallet, cause=invoice)
    close_till(till)
    if UsageSettlement.objects.filter(invoice_id=invoice_id, tenant_id=tenant_id).exists():
        SettlementUndone.objects.bulk_create(
            [SettlementUndone(invoice_id=invoice_id, tenant_id=tenant_id, at=at)],
            ignore_conflicts=True,
        )
        reverse_entry(
            FactKind.USAGE_UNSETTLED,
            f"{invoice}:usage",
            tenant_id=tenant_id,
            effective_at=at,
            at=at,
        )


def _return(till: Till, entry: CreditTransaction) -> None:
    wallet = till.wallets[entry.wallet_id]
    purpose = Purpose(
        source_key=entry.source_key,
        invoice_id=entry.invoice_id,
        line_id=entry.line_id,
        meter_id=entry.meter_id,
        subscription_id=entry.subscription_id,
    )
    back = Back(till, wallet, purpose)
    if entry.grant_id is None:
        back.lent(-entry.amount)
    else:
        back.to(till.grants[wallet.id][entry.grant_id], -entry.amount)
    till.book(
        wallet,
        FactKind.CREDIT_RETURNED,
        paid=back.paid,
        promotional=back.promotional,
        covers=entry.covers,
    )


def _net_lines(asking: Asking) -> list[Line]:
    """Return the lines that ask for money, less what others of their charge take back."""
    by_charge: dict[tuple[UUID, UUID], list[Line]] = defaultdict(list)
    for line in asking.lines:
        by_charge[line.subscription_id, line.charge_id].append(line)
    net = []
    for lines in by_charge.values():
        back = -sum((one.amount for one in lines if one.amount < 0), ZERO)
        for line in lines:
            taken = min(back, max(line.amount, ZERO))
            back = EXACT.subtract(back, taken)
            if line.amount > taken:
                net.append(replace(line, amount=EXACT.subtract(line.amount, taken)))
    return net


def _settle(
    asking: Sequence[Asking],
    open_lines: dict[UUID, list[Line]],
    *,
    tenant_id: UUID,
    at: datetime,
) -> dict[UUID, Decimal]:
    """Take off what was burned for the same usage before; lower the open lines by it."""
    burned = _burned(
        [(one, line) for one in asking for line in open_lines[one.invoice_id] if line.meter_id]
    )
    settled: dict[UUID, Decimal] = {}
    rows: list[UsageSettlement] = []
    facts = []
    for one in asking:
        total, rest = ZERO, []
        for line in open_lines[one.invoice_id]:
            left = EXACT.subtract(burned.get(line.id, ZERO), _settled_by(rows, one, line))
            there = refundable(max(left, ZERO), one.currency)
            taken = min(there, line.amount, EXACT.subtract(one.total, total))
            if taken > 0 and line.meter_id is not None:
                total = EXACT.add(total, taken)
                rows.append(
                    UsageSettlement(
                        id=new_id(),
                        tenant_id=tenant_id,
                        customer_id=one.customer_id,
                        invoice_id=one.invoice_id,
                        line_id=line.id,
                        meter_id=line.meter_id,
                        service_start=line.service_start,
                        service_end=line.service_end,
                        amount=taken,
                        currency=one.currency,
                    )
                )
                line = replace(line, amount=EXACT.subtract(line.amount, taken))  # noqa: PLW2901 -- what is left
            if line.amount > 0:
                rest.append(line)
        open_lines[one.invoice_id] = rest
        if total:
            settled[one.invoice_id] = total
            facts.append(
                Fact(
                    kind=FactKind.USAGE_SETTLED,
                    tenant_id=tenant_id,
                    source_key=f"{one.invoice}:usage",
                    effective_at=at,
                    currency=one.currency,
                    customer_id=one.customer_id,
                    amounts={Amount.MOVED: total},
                )
            )
    UsageSettlement.objects.bulk_create(rows)
    post_all([entry_for(fact) for fact in facts], at=at)
    return settled


def _settled_by(rows: Sequence[UsageSettlement], one: Asking, line: Line) -> Decimal:
    """Return what lines before took off for usage that the line asks for too."""
    return sum(
        (
            row.amount
            for row in rows
            if (row.customer_id, row.currency) == (one.customer_id, one.currency)
            and row.meter_id == line.meter_id
            and row.service_start < line.service_end
            and row.service_end > line.service_start
        ),
        ZERO,
    )


def _burned(lines: Sequence[tuple[Asking, Line]]) -> dict[UUID, Decimal]:
    if not lines:
        return {}
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
        found: Mapping[UUID, Decimal] = dict(cursor.fetchall())
    return dict(found)


def _pay(till: Till, one: Asking, lines: Sequence[Line], most: Decimal) -> Decimal:
    """Pay lines from the customer's wallets, in their order; return how much, at most ``most``."""
    wallets = sorted(
        (
            wallet
            for wallet in till.wallets.values()
            if (wallet.customer_id, wallet.currency) == (one.customer_id, one.currency)
        ),
        key=lambda wallet: (wallet.priority, wallet.id),
    )
    paid = ZERO
    for line in lines:
        wanted = min(line.amount, EXACT.subtract(most, paid))
        for wallet in wallets:
            if wanted <= 0:
                break
            # what is no usage is paid by credit that names it, or out of a wallet that does
            free = line.is_usage or wallet.scope.names(line.thing)
            asked = line if free else replace(line, thing=replace(line.thing, by_name=True))
            money = _pay_line(till, wallet, one, asked, wanted)
            wanted = EXACT.subtract(wanted, money)
            paid = EXACT.add(paid, money)
        if wanted > 0 and line.is_usage:
            _tell_short(till, wallets, line, wanted)
    return paid


def _tell_short(till: Till, wallets: Sequence[Wallet], line: Line, wanted: Decimal) -> None:
    """Note what of a line's usage is left to money, on the last wallet that refuses to owe it."""
    for wallet in reversed(wallets):
        credit = credit_that_covers(wallet, wanted)
        if (
            credit
            and wallet.insufficient != Insufficient.INVOICE
            and wallet.scope.covers(line.thing)
        ):
            till.fall_short(wallet, credit, [line.subscription_id], meter=line.thing.meter)
            return


def _pay_line(till: Till, wallet: Wallet, one: Asking, line: Line, wanted: Decimal) -> Decimal:
    """Pay a line from one wallet, in whole units of its currency; return how much."""
    there = till.spendable(wallet, line.thing)
    credit = credit_that_covers(wallet, wanted)
    money = wanted
    if credit is not None and credit > there:
        money = refundable(worth(max(there, ZERO), rate_of(wallet)), one.currency)
        credit = credit_that_covers(wallet, money)
        if credit is not None and credit > there:
            # the worth of the rest was rounded up; a smallest unit less is surely there
            money = EXACT.subtract(money, Decimal(1).scaleb(-exponent(one.currency)))
            credit = credit_that_covers(wallet, money)
    if credit is None or money <= 0 or credit <= 0:
        return ZERO
    purpose = Purpose(
        source_key=encode("lin", line.id),
        thing=line.thing,
        meter_id=line.meter_id,
        subscription_id=line.subscription_id,
        invoice_id=one.invoice_id,
        line_id=line.id,
    )
    return till.spend(wallet, credit, purpose, covers=money).covers
