"""The flag of subscriptions whose usage was to be paid with prepaid credit and could not be."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from apps.core.events import Happening, record_all
from apps.core.locks import lock_rows
from apps.subscriptions.domain import SubscriptionStatus
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.locking import lock_customer


@transaction.atomic
def flag_uncovered(
    customer_id: UUID, subscription_ids: Collection[UUID], *, actor: str, at: datetime
) -> None:
    """Flag these subscriptions of a customer as not covered by credit, and no other of his.

    The flag changes nothing that the subscription grants or costs: ``subscription.uncovered`` and
    ``subscription.covered`` tell who may act on it. One that is flagged already stays so since
    when it is; a repeat changes nothing. Raises ``NotFound``.
    """
    customer = lock_customer(customer_id)
    concerned = Subscription.objects.filter(
        Q(uncovered_since__isnull=False)
        | Q(id__in=subscription_ids) & ~Q(status=SubscriptionStatus.ENDED),
        customer_id=customer_id,
    ).values_list("id", flat=True)
    changed = [
        one
        for one in lock_rows(Subscription, list(concerned), tenant_id=customer.tenant_id)
        if (one.uncovered_since is None) == (one.id in subscription_ids)
    ]
    for one in changed:
        one.uncovered_since = at if one.uncovered_since is None else None
    Subscription.objects.bulk_update(changed, ["uncovered_since"])
    record_all(
        [
            Happening(
                "subscription.covered" if one.uncovered_since is None else "subscription.uncovered",
                one.tenant_id,
                one.ID_PREFIX,
                one.id,
                {"customer": customer.public_id},
            )
            for one in changed
        ],
        actor=actor,
        at=at,
    )
