"""The names by which events name subscriptions; kept for ``subscriptions``."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import Conflict, NotFound
from apps.core.jobs import NewJob, enqueue_all
from apps.metering.domain import OrphanStatus
from apps.metering.models import OrphanEvent, UsageSubject
from apps.metering.queries.orphans import concerning_names


class SubjectNameTaken(Conflict):
    reason = "external_id_taken"


@transaction.atomic
def register_subject(
    subscription_id: UUID,
    *,
    tenant_id: UUID,
    customer_id: UUID,
    external_id: str | None,
    opens_at: datetime,
    closes_at: datetime | None,
) -> UsageSubject:
    """Let events name the subscription from ``opens_at`` until ``closes_at``, exclusive.

    Until then it is an unknown subject. A repeat sets the times and the name anew. Raises
    ``SubjectNameTaken`` where another subscription of the tenant has the external id.
    """
    if (
        external_id is not None
        and UsageSubject.objects.filter(tenant_id=tenant_id, external_id=external_id)
        .exclude(subscription_id=subscription_id)
        .exists()
    ):
        raise SubjectNameTaken(
            f"Another subscription has the external id {external_id!r}.", field="external_id"
        )
    subject, _ = UsageSubject.objects.update_or_create(
        subscription_id=subscription_id,
        defaults={
            "tenant_id": tenant_id,
            "customer_id": customer_id,
            "external_id": external_id,
            "opens_at": opens_at,
            "closes_at": closes_at,
        },
    )
    _look_for_orphans(subject)
    return subject


@transaction.atomic
def close_subject(subscription_id: UUID, *, closes_at: datetime | None) -> None:
    """Take events of the subscription until ``closes_at``, exclusive; None opens it again.

    An instant before the opening closes it from the start. Raises ``NotFound``.
    """
    subject = UsageSubject.objects.filter(subscription_id=subscription_id).first()
    if subject is None:
        raise NotFound("There is no such subscription.")
    if closes_at is not None:
        closes_at = max(closes_at, subject.opens_at)
    subject.closes_at = closes_at
    subject.save(update_fields=["closes_at"])
    _look_for_orphans(subject)


def _look_for_orphans(subject: UsageSubject) -> None:
    """Have events that named the subscription too early attached, if there are any."""
    which = concerning_names("sub", subject.pk, subject.external_id)
    if OrphanEvent.objects.filter(
        which, tenant_id=subject.tenant_id, status=OrphanStatus.OPEN
    ).exists():
        enqueue_all(
            [
                NewJob(
                    "metering.reattach_orphans",
                    subject.tenant_id,
                    {"subject": str(subject.pk)},
                )
            ]
        )
