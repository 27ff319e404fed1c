"""Prepaid credit. Every movement is one row of an append-only table; the rest is what it adds up to."""

from apps.wallets.models.entries import CreditTransaction, SettlementUndone, UsageSettlement
from apps.wallets.models.frontiers import BurnedAhead, BurnFrontier
from apps.wallets.models.grants import CreditGrant, CreditHold
from apps.wallets.models.units import CreditPrice, CreditUnit
from apps.wallets.models.wallets import TopOffRule, Wallet

__all__ = [
    "BurnFrontier",
    "BurnedAhead",
    "CreditGrant",
    "CreditHold",
    "CreditPrice",
    "CreditTransaction",
    "CreditUnit",
    "SettlementUndone",
    "TopOffRule",
    "UsageSettlement",
    "Wallet",
]
