"""Taking back what waits for its time."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.subscriptions.domain import ChangeStatus
from apps.subscriptions.models import ScheduledChange
from apps.subscriptions.operations.locking import lock_subscription
from apps.subscriptions.operations.moving import look_again, move_change


@transaction.atomic
def withdraw_change(change_id: UUID, *, actor: str, at: datetime) -> ScheduledChange:
    """Take back a change that waits for its time, and return it; a repeat changes nothing.

    Raises ``IllegalTransition`` for one that was applied, ``NotFound`` for one that never was.
    """
    found = ScheduledChange.objects.filter(pk=change_id).first()
    if found is None:
        raise NotFound("There is no such scheduled change.")
    subscription = lock_subscription(found.subscription_id)
    change = ScheduledChange.objects.get(pk=change_id)
    if change.status != ChangeStatus.WITHDRAWN:
        move_change(change, ChangeStatus.WITHDRAWN, actor=actor, at=at)
        look_again(subscription, change.effective_at, at=at)
    return change
