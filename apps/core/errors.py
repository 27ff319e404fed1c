"""The errors that the rules of billing raise on purpose. Pure.

Six kinds say what a caller can do about it, and only the web layer knows which HTTP status each
kind gets. A concrete error is a small subclass of one kind, beside the rule that it protects, with
its own ``reason``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field: its path (``tiers[2].up_to``), a stable code, a sentence."""

    field: str
    code: str
    detail: str


class BillingError(Exception):
    """A request that the rules of billing do not allow.

    ``reason`` is part of the public contract and never changes once released; ``detail`` is a
    sentence for people and may; ``field`` names the one input that is to blame, if there is one.
    """

    reason: ClassVar[str] = "billing_error"

    def __init__(self, detail: str = "", *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class NotFound(BillingError):
    """Nothing with this identity is visible to the caller."""

    reason = "not_found"


class Invalid(BillingError):
    """The values given cannot be right, whatever the state of the books.

    ``errors`` holds every problem found, in the order of the input, so that a caller can mend all
    of them at once. An error raised with a ``field`` alone is a list of one.
    """

    reason = "invalid"

    def __init__(
        self,
        detail: str = "",
        *,
        field: str | None = None,
        errors: Iterable[FieldError] = (),
    ) -> None:
        self.errors = tuple(errors)
        if self.errors and not detail:
            detail = "; ".join(f"{error.field}: {error.detail}" for error in self.errors)
        super().__init__(detail, field=field)
        if field is not None and not self.errors:
            self.errors = (FieldError(field, self.reason, detail),)


class Conflict(BillingError):
    """The values are right, but the state of the books does not allow this now."""

    reason = "conflict"


class Forbidden(BillingError):
    """The caller is known, and may not do this."""

    reason = "forbidden"


class Unauthenticated(BillingError):
    """The caller is not known."""

    reason = "unauthenticated"


class PaymentDeclined(BillingError):
    """The provider was reached and refused the money."""

    reason = "payment_declined"


class ProviderUnavailable(BillingError):
    """The provider could not be reached, or answered nothing that can be relied on."""

    reason = "provider_unavailable"
