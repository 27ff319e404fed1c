"""What the endpoints of wallets read and write."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from rest_framework import serializers

from apps.core.web.fields import (
    BoundaryField,
    CurrencyField,
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
    WholeField,
)
from apps.rating.periods import Cadence, CadenceInvalid, Unit
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    LOWEST_PRIORITY,
    UNPAID,
    EntryKind,
    GrantKind,
    GrantSource,
    GrantStatus,
    HoldStatus,
    Insufficient,
    Scope,
    Settlement,
    TopOffKind,
    WalletStatus,
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


# --- answers ------------------------------------------------------------------------------------


class CreditUnitView(serializers.Serializer[Any]):
    """A unit of credit."""

    object = ObjectField("credit_unit")
    id = IdField("cru")
    key = serializers.CharField()
    name = serializers.CharField()
    precision = serializers.IntegerField()
    currency = serializers.CharField()
    rate = DecimalField()
    created_at = InstantField()


class CreditPriceView(serializers.Serializer[Any]):
    """How much credit one counted unit of a meter takes."""

    object = ObjectField("credit_price")
    id = IdField("crp")
    meter = serializers.CharField(source="meter.key")
    unit = serializers.CharField(source="unit.key", allow_null=True, default=None)
    currency = serializers.CharField()
    price = DecimalField()
    created_at = InstantField()


class ScopeView(serializers.Serializer[Any]):
    """What credit may be used for; everything if all three are empty."""

    products = serializers.ListField(child=serializers.CharField())
    meters = serializers.ListField(child=serializers.CharField())
    charges = serializers.ListField(child=serializers.CharField())


class LastsView(serializers.Serializer[Any]):
    """A length of time."""

    unit = serializers.CharField()
    count = serializers.IntegerField()


class TopOffView(serializers.Serializer[Any]):
    """The rule by which a wallet buys for itself."""

    kind = serializers.CharField()
    amount = DecimalField()
    low_watermark = DecimalField(source="wallet.low_watermark")
    expires_after = serializers.SerializerMethodField()
    cap = DecimalField(allow_null=True)
    cap_days = serializers.IntegerField()
    cool_off_hours = serializers.SerializerMethodField()
    attempt_limit = serializers.IntegerField()
    failures = serializers.IntegerField(help_text="In a row; at the limit it stops.")
    not_before = InstantField(allow_null=True, help_text="It cools off until then.")
    paused_at = InstantField(
        allow_null=True, help_text="Since credit was taken back; set the rule anew to go on."
    )
    paused_by = serializers.ListField(
        child=serializers.CharField(), help_text="The credit memos and disputes that took it."
    )

    def get_expires_after(self, rule: Any) -> dict[str, Any] | None:
        """Return how long what it buys lasts."""
        if rule.expiry_unit is None:
            return None
        return {"unit": rule.expiry_unit, "count": rule.expiry_count}

    def get_cool_off_hours(self, rule: Any) -> int:
        """Return the cool-off in hours."""
        return int(rule.cool_off.total_seconds()) // 3600


class GrantRow(serializers.Serializer[Any]):
    """A grant of credit."""

    object = ObjectField("credit_grant")
    id = IdField("grt")
    wallet = IdField("wal", source="wallet_id")
    status = serializers.ChoiceField([one.value for one in GrantStatus])
    category = serializers.ChoiceField([one.value for one in GrantKind], source="kind")
    source = serializers.ChoiceField(  # type: ignore[assignment]  # a field of the answer
        [one.value for one in GrantSource]
    )
    name = serializers.CharField()
    reason = serializers.CharField()
    amount = DecimalField()
    remaining = DecimalField()
    held = DecimalField()
    price = DecimalField(source="value", help_text="What was paid, or what it is worth, in money.")
    priority = serializers.IntegerField()
    scope = ScopeView()
    effective_at = InstantField()
    expires_at = InstantField(allow_null=True, help_text="Exclusive.")
    invoice = IdField("inv", source="invoice_id", allow_null=True)
    available_at = InstantField(allow_null=True)
    created_at = InstantField()


class GrantView(GrantRow):
    """A grant of credit, and what it is in."""

    unit = serializers.CharField(source="wallet.unit.key", allow_null=True, default=None)
    currency = serializers.CharField(source="wallet.currency")
    customer = IdField("cus", source="wallet.customer_id")


class ForecastView(serializers.Serializer[Any]):
    """How fast a wallet burns, by its last thirty days, and when it will be empty."""

    daily_burn = DecimalField()
    empty_at = InstantField(allow_null=True, help_text="null: not within five years.")


class WalletRow(serializers.Serializer[Any]):
    """A wallet; its figures are in its unit, or else in its currency."""

    object = ObjectField("wallet")
    id = IdField("wal")
    external_id = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    customer = IdField("cus", source="customer_id")
    status = serializers.ChoiceField([one.value for one in WalletStatus])
    unit = serializers.CharField(source="unit.key", allow_null=True, default=None)
    currency = serializers.CharField()
    priority = serializers.IntegerField()
    scope = ScopeView()
    settlement = serializers.ChoiceField([one.value for one in Settlement])
    insufficient = serializers.ChoiceField([one.value for one in Insufficient])
    overdraft_limit = DecimalField()
    available = DecimalField(source="balance", help_text="What can be spent; below zero if lent.")
    held = DecimalField(help_text="Put aside by holds.")
    pending = serializers.SerializerMethodField(help_text="Bought, and not paid.")
    overdrawn = DecimalField()
    shortfall = DecimalField(help_text="Usage that could not be covered.")
    short_since = InstantField(allow_null=True)
    short_subscriptions = serializers.ListField(
        child=IdField("sub"), help_text="Whose usage it was."
    )
    remind_before_days = serializers.SerializerMethodField()
    top_off = serializers.SerializerMethodField()
    grants = GrantRow(source="live_grants", many=True, help_text="With credit, or not paid.")
    created_at = InstantField()
    closed_at = InstantField(allow_null=True)

    def get_pending(self, wallet: Any) -> str:
        """Return what is bought and not paid."""
        unpaid = [one.amount for one in wallet.live_grants if one.status in UNPAID]
        return DecimalField().to_representation(sum(unpaid, _ZERO))

    def get_remind_before_days(self, wallet: Any) -> int | None:
        """Return how many days before an expiry somebody is reminded."""
        return None if wallet.remind_before is None else int(wallet.remind_before.days)

    def get_top_off(self, wallet: Any) -> dict[str, Any] | None:
        """Return the rule."""
        rule = getattr(wallet, "top_off", None)
        return None if rule is None else dict(TopOffView(rule).data)


class WalletView(WalletRow):
    """A wallet with its forecast."""

    forecast = ForecastView()


class HoldView(serializers.Serializer[Any]):
    """Credit put aside."""

    object = ObjectField("credit_hold")
    id = IdField("hld")
    external_id = serializers.CharField(allow_null=True)
    wallet = IdField("wal", source="wallet_id")
    status = serializers.ChoiceField([one.value for one in HoldStatus])
    meter = serializers.CharField()
    unit = serializers.CharField(source="wallet.unit.key", allow_null=True, default=None)
    currency = serializers.CharField(source="wallet.currency")
    amount = DecimalField()
    captured = DecimalField()
    expires_at = InstantField(help_text="Exclusive.")
    created_at = InstantField()
    ended_at = InstantField(allow_null=True)


class TransactionView(serializers.Serializer[Any]):
    """One movement of credit."""

    object = ObjectField("credit_transaction")
    id = IdField("ctx")
    wallet = IdField("wal", source="wallet_id")
    number = serializers.IntegerField(help_text="1, 2, 3 … in its wallet.")
    type = serializers.ChoiceField([one.value for one in EntryKind], source="kind")
    amount = DecimalField(help_text="Below zero where credit goes.")
    balance_after = DecimalField()
    unit = serializers.CharField(source="wallet.unit.key", allow_null=True, default=None)
    currency = serializers.CharField(source="wallet.currency")
    value = DecimalField(help_text="What the amount was worth, in the currency.")
    covers = DecimalField(help_text="What it paid of the invoice, in the currency.")
    grant = IdField("grt", source="grant_id", allow_null=True)
    hold = IdField("hld", source="hold_id", allow_null=True)
    meter = serializers.CharField(source="meter.key", allow_null=True, default=None)
    subscription = IdField("sub", source="subscription_id", allow_null=True)
    event = serializers.UUIDField(source="event_id", allow_null=True)
    used_at = InstantField(allow_null=True)
    invoice = IdField("inv", source="invoice_id", allow_null=True)
    line = IdField("lin", source="line_id", allow_null=True)
    reason = serializers.CharField()
    place = serializers.IntegerField(allow_null=True, help_text="In the order of burning, from 1.")
    places = serializers.IntegerField(allow_null=True, help_text="Of how many grants.")
    because = serializers.CharField(help_text="What put its grant there.")
    at = InstantField()


class AuthorizationView(serializers.Serializer[Any]):
    """Whether a spend is covered, at this moment."""

    object = ObjectField("authorization")
    authorized = FlagField()
    required = DecimalField()  # type: ignore[assignment]  # a field of the answer
    available = DecimalField(help_text="What can be spent for it, what may be lent included.")
    lendable = DecimalField(help_text="How much of that would be lent.")


class ExpiringView(serializers.Serializer[Any]):
    """What expires next."""

    amount = DecimalField()
    expires_at = InstantField(help_text="Exclusive.")


class SummaryRow(serializers.Serializer[Any]):
    """All credit of a customer in one unit or currency."""

    unit_or_currency = serializers.CharField(source="denomination")
    currency = serializers.CharField()
    available = DecimalField()
    promotional = DecimalField(help_text="The part of available that was given.")
    paid = DecimalField(help_text="The part of available that was bought.")
    held = DecimalField()
    pending = DecimalField(help_text="Bought, and not paid.")
    overdrawn = DecimalField()
    next_expiry = ExpiringView(allow_null=True)


class SummaryView(serializers.Serializer[Any]):
    """All credit of a customer."""

    object = ObjectField("credit_summary")
    customer = IdField("cus")
    credits = SummaryRow(many=True)
