"""The life of a payment, the timetables of asking for money, and what is refused. Pure."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from apps.core.errors import Conflict, Invalid, PaymentDeclined


class PaymentStatus(StrEnum):
    """Where one attempt to move money stands. Unknown is a state, never a failure."""

    CREATED = "created"
    SENT = "sent"
    UNKNOWN = "unknown"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


PAYMENT_TRANSITIONS: Final[Mapping[PaymentStatus, frozenset[PaymentStatus]]] = {
    PaymentStatus.CREATED: frozenset({PaymentStatus.SENT, PaymentStatus.CANCELED}),
    PaymentStatus.SENT: frozenset(
        {
            PaymentStatus.UNKNOWN,
            PaymentStatus.PENDING,
            PaymentStatus.SUCCEEDED,
            PaymentStatus.FAILED,
        }
    ),
    PaymentStatus.UNKNOWN: frozenset(
        {PaymentStatus.PENDING, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED}
    ),
    PaymentStatus.PENDING: frozenset(
        {PaymentStatus.SUCCEEDED, PaymentStatus.FAILED, PaymentStatus.CANCELED}
    ),
    # a late success is real money
    PaymentStatus.FAILED: frozenset({PaymentStatus.SUCCEEDED}),
    PaymentStatus.SUCCEEDED: frozenset(),
    PaymentStatus.CANCELED: frozenset(),
}
IN_FLIGHT: Final = frozenset(
    {PaymentStatus.CREATED, PaymentStatus.SENT, PaymentStatus.UNKNOWN, PaymentStatus.PENDING}
)


class RefundStatus(StrEnum):
    """Where paying money back stands. Pending from the first: it may have been sent."""

    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


REFUND_TRANSITIONS: Final[Mapping[RefundStatus, frozenset[RefundStatus]]] = {
    RefundStatus.PENDING: frozenset(
        {RefundStatus.UNKNOWN, RefundStatus.SUCCEEDED, RefundStatus.FAILED}
    ),
    RefundStatus.UNKNOWN: frozenset(
        {RefundStatus.PENDING, RefundStatus.SUCCEEDED, RefundStatus.FAILED}
    ),
    RefundStatus.SUCCEEDED: frozenset(),
    # what it would have paid back is the customer's again, and may be used up
    RefundStatus.FAILED: frozenset(),
}
REFUND_OPEN: Final = frozenset({RefundStatus.PENDING, RefundStatus.UNKNOWN})


class DisputeStatus(StrEnum):
    """Where money stands that a customer had his bank take back."""

    OPENED = "opened"  # the provider has withdrawn it
    WON = "won"  # it came back
    LOST = "lost"


DISPUTE_TRANSITIONS: Final[Mapping[DisputeStatus, frozenset[DisputeStatus]]] = {
    DisputeStatus.OPENED: frozenset({DisputeStatus.WON, DisputeStatus.LOST}),
    DisputeStatus.WON: frozenset(),
    DisputeStatus.LOST: frozenset(),
}

# How long after the last question (or after sending) an open outcome is asked for; the last for
# ever, because as long as it is open nobody else may charge.
QUESTIONS: Final = (
    timedelta(minutes=5),
    timedelta(hours=1),
    timedelta(days=1),
)
# A provider that knows nothing of a charge so long after it was sent will never know it.
LOST_AFTER: Final = timedelta(hours=1)


class FailureCode(StrEnum):
    """Why a payment failed; every provider's codes are mapped to these."""

    CARD_DECLINED = "card_declined"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    METHOD_EXPIRED = "payment_method_expired"
    AUTHENTICATION_REQUIRED = "authentication_required"  # the customer must act himself
    CANCELED_BY_PROVIDER = "canceled_by_provider"
    NEVER_ARRIVED = "never_arrived"  # the provider knows nothing of it
    UNREACHABLE = "provider_unreachable"  # surely not sent
    REFUND_REFUSED = "refund_refused"  # such as by a bank whose customer has left it
    # of payments whose outcome is open
    TIMED_OUT = "timed_out"
    DUPLICATE_REQUEST = "duplicate_request"
    OUTCOME_MISMATCH = "outcome_mismatch"


class CardDeclined(PaymentDeclined):
    reason = FailureCode.CARD_DECLINED.value


class InsufficientFunds(PaymentDeclined):
    reason = FailureCode.INSUFFICIENT_FUNDS.value


class MethodExpired(PaymentDeclined):
    reason = FailureCode.METHOD_EXPIRED.value


class AuthenticationRequired(PaymentDeclined):
    reason = FailureCode.AUTHENTICATION_REQUIRED.value


class ProviderUnreachable(PaymentDeclined):
    """Nothing was sent; another attempt, under another key, may succeed."""

    reason = FailureCode.UNREACHABLE.value


class RefundRefused(PaymentDeclined):
    """The provider pays nothing back this way; what was owed still is."""

    reason = FailureCode.REFUND_REFUSED.value


REFUSALS: Final[Mapping[str, type[PaymentDeclined]]] = MappingProxyType(
    {
        error.reason: error
        for error in (
            CardDeclined,
            InsufficientFunds,
            MethodExpired,
            AuthenticationRequired,
            ProviderUnreachable,
            RefundRefused,
        )
    }
)
"""What a failed payment or refund is told to a caller as; ``PaymentDeclined`` for codes not listed."""


class PaymentInProgress(Conflict):
    """Somebody else's attempt is under way, or its outcome is not known yet."""

    reason = "payment_in_progress"


class PaymentNotHeld(Conflict):
    """Only a payment that waits for a person is decided by one."""

    reason = "payment_not_held"


class ProviderUnknown(Invalid):
    reason = "provider_unknown"


class ProviderNotForMode(Invalid):
    """A provider without real money has no place among live tenants."""

    reason = "provider_not_for_mode"


class MethodReferenceInvalid(Invalid):
    reason = "provider_ref_invalid"


class MethodUnusable(Invalid):
    """It is another customer's, was detached, or has expired."""

    reason = "payment_method_unusable"


class MethodDetached(Conflict):
    reason = "payment_method_detached"


class NoPaymentMethod(Conflict):
    reason = "no_payment_method"


class MethodNotChargeable(Invalid):
    """Its money arrives by itself; there is nothing that could be charged."""

    reason = "payment_method_not_chargeable"


class AmountExceedsDue(Invalid):
    reason = "amount_exceeds_due"


class ReferenceUsed(Conflict):
    """The customer's money with this reference has been recorded."""

    reason = "payment_reference_used"


class ReceivedInFuture(Invalid):
    reason = "received_in_future"


class ReceivedBeforeIssue(Invalid):
    reason = "received_before_issue"


class PaymentNotRefundable(Conflict):
    """Only money that came in can go back."""

    reason = "payment_not_refundable"


class NothingToRefund(Conflict):
    """All of it was paid back, is being paid back, or is owed to nobody."""

    reason = "nothing_to_refund"


class RefundExceedsPaid(Invalid):
    reason = "refund_exceeds_paid"


class CreditUnpaid(Conflict):
    """The invoice sells credit and is paid in part: it has given nothing that could be taken back."""

    reason = "invoice_sells_unpaid_credit"


class RefundNotHeld(Conflict):
    """Only a refund that waits for a person is decided by one."""

    reason = "refund_not_held"


class PaidBackInFuture(Invalid):
    reason = "paid_back_in_future"


class PaidBackBeforePaid(Invalid):
    reason = "paid_back_before_paid"


class PaymentNotDisputable(Conflict):
    """Only money that came in can be taken back."""

    reason = "payment_not_disputable"


class NothingToDispute(Conflict):
    """All of it was paid back, is being paid back, or is disputed."""

    reason = "nothing_to_dispute"


class DisputeExceedsPaid(Invalid):
    reason = "dispute_exceeds_paid"


class OutcomeMismatch(Conflict):
    """The provider took another amount, in another currency, or calls it by another's name."""

    reason = "outcome_mismatch"


def end_of_month(year: int, month: int) -> datetime:
    """Return the first instant, in UTC, after a month of the calendar."""
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


def last_month(expires_at: datetime) -> str:
    """Return the month that ends at ``expires_at``, such as ``2027-08``."""
    return f"{expires_at.astimezone(UTC) - timedelta(days=1):%Y-%m}"


def split_receipt(received: Decimal, still_open: Decimal) -> tuple[Decimal, Decimal]:
    """Return what of the money received pays what is open, and what is left over.

    Both are positive or zero, in the currency at hand, and add up to what was received.
    """
    allocated = min(received, max(still_open, Decimal(0)))
    return allocated, received - allocated


def next_question(asked: int, at: datetime) -> datetime:
    """Return when to ask about an open outcome that was asked for ``asked`` times by ``at``."""
    return at + QUESTIONS[min(asked, len(QUESTIONS) - 1)]


def is_lost(sent_at: datetime, at: datetime) -> bool:
    """Say whether a charge that the provider does not know at ``at`` will never be known."""
    return at - sent_at >= LOST_AFTER


def next_attempt(
    first_failed_at: datetime, attempts: int, retry_days: Sequence[int]
) -> datetime | None:
    """Return when to collect again after ``attempts`` failed ones, or None if never.

    ``retry_days`` counts from the first failure, in days of 24 hours; an empty list retries never.
    """
    if attempts > len(retry_days):
        return None
    return first_failed_at + timedelta(days=retry_days[attempts - 1])
