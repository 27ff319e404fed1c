"""What wallets and grants come to by their terms: their worth, their end, and shares of them."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from apps.core.money import EXACT
from apps.rating.periods import Cadence, Schedule, Unit
from apps.wallets.domain import ZERO, credit_for, value_left
from apps.wallets.models import CreditGrant, Wallet


def rate_of(wallet: Wallet) -> Decimal | None:
    """Return what one unit of the wallet is worth; None where it holds money itself."""
    return wallet.unit.rate if wallet.unit else None


def credit_that_covers(wallet: Wallet, money: Decimal) -> Decimal | None:
    """Return the wallet's credit that pays ``money``; None if no amount of it does."""
    rate = rate_of(wallet)
    return None if rate == 0 else credit_for(money, rate)


def end_of(grant: CreditGrant, since: datetime, zone: str) -> datetime | None:
    """Return when credit that becomes available at ``since`` expires."""
    if grant.lasts_unit is None or grant.lasts_count is None:
        return grant.expires_at
    return Schedule(since, Cadence(Unit(grant.lasts_unit), grant.lasts_count), zone).boundary(1)


def share_out(
    covers: Decimal | None, parts: Sequence[Decimal], lent: Decimal, amount: Decimal
) -> list[Decimal]:
    """Return how much of ``covers`` each part and what is lent pays, in proportion to ``amount``.

    The steps add up: all of it if the amount is taken whole.
    """
    if covers is None:
        return [ZERO] * (len(parts) + 1)
    shares, taken, before = [], ZERO, ZERO
    for part in (*parts, lent):
        taken = EXACT.add(taken, part)
        after = value_left(covers, amount, taken)
        shares.append(EXACT.subtract(after, before))
        before = after
    return shares
