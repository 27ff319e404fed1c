"""Creating, revising and archiving meters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import IntegrityError, connection, transaction

from apps.core.constraints import broken
from apps.core.errors import FieldError, Invalid
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.metering.domain import (
    PRICE_POINT,
    MeterArchived,
    MeterKeyTaken,
    filters_document,
)
from apps.metering.intake import EVENT_NAME
from apps.metering.models import Meter, MeterVersion
from apps.metering.queries.meters import latest_version
from apps.rating.aggregation import Aggregation, AggregationRule, QuantityRounding, RoundingMode
from apps.rating.filters import parse_filters

MOST_DIMENSIONS: Final = 5
MOST_FILTERS: Final = 20
_LONGEST_NAME: Final = 100

# Events of a name that no version had until now are orphans: there is nothing to catch up with.
# The version is written already, so events of a version that is being written elsewhere are not
# counted before this transaction ends.
_POSITION: Final = """
INSERT INTO metering_rollupposition (meter_version_id, tenant_id, caught_up, born_xid)
SELECT v.id, v.tenant_id,
       NOT EXISTS (SELECT FROM metering_meterversion o
                   WHERE o.tenant_id = v.tenant_id AND o.event_name = v.event_name
                     AND o.id <> v.id),
       core_number(pg_current_xact_id())::text::bigint
FROM metering_meterversion v WHERE v.id = %(version)s
"""


class MeterInvalid(Invalid):
    reason = "meter_invalid"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a version of a meter is to say, as given; ``_check`` says whether it makes sense."""

    event_name: str
    aggregation: Aggregation
    value_property: str
    percentile: Decimal | None
    recurring: bool
    filters: Sequence[Mapping[str, object]]
    group_by: Sequence[str]
    rounding: RoundingMode | None
    rounding_places: int
    refuses_negative: bool


@transaction.atomic
def create_meter(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id of what is created
    key: str,
    name: str,
    event_name: str,
    aggregation: Aggregation,
    value_property: str = "",
    percentile: Decimal | None = None,
    recurring: bool = False,
    filters: Sequence[Mapping[str, object]] = (),
    group_by: Sequence[str] = (),
    rounding: RoundingMode | None = None,
    rounding_places: int = 0,
    refuses_negative: bool = False,
    unit: str = "",
    description: str = "",
    metadata: Mapping[str, str] | None = None,
    actor: str,
    at: datetime,
) -> Meter:
    """Create a meter with its version 1, and return it; a repeat returns what there is.

    Events that came before and matched nothing are attached soon after. Raises ``MeterKeyTaken``,
    and ``MeterInvalid`` with everything that is wrong with the definition.
    """
    known = Meter.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    definition = Definition(
        event_name,
        aggregation,
        value_property,
        percentile,
        recurring,
        filters,
        group_by,
        rounding,
        rounding_places,
        refuses_negative,
    )
    document = _check(definition)
    meter = Meter(
        id=id,
        tenant_id=tenant_id,
        key=key,
        name=name,
        unit=unit,
        description=description,
        metadata=dict(metadata or {}),
        created_at=at,
    )
    try:
        with transaction.atomic():
            meter.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "meter_key_once":
            raise
        raise MeterKeyTaken(f"There is a meter {key!r} already.", field="key") from error
    _store(MeterVersion(id=new_id(), meter=meter, number=1, created_at=at), definition, document)
    record("meter.created", meter, actor=actor, at=at, key=key)
    return meter


@transaction.atomic
def revise_meter(
    meter_id: UUID,
    *,
    tenant_id: UUID,
    id: UUID,  # noqa: A002 -- the id of what is created
    event_name: str,
    aggregation: Aggregation,
    value_property: str = "",
    percentile: Decimal | None = None,
    recurring: bool = False,
    filters: Sequence[Mapping[str, object]] = (),
    group_by: Sequence[str] = (),
    rounding: RoundingMode | None = None,
    rounding_places: int = 0,
    refuses_negative: bool = False,
    actor: str,
    at: datetime,
) -> MeterVersion:
    """Add the meter's next version and return it; a repeat returns what there is.

    Charges keep the version they name. Raises ``NotFound``, ``MeterArchived``, and
    ``MeterInvalid`` with everything that is wrong with the definition.
    """
    meter = lock_row(Meter, meter_id, tenant_id=tenant_id)
    known = MeterVersion.objects.filter(pk=id, meter=meter).first()
    if known is not None:
        return known
    if meter.archived_at is not None:
        raise MeterArchived(f"The meter {meter.key!r} is archived.")
    definition = Definition(
        event_name,
        aggregation,
        value_property,
        percentile,
        recurring,
        filters,
        group_by,
        rounding,
        rounding_places,
        refuses_negative,
    )
    document = _check(definition)
    number = latest_version(meter.pk).number + 1
    version = _store(
        MeterVersion(id=id, meter=meter, number=number, created_at=at), definition, document
    )
    record("meter.revised", meter, actor=actor, at=at, version=number)
    return version


@transaction.atomic
def archive_meter(meter_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Meter:
    """Refuse the meter's events, and new charges, from now on; a repeat changes nothing."""
    meter = lock_row(Meter, meter_id, tenant_id=tenant_id)
    if meter.archived_at is not None:
        return meter
    meter.archived_at = at
    meter.save(update_fields=["archived_at"])
    _bump(tenant_id)
    record("meter.archived", meter, actor=actor, at=at)
    return meter


def _store(
    version: MeterVersion, definition: Definition, filters: list[dict[str, object]]
) -> MeterVersion:
    version.tenant_id = version.meter.tenant_id
    version.event_name = definition.event_name
    version.aggregation = definition.aggregation
    version.value_property = definition.value_property
    version.percentile = definition.percentile
    version.recurring = definition.recurring
    version.filters = filters
    version.group_by = list(definition.group_by)
    version.rounding = definition.rounding or ""
    version.rounding_places = definition.rounding_places
    version.refuses_negative = definition.refuses_negative
    version.save(force_insert=True)
    failpoint("metering.meter.after_insert")
    with connection.cursor() as cursor:
        cursor.execute(_POSITION, {"version": version.pk})
    _bump(version.tenant_id)
    return version


def _bump(tenant_id: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_meterstamp (tenant_id, number) VALUES (%s, 1)"
            " ON CONFLICT (tenant_id) DO UPDATE SET number = metering_meterstamp.number + 1",
            [tenant_id],
        )


def _check(definition: Definition) -> list[dict[str, object]]:
    """Return the filters for storing; raise ``MeterInvalid`` with all that is wrong."""
    errors: list[FieldError] = []
    filters: list[dict[str, object]] = []
    rounding = None
    try:
        filters = filters_document(parse_filters(definition.filters))
    except Invalid as error:
        errors += error.errors
    if len(definition.filters) > MOST_FILTERS:
        errors.append(FieldError("filters", "too_many", f"at most {MOST_FILTERS} conditions"))
    try:
        if definition.rounding is not None:
            rounding = QuantityRounding(definition.rounding, definition.rounding_places)
        elif definition.rounding_places:
            errors.append(FieldError("rounding", "required", "say how: up, down or half_up"))
        AggregationRule(
            definition.aggregation, definition.percentile, rounding, definition.recurring
        )
    except Invalid as error:
        errors += error.errors
    if not EVENT_NAME.fullmatch(definition.event_name):
        errors.append(
            FieldError(
                "event_name", "name_format", "1 to 100 printable ASCII characters and no spaces"
            )
        )
    if definition.value_property and definition.aggregation == Aggregation.COUNT:
        errors.append(
            FieldError("value_property", "not_used", "count looks at no value; leave it out")
        )
    errors += _check_dimensions(definition.group_by)
    if errors:
        raise MeterInvalid(errors=errors)
    return filters


def _check_dimensions(names: Sequence[str]) -> list[FieldError]:
    errors = []
    if len(names) > MOST_DIMENSIONS:
        errors.append(FieldError("group_by", "too_many", f"at most {MOST_DIMENSIONS} dimensions"))
    for index, name in enumerate(names):
        path = f"group_by[{index}]"
        if not 1 <= len(name) <= _LONGEST_NAME:
            errors.append(
                FieldError(path, "invalid", f"a name has 1 to {_LONGEST_NAME} characters")
            )
        if name in names[:index]:
            errors.append(FieldError(path, "duplicate", f"{name!r} is a dimension already"))
        if name == PRICE_POINT:
            errors.append(FieldError(path, "reserved", "usage is kept apart by price point anyway"))
    return errors
