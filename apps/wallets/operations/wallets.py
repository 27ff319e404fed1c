"""Opening, changing and closing wallets; the units they may be in."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.locks import lock_row
from apps.core.money import exponent, plain
from apps.core.states import move
from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.metering.queries.meters import latest_version
from apps.rating.aggregation import Aggregation
from apps.rating.periods import Cadence
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    FOR_EVERYTHING,
    UNPAID,
    WALLET_TRANSITIONS,
    ZERO,
    CapTooLow,
    ExternalIdTaken,
    Insufficient,
    MeterNotPriceable,
    OverdraftUnfit,
    PriceTaken,
    RateMissing,
    Scope,
    Settlement,
    TargetBelowWatermark,
    TopOffKind,
    UnitKeyTaken,
    WalletInUse,
    WalletStatus,
    refuse_too_fine,
)
from apps.wallets.models import CreditGrant, CreditPrice, CreditUnit, TopOffRule, Wallet
from apps.wallets.operations.scoping import refuse_scope
from apps.wallets.operations.till import open_till, refuse_closed
from apps.wallets.operations.topping_off import close_till

_PRICEABLE: Final = frozenset({Aggregation.COUNT, Aggregation.SUM})


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOff:
    """What a wallet buys for itself when less than ``low_watermark`` is left.

    ``amount`` is what it buys, or with kind ``target`` what it fills up to; ``cap`` the most it
    buys in ``cap_days`` days. After a purchase that failed it waits for ``cool_off``, and after
    ``attempt_limit`` of them in a row it stops until its rule is set anew. It pauses once credit was
    taken back because its money goes back.
    """

    kind: TopOffKind
    amount: Decimal
    low_watermark: Decimal
    lasts: Cadence | None = None
    cap: Decimal | None = None
    cap_days: int = 30
    cool_off: timedelta = timedelta(days=1)
    attempt_limit: int = 3


@transaction.atomic
def create_unit(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    key: str,
    name: str,
    precision: int,
    currency: str,
    rate: Decimal,
    actor: str,
    at: datetime,
) -> CreditUnit:
    """Create a unit of credit, one of which is worth ``rate`` in the currency; it never changes.

    A repeat with the same ``id`` returns it as it is. Raises ``UnitKeyTaken`` and
    ``CurrencyUnknown``.
    """
    known = CreditUnit.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    exponent(currency)
    unit = CreditUnit(
        id=id,
        tenant_id=tenant_id,
        key=key,
        name=name,
        precision=precision,
        currency=currency,
        rate=rate,
        created_at=at,
    )
    try:
        with transaction.atomic():
            unit.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "credit_unit_key_once":
            raise
        raise UnitKeyTaken(f"There is a credit unit {key!r}.", field="key") from error
    record("credit_unit.created", unit, actor=actor, at=at, key=key, rate=plain(rate))
    return unit


@transaction.atomic
def price_meter(
    meter: Meter,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    unit: CreditUnit | None,
    currency: str,
    price: Decimal,
    actor: str,
    at: datetime,
) -> CreditPrice:
    """Set how much credit one counted unit of a meter takes, in a unit or else in a currency.

    From then on its events burn the credit of wallets that are settled on event. A repeat with
    the same ``id`` returns it as it is. Raises ``MeterNotPriceable`` unless the meter counts or
    sums up, and ``PriceTaken``.
    """
    known = CreditPrice.objects.filter(pk=id, tenant_id=meter.tenant_id).first()
    if known is not None:
        return known
    if latest_version(meter.id).aggregation not in _PRICEABLE:
        raise MeterNotPriceable(
            f"{meter.key!r} is neither a count nor a sum: an event of it has no price.",
            field="meter",
        )
    priced = CreditPrice(
        id=id,
        tenant_id=meter.tenant_id,
        meter=meter,
        unit=unit,
        currency="" if unit else currency,
        price=price,
        created_at=at,
    )
    try:
        with transaction.atomic():
            priced.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "credit_price_once":
            raise
        raise PriceTaken(f"{meter.key!r} has a price in this credit.", field="meter") from error
    record("credit_price.created", priced, actor=actor, at=at, meter=meter.key, price=plain(price))
    return priced


@transaction.atomic
def create_wallet(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    tenant_id: UUID,
    unit: CreditUnit | None = None,
    currency: str = "",
    external_id: str | None = None,
    name: str = "",
    priority: int = DEFAULT_PRIORITY,
    scope: Scope = FOR_EVERYTHING,
    settlement: Settlement = Settlement.ON_INVOICE,
    insufficient: Insufficient = Insufficient.INVOICE,
    overdraft_limit: Decimal = ZERO,
    remind_before: timedelta | None = None,
    top_off: TopOff | None = None,
    actor: str,
    at: datetime,
) -> Wallet:
    """Open a wallet of a customer, in a unit or in a currency (else the customer's own).

    A top-off rule acts from the first time that credit is used, or by the next sweep; not here. A
    repeat with the same ``id`` returns the wallet as it is. Raises ``NotFound``,
    ``ExternalIdTaken``, ``OverdraftUnfit``, and what ``refuse_scope`` and ``set_top_off`` do.
    """
    customer = lock_row(Customer, customer_id, tenant_id=tenant_id)
    known = Wallet.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    if (insufficient is Insufficient.OVERDRAFT) != (overdraft_limit > 0):
        raise OverdraftUnfit(
            "An overdraft limit above zero goes with the policy overdraft, and only with it.",
            field="overdraft_limit",
        )
    refuse_scope(scope, settlement, tenant_id=tenant_id)
    money = unit.currency if unit else currency or customer.currency
    exponent(money)
    wallet = Wallet(
        id=id,
        tenant_id=tenant_id,
        customer=customer,
        external_id=external_id,
        name=name,
        unit=unit,
        currency=money,
        priority=priority,
        scope_products=list(scope.products),
        scope_meters=list(scope.meters),
        scope_charges=list(scope.charges),
        settlement=settlement,
        insufficient=insufficient,
        overdraft_limit=overdraft_limit,
        remind_before=remind_before,
        created_at=at,
    )
    try:
        with transaction.atomic():
            wallet.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "wallet_external_id_once":
            raise
        raise ExternalIdTaken(
            f"Another wallet has the external id {external_id!r}.", field="external_id"
        ) from error
    if top_off is not None:
        _set_rule(wallet, top_off)
    record(
        "wallet.created",
        wallet,
        actor=actor,
        at=at,
        customer=customer.public_id,
        denomination=wallet.denomination,
    )
    return wallet


@transaction.atomic
def change_wallet(
    wallet_id: UUID,
    *,
    tenant_id: UUID,
    top_off: TopOff | None = None,
    drop_top_off: bool = False,
    actor: str,
    at: datetime,
    **changes: Any,
) -> Wallet:
    """Change name, priority or reminder, and set or drop the top-off rule.

    A rule that is set anew forgets its failures and why it paused. Changing nothing records nothing. Raises
    ``NotFound``, ``WalletClosed`` and what setting a rule raises.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = _the_one(till.wallets, wallet_id)
    refuse_closed(wallet)
    changed = sorted(name for name, value in changes.items() if getattr(wallet, name) != value)
    for name in changed:
        setattr(wallet, name, changes[name])
    if changed:
        wallet.save(update_fields=changed)
    if drop_top_off:
        TopOffRule.objects.filter(wallet=wallet).delete()
        wallet.low_watermark = None
        wallet.save(update_fields=["low_watermark"])
    if top_off is not None:
        _set_rule(wallet, top_off)
    if drop_top_off or top_off is not None:
        changed.append("top_off")
    if changed:
        record("wallet.changed", wallet, actor=actor, at=at, fields=", ".join(changed))
    close_till(till)
    return wallet


@transaction.atomic
def close_wallet(wallet_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Wallet:
    """Close an empty wallet for good; a repeat returns it as it is.

    Raises ``NotFound``, and ``WalletInUse`` while it has credit, a debt, holds, or purchases
    under way.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = _the_one(till.wallets, wallet_id)
    if wallet.status == WalletStatus.CLOSED:
        return wallet
    till.store()
    waiting = CreditGrant.objects.filter(wallet=wallet, status__in=[*UNPAID, "scheduled"])
    if wallet.balance or wallet.held or wallet.overdrawn or waiting.exists():
        raise WalletInUse(f"{wallet.public_id} has credit, holds or purchases under way.")
    wallet.closed_at = at
    move(
        wallet,
        to=WalletStatus.CLOSED,
        allowed=WALLET_TRANSITIONS,
        actor=actor,
        at=at,
        also=("closed_at",),
    )
    return wallet


def _set_rule(wallet: Wallet, rule: TopOff) -> None:
    precision = wallet.unit.precision if wallet.unit else None
    for field in ("amount", "low_watermark"):
        refuse_too_fine(getattr(rule, field), wallet.currency, precision, f"top_off.{field}")
    if wallet.unit is not None and not wallet.unit.rate:
        raise RateMissing(
            f"{wallet.unit.key} has no rate: nobody knows what a top-off costs.", field="top_off"
        )
    if rule.kind is TopOffKind.TARGET and rule.amount <= rule.low_watermark:
        raise TargetBelowWatermark("The target is above the low watermark.", field="top_off.amount")
    if rule.cap is not None and rule.kind is TopOffKind.FIXED and rule.cap < rule.amount:
        raise CapTooLow("The cap is below what one top-off buys.", field="top_off.cap")
    TopOffRule.objects.update_or_create(
        wallet=wallet,
        defaults={
            "tenant_id": wallet.tenant_id,
            "kind": rule.kind,
            "amount": rule.amount,
            "expiry_unit": rule.lasts.unit.value if rule.lasts else None,
            "expiry_count": rule.lasts.count if rule.lasts else None,
            "cap": rule.cap,
            "cap_days": rule.cap_days,
            "cool_off": rule.cool_off,
            "attempt_limit": rule.attempt_limit,
            "failures": 0,
            "not_before": None,
            "paused_by": [],
            "paused_at": None,
        },
    )
    wallet.low_watermark = rule.low_watermark
    wallet.save(update_fields=["low_watermark"])


def _the_one(wallets: dict[UUID, Wallet], wallet_id: UUID) -> Wallet:
    try:
        return wallets[wallet_id]
    except KeyError:
        raise NotFound("There is no such wallet.") from None
