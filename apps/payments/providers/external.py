"""Money that arrives by itself: a bank transfer, a cheque, cash. It is only ever recorded."""

from collections.abc import Sequence

from apps.payments.providers.interface import ChargeRequest, DisputeNews, Outcome, RefundRequest
from apps.tenants.domain import Mode


class External:
    """The provider that is none: nothing can be charged, nobody can be asked."""

    name = "external"
    modes = frozenset(Mode)
    collects = False

    def check_method(self, method_ref: str) -> None:
        """Accept any reference: it is the caller's own."""

    def charge(self, request: ChargeRequest) -> Outcome:
        """Refuse: whoever calls this has a defect."""
        raise RuntimeError(f"{request.idempotency_key}: external money cannot be charged")

    def find(self, idempotency_key: str) -> Outcome | None:
        """Refuse: nothing was ever sent."""
        raise RuntimeError(f"{idempotency_key}: nobody can be asked about external money")

    def refund(self, request: RefundRequest) -> Outcome:
        """Refuse: a person pays it back, and then records it."""
        raise RuntimeError(f"{request.idempotency_key}: external money is paid back by hand")

    def find_refund(self, idempotency_key: str) -> Outcome | None:
        """Refuse: nothing was ever sent."""
        raise RuntimeError(f"{idempotency_key}: nobody can be asked about external money")

    def find_disputes(self, tenant: str) -> Sequence[DisputeNews]:
        """Refuse: a person hears of it, and then records it."""
        raise RuntimeError(f"{tenant}: nobody can be asked about external money")
