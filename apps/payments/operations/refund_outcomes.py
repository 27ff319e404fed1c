"""What becomes of a refund, by whichever way we learn of it: each safe to tell any number of times."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.states import move
from apps.invoicing.operations.giving_back import release_credit
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.payments.domain import (
    REFUND_OPEN,
    REFUND_TRANSITIONS,
    FailureCode,
    OutcomeMismatch,
    RefundStatus,
    next_question,
)
from apps.payments.models import Refund
from apps.payments.providers.interface import Outcome, OutcomeStatus


def apply_refund_outcome(
    refund_id: UUID, outcome: Outcome, *, tenant_id: UUID, actor: str, at: datetime
) -> Refund:
    """Take what a provider says of a refund, and return it as it then stands.

    Success of another amount than was asked, or under another's name, is not applied: the refund
    is held until a person decides. Raises ``NotFound``.
    """
    code = outcome.failure_code.value if outcome.failure_code else ""
    match outcome.status:
        case OutcomeStatus.SUCCEEDED:
            try:
                return settle_refund(
                    refund_id,
                    paid=outcome.amount,
                    provider_ref=outcome.provider_ref,
                    tenant_id=tenant_id,
                    actor=actor,
                    at=at,
                )
            except OutcomeMismatch as error:
                return hold_refund(
                    refund_id, reason=error.detail, tenant_id=tenant_id, actor=actor, at=at
                )
        case OutcomeStatus.FAILED:
            return fail_refund(
                refund_id,
                code=code,
                message=outcome.failure_message,
                provider_ref=outcome.provider_ref,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )
        case OutcomeStatus.PENDING:
            return acknowledge_refund(
                refund_id,
                provider_ref=outcome.provider_ref,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )
        case OutcomeStatus.UNKNOWN:
            return lose_sight_of_refund(
                refund_id,
                code=code,
                message=outcome.failure_message,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )


@transaction.atomic
def settle_refund(
    refund_id: UUID,
    *,
    paid: Money | None,
    provider_ref: str | None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Refund:
    """Book money that a provider paid back. One that is decided is returned as it is.

    Raises ``NotFound``, and ``OutcomeMismatch`` for another amount or currency than was asked, for
    none, or if the refund is known by another name.
    """
    refund = lock_row(Refund, refund_id, tenant_id=tenant_id)
    if refund.status not in REFUND_OPEN:
        return refund
    if paid != refund.amount:
        raise OutcomeMismatch(
            f"{refund.public_id} is over {refund.amount}; the provider paid back {paid}."
        )
    if provider_ref is not None and _is_named_otherwise(refund, provider_ref):
        raise OutcomeMismatch(
            f"{refund.public_id} is not the refund {provider_ref} of {refund.provider}."
        )
    refund.provider_ref = provider_ref or refund.provider_ref
    refund.settled_at = at
    refund.failure_code, refund.failure_message, refund.ask_after = "", "", None
    move(
        refund,
        to=RefundStatus.SUCCEEDED,
        allowed=REFUND_TRANSITIONS,
        actor=actor,
        at=at,
        also=("provider_ref", "settled_at", "failure_code", "failure_message", "ask_after"),
    )
    failpoint("payments.refund.after_move")
    book_refund(refund, at=at)
    return refund


@transaction.atomic
def fail_refund(
    refund_id: UUID,
    *,
    code: str,
    message: str,
    provider_ref: str | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Refund:
    """Note that nothing was paid back: the customer is owed it again, by credit memo or on account.

    A credit memo that was made for it stays. Changes nothing of a refund that is decided. Raises
    ``NotFound``.
    """
    refund = lock_row(Refund, refund_id, tenant_id=tenant_id)
    if refund.status not in REFUND_OPEN:
        return refund
    refund.provider_ref = refund.provider_ref or _unclaimed(refund, provider_ref)
    refund.failure_code, refund.failure_message = code, message[:500]
    refund.ask_after = None
    move(
        refund,
        to=RefundStatus.FAILED,
        allowed=REFUND_TRANSITIONS,
        actor=actor,
        at=at,
        also=("provider_ref", "failure_code", "failure_message", "ask_after"),
        code=code,
    )
    release_credit(refund.id, tenant_id=tenant_id, actor=actor, at=at)
    return refund


@transaction.atomic
def acknowledge_refund(
    refund_id: UUID, *, provider_ref: str | None, tenant_id: UUID, actor: str, at: datetime
) -> Refund:
    """Note that the provider has the refund and will decide later. Raises ``NotFound``."""
    refund = lock_row(Refund, refund_id, tenant_id=tenant_id)
    if refund.status not in REFUND_OPEN:
        return refund
    refund.provider_ref = refund.provider_ref or _unclaimed(refund, provider_ref)
    refund.failure_code, refund.failure_message = "", ""
    refund.ask_after = next_question(refund.asked, at)
    changed = ("provider_ref", "failure_code", "failure_message", "ask_after")
    if refund.status == RefundStatus.PENDING:
        refund.save(update_fields=changed)
        return refund
    move(
        refund,
        to=RefundStatus.PENDING,
        allowed=REFUND_TRANSITIONS,
        actor=actor,
        at=at,
        also=changed,
    )
    return refund


@transaction.atomic
def lose_sight_of_refund(
    refund_id: UUID, *, code: str, message: str, tenant_id: UUID, actor: str, at: datetime
) -> Refund:
    """Note that nobody can tell yet whether money was paid back; what it took stays taken.

    Changes nothing of a refund that its provider has acknowledged, or that is unknown already or
    decided. Raises ``NotFound``.
    """
    refund = lock_row(Refund, refund_id, tenant_id=tenant_id)
    if refund.status != RefundStatus.PENDING or refund.provider_ref is not None:
        return refund
    refund.failure_code, refund.failure_message = code, message[:500]
    refund.ask_after = next_question(refund.asked, at)
    move(
        refund,
        to=RefundStatus.UNKNOWN,
        allowed=REFUND_TRANSITIONS,
        actor=actor,
        at=at,
        also=("failure_code", "failure_message", "ask_after"),
        code=code,
    )
    return refund


@transaction.atomic
def hold_refund(
    refund_id: UUID, *, reason: str, tenant_id: UUID, actor: str, at: datetime
) -> Refund:
    """Leave a refund for a person to decide: nobody is asked any more.

    Holding it again changes nothing. Raises ``NotFound``.
    """
    refund = lock_row(Refund, refund_id, tenant_id=tenant_id)
    code = FailureCode.OUTCOME_MISMATCH.value
    if refund.status not in REFUND_OPEN or refund.failure_code == code:
        return refund
    refund.failure_code, refund.failure_message, refund.ask_after = code, reason[:500], None
    changed = ("failure_code", "failure_message", "ask_after")
    if refund.status == RefundStatus.PENDING:
        move(
            refund,
            to=RefundStatus.UNKNOWN,
            allowed=REFUND_TRANSITIONS,
            actor=actor,
            at=at,
            also=changed,
            code=code,
        )
    else:
        refund.save(update_fields=changed)
    record("refund.held", refund, actor=actor, at=at, reason=reason)
    return refund


def book_refund(refund: Refund, *, at: datetime) -> None:
    """Post a refund that has succeeded: what we owed the customer has left by the provider."""
    fact = Fact(
        kind=FactKind.REFUND_SETTLED,
        tenant_id=refund.tenant_id,
        source_key=refund.public_id,
        effective_at=refund.settled_at or at,
        currency=refund.currency,
        customer_id=refund.customer_id,
        amounts={Amount.PAID_BACK: refund.amount.amount},
        provider=refund.provider,
    )
    post_all([entry_for(fact)], at=at)


def _is_named_otherwise(refund: Refund, provider_ref: str) -> bool:
    known = refund.provider_ref
    return (known is not None and known != provider_ref) or (
        _unclaimed(refund, provider_ref) is None
    )


def _unclaimed(refund: Refund, provider_ref: str | None) -> str | None:
    """Return the provider's name of the refund, unless another one has it."""
    others = Refund.objects.filter(
        tenant_id=refund.tenant_id, provider=refund.provider, provider_ref=provider_ref
    ).exclude(id=refund.id)
    return None if provider_ref is None or others.exists() else provider_ref
