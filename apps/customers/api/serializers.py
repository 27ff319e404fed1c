"""What the endpoints of customers read and write."""

from typing import Any, Final

from rest_framework import serializers

from apps.core.web.fields import (
    CurrencyField,
    ExternalIdField,
    IdField,
    InstantField,
    LineField,
    MetadataField,
    ObjectField,
    StrictSerializer,
    ZoneField,
)
from apps.customers.domain import TaxExempt
from apps.tenants.tax_numbers import KINDS

_COUNTRY: Final = "ISO 3166-1 alpha-2, such as DE."
_PROVIDER: Final = r"^[a-z][a-z0-9_]{0,19}$"


class AddressBody(StrictSerializer):
    """A postal address; every part may be left out."""

    line1 = LineField(max_length=200, required=False, allow_blank=True)
    line2 = LineField(max_length=200, required=False, allow_blank=True)
    city = LineField(max_length=100, required=False, allow_blank=True)
    postal_code = LineField(max_length=20, required=False, allow_blank=True)
    state = LineField(max_length=100, required=False, allow_blank=True)
    country = LineField(max_length=2, required=False, allow_blank=True, help_text=_COUNTRY)


class TaxIdBody(StrictSerializer):
    """A tax number, checked for its form and check digits."""

    kind = serializers.ChoiceField(choices=list(KINDS))
    value = LineField(max_length=40)


class CustomerChanges(StrictSerializer):
    """What can be changed about a customer; what is left out stays."""

    external_id = ExternalIdField(
        required=False, allow_null=True, help_text="Your own id, accepted wherever ours is."
    )
    name = LineField(max_length=200, required=False)
    email = serializers.EmailField(required=False, allow_blank=True)
    currency = CurrencyField(
        required=False, help_text="Fixed once there are subscriptions or documents."
    )
    zone = ZoneField(required=False, help_text="Periods of later subscriptions are computed in it.")
    address = AddressBody(required=False)
    tax_ids = TaxIdBody(many=True, required=False)
    tax_exempt = serializers.ChoiceField(
        choices=[one.value for one in TaxExempt],
        required=False,
        help_text="`reverse_charge`: the customer owes the tax himself; needs a tax number.",
    )
    tax_exempt_reason = LineField(
        max_length=200,
        required=False,
        allow_blank=True,
        help_text="Printed on his documents, such as `Art. 196 VAT Directive`.",
    )
    metadata = MetadataField(required=False)
    payment_provider = serializers.RegexField(_PROVIDER, required=False, allow_blank=True)
    payment_provider_customer_id = LineField(max_length=255, required=False, allow_blank=True)


class CustomerBody(CustomerChanges):
    """What it takes to create a customer."""

    name = LineField(max_length=200)
    currency = CurrencyField(required=False, help_text="The tenant's if left out.")
    zone = ZoneField(required=False, help_text="The tenant's if left out.")
    test_clock = IdField(
        "clk", required=False, allow_null=True, source="test_clock_id", help_text="Test mode only."
    )


class AddressView(serializers.Serializer[Any]):
    """The parts of an address, "" where nothing is known."""

    line1 = serializers.CharField(default="")
    line2 = serializers.CharField(default="")
    city = serializers.CharField(default="")
    postal_code = serializers.CharField(default="")
    state = serializers.CharField(default="")
    country = serializers.CharField(default="")


class TaxIdView(serializers.Serializer[Any]):
    """A tax number in its compact form."""

    kind = serializers.CharField()
    value = serializers.CharField()


class CustomerView(serializers.Serializer[Any]):
    """A customer."""

    object = ObjectField("customer")
    id = IdField("cus")
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    email = serializers.CharField()
    currency = serializers.CharField()
    zone = serializers.CharField()
    address = AddressView()
    tax_ids = TaxIdView(many=True)
    tax_exempt = serializers.ChoiceField(choices=[one.value for one in TaxExempt])
    tax_exempt_reason = serializers.CharField()
    metadata = MetadataField()
    payment_provider = serializers.CharField()
    payment_provider_customer_id = serializers.CharField()
    test_clock = IdField("clk", source="test_clock_id", allow_null=True)
    created_at = InstantField()
