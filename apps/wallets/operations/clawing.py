"""Taking credit back because the money for it goes back, whether its customer likes it or not."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from apps.core.money import EXACT, plain
from apps.core.states import move
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.models import JournalEntry
from apps.ledger.operations import post_all
from apps.wallets.domain import (
    GRANT_TRANSITIONS,
    ZERO,
    EntryKind,
    GrantStatus,
    WalletStatus,
    part_for,
)
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.granting import open_for_grant
from apps.wallets.operations.pausing import pause_top_off
from apps.wallets.operations.purchasing import settle_purchase
from apps.wallets.operations.till import Till


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What was taken back: in the wallet's credit, and its worth in the currency."""

    credit: Decimal = ZERO
    value: Decimal = ZERO


@transaction.atomic
def claw_back(
    grant_id: UUID,
    *,
    price: Decimal,
    source: str,
    sold_by: UUID,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> None:
    """Take back the credit that ``price`` of what was paid for a grant has bought.

    What the grant has left is taken first. What is used up already is lent to the wallet as far as
    its overdraft goes, so that the next purchase pays it back; the rest is lost, which the books
    and the event ``wallet.clawback_short`` say. Held credit that comes back later expires. The wallet's top-off rule pauses.
    ``source`` names the document that gives the money back: for each this happens once, however
    often it is told. ``sold_by`` is the invoice that sold the grant and is paid. Raises
    ``NotFound``.
    """
    settle_purchase(sold_by, actor=actor, at=at)  # in case nobody has come to it yet
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    key = f"{source}:credit"
    if JournalEntry.objects.filter(
        tenant_id=tenant_id, kind=FactKind.CREDIT_CLAWED_BACK, source_key=key
    ).exists():
        return
    purpose = Purpose(source_key=key, reason=f"its money goes back by {source}")
    wanted = part_for(grant.amount, grant.value, price)
    taken = take_left(till, wallet, grant, wanted, purpose, kind=EntryKind.REFUND)
    missing = EXACT.subtract(wanted, taken.credit)
    lent = lend_used(till, wallet, grant, missing, purpose)
    lost = EXACT.subtract(EXACT.subtract(price, taken.value), lent.value)
    short = EXACT.subtract(missing, lent.credit)
    till.tell("credit_grant.clawed_back", grant, amount=plain(taken.credit), source=source)
    if short:
        till.tell("wallet.clawback_short", wallet, amount=plain(short), source=source)
    if (
        grant.status == GrantStatus.AVAILABLE
        and not grant.remaining
        and not _is_disputed(grant)  # what was taken may come back
    ):
        move(
            grant,
            to=GrantStatus.REFUNDED,
            allowed=GRANT_TRANSITIONS,
            actor=actor,
            at=at,
            also=("remaining", "value_left"),
            amount=plain(taken.credit),
            reason=purpose.reason,
        )
    pause_top_off(till, wallet, source)
    till.store()
    fact = Fact(
        kind=FactKind.CREDIT_CLAWED_BACK,
        tenant_id=tenant_id,
        source_key=key,
        effective_at=at,
        currency=wallet.currency,
        customer_id=wallet.customer_id,
        amounts={
            Amount.PAID: EXACT.add(taken.value, lent.value),
            Amount.LOST: lost,
            Amount.TAKEN_BACK: price,
        },
    )
    post_all([entry_for(fact)], at=at)


def take_left(
    till: Till,
    wallet: Wallet,
    grant: CreditGrant,
    wanted: Decimal,
    purpose: Purpose,
    *,
    kind: EntryKind,
) -> TakenBack:
    """Take what a grant has left of what is wanted; return it, and what it was worth."""
    amount = min(wanted, grant.remaining)
    if not amount:
        return TakenBack()
    return TakenBack(amount, till.take(wallet, grant, amount, kind, purpose))


def lend_used(
    till: Till, wallet: Wallet, grant: CreditGrant, missing: Decimal, purpose: Purpose
) -> TakenBack:
    """Let the wallet owe what was used of the grant: not what has expired, was taken back or is held."""
    if not missing or wallet.status == WalletStatus.CLOSED:
        return TakenBack()
    moved = CreditTransaction.objects.filter(
        grant=grant, kind__in=[EntryKind.CONSUME, EntryKind.RETURN]
    ).aggregate(total=Sum("amount"))["total"]
    owed_before = CreditTransaction.objects.filter(
        wallet=wallet,
        grant=None,
        kind__in=[EntryKind.CONSUME, EntryKind.RETURN],
        reason=owed_for(grant),
    ).aggregate(total=Sum("amount"))["total"]
    used = EXACT.subtract(owed_before or ZERO, moved or ZERO)
    owed = Purpose(source_key=purpose.source_key, reason=owed_for(grant))
    credit, value = till.lend_back(wallet, min(missing, max(used, ZERO)), owed)
    return TakenBack(credit, value)


def owed_for(grant: CreditGrant) -> str:
    """Return the reason of transactions that lend, or let be owed no more, what was used of a grant."""
    return f"used of {grant.public_id}, whose money went back"


def _is_disputed(grant: CreditGrant) -> bool:
    """Say whether credit of the grant was taken by a dispute that was not won."""
    entries = CreditTransaction.objects.filter(
        grant=grant, kind__in=[EntryKind.DISPUTE, EntryKind.REINSTATE]
    )
    return bool(entries.aggregate(total=Sum("amount"))["total"])
