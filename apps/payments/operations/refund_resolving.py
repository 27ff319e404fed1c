"""Asking providers what became of refunds whose outcome is open."""

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.core.tenancy import tenant_scope, tenants_by
from apps.payments.domain import REFUND_OPEN, FailureCode, RefundStatus, is_lost, next_question
from apps.payments.models import Refund
from apps.payments.operations.refund_outcomes import (
    apply_refund_outcome,
    fail_refund,
    lose_sight_of_refund,
)
from apps.payments.providers import provider_named
from apps.payments.queries import refunds_to_ask_for

logger = logging.getLogger(__name__)

QUESTIONER: Final = "system:payments.resolve_refunds"


def resolve_refunds(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = QUESTIONER,
) -> int:
    """Ask about every refund that is open and due by ``at``; return how many were decided.

    By the timetable of payments (``resolve_unknown``). Nothing is ever paid back here: a refund
    that the provider does not know an hour after it was begun has failed, and may be begun anew.
    One question that breaks stops no other. ``clock_id`` takes the customers on that test clock
    instead of those on real time.
    """
    decided = 0
    for owner in [tenant_id] if tenant_id else tenants_by("payments_tenants_to_ask_refunds", at):
        with tenant_scope(owner):
            due = refunds_to_ask_for(at, clock_id=clock_id, tenant_id=owner).order_by("ask_after")
            for refund in list(due):
                try:
                    if _claim(refund, at):
                        decided += _ask(refund, actor=actor, at=at).status not in REFUND_OPEN
                except Exception:
                    logger.exception("asking about the refund %s failed", refund.public_id)
    return decided


@transaction.atomic(durable=True)
def _claim(refund: Refund, at: datetime) -> bool:
    """Say whether it is ours to ask now; the next question is set before this one is asked."""
    return bool(
        Refund.objects.filter(id=refund.id, ask_after=refund.ask_after).update(
            asked=F("asked") + 1, ask_after=next_question(refund.asked + 1, at)
        )
    )


def _ask(refund: Refund, *, actor: str, at: datetime) -> Refund:
    tenant_id = refund.tenant_id
    outcome = provider_named(refund.provider).find_refund(refund.idempotency_key)
    if outcome is not None:
        return apply_refund_outcome(refund.id, outcome, tenant_id=tenant_id, actor=actor, at=at)
    if refund.provider_ref is None and is_lost(refund.created_at, at):
        return fail_refund(
            refund.id,
            code=FailureCode.NEVER_ARRIVED.value,
            message="The provider knows nothing of this refund.",
            tenant_id=tenant_id,
            actor=actor,
            at=at,
        )
    if refund.status == RefundStatus.UNKNOWN:
        return refund
    return lose_sight_of_refund(
        refund.id,
        code=FailureCode.TIMED_OUT.value,
        message="The provider does not know this refund yet.",
        tenant_id=tenant_id,
        actor=actor,
        at=at,
    )
