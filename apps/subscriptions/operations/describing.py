"""Changing how a subscription is called; what it has is changed by ``changing``."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.events import record
from apps.metering.operations import register_subject
from apps.subscriptions.domain import ExternalIdTaken
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.locking import lock_subscription


@transaction.atomic
def describe_subscription(
    subscription_id: UUID,
    *,
    external_id: str | None,
    metadata: Mapping[str, str],
    actor: str,
    at: datetime,
) -> Subscription:
    """Give a subscription another external id and other metadata; return it.

    Events may name it by the new external id from now on, and no more by the old one. A repeat
    changes nothing. Raises ``ExternalIdTaken``.
    """
    subscription = lock_subscription(subscription_id)
    if (subscription.external_id, subscription.metadata) == (external_id, dict(metadata)):
        return subscription
    subscription.metadata = dict(metadata)
    renamed = subscription.external_id != external_id
    subscription.external_id = external_id
    try:
        with transaction.atomic():
            subscription.save(update_fields=["external_id", "metadata"])
    except IntegrityError as error:
        if broken(error) != "subscription_external_id_once":
            raise
        raise ExternalIdTaken(
            f"Another subscription has the external id {external_id!r}.", field="external_id"
        ) from error
    if renamed:
        register_subject(
            subscription.pk,
            tenant_id=subscription.tenant_id,
            customer_id=subscription.customer_id,
            external_id=external_id,
            opens_at=subscription.started_at,
            closes_at=subscription.ends_at,
        )
    record("subscription.described", subscription, actor=actor, at=at, external_id=external_id)
    return subscription
