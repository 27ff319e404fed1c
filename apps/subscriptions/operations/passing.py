"""What happens to subscriptions because time passed."""

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope, tenants_by
from apps.subscriptions.domain import HOLDING, Change, ChangeStatus, ChangeVerb, SubscriptionStatus
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.enacting import apply_change, enact
from apps.subscriptions.operations.locking import lock_subscription
from apps.subscriptions.operations.moving import (
    extend_term,
    move_subscription,
    withdraw_rest,
)
from apps.subscriptions.queries import changes_due, terms_of_time

logger = logging.getLogger(__name__)

_PAGE: Final = 500
_SWEEP: Final = "system:subscriptions.apply_due_changes"


def apply_due_changes(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = _SWEEP,
) -> int:
    """Begin, change, renew and end whatever is due by ``at``; return how many subscriptions moved.

    Those on real time, or those on the test clock. Each has its own transaction and is looked at
    again under its lock, so any number of sweeps at once, or none for a month, come to the same.
    One that fails is logged and stops nobody else.
    """
    applied = 0
    for owner in [tenant_id] if tenant_id else tenants_by("subscriptions_tenants_with_changes", at):
        with tenant_scope(owner):
            applied += _apply_at(owner, at, clock_id, actor)
    return applied


def _apply_at(tenant_id: UUID, at: datetime, clock_id: UUID | None, actor: str) -> int:
    applied = 0
    after: UUID | None = None
    while page := changes_due(at, clock_id=clock_id, tenant_id=tenant_id, limit=_PAGE, after=after):
        for subscription_id in page:
            try:
                applied += apply_due_changes_of(subscription_id, actor=actor, at=at)
            except Exception:
                logger.exception("the due changes of subscription %s failed", subscription_id)
        after = page[-1]
    return applied


@transaction.atomic
def apply_due_changes_of(subscription_id: UUID, *, actor: str = _SWEEP, at: datetime) -> bool:
    """Do for one subscription what is due by ``at``, in the order of time; say whether it moved.

    A repeat finds nothing to do.
    """
    subscription = lock_subscription(subscription_id)
    moved = False
    if subscription.status == SubscriptionStatus.SCHEDULED and subscription.started_at <= at:
        move_subscription(subscription, SubscriptionStatus.ACTIVE, actor=actor, at=at)
        moved = True
    due = subscription.scheduled_changes.filter(status=ChangeStatus.PENDING, effective_at__lte=at)
    for change in due.order_by("effective_at", "created_at", "id"):
        # the term may end, or be renewed, before the change
        moved |= _pass_terms(subscription, change.effective_at, actor, at)
        if subscription.status == SubscriptionStatus.ENDED:
            return True
        apply_change(subscription, change, actor=actor, at=at)
        moved = True
    moved |= _pass_terms(subscription, at, actor, at)
    if subscription.status in HOLDING and _is_over(subscription, at):
        withdraw_rest(subscription, actor=actor, at=at)
        move_subscription(subscription, SubscriptionStatus.ENDED, actor=actor, at=at)
        moved = True
    return moved


def _is_over(subscription: Subscription, at: datetime) -> bool:
    return subscription.ends_at is not None and subscription.ends_at <= at


def _pass_terms(subscription: Subscription, until: datetime, actor: str, at: datetime) -> bool:
    """Renew, or end, at every end of a term up to ``until``; say whether anything was done."""
    if subscription.status not in HOLDING:
        return False
    if subscription.term_ends_at is None or subscription.term_ends_at > until:
        return False
    if subscription.ends_at is not None and subscription.ends_at <= subscription.term_ends_at:
        return False
    if not subscription.auto_renew:
        withdraw_rest(subscription, actor=actor, at=at)
        end = Change(ChangeVerb.CANCEL, subscription.term_ends_at)
        enact(subscription, end, change_id=new_id(), actor=actor, at=at)
        return True
    terms = terms_of_time(subscription)
    extend_term(subscription, terms.boundary(terms.index_at(until) + 1), actor=actor, at=at)
    return True
