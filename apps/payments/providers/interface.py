"""What every payment provider can do, and what it promises: the contract of all adapters.

An adapter translates between its provider and these values, and nothing else: it holds no rule of
billing, writes no row of ours, and is called outside any transaction. Whatever a provider tells us,
as the answer to a charge, as the answer to a question, or by itself in a webhook, becomes an
``Outcome``, which ``operations.outcomes.apply_outcome`` takes in the same way, any number of times,
in any order. So do disputes: ``DisputeNews``, for ``operations.dispute_asking.apply_dispute_news``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from moneyed import Money

from apps.payments.domain import DisputeStatus, FailureCode
from apps.tenants.domain import Mode

_REF: Final = re.compile(r"[\x21-\x7e]{1,255}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LONGEST_MESSAGE: Final = 500


class OutcomeStatus(StrEnum):
    """What became of a charge."""

    SUCCEEDED = "succeeded"  # the money was taken
    FAILED = "failed"  # it was not, and never will be by this charge
    PENDING = "pending"  # the provider has the charge and will know later
    UNKNOWN = "unknown"  # nobody can tell: timed out, cut off, not understood


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """One charge of a saved payment method, without the customer being there."""

    amount: Money  # major units; the adapter converts by the provider's own table of exponents
    idempotency_key: str  # the same for every call about this charge, used for no other
    method_ref: str  # the payment method, as the provider calls it
    customer_ref: str  # the customer, as the provider calls him; "" if he has no name there
    description: str  # one line that the customer may see
    # ids of tenant, customer, invoice and payment, to be stored with the charge so that it can be
    # found by them
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Paying back a charge, or part of it, to where it came from."""

    amount: Money
    idempotency_key: str  # as of a charge; no charge has it
    charge_key: str  # the idempotency key of the charge
    charge_ref: str | None  # the charge, as the provider calls it
    method_ref: str  # the payment method, as the provider calls it
    reason: str  # one line that the customer may see
    metadata: Mapping[str, str]  # ids of tenant, customer, payment and refund


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a provider says of a charge or of a refund.

    ``amount`` is what was really moved, given with SUCCEEDED: it may differ from what was asked.
    ``provider_ref`` is the provider's own name of it, where it is known. What is said is no more
    trusted than what anybody else sends: a message is cut to what is kept of it, and a name that
    can be none raises ``ValueError``.
    """

    status: OutcomeStatus
    amount: Money | None = None
    provider_ref: str | None = None
    failure_code: FailureCode | None = None
    failure_message: str = ""

    def __post_init__(self) -> None:
        """Let nothing through that cannot be stored."""
        if self.provider_ref is not None and not _REF.fullmatch(self.provider_ref):
            raise ValueError(f"no charge is called {self.provider_ref[:64]!r}")
        message = _CONTROL.sub(" ", self.failure_message)[:_LONGEST_MESSAGE]
        object.__setattr__(self, "failure_message", message)


@dataclass(frozen=True, slots=True)
class DisputeNews:
    """What a provider says of a dispute of a charge: how it stands, and what was withdrawn for it."""

    charge_key: str  # the idempotency key of the charge
    reference: str  # the provider's own name of the dispute
    status: DisputeStatus
    amount: Money
    fee: Money | None = None  # what the provider keeps for it, in the same currency
    reason: str = ""
    evidence_due_at: datetime | None = None


class Provider(Protocol):
    """A payment provider."""

    @property
    def name(self) -> str:
        """How rows and requests call it, for ever."""

    @property
    def modes(self) -> frozenset[Mode]:
        """The modes of tenants that may use it: one without real money is for tests only."""

    @property
    def collects(self) -> bool:
        """Whether it can take money by itself. If not, money is only recorded as it arrives."""

    def check_method(self, method_ref: str) -> None:
        """Raise ``MethodReferenceInvalid`` for what can be no payment method of this provider.

        Looks at the form alone, and asks nobody.
        """

    def charge(self, request: ChargeRequest) -> Outcome:
        """Take the money once, however often it is called with the same idempotency key.

        Blocks at most 30 seconds. Expected trouble is an outcome, never an exception: a refusal is
        FAILED, a timeout or an answer that is not understood is UNKNOWN, and only what surely never
        reached the provider is FAILED with ``UNREACHABLE``. A second call with the same key answers
        what the first did, or UNKNOWN while that is still going on. An exception is a defect
        of the adapter; whoever calls treats the outcome as unknown.
        """

    def find(self, idempotency_key: str) -> Outcome | None:
        """Ask what became of the charge with this key; None if the provider knows of none.

        Changes nothing. UNKNOWN if the provider cannot be reached or understood. Where a provider
        cannot look up keys, the adapter searches by what ``metadata`` has stored.
        """

    def refund(self, request: RefundRequest) -> Outcome:
        """Pay the money back once, however often it is called with the same idempotency key.

        As ``charge`` in every other respect.
        """

    def find_refund(self, idempotency_key: str) -> Outcome | None:
        """Ask what became of the refund with this key, as ``find`` does for charges."""

    def find_disputes(self, tenant: str) -> Sequence[DisputeNews]:
        """Ask for the disputes of a tenant's charges: all that are open, or were decided lately.

        ``tenant`` is the id that the ``metadata`` of charges hold. How far back it looks is the
        adapter's to say, but each decision is told for a month. Changes nothing. Empty if the
        provider cannot be reached or understood: it is asked again.
        """
