"""Giving credit away, and taking credit back."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.money import EXACT, plain
from apps.core.states import move
from apps.ledger.domain import FactKind
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    FOR_EVERYTHING,
    GRANT_TRANSITIONS,
    UNPAID,
    EntryKind,
    GrantKind,
    GrantNotRefundable,
    GrantNotVoidable,
    GrantSource,
    GrantStatus,
    Scope,
    Settlement,
    refundable,
    refuse_expiry,
    refuse_too_fine,
    worth,
)
from apps.wallets.models import CreditGrant, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.scoping import refuse_scope
from apps.wallets.operations.terms import rate_of
from apps.wallets.operations.till import Till, open_till, refuse_closed
from apps.wallets.operations.topping_off import close_till
from apps.wallets.queries import is_entered


@transaction.atomic
def grant_credit(
    wallet_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    tenant_id: UUID,
    amount: Decimal,
    name: str = "",
    reason: str = "",
    priority: int = DEFAULT_PRIORITY,
    scope: Scope = FOR_EVERYTHING,
    effective_at: datetime | None = None,
    expires_at: datetime | None = None,
    actor: str,
    at: datetime,
) -> CreditGrant:
    """Give promotional credit: it can be used from ``effective_at`` (or now) until ``expires_at``.

    ``expires_at`` is exclusive, None never. It costs the customer nothing, and the tenant its
    worth once it is used. A repeat with the same ``id`` returns the grant as it is. Raises
    ``NotFound``, ``WalletClosed``, ``CreditTooFine``, ``ExpiryPast``, ``ExpiryBeforeStart``
    ``ScopeUnfit`` and ``ScopeUnknown``.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = the_wallet(till, wallet_id)
    known = CreditGrant.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    refuse_closed(wallet)
    begins = max(effective_at or at, at)
    refuse_expiry(begins, expires_at, at)
    refuse_scope(scope, Settlement(wallet.settlement), tenant_id=tenant_id)
    precision = wallet.unit.precision if wallet.unit else None
    refuse_too_fine(amount, wallet.currency, precision, "amount")
    grant = CreditGrant(
        id=id,
        tenant_id=tenant_id,
        wallet=wallet,
        status=GrantStatus.PENDING,
        kind=GrantKind.PROMOTIONAL,
        source=GrantSource.GRANTED,
        name=name,
        reason=reason,
        amount=amount,
        value=worth(amount, rate_of(wallet)),
        priority=priority,
        scope_products=list(scope.products),
        scope_meters=list(scope.meters),
        scope_charges=list(scope.charges),
        effective_at=begins,
        expires_at=expires_at,
        remind_at=remind_at(wallet, expires_at, at),
        created_at=at,
    )
    grant.save(force_insert=True)
    till.begin([grant])
    close_till(till)
    return grant


@transaction.atomic
def void_grant(
    grant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the effect: a repeat has none
    tenant_id: UUID,
    amount: Decimal | None = None,
    reason: str,
    actor: str,
    at: datetime,
) -> CreditGrant:
    """Take back what a grant has left, or ``amount`` of it, for a reason that people can read.

    Paid credit that is taken back so is earned: nothing is given for it. A grant that has not
    begun is voided whole, and returned as it is by a repeat; one of a purchase under way is not,
    since its invoice asks for it: that is canceled. A repeat with the same ``id`` changes nothing.
    Raises ``NotFound`` and ``GrantNotVoidable``.
    """
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    purpose = Purpose(source_key=f"void {id}", reason=reason)
    never_began = grant.status == GrantStatus.VOIDED and grant.available_at is None
    if is_entered(wallet, purpose.source_key) or (never_began and amount is None):
        return grant
    if grant.status == GrantStatus.SCHEDULED and amount is None:
        move(
            grant,
            to=GrantStatus.VOIDED,
            allowed=GRANT_TRANSITIONS,
            actor=actor,
            at=at,
            reason=reason,
        )
        close_till(till)
        return grant
    wanted = grant.remaining if amount is None else amount
    if grant.status != GrantStatus.AVAILABLE or not 0 < wanted <= grant.remaining:
        held = f" ({plain(grant.held)} more is held)" if grant.held else ""
        hint = " Cancel its invoice." if grant.status in UNPAID else ""
        raise GrantNotVoidable(
            f"{grant.public_id} is {grant.status} and has {plain(grant.remaining)} left{held}.{hint}"
        )
    value = till.take(wallet, grant, wanted, EntryKind.VOID, purpose)
    if grant.kind == GrantKind.PAID:
        till.book(wallet, FactKind.CREDIT_VOIDED, paid=value)
    if grant.remaining or grant.held:
        till.tell("credit_grant.reduced", grant, amount=plain(wanted), reason=reason)
    else:
        _end(grant, GrantStatus.VOIDED, wanted, reason, actor=actor, at=at)
    close_till(till)
    return grant


@transaction.atomic
def refund_grant(
    grant_id: UUID, *, tenant_id: UUID, reason: str, actor: str, at: datetime
) -> CreditGrant:
    """Take back all that paid credit has left, because its money goes back.

    The customer gets a credit memo over what it was worth, by a reaction, but for what of its price
    has gone back before; a fraction of the currency's smallest unit is earned. A repeat returns the
    grant as it is. Raises ``NotFound``, and ``GrantNotRefundable`` for promotional credit, and
    where nothing is left or some is held.
    """
    till, wallet, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    if grant.status == GrantStatus.REFUNDED:
        return grant
    if (
        grant.kind != GrantKind.PAID
        or grant.status != GrantStatus.AVAILABLE
        or not grant.remaining
        or grant.held
    ):
        raise GrantNotRefundable(
            f"{grant.public_id} is {grant.kind} and {grant.status}, {plain(grant.remaining)} of it"
            f" is left and {plain(grant.held)} is held."
        )
    purpose = Purpose(source_key=grant.public_id, reason=reason)
    amount = grant.remaining
    value = till.take(wallet, grant, amount, EntryKind.REFUND, purpose)
    payable = refundable(value, wallet.currency)
    till.book(wallet, FactKind.CREDIT_REFUNDED, paid=payable)
    till.book(wallet, FactKind.CREDIT_VOIDED, paid=EXACT.subtract(value, payable))
    _end(grant, GrantStatus.REFUNDED, amount, reason, actor=actor, at=at)
    close_till(till)
    return grant


def _end(
    grant: CreditGrant,
    status: GrantStatus,
    amount: Decimal,
    reason: str,
    *,
    actor: str,
    at: datetime,
) -> None:
    move(
        grant,
        to=status,
        allowed=GRANT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("remaining", "value_left"),
        amount=plain(amount),
        reason=reason,
    )


def open_for_grant(
    grant_id: UUID, *, tenant_id: UUID, actor: str, at: datetime
) -> tuple[Till, Wallet, CreditGrant]:
    """Open the till of a grant's wallet, with the grant in it; ``NotFound`` if there is none."""
    rows = CreditGrant.objects.filter(pk=grant_id, tenant_id=tenant_id)
    wallet_id = rows.values_list("wallet_id", flat=True).first()
    if wallet_id is None:
        raise NotFound("There is no such credit grant.")
    till = open_till([wallet_id], tenant_id=tenant_id, also=[grant_id], actor=actor, at=at)
    return till, till.wallets[wallet_id], till.grants[wallet_id][grant_id]


def the_wallet(till: Till, wallet_id: UUID) -> Wallet:
    """Return the wallet in the till; raise ``NotFound``."""
    try:
        return till.wallets[wallet_id]
    except KeyError:
        raise NotFound("There is no such wallet.") from None


def remind_at(wallet: Wallet, expires_at: datetime | None, at: datetime) -> datetime | None:
    """Return when to remind of an expiry: not at all where that time is past or nobody asked."""
    if expires_at is None or wallet.remind_before is None:
        return None
    when = expires_at - wallet.remind_before
    return when if when > at else None
