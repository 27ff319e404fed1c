"""Credit whose money is disputed: taken at once, given back if the dispute is won, else gone."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from apps.core.money import EXACT, plain
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.wallets.domain import (
    ZERO,
    EntryKind,
    WalletStatus,
    part_for,
)
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.clawing import TakenBack, lend_used, owed_for, take_left
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.granting import open_for_grant
from apps.wallets.operations.pausing import pause_top_off, resume_top_off
from apps.wallets.operations.purchasing import settle_purchase
from apps.wallets.operations.returning import Back
from apps.wallets.operations.till import Till
from apps.wallets.operations.topping_off import close_till


@transaction.atomic
def take_disputed_credit(
    grant_id: UUID,
    *,
    price: Decimal,
    source: str,
    sold_by: UUID,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> None:
    """Take the credit that ``price`` of what was paid for a grant has bought, while that is disputed.

    What the grant has left is taken first; what is used up already is lent to the wallet as far as
    its overdraft goes; the rest is lost if the dispute is, which the event
    ``wallet.clawback_short`` says. What is held stays with its holds. The grant stays available, with what
    it has left, and the wallet's top-off rule pauses. The caller tells it once of each dispute,
    which ``source`` names. ``sold_by`` is the invoice that sold the grant and is paid. Raises
    ``NotFound``.
    """
    settle_purchase(sold_by, actor=actor, at=at)  # in case nobody has come to it yet
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    purpose = Purpose(source_key=_key(source, grant), reason=f"its money is disputed by {source}")
    wanted = part_for(grant.amount, grant.value, price)
    taken = take_left(till, wallet, grant, wanted, purpose, kind=EntryKind.DISPUTE)
    missing = EXACT.subtract(wanted, taken.credit)
    lent = lend_used(till, wallet, grant, missing, purpose)
    short = EXACT.subtract(missing, lent.credit)
    till.tell("credit_grant.disputed", grant, amount=plain(taken.credit), source=source)
    if short:
        till.tell("wallet.clawback_short", wallet, amount=plain(short), source=source)
    pause_top_off(till, wallet, source)
    till.store()
    _post(till, grant, FactKind.CREDIT_DISPUTED, source, {Amount.PAID: _worth(taken, lent)})


@transaction.atomic
def reinstate_credit(
    grant_id: UUID, *, source: str, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Give back what was taken of a grant for a dispute that is won; the top-off rule goes on.

    What was lent is owed no more, and comes back to the grant where it was paid back meanwhile. For
    what the grant has no room, because usage of it was taken back, less is owed, or it goes to the
    grants that paid back. Of a grant that is over it expires at once; a closed wallet gets nothing,
    and that is earned, as is what no grant has room for. The caller tells it once of each dispute.
    Raises ``NotFound``.
    """
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    taken, lent = _taken(wallet, grant, source)
    resume_top_off(till, wallet, source)
    if not _credit(taken, lent):
        close_till(till)
        return
    back = TakenBack()
    if wallet.status != WalletStatus.CLOSED:
        back = _give_back(till, wallet, grant, taken=taken.credit, lent=lent.credit, source=source)
    till.tell("credit_grant.reinstated", grant, amount=plain(back.credit), source=source)
    till.write_off_over(list(till.grants[wallet.id]), wallet, cause=_key(source, grant))
    close_till(till)
    owed = _worth(taken, lent)
    amounts = {
        Amount.PAID: back.value,
        Amount.KEPT: EXACT.subtract(owed, back.value),
        Amount.TAKEN_BACK: owed,
    }
    _post(till, grant, FactKind.CREDIT_REINSTATED, source, amounts)


@transaction.atomic
def forfeit_credit(
    grant_id: UUID, *, source: str, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Leave gone what was taken of a grant for a dispute that is lost: so much less is lost.

    The grant stays as it is, used up where nothing is left.
    The top-off rule stays paused until it is set anew. The caller tells it once of each dispute.
    Raises ``NotFound``.
    """
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    taken, lent = _taken(wallet, grant, source)
    if not _credit(taken, lent):
        return
    till.tell("credit_grant.forfeited", grant, amount=plain(taken.credit), source=source)
    till.store()
    _post(till, grant, FactKind.CREDIT_FORFEITED, source, {Amount.PAID: _worth(taken, lent)})


def _give_back(
    till: Till, wallet: Wallet, grant: CreditGrant, *, taken: Decimal, lent: Decimal, source: str
) -> TakenBack:
    purpose = Purpose(source_key=_key(source, grant), reason=f"{source} was won")
    owed_before = wallet.overdrawn
    owed = Purpose(source_key=purpose.source_key, reason=owed_for(grant))
    value = till.unlend(wallet, lent, owed)
    unlent = EXACT.subtract(owed_before, wallet.overdrawn)
    rest = EXACT.subtract(EXACT.add(taken, lent), unlent)
    credit = min(rest, EXACT.subtract(grant.amount, EXACT.add(grant.remaining, grant.held)))
    if credit:
        back = till.give_back(wallet, grant, credit, purpose, kind=EntryKind.REINSTATE)
        value = EXACT.add(value, back)
    beyond = Back(till, wallet, replace(purpose, source_key=f"{purpose.source_key} rest"))
    if credit < rest:
        beyond.lent(EXACT.subtract(rest, credit))
        # what given credit had paid back was never used
        given = beyond.promotional
        till.book(wallet, FactKind.CREDIT_BURNED, paid=given, promotional=-given)
        value = EXACT.add(value, EXACT.add(beyond.paid, given))
    return TakenBack(EXACT.add(credit, beyond.amount), value)


def _taken(wallet: Wallet, grant: CreditGrant, source: str) -> tuple[TakenBack, TakenBack]:
    """Return what a dispute took of a grant, and what it lent to the wallet for it."""
    entries = CreditTransaction.objects.filter(wallet=wallet, source_key=_key(source, grant))
    found = []
    for kind in (EntryKind.DISPUTE, EntryKind.CONSUME):
        sums = entries.filter(kind=kind).aggregate(credit=-Sum("amount"), value=-Sum("value"))
        found.append(TakenBack(sums["credit"] or ZERO, sums["value"] or ZERO))
    return found[0], found[1]


def _credit(taken: TakenBack, lent: TakenBack) -> Decimal:
    return EXACT.add(taken.credit, lent.credit)


def _worth(taken: TakenBack, lent: TakenBack) -> Decimal:
    return EXACT.add(taken.value, lent.value)


def _key(source: str, grant: CreditGrant) -> str:
    return f"{source} {grant.public_id}"


def _post(
    till: Till, grant: CreditGrant, kind: FactKind, source: str, amounts: dict[Amount, Decimal]
) -> None:
    wallet = till.wallets[grant.wallet_id]
    fact = Fact(
        kind=kind,
        tenant_id=wallet.tenant_id,
        source_key=_key(source, grant),
        effective_at=till.at,
        currency=wallet.currency,
        customer_id=wallet.customer_id,
        amounts=amounts,
    )
    post_all([entry_for(fact)], at=till.at)
