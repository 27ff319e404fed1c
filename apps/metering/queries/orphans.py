"""Reading orphans, and what would mend them."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Q

from apps.core.ids import encode
from apps.metering.domain import OrphanReason
from apps.metering.models import Meter, MeterVersion, OrphanEvent
from apps.metering.queries.expectations import expectations

_SAME_START: Final = 3
_MOST_CANDIDATES: Final = 2_000

_CANDIDATES: Final = """
(SELECT external_id FROM metering_usagesubject
 WHERE tenant_id = %(tenant)s AND lower(external_id) LIKE ANY (%(starts)s) LIMIT %(most)s)
UNION
(SELECT external_id FROM customers_customer
 WHERE tenant_id = %(tenant)s AND lower(external_id) LIKE ANY (%(starts)s) LIMIT %(most)s)
"""


def concerning_meter(meter: Meter) -> Q:
    """Select the orphans whose event name a meter counts, or that name its key."""
    names = MeterVersion.objects.filter(meter=meter).values_list("event_name", flat=True)
    return Q(event_name__in={meter.key, *names})


def concerning_names(prefix: str, identifier: UUID, external_id: str | None) -> Q:
    """Select the orphans that name a customer (``cus``) or a subscription (``sub``)."""
    names = {encode(prefix, identifier)}
    if external_id is not None:
        names.add(external_id)
    return Q(subject__in=names)


def suggestions(tenant_id: UUID, orphans: Iterable[OrphanEvent]) -> Mapping[UUID, dict[str, str]]:
    """Return, for the orphans that something like it exists for, what to put in its place.

    At most three queries, whatever the number of orphans.
    """
    listed = list(orphans)
    found: dict[UUID, dict[str, str]] = {}
    expected = expectations(tenant_id)
    names = sorted({*expected.by_event, *expected.by_key})
    strangers = [one for one in listed if one.reason == OrphanReason.UNKNOWN_SUBJECT]
    subjects = _like(tenant_id, {one.subject for one in strangers})
    for one in listed:
        if one.reason == OrphanReason.UNKNOWN_METER:
            close = _closest(one.event_name, names)
            if close is not None:
                found[one.pk] = {"event_name": expected.by_key.get(close, close)}
        elif one.reason == OrphanReason.UNKNOWN_SUBJECT:
            close = _closest(one.subject, subjects)
            if close is not None:
                found[one.pk] = {"subject": close}
    return found


def _like(tenant_id: UUID, names: set[str]) -> list[str]:
    """Return external ids that begin like one of the names, whatever their case."""
    if not names:
        return []
    starts = [
        name[:_SAME_START].lower().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        + "%"
        for name in names
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            _CANDIDATES, {"tenant": tenant_id, "starts": starts, "most": _MOST_CANDIDATES}
        )
        return sorted(row[0] for row in cursor.fetchall())


def _closest(name: str, known: list[str]) -> str | None:
    folded = {one.lower(): one for one in reversed(known)}
    close = get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)
    return folded[close[0]] if close else None
