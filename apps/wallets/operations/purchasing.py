"""Buying credit: asked for here, sold by an invoice elsewhere, and given when that is paid.

A purchase is a grant that is pending. ``credit_grant.requested`` makes invoicing issue an invoice
for it; what becomes of that invoice comes back as ``settle_purchase``, ``fail_purchase`` and
``cancel_purchase``, each safe to tell any number of times.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from django.db import transaction
from django.db.models import F

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.money import AmountTooFine, fits, plain, round_money
from apps.core.states import move
from apps.customers.models import Customer
from apps.rating.periods import Cadence
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    FOR_EVERYTHING,
    GRANT_TRANSITIONS,
    UNPAID,
    WALLET_TRANSITIONS,
    GrantKind,
    GrantSource,
    GrantStatus,
    RateMissing,
    Scope,
    Settlement,
    WalletStatus,
    refuse_expiry,
    refuse_too_fine,
    worth,
)
from apps.wallets.models import CreditGrant, CreditPrice, CreditUnit, TopOffRule, Wallet
from apps.wallets.operations.granting import grant_credit, open_for_grant, remind_at, the_wallet
from apps.wallets.operations.scoping import refuse_scope
from apps.wallets.operations.terms import end_of, rate_of
from apps.wallets.operations.till import Till, open_till, refuse_closed
from apps.wallets.operations.topping_off import close_till
from apps.wallets.operations.wallets import create_wallet


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialCredit:
    """Credit that a wallet begins with: bought, or given."""

    kind: GrantKind
    amount: Decimal
    price: Decimal | None = None
    expires_at: datetime | None = None
    lasts: Cadence | None = None


@transaction.atomic
def open_wallet(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    tenant_id: UUID,
    initial: InitialCredit | None = None,
    actor: str,
    at: datetime,
    **values: Any,
) -> Wallet:
    """Open a wallet with its initial credit; promotional credit is there at once.

    Takes ``values`` and raises as ``create_wallet``, ``purchase_credit`` and ``grant_credit`` do.
    A repeat with the same ``id`` returns the wallet as it is.
    """
    wallet = create_wallet(customer_id, id=id, tenant_id=tenant_id, actor=actor, at=at, **values)
    if initial is None:
        return wallet
    first = uuid5(id, "initial credit")
    if initial.kind is GrantKind.PAID:
        purchase_credit(
            id,
            id=first,
            tenant_id=tenant_id,
            amount=initial.amount,
            price=initial.price,
            expires_at=initial.expires_at,
            lasts=initial.lasts,
            name="Initial credit",
            actor=actor,
            at=at,
        )
    else:
        grant_credit(
            id,
            id=first,
            tenant_id=tenant_id,
            amount=initial.amount,
            expires_at=initial.expires_at,
            name="Initial credit",
            actor=actor,
            at=at,
        )
    return Wallet.objects.get(pk=id)


@transaction.atomic
def wallet_for_credit(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the wallet gets if it must be opened
    tenant_id: UUID,
    unit: CreditUnit | None,
    currency: str,
    actor: str,
    at: datetime,
) -> Wallet:
    """Return the customer's first open wallet in a unit or currency; open one if he has none.

    One that is opened so is settled on event if meters are priced in its credit, else on invoice.
    Raises as ``create_wallet``.
    """
    customer = lock_row(Customer, customer_id, tenant_id=tenant_id)
    money = unit.currency if unit else currency or customer.currency
    found = (
        Wallet.objects.filter(customer=customer, unit=unit, currency=money)
        .exclude(status=WalletStatus.CLOSED)
        .order_by("priority", "id")
        .first()
    )
    if found is not None:
        return found
    priced = CreditPrice.objects.filter(
        tenant_id=tenant_id, unit=unit, currency="" if unit else money
    )
    return create_wallet(
        customer_id,
        id=id,
        tenant_id=tenant_id,
        unit=unit,
        currency=money,
        settlement=Settlement.ON_EVENT if priced.exists() else Settlement.ON_INVOICE,
        actor=actor,
        at=at,
    )


@transaction.atomic
def purchase_credit(
    wallet_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    tenant_id: UUID,
    amount: Decimal,
    price: Decimal | None = None,
    expires_at: datetime | None = None,
    lasts: Cadence | None = None,
    name: str = "",
    priority: int = DEFAULT_PRIORITY,
    scope: Scope = FOR_EVERYTHING,
    actor: str,
    at: datetime,
) -> CreditGrant:
    """Ask for credit to be bought, and return the grant, which is pending until it is paid.

    ``price`` is asked in the wallet's currency, by default what the amount is worth. It expires at
    ``expires_at``, exclusive, whenever it is paid, or ``lasts`` from when it is. A repeat with the
    same ``id`` returns the grant as it is. Raises ``NotFound``, ``WalletClosed``, ``CreditTooFine``,
    ``AmountTooFine``, ``RateMissing``, ``ExpiryPast``, ``ScopeUnfit``
    and ``ScopeUnknown``.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = the_wallet(till, wallet_id)
    known = CreditGrant.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    refuse_closed(wallet)
    refuse_expiry(at, expires_at, at)
    refuse_scope(scope, Settlement(wallet.settlement), tenant_id=tenant_id)
    precision = wallet.unit.precision if wallet.unit else None
    refuse_too_fine(amount, wallet.currency, precision, "amount")
    grant = CreditGrant(
        id=id,
        tenant_id=tenant_id,
        wallet=wallet,
        status=GrantStatus.PENDING,
        kind=GrantKind.PAID,
        source=GrantSource.PURCHASE,
        name=name,
        amount=amount,
        value=_price(wallet, amount, price),
        priority=priority,
        scope_products=list(scope.products),
        scope_meters=list(scope.meters),
        scope_charges=list(scope.charges),
        effective_at=at,
        expires_at=expires_at,
        lasts_unit=lasts.unit.value if lasts else None,
        lasts_count=lasts.count if lasts else None,
        created_at=at,
    )
    grant.save(force_insert=True)
    record(
        "credit_grant.requested",
        grant,
        actor=actor,
        at=at,
        wallet=wallet.public_id,
        source=grant.source,
        amount=plain(amount),
    )
    close_till(till)
    return grant


def _price(wallet: Wallet, amount: Decimal, price: Decimal | None) -> Decimal:
    if price is not None:
        if not fits(price, wallet.currency):
            raise AmountTooFine(
                f"{price:f} has more decimals than {wallet.currency}.", field="price"
            )
        return price
    nominal = round_money(worth(amount, rate_of(wallet)), wallet.currency)
    if not nominal:
        raise RateMissing("This credit has no price by itself: name one.", field="price")
    return nominal


@transaction.atomic
def note_invoice(
    grant_id: UUID, invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime
) -> None:
    """Remember the invoice by which a grant is sold. A repeat with the same invoice changes nothing."""
    _, _, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    grant.invoice_id = invoice_id
    grant.save(update_fields=["invoice_id"])


@transaction.atomic
def settle_purchase(invoice_id: UUID, *, actor: str, at: datetime) -> CreditGrant | None:
    """Give the credit that an invoice sells, now that it is paid; return it, None if it sells none.

    Exactly once: a repeat returns the grant as it is. What lasts for a time lasts from now. Credit
    whose purchase was taken back is not given.
    """
    opened = _open(invoice_id, actor=actor, at=at)
    if opened is None:
        return None
    till, wallet, grant = opened
    if grant.status not in UNPAID:
        return grant
    zone = Customer.objects.values_list("zone", flat=True).get(pk=wallet.customer_id)
    grant.effective_at = max(grant.effective_at, at)
    grant.expires_at = end_of(grant, grant.effective_at, zone)
    grant.remind_at = remind_at(wallet, grant.expires_at, at)
    till.begin([grant])
    failpoint("wallets.settle.after_begin")
    till.make_true()  # it may have expired before it was paid
    till.store()
    if grant.source == GrantSource.TOP_OFF:
        TopOffRule.objects.filter(wallet=wallet).update(failures=0, not_before=None)
    _recover(wallet, actor=actor, at=at)
    close_till(till)
    return grant


@transaction.atomic
def fail_purchase(invoice_id: UUID, *, actor: str, at: datetime) -> CreditGrant | None:
    """Note that an invoice that sells credit could not be collected; its money may still come.

    The wallet says so until a purchase is paid or taken back. A top-off rule cools off, and stops
    after too many failures in a row. A repeat changes nothing.
    """
    opened = _open(invoice_id, actor=actor, at=at)
    if opened is None:
        return None
    till, wallet, grant = opened
    if grant.status == GrantStatus.PENDING:
        move(grant, to=GrantStatus.PAYMENT_FAILED, allowed=GRANT_TRANSITIONS, actor=actor, at=at)
        if grant.source == GrantSource.TOP_OFF:
            TopOffRule.objects.filter(wallet=wallet).update(
                failures=F("failures") + 1, not_before=at + F("cool_off")
            )
        if wallet.status == WalletStatus.ACTIVE:
            move(
                wallet,
                to=WalletStatus.PAYMENT_FAILED,
                allowed=WALLET_TRANSITIONS,
                actor=actor,
                at=at,
                grant=grant.public_id,
            )
    till.store()
    return grant


@transaction.atomic
def cancel_purchase(invoice_id: UUID, *, actor: str, at: datetime) -> CreditGrant | None:
    """Take a purchase back whose invoice was canceled before it was paid; a repeat does nothing."""
    opened = _open(invoice_id, actor=actor, at=at)
    if opened is None:
        return None
    till, wallet, grant = opened
    if grant.status in UNPAID:
        move(grant, to=GrantStatus.VOIDED, allowed=GRANT_TRANSITIONS, actor=actor, at=at)
        _recover(wallet, actor=actor, at=at)
    close_till(till)
    return grant


def _open(invoice_id: UUID, *, actor: str, at: datetime) -> tuple[Till, Wallet, CreditGrant] | None:
    sold = CreditGrant.objects.filter(invoice_id=invoice_id).values_list("id", "tenant_id").first()
    if sold is None:
        return None
    grant_id, tenant_id = sold
    return open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)


def _recover(wallet: Wallet, *, actor: str, at: datetime) -> None:
    """Make a wallet active again once no purchase of it has failed."""
    failed = CreditGrant.objects.filter(wallet=wallet, status=GrantStatus.PAYMENT_FAILED)
    if wallet.status == WalletStatus.PAYMENT_FAILED and not failed.exists():
        move(wallet, to=WalletStatus.ACTIVE, allowed=WALLET_TRANSITIONS, actor=actor, at=at)
