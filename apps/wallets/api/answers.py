"""What is told of credit."""

from decimal import Decimal
from typing import Any, Final

from rest_framework import serializers

from apps.core.web.fields import (
    DecimalField,
    FlagField,
    IdField,
    InstantField,
    ObjectField,
)
from apps.wallets.domain import (
    UNPAID,
    EntryKind,
    GrantKind,
    GrantSource,
    GrantStatus,
    HoldStatus,
    Insufficient,
    Settlement,
    WalletStatus,
)

_ZERO: Final = Decimal(0)


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
