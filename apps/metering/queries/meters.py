"""Reading meters and their versions."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from apps.core.ids import decode, is_id
from apps.metering.domain import MeterNotFound, MeterTerms, read_filters
from apps.metering.models import Meter, MeterVersion
from apps.rating.aggregation import Aggregation, AggregationRule, QuantityRounding, RoundingMode

_MOST_CACHED: Final = 50_000
# Versions never change, so what was read once holds for the life of the process.
_known: dict[UUID, MeterTerms] = {}


def meter_terms(version_ids: Iterable[UUID]) -> dict[UUID, MeterTerms]:
    """Return the terms of meter versions, in at most one query; unknown ids are left out."""
    wanted = set(version_ids)
    missing = wanted - _known.keys()
    if missing:
        if len(_known) > _MOST_CACHED:
            _known.clear()
            missing = wanted
        for version in MeterVersion.objects.filter(pk__in=missing):
            _known[version.pk] = terms_of(version)
    return {pk: _known[pk] for pk in wanted if pk in _known}


def terms_of(version: MeterVersion) -> MeterTerms:
    """Return the terms that a stored version says."""
    rounding = None
    if version.rounding:
        rounding = QuantityRounding(RoundingMode(version.rounding), version.rounding_places)
    return MeterTerms(
        version_id=version.pk,
        event_name=version.event_name,
        rule=AggregationRule(
            Aggregation(version.aggregation),
            percentile=version.percentile,
            rounding=rounding,
            recurring=version.recurring,
        ),
        value_property=version.value_property,
        filters=read_filters(version.filters),
        group_by=tuple(version.group_by),
        refuses_negative=version.refuses_negative,
    )


def meter_named(tenant_id: UUID, name: str) -> Meter:
    """Return the tenant's meter with this id or key; raise ``MeterNotFound``."""
    rows = Meter.objects.filter(tenant_id=tenant_id)
    found = None
    if is_id(Meter.ID_PREFIX, name):
        found = rows.filter(pk=decode(Meter.ID_PREFIX, name)).first()
    if found is None and "\x00" not in name:
        found = rows.filter(key=name).first()
    if found is None:
        raise MeterNotFound(f"There is no meter {name[:64]!r}.")
    return found


def latest_version(meter_id: UUID) -> MeterVersion:
    """Return the newest version of a meter, with the meter."""
    return (
        MeterVersion.objects.filter(meter_id=meter_id)
        .select_related("meter")
        .order_by("-number")[:1]
        .get()
    )
