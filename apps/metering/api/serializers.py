"""What the endpoints of metering read and write."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.money import plain
from apps.core.web.fields import (
    DecimalField,
    ExternalIdField,
    FlagField,
    IdField,
    InstantField,
    KeyField,
    LineField,
    MetadataField,
    ObjectField,
    StrictSerializer,
    TextField,
    WholeField,
)
from apps.metering.domain import OrphanReason, OrphanStatus, read_filters
from apps.metering.models import Meter, MeterVersion, OrphanEvent
from apps.rating.aggregation import Aggregation, RoundingMode
from apps.rating.filters import Filter, Operator, Scalar

LONGEST_NAME: Final = 100
LONGEST_PATH: Final = 200
_OPERATORS: Final = [str(one) for one in Operator]


@extend_schema_field(
    {
        "type": "object",
        "required": ["property", "op", "value"],
        "properties": {
            "property": {"type": "string"},
            "op": {"type": "string", "enum": _OPERATORS},
            "value": {
                "description": "A scalar; for `in` a list of them, for `exists` true or false.",
            },
        },
        "example": {"property": "region", "op": "in", "value": ["eu", "us"]},
    }
)
class FilterField(serializers.Field[Any, Any, Any, Any]):
    """A condition, as given; the operation says what is wrong with it."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Filter) -> dict[str, Any]:
        return {"property": value.property, "op": str(value.op), "value": _plain(value.value)}


class PlainField(DecimalField):
    """A decimal shown without zeros at its end."""

    def to_representation(self, value: Decimal) -> str:
        return plain(value)


class RoundingBody(StrictSerializer):
    """How the quantity of a period is rounded, once; a negative precision rounds to tens."""

    mode = serializers.ChoiceField(choices=list(RoundingMode))
    precision = WholeField(default=0, min_value=-12, max_value=12)


class DefinitionBody(StrictSerializer):
    """What a version of a meter counts, and how."""

    event_name = LineField(
        max_length=LONGEST_NAME, required=False, help_text="Of the events; the key if left out."
    )
    aggregation = serializers.ChoiceField(choices=list(Aggregation))
    value_property = LineField(
        max_length=LONGEST_NAME,
        required=False,
        allow_blank=True,
        help_text="The property that is aggregated; the event's own `value` if left out.",
    )
    percentile = DecimalField(required=False, allow_null=True)
    recurring = FlagField(
        required=False, help_text="What was reported before a period still holds in it: seats."
    )
    filters = serializers.ListField(child=FilterField(), required=False)
    group_by = serializers.ListField(child=LineField(max_length=LONGEST_NAME), required=False)
    rounding = RoundingBody(required=False, allow_null=True)
    refuses_negative = FlagField(
        required=False, help_text="Reject events below zero; corrections are such."
    )


class MeterBody(DefinitionBody):
    """What it takes to create a meter."""

    key = KeyField(help_text="What events and charges call it by.")
    name = LineField(max_length=200, required=False, help_text="The key if left out.")
    unit = LineField(max_length=40, required=False, allow_blank=True)
    description = TextField(max_length=2000, required=False, allow_blank=True)
    metadata = MetadataField(required=False)


class RoundingView(serializers.Serializer[Any]):
    """How quantities are rounded."""

    mode = serializers.CharField()
    precision = serializers.IntegerField()


class MeterVersionView(serializers.Serializer[Any]):
    """One version of a meter; it never changes."""

    object = ObjectField("meter_version")
    id = IdField("mev")
    meter = serializers.CharField(source="meter.key")
    version = serializers.IntegerField(source="number")
    event_name = serializers.CharField()
    aggregation = serializers.CharField()
    value_property = serializers.CharField(help_text='"" for the event\'s own value.')
    percentile = PlainField(allow_null=True)
    recurring = serializers.BooleanField()
    filters = serializers.SerializerMethodField()
    group_by = serializers.ListField(child=serializers.CharField())
    rounding = serializers.SerializerMethodField()
    refuses_negative = serializers.BooleanField()
    created_at = InstantField()

    @extend_schema_field(serializers.ListField(child=FilterField()))
    def get_filters(self, version: MeterVersion) -> list[dict[str, Any]]:
        return shown_filters(version)

    @extend_schema_field(RoundingView(allow_null=True))
    def get_rounding(self, version: MeterVersion) -> dict[str, Any] | None:
        return shown_rounding(version)


class MeterView(serializers.Serializer[Any]):
    """A meter, with what its newest version says."""

    object = ObjectField("meter")
    id = IdField("met")
    key = serializers.CharField()
    name = serializers.CharField()
    unit = serializers.CharField()
    description = serializers.CharField()
    status = serializers.SerializerMethodField()
    version = serializers.IntegerField(source="newest.number")
    event_name = serializers.CharField(source="newest.event_name")
    aggregation = serializers.CharField(source="newest.aggregation")
    value_property = serializers.CharField(source="newest.value_property")
    percentile = PlainField(source="newest.percentile", allow_null=True)
    recurring = serializers.BooleanField(source="newest.recurring")
    filters = serializers.SerializerMethodField()
    group_by = serializers.ListField(child=serializers.CharField(), source="newest.group_by")
    rounding = serializers.SerializerMethodField()
    refuses_negative = serializers.BooleanField(source="newest.refuses_negative")
    metadata = MetadataField()
    created_at = InstantField()
    archived_at = InstantField(allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["active", "archived"]})
    def get_status(self, meter: Meter) -> str:
        return "active" if meter.archived_at is None else "archived"

    @extend_schema_field(serializers.ListField(child=FilterField()))
    def get_filters(self, meter: Meter) -> list[dict[str, Any]]:
        return shown_filters(meter.newest)

    @extend_schema_field(RoundingView(allow_null=True))
    def get_rounding(self, meter: Meter) -> dict[str, Any] | None:
        return shown_rounding(meter.newest)


def shown_filters(version: MeterVersion) -> list[dict[str, Any]]:
    """Return the filters of a version as callers write them."""
    field = FilterField()
    return [field.to_representation(one) for one in read_filters(version.filters)]


def shown_rounding(version: MeterVersion) -> dict[str, Any] | None:
    """Return how a version rounds, as callers write it."""
    if not version.rounding:
        return None
    return {"mode": version.rounding, "precision": version.rounding_places}


class StreamChanges(StrictSerializer):
    """Where in your JSON things lie: names joined by dots, lists by place: `account.ids[0]`."""

    event_name = LineField(max_length=LONGEST_NAME, required=False)
    subject_path = LineField(
        max_length=LONGEST_PATH,
        required=False,
        help_text="Of the id, or your own id, of a subscription or a customer.",
    )
    timestamp_path = LineField(
        max_length=LONGEST_PATH,
        required=False,
        allow_blank=True,
        help_text="Without it, or nothing there: when the event arrives.",
    )
    value_path = LineField(max_length=LONGEST_PATH, required=False, allow_blank=True)
    key_path = LineField(
        max_length=LONGEST_PATH,
        required=False,
        allow_blank=True,
        help_text="Of what makes an event the same one; without it, its whole body does.",
    )


class StreamBody(StreamChanges):
    """What it takes to create a stream."""

    handle = KeyField()
    event_name = LineField(max_length=LONGEST_NAME)
    subject_path = LineField(max_length=LONGEST_PATH)


class StreamView(serializers.Serializer[Any]):
    """A stream."""

    object = ObjectField("event_stream")
    id = IdField("str")
    handle = serializers.CharField()
    event_name = serializers.CharField()
    subject_path = serializers.CharField()
    timestamp_path = serializers.CharField()
    value_path = serializers.CharField()
    key_path = serializers.CharField()
    created_at = InstantField()
    archived_at = InstantField(allow_null=True)


class OrphanView(serializers.Serializer[Any]):
    """An event that matched nothing, with why, and what would probably mend it."""

    object = ObjectField("orphan_event")
    id = IdField("orp")
    idempotency_key = serializers.CharField(source="key")
    status = serializers.ChoiceField(choices=list(OrphanStatus))
    reason = serializers.ChoiceField(choices=list(OrphanReason))
    event_name = serializers.CharField()
    subject = serializers.CharField()
    subject_kind = serializers.CharField()
    timestamp = InstantField(source="occurred_at")
    value = PlainField(allow_null=True)
    properties = serializers.JSONField()
    suggestion = serializers.SerializerMethodField()
    received_at = InstantField()
    attached_at = InstantField(allow_null=True)

    @extend_schema_field(
        {
            "type": ["object", "null"],
            "properties": {"event_name": {"type": "string"}, "subject": {"type": "string"}},
        }
    )
    def get_suggestion(self, orphan: OrphanEvent) -> Mapping[str, str] | None:
        found: Mapping[str, str] | None = self.context["suggestions"].get(orphan.pk)
        return found


class OrphanFilterBody(StrictSerializer):
    """Which open orphans are meant; all that are given must hold."""

    reason = serializers.ChoiceField(choices=list(OrphanReason), required=False)
    event_name = LineField(max_length=LONGEST_NAME, required=False)
    subject = ExternalIdField(required=False)
    received_from = InstantField(required=False)
    received_before = InstantField(required=False)


class ReattachBody(StrictSerializer):
    """Which orphans to attach, and what to put in the place of what they say."""

    ids = serializers.ListField(child=IdField("orp"), max_length=1000, required=False)
    filter = OrphanFilterBody(required=False)
    event_name = LineField(max_length=LONGEST_NAME, required=False)
    subject = ExternalIdField(required=False)
    customer = ExternalIdField(required=False)
    subscription = ExternalIdField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("ids" in attrs) == ("filter" in attrs):
            raise serializers.ValidationError("Give ids, or a filter.", code="required")
        subjects = [one for one in ("subject", "customer", "subscription") if one in attrs]
        if len(subjects) > 1:
            raise serializers.ValidationError(
                {subjects[1]: [serializers.ErrorDetail("Give one subject.", "subject_ambiguous")]}
            )
        return attrs


class ReattachedView(serializers.Serializer[Any]):
    """What became of the orphans looked at."""

    object = ObjectField("reattachment")
    attached = serializers.IntegerField(help_text="Now usage events.")
    left = serializers.IntegerField(help_text="Still orphans: they match nothing yet.")


class OrphanCountView(serializers.Serializer[Any]):
    """How many orphans wait, by reason."""

    object = ObjectField("orphan_count")
    open = serializers.IntegerField()
    by_reason = serializers.DictField(child=serializers.IntegerField())


class UsageGroupView(serializers.Serializer[Any]):
    """The quantity of one combination of dimensions."""

    values = serializers.DictField(child=serializers.CharField(allow_null=True))
    quantity = PlainField()


class BucketView(serializers.Serializer[Any]):
    """What was measured in ``[start, end)``, at one price point."""

    start = InstantField()
    end = InstantField()
    price_point = serializers.CharField(help_text='"" for usage that names none.')
    quantity = PlainField()
    count = serializers.IntegerField(help_text="Of the events that were counted.")
    groups = UsageGroupView(many=True)


class MeterUsageView(serializers.Serializer[Any]):
    """What one meter measured."""

    meter = serializers.CharField()
    version = serializers.IntegerField()
    unit = serializers.CharField()
    aggregation = serializers.CharField()
    buckets = BucketView(many=True)


class UsageView(serializers.Serializer[Any]):
    """Usage of a customer or a subscription, exact at one instant."""

    object = ObjectField("usage")
    customer = IdField("cus", source="customer_id")
    subscription = IdField("sub", source="subscription_id", allow_null=True)
    start = InstantField()
    end = InstantField()
    zone = serializers.CharField()
    grain = serializers.CharField()
    meters = MeterUsageView(many=True)


def _plain(value: Scalar | tuple[Scalar, ...]) -> Any:
    match value:
        case tuple():
            return [_plain(one) for one in value]
        case bool() | str():
            return value
        case _:
            return int(value) if value == value.to_integral_value() else f"{value:f}"
