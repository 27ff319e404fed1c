"""Asking providers what became of payments whose outcome is open."""

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.core.failpoints import failpoint
from apps.core.tenancy import tenant_scope, tenants_by
from apps.payments.domain import FailureCode, PaymentStatus, is_lost, next_question
from apps.payments.models import Payment
from apps.payments.operations.outcomes import apply_outcome, fail_payment, mark_unknown
from apps.payments.providers import provider_named
from apps.payments.queries import outcomes_to_ask_for

logger = logging.getLogger(__name__)

QUESTIONER: Final = "system:payments.resolve_unknown"


def resolve_unknown(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = QUESTIONER,
) -> int:
    """Ask about every open outcome that is due by ``at``; return how many were decided.

    Asked are payments in ``sent`` (their caller never came back), ``unknown`` and ``pending``: five
    minutes after they were sent, an hour after that, then every day. Nothing is ever charged here:
    a charge that the provider does not know an hour after it was sent has failed, and may be begun
    anew. One question that breaks stops no other. ``clock_id`` takes the customers on that test
    clock instead of those on real time.
    """
    decided = 0
    for owner in [tenant_id] if tenant_id else tenants_by("payments_tenants_to_ask", at):
        with tenant_scope(owner):
            decided += _resolve_at(owner, at, clock_id, actor)
    return decided


def _resolve_at(tenant_id: UUID, at: datetime, clock_id: UUID | None, actor: str) -> int:
    due = outcomes_to_ask_for(at, clock_id=clock_id, tenant_id=tenant_id).order_by("ask_after")
    decided = 0
    for payment in list(due):
        try:
            if _claim(payment, at):
                failpoint("payments.resolve.after_claim")
                found = _ask(payment, actor=actor, at=at)
                decided += found.status in {PaymentStatus.SUCCEEDED, PaymentStatus.FAILED}
        except Exception:
            logger.exception("asking about the payment %s failed", payment.public_id)
    return decided


@transaction.atomic(durable=True)
def _claim(payment: Payment, at: datetime) -> bool:
    """Say whether it is ours to ask now; the next question is set before this one is asked."""
    return bool(
        Payment.objects.filter(id=payment.id, ask_after=payment.ask_after).update(
            asked=F("asked") + 1, ask_after=next_question(payment.asked + 1, at)
        )
    )


def _ask(payment: Payment, *, actor: str, at: datetime) -> Payment:
    tenant_id = payment.tenant_id
    outcome = provider_named(payment.provider).find(payment.idempotency_key)
    if outcome is not None:
        return apply_outcome(payment.id, outcome, tenant_id=tenant_id, actor=actor, at=at)
    acknowledged = payment.status == PaymentStatus.PENDING or payment.provider_ref is not None
    if not acknowledged and is_lost(payment.sent_at or payment.created_at, at):
        return fail_payment(
            payment.id,
            code=FailureCode.NEVER_ARRIVED.value,
            message="The provider knows nothing of this charge.",
            tenant_id=tenant_id,
            actor=actor,
            at=at,
        )
    return mark_unknown(
        payment.id,
        code=FailureCode.TIMED_OUT.value,
        message="The provider does not know this charge yet.",
        tenant_id=tenant_id,
        actor=actor,
        at=at,
    )
