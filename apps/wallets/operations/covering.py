"""Paying lines of invoices with credit, as they are issued; and giving it back when canceled.

Two ways lead to one figure. What was burned event by event is taken off the lines that ask for the
same usage; what is left of them is paid by wallets that are settled on invoice. What the reader of
events has not come to yet burns before, so that nothing burns after an invoice that measured it. So
no usage is charged twice, whichever way took credit for it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.money import EXACT, exponent
from apps.ledger.domain import FactKind
from apps.ledger.operations import reverse_entry
from apps.wallets.domain import (
    ZERO,
    EntryKind,
    Insufficient,
    Settlement,
    WalletStatus,
    refundable,
    worth,
)
from apps.wallets.models import CreditTransaction, SettlementUndone, UsageSettlement, Wallet
from apps.wallets.operations.asking import Asking, Line
from apps.wallets.operations.burning import burn_ahead
from apps.wallets.operations.crediting import Crediting
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.returning import Back
from apps.wallets.operations.settling import Settling, usage_key
from apps.wallets.operations.terms import credit_that_covers, rate_of
from apps.wallets.operations.till import Till, open_till
from apps.wallets.operations.topping_off import close_till


@transaction.atomic
def cover_invoices(
    asking: Sequence[Asking], *, tenant_id: UUID, actor: str, at: datetime
) -> dict[UUID, Decimal]:
    """Pay what credit can of documents that are being issued; return how much of each, by its id.

    Only usage is paid, and what credit is named for. Of lines that give money back, as much comes back
    as credit as credit had paid of what they correct: that counts below zero. In the transaction that issues them, before
    their rows are locked: wallets come first. An invoice is asked for once; there is no repeat.
    """
    wallets = list(
        Wallet.objects.filter(customer_id__in=[one.customer_id for one in asking])
        .exclude(status=WalletStatus.CLOSED)
        .values_list("id", "customer_id", "currency", "settlement")
    )
    if not wallets:
        return {}
    by_event = {
        (customer, currency)
        for _, customer, currency, settlement in wallets
        if settlement == Settlement.ON_EVENT
    }
    till = open_till([one[0] for one in wallets], tenant_id=tenant_id, actor=actor, at=at)
    if by_event:
        metered = {
            one.customer_id
            for one in asking
            if any(line.meter_id is not None for line in one.lines)
        }
        burn_ahead(till, metered.intersection(one for one, _ in by_event), tenant_id=tenant_id)
        till.store()
        failpoint("wallets.cover.after_burn")
    settling = Settling(
        [one for one in asking if (one.customer_id, one.currency) in by_event], tenant_id=tenant_id
    )
    crediting = Crediting(till, asking)
    covered: dict[UUID, Decimal] = {}
    open_lines: dict[UUID, list[Line]] = defaultdict(list)
    for one in asking:
        lines, back = _correct(one, settling, crediting)
        paid = -back
        for line in _net_lines(lines) if one.total > 0 else ():
            settled = settling.take_off(
                one, line, min(line.amount, EXACT.subtract(one.total, paid))
            )
            rest = replace(line, amount=EXACT.subtract(line.amount, settled))
            paid = EXACT.add(paid, settled)
            open_lines[one.invoice_id].append(rest)
        covered[one.invoice_id] = paid
    settling.store(at=at)
    failpoint("wallets.cover.after_settle")
    for one in asking:
        most = EXACT.subtract(one.total, covered[one.invoice_id])
        paid = _pay(till, one, open_lines[one.invoice_id], most)
        covered[one.invoice_id] = EXACT.add(covered[one.invoice_id], paid)
    close_till(till)
    return {one: paid for one, paid in covered.items() if paid}


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
            usage_key(invoice_id),
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


def _correct(one: Asking, settling: Settling, crediting: Crediting) -> tuple[list[Line], Decimal]:
    """Give back as credit what lines take back that credit had paid, in whichever way.

    Return the lines with what they still move, and how much money that was. A credit memo gives
    back no more than its total.
    """
    back, lines = ZERO, []
    for line in one.lines:
        most = -line.amount
        if one.total < 0:
            most = min(most, EXACT.subtract(-one.total, back))
        if most <= 0:
            lines.append(line)
            continue
        came = settling.put_back(one, line, most)
        came = EXACT.add(came, crediting.give_back(one, line, EXACT.subtract(most, came)))
        back = EXACT.add(back, came)
        lines.append(replace(line, amount=EXACT.add(line.amount, came)))
    return lines, back


def _net_lines(lines: Sequence[Line]) -> list[Line]:
    """Return the lines that ask for money, less what others of their charge take back."""
    by_charge: dict[tuple[UUID, UUID], list[Line]] = defaultdict(list)
    for line in lines:
        by_charge[line.subscription_id, line.charge_id].append(line)
    net = []
    for alike in by_charge.values():
        back = -sum((one.amount for one in alike if one.amount < 0), ZERO)
        for line in alike:
            taken = min(back, max(line.amount, ZERO))
            back = EXACT.subtract(back, taken)
            if line.amount > taken:
                net.append(replace(line, amount=EXACT.subtract(line.amount, taken)))
    return net


def _pay(till: Till, one: Asking, lines: Sequence[Line], most: Decimal) -> Decimal:
    """Pay lines from the customer's wallets, in their order; return how much, at most ``most``."""
    wallets = sorted(
        (
            wallet
            for wallet in till.wallets.values()
            if (wallet.customer_id, wallet.currency) == (one.customer_id, one.currency)
            and wallet.settlement == Settlement.ON_INVOICE
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
