"""Reading whose usage changed."""

from collections.abc import Iterable
from uuid import UUID

from apps.metering.domain import UsageChange
from apps.metering.models import ChangedUsage


def changed_usage(customer_ids: Iterable[UUID]) -> dict[UUID, UsageChange]:
    """Return the change of each customer's usage that no billing run has cleared, if any."""
    rows = ChangedUsage.objects.filter(customer_id__in=set(customer_ids))
    return {row.customer_id: UsageChange(row.since, row.mark) for row in rows}
