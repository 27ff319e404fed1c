"""Wallets, grants and holds: their lives, what credit is worth, and what is refused. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from apps.core.errors import Conflict, Invalid, PaymentDeclined
from apps.core.money import ARITHMETIC, EXACT, exponent

ZERO: Final = Decimal(0)
_PLACES: Final = Decimal("1e-12")
LOWEST_PRIORITY: Final = 100
DEFAULT_PRIORITY: Final = 50


class WalletStatus(StrEnum):
    """Where a wallet stands."""

    ACTIVE = "active"
    PAYMENT_FAILED = "payment_failed"  # the last purchase could not be collected
    CLOSED = "closed"


WALLET_TRANSITIONS: Final[Mapping[WalletStatus, frozenset[WalletStatus]]] = {
    WalletStatus.ACTIVE: frozenset({WalletStatus.PAYMENT_FAILED, WalletStatus.CLOSED}),
    WalletStatus.PAYMENT_FAILED: frozenset({WalletStatus.ACTIVE, WalletStatus.CLOSED}),
    WalletStatus.CLOSED: frozenset(),
}


class Settlement(StrEnum):
    """When usage takes credit: as soon as its events are seen, or when it is invoiced."""

    ON_EVENT = "on_event"
    ON_INVOICE = "on_invoice"


class Insufficient(StrEnum):
    """What becomes of usage that the credit does not cover."""

    INVOICE = "invoice"  # the rest is invoiced
    OVERDRAFT = "overdraft"  # the wallet goes below zero, down to its limit
    REFUSE = "refuse"  # nothing is lent; the wallet says so, and since when


class GrantKind(StrEnum):
    """Whether money was asked for the credit."""

    PAID = "paid"
    PROMOTIONAL = "promotional"


class GrantSource(StrEnum):
    """How credit came about."""

    GRANTED = "granted"
    PURCHASE = "purchase"
    TOP_OFF = "top_off"


class GrantStatus(StrEnum):
    """Where a grant stands. Its credit counts while it is available, and at no other time."""

    PENDING = "pending"  # its money has not come
    PAYMENT_FAILED = "payment_failed"  # … and was refused; it may still come
    SCHEDULED = "scheduled"  # not effective yet
    AVAILABLE = "available"
    EXPIRED = "expired"
    VOIDED = "voided"
    REFUNDED = "refunded"


GRANT_TRANSITIONS: Final[Mapping[GrantStatus, frozenset[GrantStatus]]] = {
    GrantStatus.PENDING: frozenset(
        {
            GrantStatus.PAYMENT_FAILED,
            GrantStatus.SCHEDULED,
            GrantStatus.AVAILABLE,
            GrantStatus.VOIDED,
        }
    ),
    GrantStatus.PAYMENT_FAILED: frozenset(
        {GrantStatus.SCHEDULED, GrantStatus.AVAILABLE, GrantStatus.VOIDED}
    ),
    GrantStatus.SCHEDULED: frozenset({GrantStatus.AVAILABLE, GrantStatus.VOIDED}),
    GrantStatus.AVAILABLE: frozenset(
        {GrantStatus.EXPIRED, GrantStatus.VOIDED, GrantStatus.REFUNDED}
    ),
    GrantStatus.EXPIRED: frozenset(),
    GrantStatus.VOIDED: frozenset(),
    GrantStatus.REFUNDED: frozenset(),
}
UNPAID: Final = frozenset({GrantStatus.PENDING, GrantStatus.PAYMENT_FAILED})


class EntryKind(StrEnum):
    """What a movement of credit is for; the sign of its amount is in brackets."""

    GRANT = "grant"  # [+] credit became available
    CONSUME = "consume"  # [-] it paid for something
    RETURN = "return"  # [+] what it paid for was canceled
    EXPIRE = "expire"  # [-]
    VOID = "void"  # [-] taken back, with a reason
    REFUND = "refund"  # [-] taken back because its money goes back
    DISPUTE = "dispute"  # [-] taken because its money is disputed
    REINSTATE = "reinstate"  # [+] … and the dispute was won
    HOLD = "hold"  # [-] put aside
    RELEASE = "release"  # [+] not put aside any more
    OVERDRAFT = "overdraft"  # [+] credit that came pays back what had been lent


class HoldStatus(StrEnum):
    """A hold ends once."""

    OPEN = "open"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


HOLD_TRANSITIONS: Final[Mapping[HoldStatus, frozenset[HoldStatus]]] = {
    HoldStatus.OPEN: frozenset({HoldStatus.CAPTURED, HoldStatus.RELEASED, HoldStatus.EXPIRED}),
    HoldStatus.CAPTURED: frozenset(),
    HoldStatus.RELEASED: frozenset(),
    HoldStatus.EXPIRED: frozenset(),
}


class TopOffKind(StrEnum):
    """How much a top-off buys."""

    FIXED = "fixed"  # always the amount
    TARGET = "target"  # what is missing to the amount


class WalletClosed(Conflict):
    reason = "wallet_closed"


class WalletInUse(Conflict):
    """It has credit, holds or purchases under way."""

    reason = "wallet_in_use"


class ExternalIdTaken(Conflict):
    reason = "external_id_taken"


class UnitKeyTaken(Conflict):
    reason = "credit_unit_key_taken"


class PriceTaken(Conflict):
    """The meter has a price in this credit, and prices of credit never change."""

    reason = "credit_price_taken"


class MeterNotPriceable(Invalid):
    """Only what is counted or summed up can be priced event by event."""

    reason = "meter_not_priceable"


class InsufficientCredit(PaymentDeclined):
    """There is less credit than is asked for, and no more may be lent."""

    reason = "insufficient_credits"


class WalletUndecided(Invalid):
    """Neither a wallet is named nor a customer and what the amount is in."""

    reason = "wallet_undecided"


class NoWallet(Conflict):
    """The customer has no wallet in which this could be."""

    reason = "no_wallet"


class ScopeUnfit(Invalid):
    """Events tell their meter alone: credit that is used by them cannot be for anything else."""

    reason = "scope_unfit"


class ScopeUnknown(Invalid):
    """Credit would be for products, meters or charges that are not there."""

    reason = "scope_unknown"


class MeterUnknown(Invalid):
    reason = "meter_unknown"


class ExpiryBeforeStart(Invalid):
    reason = "expiry_before_start"


class ExpiryPast(Invalid):
    reason = "expiry_past"


class CreditTooFine(Invalid):
    """The amount has more decimals than its currency or unit."""

    reason = "credit_precision"


class OverdraftUnfit(Invalid):
    """A limit belongs to the policy ``overdraft``, and that policy needs one."""

    reason = "overdraft_unfit"


class TargetBelowWatermark(Invalid):
    """It would buy again at once."""

    reason = "top_off_target_too_low"


class CapTooLow(Invalid):
    """It would never buy."""

    reason = "top_off_cap_too_low"


class RateMissing(Invalid):
    """Credit in a unit without a rate has no price; name one."""

    reason = "credit_price_missing"


class NothingToAdjust(Invalid):
    reason = "nothing_to_adjust"


class GrantNotVoidable(Conflict):
    """What is spent, held, expired or not paid yet cannot be taken back."""

    reason = "grant_not_voidable"


class GrantNotRefundable(Conflict):
    """Only paid credit that is left can be refunded; promotional credit is never turned into money."""

    reason = "grant_not_refundable"


class HoldEnded(Conflict):
    reason = "hold_ended"


class CaptureExceedsHold(Invalid):
    reason = "capture_exceeds_hold"


class LinesNotCovered(Conflict):
    """Credit was applied to other lines than are there."""

    reason = "lines_not_covered"


@dataclass(frozen=True, slots=True)
class Thing:
    """What credit is asked for; "" where it is not known or does not matter.

    ``by_name``: only with credit that names it, not with such as is for everything.
    """

    product: str = ""
    meter: str = ""
    charge: str = ""
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """What credit may be used for, by keys: any of these, or everything if none is named."""

    products: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    charges: tuple[str, ...] = ()

    def covers(self, thing: Thing) -> bool:
        """Say whether the credit may be used for it."""
        if not (self.products or self.meters or self.charges):
            return not thing.by_name
        return (
            thing.product in self.products
            or thing.meter in self.meters
            or thing.charge in self.charges
        )

    def names(self, thing: Thing) -> bool:
        """Say whether it is named: then also what is no usage may be paid with the credit."""
        return thing.product in self.products or thing.charge in self.charges


ANYTHING: Final = Thing()
FOR_EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken from a wallet for something: the credit, what it was worth, and what is short.

    ``amount`` and ``short`` are in the wallet's credit, ``covers`` in its currency.
    """

    wallet_id: UUID
    amount: Decimal
    covers: Decimal
    short: Decimal


def worth(credit: Decimal, rate: Decimal | None) -> Decimal:
    """Return the nominal worth of credit in money, at most 12 decimals; ``rate`` None is money."""
    if rate is None:
        return credit
    return EXACT.multiply(credit, rate).quantize(_PLACES, ROUND_HALF_UP, ARITHMETIC)


def credit_for(money: Decimal, rate: Decimal | None) -> Decimal:
    """Return the credit that it takes to be worth ``money``, never too little by a 1e-12th."""
    if rate is None:
        return money
    return ARITHMETIC.divide(money, rate).quantize(_PLACES, ROUND_UP, ARITHMETIC)


def value_left(value: Decimal, amount: Decimal, left: Decimal) -> Decimal:
    """Return what is left of a grant's value when ``left`` of its ``amount`` is: in proportion.

    Nothing of nothing and all of all, exactly; so the steps in between add up to the value.
    """
    if left == amount:
        return value
    product = EXACT.multiply(value, left)
    return ARITHMETIC.divide(product, amount).quantize(_PLACES, ROUND_HALF_UP, ARITHMETIC)


def part_for(amount: Decimal, value: Decimal, price: Decimal) -> Decimal:
    """Return how much of ``amount``, which cost ``value``, ``price`` has bought: never too much."""
    if price >= value:
        return amount
    product = EXACT.multiply(amount, price)
    return ARITHMETIC.divide(product, value).quantize(_PLACES, ROUND_DOWN, ARITHMETIC)


def refundable(value: Decimal, currency: str) -> Decimal:
    """Return what of a worth can be paid in the currency: down to its smallest unit."""
    return value.quantize(Decimal(1).scaleb(-exponent(currency)), ROUND_DOWN, ARITHMETIC)


def places(currency: str, precision: int | None) -> int:
    """Return how many decimals grants may have: the unit's, or the currency's."""
    return exponent(currency) if precision is None else precision


def refuse_too_fine(amount: Decimal, currency: str, precision: int | None, field: str) -> None:
    """Raise ``CreditTooFine`` for more decimals than the credit has."""
    allowed = places(currency, precision)
    if amount != amount.quantize(Decimal(1).scaleb(-allowed), ROUND_HALF_UP, ARITHMETIC):
        raise CreditTooFine(f"{amount:f} has more than {allowed} decimals.", field=field)


def refuse_expiry(effective_at: datetime, expires_at: datetime | None, at: datetime) -> None:
    """Raise ``ExpiryBeforeStart`` or ``ExpiryPast`` for credit that could never be used."""
    if expires_at is None:
        return
    if expires_at <= at:
        raise ExpiryPast(f"{expires_at.isoformat()} is past.", field="expires_at")
    if expires_at <= effective_at:
        raise ExpiryBeforeStart("It would expire before it is effective.", field="expires_at")


@dataclass(frozen=True, slots=True)
class TopOffTerms:
    """A rule that buys credit: ``cap`` bounds what it buys in any ``cap_days`` days."""

    kind: TopOffKind
    amount: Decimal
    cap: Decimal | None
    cool_off: timedelta
    attempt_limit: int


def top_off_amount(
    terms: TopOffTerms, balance: Decimal, watermark: Decimal, bought: Decimal
) -> Decimal:
    """Return how much a top-off buys now: zero at or above the watermark, or if the cap forbids it.

    ``bought`` is what it bought within the period of its cap. It buys all that it should or
    nothing: less would be charged again and again in ever smaller pieces.
    """
    if balance >= watermark:
        return ZERO
    wanted = terms.amount
    if terms.kind is TopOffKind.TARGET:
        wanted = EXACT.subtract(terms.amount, balance)
    if terms.cap is not None and EXACT.add(bought, wanted) > terms.cap:
        return ZERO
    return wanted


@dataclass(frozen=True, slots=True)
class Forecast:
    """How fast a wallet burns, per day, and when it will be empty at that pace (None: never)."""

    daily_burn: Decimal
    empty_at: datetime | None


def forecast(
    left: Decimal, burned: Decimal, *, since: datetime, at: datetime, longest: timedelta
) -> Forecast:
    """Return when ``left`` will be used up if it goes on as since ``since``, when ``burned`` went.

    Nobody looks further ahead than ``longest``.
    """
    seconds = Decimal(int((at - since).total_seconds()))
    if burned <= 0 or seconds <= 0:
        return Forecast(ZERO, None)
    day = Decimal(86_400)
    pace = ARITHMETIC.divide(ARITHMETIC.multiply(burned, day), seconds)
    daily = pace.quantize(_PLACES, ROUND_HALF_UP, ARITHMETIC)
    if left <= 0:
        return Forecast(daily, at)
    ahead = ARITHMETIC.divide(ARITHMETIC.multiply(left, day), pace)
    if ahead > Decimal(int(longest.total_seconds())):
        return Forecast(daily, None)
    return Forecast(daily, at + timedelta(seconds=int(ahead)))
