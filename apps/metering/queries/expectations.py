"""What a tenant's meters expect of events, kept in memory while nothing changes."""

from typing import Final
from uuid import UUID

from apps.metering.intake import Expectations, is_undemanding, terms_by_event
from apps.metering.models import MeterStamp, MeterVersion
from apps.metering.queries.meters import terms_of

_MOST_CACHED: Final = 1_000
_known: dict[UUID, Expectations] = {}


def expectations(tenant_id: UUID) -> Expectations:
    """Return what this process knows; its ``stamp`` tells whether that still holds."""
    known = _known.get(tenant_id)
    return refreshed_expectations(tenant_id) if known is None else known


def refreshed_expectations(tenant_id: UUID) -> Expectations:
    """Read anew what the tenant's meters expect, in two queries."""
    # the stamp first: a change in between then shows as a stamp that is too old
    stamp = MeterStamp.objects.filter(pk=tenant_id).values_list("number", flat=True).first()
    versions = list(
        MeterVersion.objects.filter(tenant_id=tenant_id)
        .select_related("meter")
        .order_by("meter_id", "number")
    )
    newest = {version.meter_id: version for version in versions}
    used = [version for version in versions if version.meter.archived_at is None]
    by_event = terms_by_event(
        terms_of(version) for version in newest.values() if version.meter.archived_at is None
    )
    for version in used:
        by_event.setdefault(version.event_name, [])
    found = Expectations(
        stamp=stamp or 0,
        by_event=by_event,
        undemanding=frozenset(name for name, meters in by_event.items() if is_undemanding(meters)),
        by_key={version.meter.key: version.event_name for version in newest.values()},
        archived=frozenset(
            version.event_name for version in versions if version.meter.archived_at is not None
        ),
    )
    if len(_known) >= _MOST_CACHED:
        _known.clear()
    _known[tenant_id] = found
    return found
