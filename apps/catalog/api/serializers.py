"""What the endpoints of the catalog read and write.

Plans and catalogs are read by ``catalog.documents``, which notes every problem with its path; the
classes named ``…Document`` describe the same fields for the API's documentation.
"""

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.catalog.api.rules import OfferDocument, TransitionDocument
from apps.catalog.documents.writing import phases_document
from apps.catalog.domain import (
    ChargeKind,
    FeatureKind,
    PhaseKind,
    PlanVersionStatus,
    ProductKind,
    Timing,
)
from apps.catalog.models import Plan, PlanVersion
from apps.catalog.operations.upload_catalog import Change
from apps.core.web.fields import (
    CurrencyField,
    DecimalField,
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
from apps.rating.aggregation import Aggregation, RoundingMode
from apps.rating.periods import Unit
from apps.rating.pricing import MODEL_NAMES
from apps.rating.proration import Basis

# of the ids of what a catalog describes, by its kind
_PREFIXES: Final = {
    "product": "pro",
    "price_list": "prl",
    "meter": "met",
    "feature": "fea",
    "plan": "pla",
    "plan_transition": "ptr",
    "add_on_offer": "aof",
}


@extend_schema_field(
    {
        "type": "object",
        "required": ["model"],
        "properties": {"model": {"type": "string", "enum": list(MODEL_NAMES)}},
        "additionalProperties": True,
        "example": {
            "model": "graduated",
            "tiers": [
                {"up_to": "100000", "unit_price": "0"},
                {"up_to": None, "unit_price": "0.0001"},
            ],
        },
    }
)
class PricingField(serializers.JSONField):
    """A pricing model; its other fields depend on ``model``."""


@extend_schema_field(
    {
        "oneOf": [
            {
                "type": "string",
                "enum": ["daily", "weekly", "monthly", "quarterly", "half_yearly", "yearly"],
            },
            {
                "type": "object",
                "required": ["unit"],
                "properties": {
                    "unit": {"type": "string", "enum": [unit.value for unit in Unit]},
                    "count": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1},
                },
            },
        ],
        "example": "monthly",
    }
)
class PeriodField(serializers.JSONField):
    """A period: a word, or a unit and how many of it."""


class CadenceView(serializers.Serializer[Any]):
    """A period."""

    unit = serializers.ChoiceField(choices=[unit.value for unit in Unit])
    count = serializers.IntegerField()


class ProductBody(StrictSerializer):
    """What it takes to create a product."""

    key = KeyField()
    name = LineField(max_length=200)
    kind = serializers.ChoiceField(
        choices=[kind.value for kind in ProductKind], default=ProductKind.BASE.value
    )
    tax_code = LineField(max_length=40, required=False, default="", allow_blank=True)
    description = TextField(max_length=2000, required=False, default="", allow_blank=True)


class ProductView(serializers.Serializer[Any]):
    """A thing that plans sell."""

    object = ObjectField("product")
    id = IdField("pro")
    key = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in ProductKind])
    tax_code = serializers.CharField()
    description = serializers.CharField()
    created_at = InstantField()


class PriceListBody(StrictSerializer):
    """What it takes to create a price list."""

    key = KeyField()
    name = LineField(max_length=200)


class PriceListView(serializers.Serializer[Any]):
    """Alternative prices that subscriptions, or single usages, may name as a price point."""

    object = ObjectField("price_list")
    id = IdField("prl")
    key = serializers.CharField()
    name = serializers.CharField()
    created_at = InstantField()


class PriceDocument(StrictSerializer):
    """A price in one currency, standard or of a price list. ``minimum`` and what follows: usage."""

    currency = CurrencyField(required=False, help_text="The plan's unless given.")
    price_list = KeyField(required=False, allow_null=True)
    pricing = PricingField()
    minimum = DecimalField(required=False, allow_null=True)
    maximum = DecimalField(required=False, allow_null=True)
    billing_threshold = DecimalField(required=False, allow_null=True)


class ChargeDocument(StrictSerializer):
    """One priced part: either ``pricing`` in the plan's currency, or ``prices``."""

    key = KeyField(required=False, help_text="The meter's key unless given.")
    name = LineField(required=False)
    kind = serializers.ChoiceField(
        choices=[kind.value for kind in ChargeKind],
        required=False,
        help_text="usage where a meter is named, else recurring.",
    )
    meter = KeyField(required=False, allow_null=True)
    metric_key = KeyField(required=False, allow_null=True, help_text="Another name for `meter`.")
    meter_version = WholeField(required=False, allow_null=True, help_text="The newest.")
    period = PeriodField(required=False, help_text="The plan's billing_period unless given.")
    timing = serializers.ChoiceField(
        choices=[timing.value for timing in Timing],
        required=False,
        help_text="Usage is billed in arrears, all else in advance unless said otherwise.",
    )
    prorated = FlagField(required=False, default=True)
    proration = serializers.ChoiceField(
        choices=[basis.value for basis in Basis],
        required=False,
        allow_null=True,
        help_text="How parts of a period are told: by the second, the day or the month of 30 days."
        " As the tenant does unless given.",
    )
    included_quantity = DecimalField(required=False)
    pricing = PricingField(required=False)
    minimum = DecimalField(required=False, allow_null=True)
    maximum = DecimalField(required=False, allow_null=True)
    billing_threshold = DecimalField(required=False, allow_null=True)
    prices = PriceDocument(many=True, required=False)


class GrantDocument(StrictSerializer):
    """A feature that is granted, up to a limit if it has one."""

    feature = KeyField()
    limit = DecimalField(
        required=False, allow_null=True, help_text="Without limit unless given; not for boolean."
    )


class PhaseDocument(StrictSerializer):
    """A stretch of a plan; all but an evergreen one have a duration."""

    kind = serializers.ChoiceField(choices=[kind.value for kind in PhaseKind])
    name = LineField(required=False)
    duration = PeriodField(required=False, allow_null=True)
    charges = ChargeDocument(many=True, required=False)
    features = GrantDocument(many=True, required=False)


class VersionDocument(StrictSerializer):
    """The terms of a plan version: ``charges`` of one evergreen phase, or ``phases``.

    ``features`` are granted in every phase that does not say otherwise.
    """

    currency = CurrencyField(required=False)
    billing_period = PeriodField(required=False)
    charges = ChargeDocument(many=True, required=False)
    phases = PhaseDocument(many=True, required=False)
    features = GrantDocument(many=True, required=False)
    publish = FlagField(required=False, default=True)


class PlanDocument(VersionDocument):
    """A plan with the terms of one version."""

    key = KeyField()
    name = LineField(max_length=200, required=False)
    product = KeyField(required=False, help_text="One with the plan's key is made unless given.")
    description = TextField(required=False)
    metadata = MetadataField(required=False)


class ProductDocument(StrictSerializer):
    """A product in a catalog."""

    key = KeyField()
    name = LineField(required=False)
    kind = serializers.ChoiceField(choices=[kind.value for kind in ProductKind], required=False)
    tax_code = LineField(required=False)
    description = TextField(required=False)


class PriceListDocument(StrictSerializer):
    """A price list in a catalog."""

    key = KeyField()
    name = LineField(required=False)


class MeterDocument(StrictSerializer):
    """A meter in a catalog, as ``POST /meters`` takes it."""

    key = KeyField()
    name = LineField(required=False)
    unit = LineField(required=False)
    description = TextField(required=False)
    event_name = LineField(required=False, help_text="The key unless given.")
    aggregation = serializers.ChoiceField(choices=[one.value for one in Aggregation])
    value_property = LineField(required=False)
    percentile = DecimalField(required=False, allow_null=True)
    recurring = FlagField(required=False)
    filters = serializers.ListField(child=serializers.DictField(), required=False)
    group_by = serializers.ListField(child=serializers.CharField(), required=False)
    rounding = serializers.ChoiceField(
        choices=[mode.value for mode in RoundingMode], required=False, allow_null=True
    )
    rounding_places = WholeField(required=False)


class FeatureDocument(StrictSerializer):
    """A feature: what it is, and what measures it if it is metered."""

    key = KeyField()
    name = LineField(required=False, help_text="The key unless given.")
    kind = serializers.ChoiceField(
        choices=[kind.value for kind in FeatureKind],
        required=False,
        help_text="metered where a meter is named, else boolean.",
    )
    meter = KeyField(required=False, allow_null=True)
    unit = LineField(max_length=40, required=False)


class FeatureView(serializers.Serializer[Any]):
    """Something that plans let their customers do."""

    object = ObjectField("feature")
    id = IdField("fea")
    key = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.ChoiceField(choices=[kind.value for kind in FeatureKind])
    meter = serializers.CharField(source="meter.key", allow_null=True, default=None)
    unit = serializers.CharField()
    created_at = InstantField()


class CatalogDocument(StrictSerializer):
    """A whole catalog, or any part of one."""

    products = ProductDocument(many=True, required=False)
    price_lists = PriceListDocument(many=True, required=False)
    meters = MeterDocument(many=True, required=False)
    features = FeatureDocument(many=True, required=False)
    plans = PlanDocument(many=True, required=False)
    plan_transitions = TransitionDocument(many=True, required=False)
    add_on_offers = OfferDocument(many=True, required=False)


class CatalogView(CatalogDocument):
    """The catalog as a document whose upload changes nothing."""


class UploadedView(serializers.Serializer[Any]):
    """What became of one thing in an uploaded catalog."""

    kind = serializers.ChoiceField(choices=list(_PREFIXES))
    key = serializers.CharField()
    id = serializers.SerializerMethodField()
    change = serializers.ChoiceField(choices=[change.value for change in Change])
    version = serializers.IntegerField(
        allow_null=True, help_text="The newest version, of a meter or a plan."
    )

    @extend_schema_field({"type": "string"})
    def get_id(self, made: Any) -> str:
        return IdField(_PREFIXES[made.kind]).to_representation(made.id)


class UploadView(serializers.Serializer[Any]):
    """What an upload did."""

    object = ObjectField("catalog_upload")
    items = UploadedView(many=True)


class PlanVersionRow(serializers.Serializer[Any]):
    """A plan version without its terms."""

    object = ObjectField("plan_version")
    id = IdField("plv")
    plan = serializers.CharField(source="plan.key")
    plan_id = IdField("pla")
    number = serializers.IntegerField()
    status = serializers.ChoiceField(choices=[one.value for one in PlanVersionStatus])
    created_at = InstantField()
    published_at = InstantField(allow_null=True)


class PlanVersionView(PlanVersionRow):
    """A plan version. ``currencies`` are those in which it can be sold."""

    currencies = serializers.SerializerMethodField()
    phases = serializers.SerializerMethodField()

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_currencies(self, version: PlanVersion) -> list[str]:
        return sorted(
            {
                price.currency
                for phase in self.context["phases"][version.pk]
                for charge in phase.charges
                for price in charge.prices
            }
        )

    @extend_schema_field(PhaseDocument(many=True))
    def get_phases(self, version: PlanVersion) -> list[dict[str, object]]:
        return phases_document(self.context["phases"][version.pk])


class PlanRow(serializers.Serializer[Any]):
    """A plan with its versions; ``version`` is the newest that is on sale."""

    object = ObjectField("plan")
    id = IdField("pla")
    key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    product = serializers.CharField(source="product.key")
    metadata = MetadataField()
    version = serializers.SerializerMethodField()
    versions = PlanVersionRow(many=True)
    created_at = InstantField()
    archived_at = InstantField(allow_null=True)

    @extend_schema_field({"type": ["integer", "null"]})
    def get_version(self, plan: Plan) -> int | None:
        if plan.archived_at is not None:
            return None
        numbers = [
            one.number for one in plan.versions.all() if one.status == PlanVersionStatus.PUBLISHED
        ]
        return max(numbers, default=None)


class PlanView(PlanRow):
    """A plan with the terms of all its versions."""

    versions = PlanVersionView(many=True)
