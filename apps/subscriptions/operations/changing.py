"""Changing what a subscription has: now, in the past or later."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.subscriptions.domain import Wish
from apps.subscriptions.models import ScheduledChange
from apps.subscriptions.operations.deciding import decide
from apps.subscriptions.operations.enacting import enact
from apps.subscriptions.operations.locking import lock_subscription


@transaction.atomic
def change_subscription(
    subscription_id: UUID, wish: Wish, *, change_id: UUID, actor: str, at: datetime
) -> ScheduledChange:
    """Change the plan, quantity, prices or standing of a subscription, or its trial's end.

    From the effective instant on until a change that takes effect later. One that lies ahead waits
    until then and can be withdrawn; one at or before ``at`` is applied: the next run bills or
    credits the difference, in every period that it concerns. Returns the change.

    A repeat with the same ``change_id`` changes nothing. Raises ``SubscriptionEnded``,
    ``ChangeRefused`` and ``TransitionRefused`` with the reason, ``PlanNotOnSale``, ``NotFound`` and
    ``SubscriptionInvalid``.
    """
    subscription = lock_subscription(subscription_id)
    known = subscription.scheduled_changes.filter(pk=change_id).first()
    if known is not None:
        return known
    change, behaviour = decide(subscription, wish, at=at)
    return enact(subscription, change, behaviour=behaviour, change_id=change_id, actor=actor, at=at)
