"""Setting right by hand what a wallet has, for a reason."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from apps.core.money import plain
from apps.wallets.domain import (
    ZERO,
    EntryKind,
    InsufficientCredit,
    NothingToAdjust,
    refuse_too_fine,
)
from apps.wallets.models import Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.granting import grant_credit, the_wallet
from apps.wallets.operations.till import open_till, refuse_closed
from apps.wallets.operations.topping_off import close_till
from apps.wallets.queries import is_entered


@transaction.atomic
def adjust_wallet(
    wallet_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the effect: a repeat has none
    tenant_id: UUID,
    amount: Decimal,
    reason: str,
    actor: str,
    at: datetime,
) -> Wallet:
    """Raise what a wallet has by ``amount``, or lower it by one below zero, for a reason.

    What is added is promotional credit that never expires. What is taken goes by the order of
    burning from everything that is available, whatever it is for; paid credit that is taken is
    earned. A repeat with the same ``id`` changes nothing. Raises ``NotFound``, ``WalletClosed``,
    ``CreditTooFine``, ``NothingToAdjust`` for zero, and ``InsufficientCredit``.
    """
    if amount > 0:
        given = grant_credit(
            wallet_id,
            id=id,
            tenant_id=tenant_id,
            amount=amount,
            name="Adjustment",
            reason=reason,
            actor=actor,
            at=at,
        )
        return given.wallet
    if not amount:
        raise NothingToAdjust("Nothing is to be added or taken.", field="amount")
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = the_wallet(till, wallet_id)
    purpose = Purpose(source_key=f"adjust {id}", reason=reason)
    if is_entered(wallet, purpose.source_key):
        return wallet
    refuse_closed(wallet)
    precision = wallet.unit.precision if wallet.unit else None
    refuse_too_fine(amount, wallet.currency, precision, "amount")
    there = sum((one.remaining for one in till.usable(wallet)), ZERO)
    if -amount > there:
        raise InsufficientCredit(
            f"{plain(-amount)} {wallet.denomination} are to be taken, {plain(there)} are there."
        )
    till.take_back(wallet, -amount, EntryKind.VOID, purpose)
    till.tell("wallet.adjusted", wallet, amount=plain(amount), reason=reason)
    close_till(till)
    return wallet
