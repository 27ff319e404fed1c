"""What the endpoints of tax rates read and write."""

from typing import Any

from rest_framework import serializers

from apps.core.web.fields import (
    BoundaryField,
    DecimalField,
    IdField,
    InstantField,
    KeyField,
    LineField,
    ObjectField,
    StrictSerializer,
)


class TaxRateBody(StrictSerializer):
    """What it takes to add a rate; it is added to prices, which are without tax."""

    key = KeyField(help_text="Your own name for it, accepted wherever the id is.")
    tax = KeyField(
        default="vat",
        max_length=40,
        help_text="Which tax this is a rate of. Of one tax the most specific rate applies;"
        " different taxes add up.",
    )
    name = LineField(max_length=100, help_text="As invoices print it, such as `VAT 19 %`.")
    percentage = DecimalField(help_text="0 to 100, up to 6 decimals.")
    country = LineField(
        max_length=2,
        required=False,
        allow_blank=True,
        help_text="ISO 3166-1 alpha-2, such as DE; empty: anywhere.",
    )
    region = LineField(
        max_length=100,
        required=False,
        allow_blank=True,
        help_text="The `state` of addresses there; empty: the whole country.",
    )
    tax_code = LineField(
        max_length=40,
        required=False,
        allow_blank=True,
        help_text="The `tax_code` of products; empty: all of them.",
    )
    valid_from = InstantField(required=False, allow_null=True, help_text="Null: since ever.")
    valid_until = BoundaryField(
        required=False, allow_null=True, help_text="Exclusive. Null: until it is ended."
    )


class EndBody(StrictSerializer):
    """When a rate ends."""

    valid_until = BoundaryField(help_text="Exclusive: its successor begins then.")


class TaxRateView(serializers.Serializer[Any]):
    """A rate; nothing of it changes but its end and its archiving."""

    object = ObjectField("tax_rate")
    id = IdField("txr")
    key = serializers.CharField()
    tax = serializers.CharField()
    name = serializers.CharField()
    percentage = DecimalField()
    country = serializers.CharField()
    region = serializers.CharField()
    tax_code = serializers.CharField()
    valid_from = InstantField(allow_null=True)
    valid_until = InstantField(allow_null=True, help_text="Exclusive.")
    archived_at = InstantField(allow_null=True)
    created_at = InstantField()
