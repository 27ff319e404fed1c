"""Taking back what waits for its time."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.subscriptions.domain import ChangeStatus, ChangeVerb
from apps.subscriptions.models import ScheduledChange
from apps.subscriptions.operations.enacting import take_back
from apps.subscriptions.operations.locking import lock_subscription, refuse_ended
from apps.subscriptions.operations.moving import look_again, move_change
from apps.subscriptions.operations.renewing import take_back_renewal

_BACK: Final = frozenset({ChangeStatus.WITHDRAWN, ChangeStatus.UNDONE})


@transaction.atomic
def withdraw_change(change_id: UUID, *, actor: str, at: datetime) -> ScheduledChange:
    """Take back a change, and return it; a repeat changes nothing.

    One that waits for its time is withdrawn. One that was applied is undone: the timeline becomes
    what it would have been without it, and the next run bills or credits the difference. Raises
    ``SubscriptionEnded`` for an applied change of a subscription that has ended since,
    ``ChangeRefused`` for a renewal whose term has begun, and ``NotFound`` for one that never was.
    """
    found = ScheduledChange.objects.filter(pk=change_id).first()
    if found is None:
        raise NotFound("There is no such scheduled change.")
    subscription = lock_subscription(found.subscription_id)
    change = ScheduledChange.objects.get(pk=change_id)
    if change.status == ChangeStatus.APPLIED:
        refuse_ended(subscription)
        if change.verb == ChangeVerb.RENEW:
            take_back_renewal(subscription, change, actor=actor, at=at)
        else:
            take_back(subscription, change, actor=actor, at=at)
    elif change.status not in _BACK:
        move_change(change, ChangeStatus.WITHDRAWN, actor=actor, at=at)
        look_again(subscription, change.effective_at, at=at)
    return change
