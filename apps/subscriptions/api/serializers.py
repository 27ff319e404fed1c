"""What the endpoints of subscriptions read and write."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.domain import PhaseKind
from apps.core.web.fields import (
    AmountField,
    BoundaryField,
    CurrencyField,
    DecimalField,
    ExternalIdField,
    FlagField,
    IdField,
    InstantField,
    MetadataField,
    NameField,
    ObjectField,
    StrictSerializer,
    WholeField,
)
from apps.rating.periods import Alignment, Cadence, CadenceInvalid, Unit
from apps.subscriptions.domain import (
    LARGEST_QUANTITY,
    LONGEST_TRIAL_DAYS,
    Anchoring,
    Behaviour,
    CancelMode,
    ChangeStatus,
    ChangeVerb,
    PhaseAlignment,
    Settlement,
    Standing,
    SubscriptionStatus,
)
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment

_LAST_DAY: Final = 31
_LENGTH_OF_DATE: Final = 10
REFUND: Final = "refund"  # a settlement: credit it, and pay it back
UNCANCEL: Final = "uncancel"  # what a preview tells of a cancellation that is taken back
_OF_THEIR_OWN: Final = frozenset({ChangeVerb.CANCEL, ChangeVerb.RENEW})  # they have own paths


@extend_schema_field({"type": "string", "format": "date", "example": "2026-04-01"})
class StartField(serializers.Field[date, Any, str, Any]):
    """A day, whose midnight in the customer's zone is meant; or an instant."""

    def to_internal_value(self, data: Any) -> date:
        if isinstance(data, str) and len(data) != _LENGTH_OF_DATE:
            return InstantField().to_internal_value(data)
        try:
            day = date.fromisoformat(data)
        except (TypeError, ValueError) as error:
            raise serializers.ValidationError(
                "Send a day such as 2026-04-01, or an instant with its zone.", code="date_format"
            ) from error
        return InstantField().to_internal_value(f"{day.isoformat()}T00:00:00Z").date()


class QuantityField(DecimalField):
    """How many: a whole number, at least one."""

    def to_internal_value(self, data: Any) -> Decimal:
        number = super().to_internal_value(data)
        if not 0 < number <= LARGEST_QUANTITY or number % 1:
            raise serializers.ValidationError(
                f"A quantity is a whole number from 1 to {LARGEST_QUANTITY:f}.",
                code="quantity_invalid",
            )
        return number


class TermBody(StrictSerializer):
    """How long a term is."""

    unit = serializers.ChoiceField(choices=[unit.value for unit in Unit])
    count = WholeField(required=False, default=1)

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the cadence."""
        try:
            return Cadence(Unit(attrs["unit"]), attrs["count"])
        except CadenceInvalid as error:
            raise serializers.ValidationError(
                {"count": serializers.ErrorDetail(error.detail, error.reason)}
            ) from error


class SubscriptionBody(StrictSerializer):
    """What it takes to start a subscription."""

    customer = NameField(help_text="The customer's id or external id.")
    plan = NameField(help_text="The plan's id or key.")
    plan_version = WholeField(
        min_value=1, required=False, help_text="The newest published one unless given."
    )
    started_at = InstantField(required=False, help_text="Now unless given; past or future.")
    start_date = StartField(required=False, help_text="Instead of started_at.")
    alignment = serializers.ChoiceField(
        choices=[one.value for one in Alignment], default=Alignment.ANNIVERSARY.value
    )
    anchor_day = WholeField(min_value=1, max_value=_LAST_DAY, required=False, allow_null=True)
    quantity = QuantityField(required=False, default=Decimal(1))
    price_list = NameField(required=False, allow_null=True)
    external_id = ExternalIdField(required=False, allow_null=True)
    term = TermBody(required=False, allow_null=True)
    auto_renew = FlagField(required=False, default=True)
    trial_days = WholeField(
        min_value=0, max_value=LONGEST_TRIAL_DAYS, required=False, allow_null=True
    )
    currency = CurrencyField(required=False, help_text="The customer's unless given.")
    metadata = MetadataField(required=False, default=dict)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Say one thing about the start."""
        if "started_at" in attrs and "start_date" in attrs:
            raise serializers.ValidationError(
                {"start_date": serializers.ErrorDetail("Give started_at or this.", "ambiguous")}
            )
        return attrs


class CancelBody(StrictSerializer):
    """When a subscription is to end, and what becomes of the periods that it cuts short."""

    mode = serializers.ChoiceField(choices=[mode.value for mode in CancelMode])
    ends_at = BoundaryField(required=False, help_text='With the mode "date"; exclusive.')
    settlement = serializers.ChoiceField(
        choices=[*(one.value for one in Settlement), REFUND],
        default=Settlement.PRORATE.value,
        help_text=(
            "refund: as prorate, and what is credited of what was paid goes back to the payments."
        ),
    )


class RenewBody(StrictSerializer):
    """Which term another is to follow: the one that holds then."""

    effective_at = InstantField(required=False, help_text="Now unless given; past or future.")


class ChangeBody(StrictSerializer):
    """What is to change, when it takes effect, and how that is billed."""

    verb = serializers.ChoiceField(
        choices=[verb.value for verb in ChangeVerb if verb not in _OF_THEIR_OWN]
    )
    effective_at = InstantField(required=False, help_text="Now unless given; past or future.")
    behaviour = serializers.ChoiceField(
        choices=[one.value for one in Behaviour],
        required=False,
        help_text="prorate unless given, or as the rule for a change of the plan says.",
    )
    plan = NameField(required=False, help_text="change_plan: the plan's id or key.")
    plan_version = WholeField(
        min_value=1, required=False, help_text="The newest published one unless given."
    )
    phase_alignment = serializers.ChoiceField(
        choices=[one.value for one in PhaseAlignment], required=False
    )
    anchoring = serializers.ChoiceField(
        choices=[one.value for one in Anchoring],
        required=False,
        help_text="change_plan, resume: whether billing periods are counted anew.",
    )
    quantity = QuantityField(
        required=False,
        help_text="change_quantity, change_plan, add_add_on, change_add_on.",
    )
    add_on = NameField(
        required=False,
        help_text="add_add_on, change_add_on, remove_add_on: the id or key of the add-on's plan.",
    )
    price_list = NameField(
        required=False, allow_null=True, help_text="change_prices: null is the standard list."
    )
    trial_ends_at = BoundaryField(required=False, help_text="extend_trial; exclusive.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want what the verb needs, and refuse what it does not know."""
        verb = ChangeVerb(attrs["verb"])
        needed, known = _MEMBERS[verb]
        given = attrs.keys() - {"verb", "effective_at", "behaviour"}
        errors = {
            **{name: _error(f"{verb} needs this.", "required") for name in needed - given},
            **{name: _error(f"{verb} has no use for this.", "unused") for name in given - known},
        }
        if errors:
            raise serializers.ValidationError(errors)
        return attrs


def _error(text: str, code: str) -> serializers.ErrorDetail:
    return serializers.ErrorDetail(text, code)


_PLAN: Final = frozenset({"plan", "plan_version", "phase_alignment", "anchoring", "quantity"})
# of each verb: what it needs, and what it knows
_MEMBERS: Final[Mapping[ChangeVerb, tuple[frozenset[str], frozenset[str]]]] = {
    ChangeVerb.CHANGE_PLAN: (frozenset({"plan"}), _PLAN),
    ChangeVerb.CHANGE_QUANTITY: (frozenset({"quantity"}), frozenset({"quantity"})),
    ChangeVerb.CHANGE_PRICES: (frozenset({"price_list"}), frozenset({"price_list"})),
    ChangeVerb.PAUSE: (frozenset(), frozenset()),
    ChangeVerb.SUSPEND: (frozenset(), frozenset()),
    ChangeVerb.RESUME: (frozenset(), frozenset({"anchoring"})),
    ChangeVerb.EXTEND_TRIAL: (frozenset({"trial_ends_at"}), frozenset({"trial_ends_at"})),
    ChangeVerb.ADD_ADD_ON: (
        frozenset({"add_on"}),
        frozenset({"add_on", "plan_version", "quantity", "phase_alignment"}),
    ),
    ChangeVerb.CHANGE_ADD_ON: (
        frozenset({"add_on", "quantity"}),
        frozenset({"add_on", "quantity"}),
    ),
    ChangeVerb.REMOVE_ADD_ON: (frozenset({"add_on"}), frozenset({"add_on"})),
}


class DescriptionBody(StrictSerializer):
    """How a subscription is called; what is not given stays."""

    external_id = ExternalIdField(required=False, allow_null=True)
    metadata = MetadataField(required=False)


class CadenceView(serializers.Serializer[Any]):
    """A length of time on the calendar."""

    unit = serializers.ChoiceField(choices=[unit.value for unit in Unit])
    count = serializers.IntegerField()


class SpanView(serializers.Serializer[Any]):
    """``[start, end)``."""

    start = InstantField()
    end = InstantField()


class PhaseView(serializers.Serializer[Any]):
    """The phase of the plan that holds in a segment."""

    id = IdField("pha")
    kind = serializers.ChoiceField(choices=[kind.value for kind in PhaseKind])
    name = serializers.CharField()


class SegmentView(serializers.Serializer[Any]):
    """A stretch in which the terms do not change; periods are counted from ``anchor_at``."""

    standing = serializers.ChoiceField(choices=[one.value for one in Standing])
    paid_from = InstantField(
        allow_null=True, help_text="Since when its terms are paid, where that is not its start."
    )

    starts_at = InstantField()
    ends_at = InstantField(allow_null=True)
    plan_version = serializers.IntegerField(source="plan_version.number")
    plan_version_id = IdField("plv")
    phase = PhaseView()
    quantity = DecimalField()
    anchor_at = InstantField()
    settlement = serializers.ChoiceField(choices=[one.value for one in Settlement])


class AddOnSegmentView(SegmentView):
    """A stretch in which the terms of an add-on do not change; ``absent`` where it is not there."""

    absent = serializers.BooleanField()


class AddOnView(serializers.Serializer[Any]):
    """An add-on that a subscription has, had or will have, since it was first added."""

    add_on = serializers.CharField(source="plan.key", help_text="The key of its plan.")
    plan_id = IdField("pla", source="plan.pk")
    segments = AddOnSegmentView(many=True)


class ScheduledChangeView(serializers.Serializer[Any]):
    """A change that will be applied at its time."""

    object = ObjectField("scheduled_change")
    id = IdField("sch")
    subscription = IdField("sub", source="subscription_id")
    verb = serializers.ChoiceField(choices=[verb.value for verb in ChangeVerb])
    status = serializers.ChoiceField(choices=[one.value for one in ChangeStatus])
    effective_at = InstantField()
    settlement = serializers.SerializerMethodField()
    created_at = InstantField()

    @extend_schema_field(
        serializers.ChoiceField(choices=[*(one.value for one in Settlement), REFUND])
    )
    def get_settlement(self, change: ScheduledChange) -> str:
        given: str = change.arguments["settlement"]
        return REFUND if change.arguments.get("refund") else given


class ChangeLineView(serializers.Serializer[Any]):
    """A line as it would be billed."""

    description = serializers.CharField()
    service_start = InstantField()
    service_end = InstantField()
    quantity = DecimalField()
    unit = serializers.CharField()
    amount = AmountField()
    currency = serializers.CharField()


class ChangePreviewView(serializers.Serializer[Any]):
    """What a change would do and cost; nothing of it is stored."""

    object = ObjectField("change_preview")
    subscription = IdField("sub")
    verb = serializers.ChoiceField(choices=[*(verb.value for verb in ChangeVerb), UNCANCEL])
    effective_at = InstantField(help_text="Of uncancel: when it was to end.")
    currency = serializers.CharField()
    cutoff = InstantField(help_text="Up to when all is billed that is told here, inclusive.")
    lines = ChangeLineView(many=True)
    total = AmountField(help_text="What the customer would be billed by then, without tax.")
    tax = AmountField(help_text="On top of `total`.")
    otherwise = AmountField(
        help_text="What he would be billed by then without the change, without tax."
    )
    otherwise_tax = AmountField(help_text="On top of `otherwise`.")
    difference = AmountField(help_text="total − otherwise; below zero it is credited.")


class CancelPreviewView(ChangePreviewView):
    """What an end would do and cost; nothing of it is stored."""

    refund = AmountField(help_text="What would go back to payments, tax included.")


class SubscriptionView(serializers.Serializer[Any]):
    """A customer on a pinned plan version, its timeline, and what waits for its time."""

    object = ObjectField("subscription")
    id = IdField("sub")
    status = serializers.ChoiceField(choices=[one.value for one in SubscriptionStatus])
    customer = IdField("cus", source="customer_id")
    external_id = serializers.CharField(allow_null=True)
    plan = serializers.CharField(source="plan_version.plan.key")
    plan_id = IdField("pla", source="plan_version.plan_id")
    plan_version = serializers.IntegerField(source="plan_version.number")
    plan_version_id = IdField("plv")
    price_list = serializers.CharField(source="price_list.key", default=None, allow_null=True)
    currency = serializers.CharField()
    zone = serializers.CharField()
    quantity = DecimalField()
    alignment = serializers.ChoiceField(choices=[one.value for one in Alignment])
    anchor_day = serializers.IntegerField(allow_null=True)
    started_at = InstantField()
    ends_at = InstantField(allow_null=True)
    term = serializers.SerializerMethodField()
    term_ends_at = InstantField(allow_null=True)
    auto_renew = serializers.BooleanField()
    current_period = serializers.SerializerMethodField()
    segments = serializers.SerializerMethodField()
    add_ons = serializers.SerializerMethodField()
    scheduled_changes = ScheduledChangeView(many=True, source="pending_changes")
    next_bill_at = InstantField(allow_null=True)
    billed_until = InstantField(allow_null=True)
    uncovered_since = InstantField(
        allow_null=True, help_text="Prepaid credit does not cover its usage any more, since then."
    )
    metadata = MetadataField()
    created_at = InstantField()

    @extend_schema_field(CadenceView(allow_null=True))
    def get_term(self, subscription: Subscription) -> dict[str, Any] | None:
        if subscription.term_unit is None:
            return None
        return {"unit": subscription.term_unit, "count": subscription.term_count}

    @extend_schema_field(SegmentView(many=True))
    def get_segments(self, subscription: Subscription) -> Any:
        own = [one for one in subscription.segments.all() if one.add_on is None]
        return SegmentView(own, many=True).data

    @extend_schema_field(AddOnView(many=True))
    def get_add_ons(self, subscription: Subscription) -> Any:
        found: dict[str, list[SubscriptionSegment]] = {}
        for one in subscription.segments.all():
            if one.add_on is not None:
                found.setdefault(one.add_on.key, []).append(one)
        rows = [{"plan": listed[0].add_on, "segments": listed} for listed in found.values()]
        return AddOnView(rows, many=True).data

    @extend_schema_field(SpanView(allow_null=True))
    def get_current_period(self, subscription: Subscription) -> dict[str, Any] | None:
        period = self.context["shown"].current_period(subscription)
        return None if period is None else dict(SpanView(period).data)


class CalendarPeriodView(serializers.Serializer[Any]):
    """One billing period; the local times are those of the subscription's zone."""

    start = InstantField(source="span_start")
    end = InstantField(source="span_end")
    local_start = serializers.SerializerMethodField()
    local_end = serializers.SerializerMethodField()
    phase = IdField("pha", source="phase_id")
    cadence = CadenceView()
    charges = serializers.ListField(child=serializers.CharField())
    whole = serializers.BooleanField(help_text="False where the timeline cuts the period.")

    @extend_schema_field({"type": "string", "format": "date-time"})
    def get_local_start(self, period: Any) -> str:
        return self._local(period.span_start)

    @extend_schema_field({"type": "string", "format": "date-time"})
    def get_local_end(self, period: Any) -> str:
        return self._local(period.span_end)

    def _local(self, at: datetime) -> str:
        return at.astimezone(self.context["zone"]).isoformat()


class CalendarView(serializers.Serializer[Any]):
    """The next billing periods of a subscription."""

    object = ObjectField("billing_calendar")
    subscription = IdField("sub")
    zone = serializers.CharField()
    periods = CalendarPeriodView(many=True)
