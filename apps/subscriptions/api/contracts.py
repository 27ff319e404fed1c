"""Contracts over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core.validators import URLValidator
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.web.fields import (
    AmountField,
    BoundaryField,
    DecimalField,
    ExternalIdField,
    FlagField,
    IdField,
    InstantField,
    KeyField,
    LineField,
    NameField,
    ObjectField,
    StrictSerializer,
)
from apps.core.web.views import Door, Reader, id_of, named, text
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.subscriptions.api.redemptions import customers_named
from apps.subscriptions.api.serializers import QuantityField
from apps.subscriptions.domain import CommitmentPer
from apps.subscriptions.models import Contract, Subscription
from apps.subscriptions.operations import contracting

_MOST: Final = 100


@extend_schema_field({"type": "object", "required": ["model"], "additionalProperties": True})
class PricingField(serializers.JSONField):
    """A pricing model, as plans have it; its other fields depend on ``model``."""


class ContractDocumentBody(StrictSerializer):
    """A document that goes with a contract: where it lies."""

    name = LineField(max_length=200)
    url = LineField(max_length=2000, validators=[URLValidator(schemes=["https", "http"])])


class AgreedPriceBody(StrictSerializer):
    """The negotiated price of a charge, in the contract's currency."""

    charge = KeyField()
    starts_at = InstantField(
        required=False, help_text="For billing periods that begin then or later; with the contract."
    )
    pricing = PricingField()
    minimum = DecimalField(required=False, allow_null=True)
    maximum = DecimalField(required=False, allow_null=True)


class AgreedQuantityBody(StrictSerializer):
    """How many of the subscription, from when on."""

    starts_at = InstantField()
    quantity = QuantityField()


class AgreedFeatureBody(StrictSerializer):
    """What is granted of a feature, in place of what plans grant."""

    feature = KeyField()
    limit = DecimalField(required=False, allow_null=True, help_text="None unless given.")


class CommitmentBody(StrictSerializer):
    """What is to be spent at least."""

    amount = DecimalField()
    per = serializers.ChoiceField(
        choices=[one.value for one in CommitmentPer], default=CommitmentPer.PERIOD.value
    )
    overage_factor = DecimalField(
        required=False, help_text="What exceeds it costs so many times as much; 1 unless given."
    )
    true_up = FlagField(required=False, help_text="Bill what is missing to it; true unless given.")
    charges = serializers.ListField(
        child=KeyField(), required=False, max_length=_MOST, help_text="Which count. All, if none."
    )


class ContractBody(StrictSerializer):
    """What was agreed on: for one of ``subscription`` and ``customer``."""

    name = LineField(max_length=200)
    external_id = ExternalIdField(required=False, allow_null=True)
    subscription = NameField(required=False, help_text="Its id or external id.")
    customer = NameField(required=False, help_text="The id or external id, for all that he has.")
    starts_at = InstantField(
        required=False,
        help_text="It holds from the billing period on in which this lies; now unless given.",
    )
    ends_at = BoundaryField(required=False, allow_null=True, help_text="Exclusive.")
    prices = AgreedPriceBody(many=True, required=False)
    quantities = AgreedQuantityBody(many=True, required=False)
    commitment = CommitmentBody(required=False, allow_null=True)
    features = AgreedFeatureBody(many=True, required=False)
    documents = ContractDocumentBody(many=True, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Say one thing about whom it is with."""
        if ("subscription" in attrs) == ("customer" in attrs):
            raise serializers.ValidationError(
                {
                    "subscription": [
                        serializers.ErrorDetail("Give a subscription or a customer.", "one_of_two")
                    ]
                }
            )
        return attrs


class ContractDescriptionBody(StrictSerializer):
    """How a contract is called, and what goes with it."""

    name = LineField(max_length=200, required=False)
    documents = ContractDocumentBody(many=True, required=False)


class EndContractBody(StrictSerializer):
    """When a contract ends."""

    ends_at = BoundaryField(
        required=False, help_text="No billing period that begins then or later; now unless given."
    )


class AgreedPriceView(serializers.Serializer[Any]):
    """The negotiated price of a charge."""

    charge = serializers.CharField()
    currency = serializers.CharField()
    starts_at = serializers.DateTimeField()
    pricing = serializers.DictField()
    minimum = serializers.CharField(allow_null=True)
    maximum = serializers.CharField(allow_null=True)


class AgreedFeatureView(serializers.Serializer[Any]):
    """What is granted of a feature, in place of what plans grant."""

    feature = serializers.CharField()
    limit = serializers.CharField(allow_null=True, help_text="Null: without limit.")


class CommitmentView(serializers.Serializer[Any]):
    """What is to be spent at least, in the contract's currency."""

    amount = AmountField(source="commitment")
    per = serializers.ChoiceField(
        choices=[one.value for one in CommitmentPer], source="commitment_per"
    )
    overage_factor = DecimalField()
    true_up = serializers.BooleanField()
    charges = serializers.ListField(child=serializers.CharField(), source="commitment_charges")


class ContractDocumentView(serializers.Serializer[Any]):
    """A document that goes with a contract."""

    name = serializers.CharField()
    url = serializers.CharField()


class ContractView(serializers.Serializer[Any]):
    """What was agreed on; it is about the billing periods that begin while it holds."""

    object = ObjectField("contract")
    id = IdField("ctr")
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    customer = IdField("cus", source="customer_id")
    subscription = IdField(
        "sub", source="subscription_id", allow_null=True, help_text="Null: all that he has."
    )
    currency = serializers.CharField()
    starts_at = InstantField()
    ends_at = InstantField(allow_null=True, help_text="Exclusive; null: never.")
    prices = AgreedPriceView(many=True)
    commitment = serializers.SerializerMethodField()
    features = AgreedFeatureView(many=True)
    documents = ContractDocumentView(many=True)
    created_at = InstantField()

    @staticmethod
    @extend_schema_field(CommitmentView(allow_null=True))
    def get_commitment(contract: Contract) -> Any:
        """Return what is to be spent, if anything is."""
        return None if contract.commitment is None else CommitmentView(contract).data


@extend_schema(tags=["subscriptions"])
class Contracts(Door):
    """What was negotiated."""

    resource = "subscriptions"
    own_name = "external_id"
    serializer_class = ContractView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "customer": ("customer__in", customers_named),
        "subscription": ("subscription", id_of(Subscription.ID_PREFIX)),
        "external_id": ("external_id", text),
    }

    def get_queryset(self) -> QuerySet[Contract]:
        return Contract.objects.filter(tenant_id=self.tenant_id).select_related(
            "customer__test_clock", "customer__tenant__test_clock"
        )

    @extend_schema(
        request=ContractBody,
        responses={201: ContractView},
        examples=[
            OpenApiExample(
                "A year at a price of its own, for 12,000 at least",
                value={
                    "name": "Initech 2026",
                    "subscription": "account-4711",
                    "starts_at": "2026-04-01T00:00:00Z",
                    "ends_at": "2027-04-01T00:00:00Z",
                    "prices": [
                        {
                            "charge": "calls",
                            "pricing": {"model": "per_unit", "unit_price": "0.008"},
                        },
                        {
                            "charge": "calls",
                            "starts_at": "2026-10-01T00:00:00Z",
                            "pricing": {"model": "per_unit", "unit_price": "0.007"},
                        },
                    ],
                    "commitment": {"amount": "12000.00", "per": "term", "overage_factor": "1.2"},
                    "features": [{"feature": "seats", "limit": "50"}],
                    "documents": [
                        {"name": "Signed", "url": "https://files.example.com/initech-2026.pdf"}
                    ],
                },
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Note what was agreed on.

        What is billed already of the time that it is about is billed or credited by its difference.
        """
        given = self.read(ContractBody)
        customer, subscription_id = self._party(given)
        commitment = given.get("commitment")
        if commitment is not None:
            per = CommitmentPer(commitment.pop("per"))
            commitment = contracting.WantedCommitment(**commitment, per=per)
        made = contracting.create_contract(
            customer.pk,
            id=self.effect_id,
            name=given["name"],
            subscription_id=subscription_id,
            external_id=given.get("external_id"),
            starts_at=given.get("starts_at"),
            ends_at=given.get("ends_at"),
            prices=[contracting.WantedPrice(**one) for one in given.get("prices", ())],
            quantities=[(one["starts_at"], one["quantity"]) for one in given.get("quantities", ())],
            commitment=commitment,
            features=[contracting.WantedGrant(**one) for one in given.get("features", ())],
            documents=given.get("documents", ()),
            actor=self.actor,
            at=_time_of(customer),
        )
        return Response(ContractView(made).data, status.HTTP_201_CREATED)

    def _party(self, given: Mapping[str, Any]) -> tuple[Customer, UUID | None]:
        clocks = ("test_clock", "tenant__test_clock")
        if "customer" in given:
            customers = Customer.objects.filter(tenant_id=self.tenant_id).select_related(*clocks)
            found: Customer = named(customers, given["customer"], own_name="external_id")
            return found, None
        subscriptions = Subscription.objects.filter(tenant_id=self.tenant_id).select_related(
            *(f"customer__{one}" for one in clocks)
        )
        one: Subscription = named(subscriptions, given["subscription"], own_name="external_id")
        return one.customer, one.pk

    @extend_schema(
        request=ContractDescriptionBody,
        responses=ContractView,
        examples=[OpenApiExample("Renamed", value={"name": "Initech, first"}, request_only=True)],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change how a contract is called or which documents go with it, never what it says."""
        given = self.read(ContractDescriptionBody)
        found: Contract = self.get_object()
        described = contracting.describe_contract(
            found.pk,
            tenant_id=self.tenant_id,
            **given,
            actor=self.actor,
            at=_time_of(found.customer),
        )
        return Response(ContractView(described).data)

    @extend_schema(
        request=EndContractBody,
        responses=ContractView,
        examples=[
            OpenApiExample(
                "From June on", value={"ends_at": "2026-06-01T00:00:00Z"}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """End a contract: billing periods that begin later are billed as if there were none."""
        given = self.read(EndContractBody)
        found: Contract = self.get_object()
        ended = contracting.end_contract(
            found.pk,
            tenant_id=self.tenant_id,
            ends_at=given.get("ends_at"),
            actor=self.actor,
            at=_time_of(found.customer),
        )
        return Response(ContractView(ended).data)


def _time_of(customer: Customer) -> datetime:
    return customer_now(customer, wall=now())
