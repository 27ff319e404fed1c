"""Buying credit by rule, as soon as too little is left; and closing a till, which looks for that."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import Final

from django.db.models import Sum

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.money import ARITHMETIC, plain, round_money
from apps.wallets.domain import (
    UNPAID,
    ZERO,
    GrantKind,
    GrantSource,
    GrantStatus,
    WalletStatus,
    places,
    top_off_amount,
    worth,
)
from apps.wallets.models import CreditGrant, TopOffRule, Wallet
from apps.wallets.operations.terms import rate_of
from apps.wallets.operations.till import Till

_NEVER_PAID: Final = (GrantStatus.VOIDED,)


def close_till(till: Till) -> None:
    """Store what was done, and buy for the wallets in which less is left than their rule allows."""
    till.store()
    low = [
        one
        for one in till.wallets.values()
        if one.low_watermark is not None
        and one.balance < one.low_watermark
        and one.status != WalletStatus.CLOSED
    ]
    if low:
        _buy(low, actor=till.actor, at=till.at)


def _buy(low: Sequence[Wallet], *, actor: str, at: datetime) -> None:
    in_flight = set(
        CreditGrant.objects.filter(wallet__in=low, status__in=UNPAID).values_list(
            "wallet_id", flat=True
        )
    )
    wallets = {one.id: one for one in low if one.id not in in_flight}
    for rule in TopOffRule.objects.filter(wallet__in=wallets).order_by("wallet_id"):
        rests = rule.not_before is not None and rule.not_before > at
        if rests or rule.paused_at is not None or rule.failures >= rule.attempt_limit:
            continue
        wallet = wallets[rule.wallet_id]
        amount = _amount(rule, wallet, at)
        if amount:
            _request(rule, wallet, amount, actor=actor, at=at)


def _amount(rule: TopOffRule, wallet: Wallet, at: datetime) -> Decimal:
    bought = ZERO
    if rule.cap is not None:
        since = at - timedelta(days=rule.cap_days)
        asked = CreditGrant.objects.filter(
            wallet=wallet, source=GrantSource.TOP_OFF, created_at__gt=since
        ).exclude(status__in=_NEVER_PAID)
        bought = asked.aggregate(total=Sum("amount"))["total"] or ZERO
    wanted = top_off_amount(rule.terms, wallet.balance, wallet.low_watermark or ZERO, bought)
    precision = wallet.unit.precision if wallet.unit else None
    finest = Decimal(1).scaleb(-places(wallet.currency, precision))
    return wanted.quantize(finest, ROUND_UP, ARITHMETIC)


def _request(
    rule: TopOffRule, wallet: Wallet, amount: Decimal, *, actor: str, at: datetime
) -> None:
    price = round_money(worth(amount, rate_of(wallet)), wallet.currency)
    grant = CreditGrant.objects.create(
        id=new_id(),
        tenant_id=wallet.tenant_id,
        wallet=wallet,
        status=GrantStatus.PENDING,
        kind=GrantKind.PAID,
        source=GrantSource.TOP_OFF,
        name="Top-off",
        amount=amount,
        value=price,
        effective_at=at,
        lasts_unit=rule.expiry_unit,
        lasts_count=rule.expiry_count,
        created_at=at,
    )
    record(
        "credit_grant.requested",
        grant,
        actor=actor,
        at=at,
        wallet=wallet.public_id,
        source=grant.source,
        amount=plain(amount),
    )
    failpoint("wallets.top_off.after_request")
