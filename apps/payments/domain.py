"""The life of a payment and of the effort to collect an invoice."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


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
