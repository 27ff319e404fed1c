"""Spending credit at once, and holding it for a cost that is not known yet."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.failpoints import failpoint
from apps.core.money import EXACT, plain
from apps.core.states import move
from apps.ledger.domain import FactKind
from apps.wallets.domain import (
    ANYTHING,
    HOLD_TRANSITIONS,
    ZERO,
    CaptureExceedsHold,
    EntryKind,
    ExternalIdTaken,
    GrantKind,
    HoldEnded,
    HoldStatus,
    InsufficientCredit,
    Thing,
)
from apps.wallets.models import CreditHold, CreditTransaction, Wallet
from apps.wallets.operations.entries import Purpose
from apps.wallets.operations.granting import the_wallet
from apps.wallets.operations.scoping import refuse_meter
from apps.wallets.operations.till import Till, open_till, refuse_closed
from apps.wallets.operations.topping_off import close_till
from apps.wallets.queries import entries_for, parts_of


@transaction.atomic
def consume_credit(
    wallet_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the effect: a repeat has none
    tenant_id: UUID,
    amount: Decimal,
    thing: Thing = ANYTHING,
    reason: str = "",
    actor: str,
    at: datetime,
) -> list[CreditTransaction]:
    """Take ``amount`` from a wallet, all or nothing, and return the transactions, in their order.

    A repeat with the same ``id`` returns what was taken. Raises ``NotFound``, ``WalletClosed``,
    ``MeterUnknown`` and ``InsufficientCredit`` if what there is, and what may be lent, is less.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = the_wallet(till, wallet_id)
    purpose = Purpose(source_key=f"spend {id}", thing=thing, reason=reason)
    known = entries_for(wallet, EntryKind.CONSUME, purpose.source_key)
    if known:
        return known
    refuse_closed(wallet)
    refuse_meter(thing.meter, tenant_id=tenant_id)
    _refuse_short(wallet, amount, till.spendable(wallet, thing))
    till.spend(wallet, amount, purpose)
    close_till(till)
    return entries_for(wallet, EntryKind.CONSUME, purpose.source_key)


@transaction.atomic
def place_hold(
    wallet_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    tenant_id: UUID,
    amount: Decimal,
    expires_at: datetime,
    meter: str = "",
    external_id: str | None = None,
    actor: str,
    at: datetime,
) -> CreditHold:
    """Put ``amount`` of a wallet's credit aside until ``expires_at``, exclusive, all or nothing.

    Only credit that is there can be held, none that would be lent. What is held does not expire
    before its hold ends. A repeat with the same ``id``, or the same ``external_id`` and amount,
    returns the hold as it is. Raises ``NotFound``, ``WalletClosed``, ``MeterUnknown``,
    ``InsufficientCredit`` and ``ExternalIdTaken``.
    """
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    wallet = the_wallet(till, wallet_id)
    known = CreditHold.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is None and external_id is not None:
        known = CreditHold.objects.filter(
            tenant_id=tenant_id, external_id=external_id, wallet=wallet, amount=amount
        ).first()
    if known is not None:
        return known
    refuse_closed(wallet)
    refuse_meter(meter, tenant_id=tenant_id)
    thing = Thing(meter=meter)
    _refuse_short(wallet, amount, till.credit(wallet, thing))
    hold = CreditHold(
        id=id,
        tenant_id=tenant_id,
        wallet=wallet,
        external_id=external_id,
        meter=meter,
        amount=amount,
        expires_at=expires_at,
        created_at=at,
    )
    try:
        with transaction.atomic():
            hold.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "hold_external_id_once":
            raise
        raise ExternalIdTaken(
            f"Another hold has the external id {external_id!r}.", field="external_id"
        ) from error
    failpoint("wallets.hold.after_insert")
    till.put_aside(wallet, hold, thing)
    till.tell("credit_hold.placed", hold, wallet=wallet.public_id, amount=plain(amount))
    close_till(till)
    return hold


@transaction.atomic
def capture_hold(
    hold_id: UUID,
    *,
    tenant_id: UUID,
    amount: Decimal | None = None,
    reason: str = "",
    actor: str,
    at: datetime,
) -> CreditHold:
    """Spend what something really cost out of what was held for it, and release the rest.

    ``amount`` None is all of it; zero releases everything. The credit is that which was held,
    also if it has expired since. A repeat returns the hold as it is. Raises ``NotFound``,
    ``CaptureExceedsHold``, and ``HoldEnded`` if it was released or its time is over.
    """
    till, wallet, hold = _open(hold_id, tenant_id=tenant_id, actor=actor, at=at)
    if hold.status == HoldStatus.CAPTURED:
        return hold
    if hold.status != HoldStatus.OPEN or hold.expires_at <= at:
        raise HoldEnded(f"{hold.public_id} is {_state(hold)}.")
    taken = hold.amount if amount is None else amount
    if taken > hold.amount:
        raise CaptureExceedsHold(
            f"{plain(taken)} is more than the {plain(hold.amount)} that are held.", field="amount"
        )
    parts = parts_of(hold)
    till.take_back_aside(wallet, hold, parts)
    _spend_parts(till, wallet, hold, parts, amount=taken, reason=reason)
    till.write_off_over([grant for grant, _ in parts], wallet, cause=hold.public_id)
    hold.captured = taken
    _end(hold, HoldStatus.CAPTURED, actor=actor, at=at)
    close_till(till)
    return hold


@transaction.atomic
def release_hold(hold_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> CreditHold:
    """Give back what was held; a repeat, or one that has expired, is returned as it is.

    What is given back to credit that has expired meanwhile expires. Raises ``NotFound``, and
    ``HoldEnded`` if it was captured.
    """
    till, wallet, hold = _open(hold_id, tenant_id=tenant_id, actor=actor, at=at)
    if hold.status == HoldStatus.CAPTURED:
        raise HoldEnded(f"{hold.public_id} was captured.")
    if hold.status == HoldStatus.OPEN:
        _give_back(till, wallet, hold, HoldStatus.RELEASED)
        close_till(till)
    return hold


@transaction.atomic
def expire_hold(hold_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> CreditHold:
    """End a hold whose time is over, as releasing it would; any other is returned as it is."""
    till, wallet, hold = _open(hold_id, tenant_id=tenant_id, actor=actor, at=at)
    if hold.status == HoldStatus.OPEN and hold.expires_at <= at:
        _give_back(till, wallet, hold, HoldStatus.EXPIRED)
        close_till(till)
    return hold


def _give_back(till: Till, wallet: Wallet, hold: CreditHold, to: HoldStatus) -> None:
    parts = parts_of(hold)
    till.take_back_aside(wallet, hold, parts)
    till.write_off_over([grant for grant, _ in parts], wallet, cause=hold.public_id)
    _end(hold, to, actor=till.actor, at=till.at)


def _spend_parts(
    till: Till,
    wallet: Wallet,
    hold: CreditHold,
    parts: Sequence[tuple[UUID, Decimal]],
    *,
    amount: Decimal,
    reason: str,
) -> None:
    purpose = Purpose(
        source_key=hold.public_id,
        thing=Thing(meter=hold.meter),
        hold_id=hold.id,
        reason=reason,
    )
    paid = promotional = ZERO
    for grant_id, held in parts:
        spent = min(held, amount)
        if not spent:
            break
        amount = EXACT.subtract(amount, spent)
        grant = till.grants[wallet.id][grant_id]
        value = till.take(wallet, grant, spent, EntryKind.CONSUME, purpose)
        if grant.kind == GrantKind.PAID:
            paid = EXACT.add(paid, value)
        else:
            promotional = EXACT.add(promotional, value)
    till.book(wallet, FactKind.CREDIT_BURNED, paid=paid, promotional=promotional)


def _end(hold: CreditHold, to: HoldStatus, *, actor: str, at: datetime) -> None:
    hold.ended_at = at
    move(
        hold,
        to=to,
        allowed=HOLD_TRANSITIONS,
        actor=actor,
        at=at,
        also=("ended_at", "captured"),
        captured=plain(hold.captured),
    )


def _open(
    hold_id: UUID, *, tenant_id: UUID, actor: str, at: datetime
) -> tuple[Till, Wallet, CreditHold]:
    """Lock the wallet of a hold, which guards the hold too; ``NotFound`` if there is none."""
    known = CreditHold.objects.filter(pk=hold_id, tenant_id=tenant_id)
    wallet_id = known.values_list("wallet_id", flat=True).first()
    if wallet_id is None:
        raise NotFound("There is no such hold.")
    till = open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at)
    return till, till.wallets[wallet_id], CreditHold.objects.get(pk=hold_id)


def _refuse_short(wallet: Wallet, amount: Decimal, there: Decimal) -> None:
    if amount > there:
        raise InsufficientCredit(
            f"{plain(amount)} {wallet.denomination} is needed, {plain(there)} can be spent."
        )


def _state(hold: CreditHold) -> str:
    if hold.status == HoldStatus.OPEN:
        return f"over since {hold.expires_at.isoformat()}"
    return hold.status
