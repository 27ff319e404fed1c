"""What the endpoint of amendments reads and writes."""

from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.web.fields import (
    AmountField,
    BoundaryField,
    DecimalField,
    IdField,
    InstantField,
    LineField,
    NameField,
    ObjectField,
    StrictSerializer,
    TextField,
)
from apps.metering.api.ingestion.door import MOST_EVENTS
from apps.metering.api.schemas import EVENT
from apps.metering.api.serializers import FilterField
from apps.metering.domain import AmendmentAction

_LONGEST_KEY: Final = 255
_ACTIONS: Final = [str(one) for one in AmendmentAction]


def _error(field: str, code: str, detail: str) -> serializers.ValidationError:
    return serializers.ValidationError({field: [detail]}, code=code)


@extend_schema_field({"type": "object", "additionalProperties": True})
class PropertiesField(serializers.Field[Any, Any, Any, Any]):
    """Properties of events, as given; what is wrong with one is said when events are made of them."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("properties is a JSON object.", code="json_type")
        return data


@extend_schema_field(EVENT)
class EventField(serializers.Field[Any, Any, Any, Any]):
    """An event as callers send it to `/events`."""

    def to_internal_value(self, data: Any) -> Any:
        return data


class WhereBody(StrictSerializer):
    """Events of a stretch of time; what is left out selects nothing away."""

    start = InstantField()
    end = BoundaryField()
    event_name = LineField(max_length=100, required=False)
    meter = NameField(required=False, help_text="The events that its newest version counts.")
    customer = NameField(required=False)
    subscription = NameField(required=False)
    filters = serializers.ListField(child=FilterField(), required=False, max_length=20)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["end"] <= given["start"]:
            raise _error("end", "range_backwards", "The end is not after the start.")
        if "meter" in given and "event_name" in given:
            raise _error("meter", "event_ambiguous", "Give event_name or meter, not both.")
        if "customer" in given and "subscription" in given:
            raise _error(
                "subscription", "subject_ambiguous", "Give customer or subscription, not both."
            )
        return given


class EventChangeBody(StrictSerializer):
    """What is different about the event that takes another's place."""

    value = DecimalField(required=False)
    factor = DecimalField(required=False, help_text="What the value is multiplied by.")
    timestamp = InstantField(required=False)
    properties = PropertiesField(
        required=False, help_text="Laid over those that it has; null takes one away."
    )
    customer = NameField(required=False)
    subscription = NameField(required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if "value" in given and "factor" in given:
            raise _error("factor", "value_ambiguous", "Give value or factor, not both.")
        if "customer" in given and "subscription" in given:
            raise _error(
                "subscription", "subject_ambiguous", "Give customer or subscription, not both."
            )
        if not set(given) - {"key"}:
            raise serializers.ValidationError("Say what is different.", code="required")
        return given


class ReplacementBody(EventChangeBody):
    """One event, and what is different about the one that takes its place."""

    key = LineField(max_length=_LONGEST_KEY)


# which fields say what is amended, and which of them an action takes
_PARTS: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    AmendmentAction.VOID: (frozenset({"keys"}), frozenset({"where"})),
    AmendmentAction.REPLACE: (
        frozenset({"replacements"}),
        frozenset({"keys", "change"}),
        frozenset({"where", "change"}),
    ),
    AmendmentAction.BACKFILL: (frozenset({"events"}),),
    AmendmentAction.UNDO: (frozenset({"amendment"}),),
}


class AmendmentBody(StrictSerializer):
    """What is to be corrected, and why."""

    action = serializers.ChoiceField(choices=_ACTIONS)
    reason = TextField(max_length=500, help_text="Kept for ever beside who did it.")
    keys = serializers.ListField(
        child=LineField(max_length=_LONGEST_KEY),
        required=False,
        min_length=1,
        max_length=MOST_EVENTS,
        help_text="Idempotency keys of events.",
    )
    where = WhereBody(required=False)
    change = EventChangeBody(required=False)
    replacements = serializers.ListField(
        child=ReplacementBody(), required=False, min_length=1, max_length=MOST_EVENTS
    )
    events = serializers.ListField(
        child=EventField(), required=False, min_length=1, max_length=MOST_EVENTS
    )
    amendment = IdField("amd", required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        parts = frozenset(given) - {"action", "reason"}
        wanted = _PARTS[given["action"]]
        if parts not in wanted:
            told = "; or ".join(" and ".join(sorted(one)) for one in wanted)
            raise serializers.ValidationError(
                f"To {given['action']}, give {told}.", code="parts_mismatch"
            )
        keys = given.get("keys") or [one["key"] for one in given.get("replacements", ())]
        if len(set(keys)) < len(keys):
            raise serializers.ValidationError("A key is given twice.", code="key_repeated")
        return given


class AmendmentView(serializers.Serializer[Any]):
    """What was corrected, by whom and why."""

    object = ObjectField("event_amendment")
    id = IdField("amd")
    action = serializers.ChoiceField(choices=_ACTIONS)
    reason = serializers.CharField()
    actor = serializers.CharField()
    created_at = InstantField()
    selected = serializers.JSONField(help_text="Which events, as it was asked for.")
    change = serializers.JSONField()
    undoes = IdField("amd", source="undoes_id", allow_null=True)
    undone_by = serializers.SerializerMethodField()
    voided = serializers.IntegerField()
    restored = serializers.IntegerField()
    added = serializers.IntegerField()
    customers = serializers.IntegerField()
    since = InstantField(allow_null=True)
    until = InstantField(allow_null=True)

    def get_undone_by(self, amendment: Any) -> str | None:
        """Return the id of the amendment that undid this one."""
        undone = getattr(amendment, "undone_by", None)
        return undone.public_id if undone else None


class AmendedEventView(serializers.Serializer[Any]):
    """What an amendment did to one event."""

    object = ObjectField("amended_event")
    effect = serializers.SerializerMethodField()
    idempotency_key = serializers.CharField(source="key")
    event_name = serializers.CharField()
    customer = IdField("cus", source="customer_id")
    subscription = IdField("sub", source="subscription_id", allow_null=True)
    timestamp = InstantField(source="occurred_at")

    def get_effect(self, event: Any) -> str:
        """Return whether it was voided, restored or added."""
        return {-1: "voided", 0: "added", 1: "restored"}[event.sign]


class DeltaView(serializers.Serializer[Any]):
    """By how much what is charged for a period differs; below zero it is credited."""

    customer = IdField("cus", source="customer_id")
    subscription = IdField("sub", source="subscription_id")
    period_start = InstantField()
    period_end = InstantField()
    billed = serializers.BooleanField(source="is_billed")
    amount = AmountField()
    currency = serializers.CharField()


class TotalView(serializers.Serializer[Any]):
    """The sum of the differences in a currency."""

    amount = AmountField()
    currency = serializers.CharField()


class AmendmentPreviewView(serializers.Serializer[Any]):
    """What an amendment would do, to events and to money; nothing of it is stored."""

    object = ObjectField("event_amendment_preview")
    action = serializers.ChoiceField(choices=_ACTIONS)
    voided = serializers.IntegerField()
    restored = serializers.IntegerField()
    added = serializers.IntegerField()
    customers = serializers.IntegerField()
    since = InstantField(allow_null=True)
    until = InstantField(allow_null=True)
    totals = serializers.SerializerMethodField()
    deltas = DeltaView(many=True)

    @extend_schema_field(TotalView(many=True))
    def get_totals(self, preview: Any) -> Any:
        """Return the sum of the differences in each currency."""
        rows = [
            {"currency": currency, "amount": amount} for currency, amount in preview.totals.items()
        ]
        return TotalView(rows, many=True).data
