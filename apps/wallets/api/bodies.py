"""What requests about credit carry."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from rest_framework import serializers

from apps.core.web.fields import (
    BoundaryField,
    CurrencyField,
    DecimalField,
    ExternalIdField,
    InstantField,
    KeyField,
    LineField,
    NameField,
    StrictSerializer,
    WholeField,
)
from apps.rating.periods import Cadence, CadenceInvalid, Unit
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    LOWEST_PRIORITY,
    GrantKind,
    Insufficient,
    Scope,
    Settlement,
    TopOffKind,
)
from apps.wallets.operations.purchasing import InitialCredit
from apps.wallets.operations.wallets import TopOff

_ZERO: Final = Decimal(0)


_LONGEST_HOLD: Final = 31 * 86_400


_IN_CREDIT: Final = "In the wallet's unit or currency."


def _priority(**options: Any) -> WholeField:
    return WholeField(
        required=False,
        min_value=1,
        max_value=LOWEST_PRIORITY,
        help_text=f"1 is used first, {LOWEST_PRIORITY} last.",
        **options,
    )


class LastsBody(StrictSerializer):
    """How long credit lasts once it is paid."""

    unit = serializers.ChoiceField(choices=[one.value for one in Unit])
    count = WholeField(required=False, default=1)

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the cadence."""
        try:
            return Cadence(Unit(attrs["unit"]), attrs["count"])
        except CadenceInvalid as error:
            raise serializers.ValidationError({"count": [error.detail]}) from error


class ScopeBody(StrictSerializer):
    """What credit may be used for, by keys; everything if nothing is named."""

    products = serializers.ListField(child=KeyField(), required=False, max_length=100)
    meters = serializers.ListField(child=KeyField(), required=False, max_length=100)
    charges = serializers.ListField(child=KeyField(), required=False, max_length=100)

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the scope."""
        return Scope(**{name: tuple(keys) for name, keys in attrs.items()})


class TopOffBody(StrictSerializer):
    """What a wallet buys for itself when it has less than the low watermark."""

    kind = serializers.ChoiceField(choices=[one.value for one in TopOffKind])
    amount = DecimalField(above=_ZERO, help_text="What is bought, or the target to fill up to.")
    low_watermark = DecimalField(minimum=_ZERO)
    expires_after = LastsBody(required=False, allow_null=True)
    cap = DecimalField(above=_ZERO, required=False, allow_null=True)
    cap_days = WholeField(required=False, default=30, min_value=1, max_value=366)
    cool_off_hours = WholeField(required=False, default=24, min_value=0, max_value=24 * 90)
    attempt_limit = WholeField(required=False, default=3, min_value=1, max_value=100)

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the rule."""
        return TopOff(
            kind=TopOffKind(attrs["kind"]),
            amount=attrs["amount"],
            low_watermark=attrs["low_watermark"],
            lasts=attrs.get("expires_after"),
            cap=attrs.get("cap"),
            cap_days=attrs["cap_days"],
            cool_off=timedelta(hours=attrs["cool_off_hours"]),
            attempt_limit=attrs["attempt_limit"],
        )


class InitialCreditBody(StrictSerializer):
    """Credit that a wallet begins with: paid credit is there once its invoice is paid."""

    kind = serializers.ChoiceField(choices=[one.value for one in GrantKind])
    amount = DecimalField(above=_ZERO)
    price = DecimalField(above=_ZERO, required=False, help_text="What it costs, if not its worth.")
    expires_at = BoundaryField(required=False, allow_null=True, help_text="Exclusive.")
    expires_after = LastsBody(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> Any:
        """Return the credit."""
        return InitialCredit(
            kind=GrantKind(attrs["kind"]),
            amount=attrs["amount"],
            price=attrs.get("price"),
            expires_at=attrs.get("expires_at"),
            lasts=attrs.get("expires_after"),
        )


class CreditUnitBody(StrictSerializer):
    """A unit of credit that is no money; it never changes."""

    key = KeyField()
    name = LineField(max_length=200)
    precision = WholeField(required=False, default=0, min_value=0, max_value=12)
    currency = CurrencyField(required=False, help_text="The tenant's if left out.")
    rate = DecimalField(
        minimum=_ZERO, required=False, default=_ZERO, help_text="What one is worth; 0: nothing."
    )


class CreditPriceBody(StrictSerializer):
    """How much credit one counted unit of a meter takes."""

    meter = NameField()
    unit = NameField(required=False, help_text="A credit unit; or else give a currency.")
    currency = CurrencyField(required=False)
    price = DecimalField(above=_ZERO)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse a price in two things or in none."""
        if ("unit" in attrs) == ("currency" in attrs):
            raise serializers.ValidationError(
                {"unit": ["Give a unit or a currency, not both."]}, code="one_of"
            )
        return attrs


class WalletChanges(StrictSerializer):
    """What can be changed about a wallet; what is left out stays."""

    name = LineField(max_length=200, required=False, allow_blank=True)
    priority = _priority()
    remind_before_days = WholeField(required=False, allow_null=True, min_value=1, max_value=366)
    top_off = TopOffBody(required=False, allow_null=True, help_text="null drops the rule.")


class WalletBody(WalletChanges):
    """What it takes to open a wallet."""

    customer = NameField()
    external_id = ExternalIdField(required=False, help_text="Your own id.")
    unit = NameField(required=False, help_text="A credit unit; or else a currency.")
    currency = CurrencyField(required=False, help_text="The customer's if left out.")
    scope = ScopeBody(required=False)
    settlement = serializers.ChoiceField(
        choices=[one.value for one in Settlement], required=False, default="on_invoice"
    )
    insufficient = serializers.ChoiceField(
        choices=[one.value for one in Insufficient], required=False, default="invoice"
    )
    overdraft_limit = DecimalField(minimum=_ZERO, required=False, default=_ZERO)
    initial_credit = InitialCreditBody(required=False)


class PurchaseBody(StrictSerializer):
    """Credit to be bought."""

    amount = DecimalField(above=_ZERO, help_text=_IN_CREDIT)
    price = DecimalField(above=_ZERO, required=False, help_text="What it costs, if not its worth.")
    name = LineField(max_length=200, required=False, default="")
    priority = _priority(default=DEFAULT_PRIORITY)
    scope = ScopeBody(required=False, default=Scope())
    expires_at = BoundaryField(required=False, allow_null=True, default=None)
    expires_after = LastsBody(required=False, allow_null=True, default=None, source="lasts")


class ConsumeBody(StrictSerializer):
    """Credit to be spent at once."""

    amount = DecimalField(above=_ZERO, help_text=_IN_CREDIT)
    meter = KeyField(required=False, default="", help_text="What it is for: scopes are by it.")
    reason = LineField(max_length=500, required=False, default="", allow_blank=True)


class GrantBody(StrictSerializer):
    """Promotional credit: into a wallet, or to a customer in a unit or currency."""

    wallet = NameField(required=False)
    customer = NameField(required=False)
    unit = NameField(required=False)
    currency = CurrencyField(required=False)
    amount = DecimalField(above=_ZERO, help_text=_IN_CREDIT)
    category = serializers.ChoiceField(
        choices=[one.value for one in GrantKind],
        required=False,
        default="promotional",
        help_text="paid: bought, and available once its invoice is paid.",
    )
    name = LineField(max_length=200, required=False, default="", allow_blank=True)
    reason = LineField(max_length=500, required=False, default="", allow_blank=True)
    priority = _priority(default=DEFAULT_PRIORITY)
    scope = ScopeBody(required=False, default=Scope())
    effective_at = InstantField(required=False, allow_null=True, default=None)
    expires_at = BoundaryField(
        required=False, allow_null=True, default=None, help_text="Exclusive."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse credit for nobody, or for two."""
        if ("wallet" in attrs) == ("customer" in attrs):
            raise serializers.ValidationError(
                {"wallet": ["Name a wallet or a customer, not both."]}, code="one_of"
            )
        if "unit" in attrs and "currency" in attrs:
            raise serializers.ValidationError(
                {"unit": ["Give a unit or a currency, not both."]}, code="one_of"
            )
        return attrs


class VoidBody(StrictSerializer):
    """Why credit is taken back, and how much of it."""

    amount = DecimalField(above=_ZERO, required=False, help_text="All that is left if not given.")
    reason = LineField(max_length=500)


class RefundBody(StrictSerializer):
    """Why the money of credit goes back."""

    reason = LineField(max_length=500)


class SpendBody(StrictSerializer):
    """What is to be spent: from a wallet, or by a customer in a unit or currency."""

    wallet = NameField(required=False)
    customer = NameField(required=False)
    unit = NameField(required=False)
    currency = CurrencyField(required=False)
    amount = DecimalField(above=_ZERO, help_text=_IN_CREDIT)
    meter = KeyField(required=False, default="", help_text="What it is for: scopes are by it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse what does not tell whose credit in what is meant."""
        in_what = len(attrs.keys() & {"unit", "currency"})
        if ("wallet" in attrs) == ("customer" in attrs) or (
            in_what != (1 if "customer" in attrs else 0)
        ):
            raise serializers.ValidationError(
                {"wallet": ["Name a wallet, or a customer and a unit or currency."]},
                code="one_of",
            )
        return attrs


class HoldBody(SpendBody):
    """The worst case of a cost, and for how many seconds it is put aside."""

    external_id = ExternalIdField(required=False, help_text="Your own id.")
    ttl = WholeField(min_value=1, max_value=_LONGEST_HOLD, help_text="Seconds.")


class CaptureBody(StrictSerializer):
    """What something really cost."""

    amount = DecimalField(minimum=_ZERO, required=False, help_text="All of it if not given.")
    reason = LineField(max_length=500, required=False, default="", allow_blank=True)
