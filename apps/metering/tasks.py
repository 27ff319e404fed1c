"""What happens to usage because time passed, or because a meter or a subject came to be."""

from datetime import timedelta
from uuid import UUID

from celery import shared_task
from django.conf import settings
from django.db.models import Q

from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.jobs import job
from apps.core.tenancy import tenant_scope, tenants_by
from apps.metering import operations
from apps.metering.models import Meter, UsageSubject
from apps.metering.queries.orphans import concerning_meter, concerning_names

# an orphan that was stored while its meter was being made is found by the next ticks
_JUST_NOW = timedelta(minutes=10)


@shared_task(name="metering.roll_up")
def roll_up() -> int:
    """Count new events, and attach orphans that matched nothing a moment ago and do now."""
    counted = operations.roll_up()
    _reattach_all(_first_id_since(_JUST_NOW))
    return counted


@shared_task(name="metering.keep_partitions")
def keep_partitions() -> None:
    """Make partitions ahead, drop old ones, and look at every orphan again."""
    days = settings.EVENT_RETENTION_DAYS
    operations.keep_partitions(now(), retention=timedelta(days=days) if days else None)
    _reattach_all(UUID(int=0))


@job("metering.reattach_orphans")
def reattach_orphans(subject: str) -> None:
    """Attach the orphans that missed the meter or the subscription with this id."""
    found = UUID(subject)
    if meter := Meter.objects.filter(pk=found).first():
        tenant_id, which = meter.tenant_id, concerning_meter(meter)
    elif named := UsageSubject.objects.filter(pk=found).first():
        tenant_id = named.tenant_id
        which = concerning_names("sub", named.pk, named.external_id)
    else:
        return
    operations.reattach_orphans(
        tenant_id, which, actor="system:metering.reattach_orphans", at=now()
    )


def _reattach_all(since: UUID) -> None:
    """Look again at every tenant's orphans with ids from ``since`` on."""
    for tenant_id in tenants_by("metering_tenants_with_orphans", since):
        with tenant_scope(tenant_id):
            operations.reattach_orphans(
                tenant_id,
                Q(pk__gte=since),
                actor="system:metering.reattach_orphans",
                at=now(),
            )


def _first_id_since(age: timedelta) -> UUID:
    """Return an id lower than those of all rows stored in the last so much time."""
    millis = (new_id().int >> 80) - age // timedelta(milliseconds=1)
    return UUID(int=millis << 80)
