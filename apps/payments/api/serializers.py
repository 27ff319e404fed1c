"""What the endpoints of payments read and write."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from moneyed import Money
from rest_framework import serializers

from apps.core.web.fields import (
    AmountField,
    CurrencyField,
    DecimalField,
    FlagField,
    IdField,
    InstantField,
    LineField,
    StrictSerializer,
)
from apps.invoicing.domain import InvoiceStatus
from apps.payments.domain import DisputeStatus, PaymentStatus, RefundStatus, end_of_month
from apps.payments.models import Dispute, Payment, PaymentMethod
from apps.payments.providers import PROVIDERS
from apps.payments.queries import unapplied_of

_MONTH: Final = re.compile(r"(2[0-9]{3})-(0[1-9]|1[0-2])")


@extend_schema_field({"type": "string", "pattern": f"^{_MONTH.pattern}$", "example": "2027-08"})
class MonthField(serializers.Field[datetime, Any, str, Any]):
    """A month of the calendar, read as the instant after it."""

    def to_internal_value(self, data: Any) -> datetime:
        found = _MONTH.fullmatch(data) if isinstance(data, str) else None
        if found is None:
            raise serializers.ValidationError("Send a month: 2027-08.", code="month_format")
        return end_of_month(int(found[1]), int(found[2]))


class PaymentMethodBody(StrictSerializer):
    """A way to pay, as its provider calls it; never a card number."""

    provider = serializers.CharField(
        max_length=20, help_text=f"One of: {', '.join(sorted(PROVIDERS))}."
    )
    provider_ref = LineField(
        max_length=255, required=False, help_text="The method's name at the provider."
    )
    external_key = LineField(max_length=255, required=False, help_text="Another name for it.")
    label = LineField(  # type: ignore[assignment]  # a member of the body, not this one's label
        max_length=100, required=False, allow_blank=True, default=""
    )
    expires = MonthField(
        required=False,
        allow_null=True,
        help_text="The last month of a card, as the provider tells it; it is not charged after.",
    )
    default = FlagField(
        default=False, help_text="Charge it when no method is named, and when invoices are issued."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Require one name of the method."""
        names = [attrs[name] for name in ("provider_ref", "external_key") if name in attrs]
        if len(names) != 1:
            detail = "Give one of provider_ref and external_key."
            raise serializers.ValidationError({"provider_ref": detail}, code="required")
        attrs["provider_ref"] = names[0]
        return attrs


class PaymentMethodView(serializers.Serializer[PaymentMethod]):
    """A way to pay."""

    object = serializers.SerializerMethodField()
    id = IdField("pam")
    customer = IdField("cus", source="customer_id")
    provider = serializers.CharField()
    provider_ref = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment]  # as above
    expires = serializers.CharField(allow_null=True, help_text="Its last month: 2027-08.")
    default = serializers.BooleanField(source="is_default")
    created_at = InstantField()
    detached_at = InstantField(allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["payment_method"]})
    def get_object(self, _method: PaymentMethod) -> str:
        return "payment_method"


class PayBody(StrictSerializer):
    """How an invoice is paid; an empty object charges all that is due to the default method."""

    payment_method = IdField("pam", required=False, help_text="The default one if left out.")
    amount = DecimalField(required=False, help_text="All that is due if left out.")
    currency = CurrencyField(required=False, help_text="The invoice's.")
    reference = LineField(
        max_length=255, required=False, help_text="Of money that came by itself; once per customer."
    )
    received_at = InstantField(required=False, help_text="When money came by itself.")


class ChargeBody(StrictSerializer):
    """Nothing needs to be said: the default method is charged with all that is due."""


class PaymentView(serializers.Serializer[Payment]):
    """One attempt to collect one invoice, or money that came by itself."""

    object = serializers.SerializerMethodField()
    id = IdField("pay")
    invoice = IdField("inv", source="invoice_id")
    customer = IdField("cus", source="customer_id")
    payment_method = IdField("pam", source="method_id", allow_null=True)
    provider = serializers.CharField()
    provider_ref = serializers.CharField(allow_null=True, help_text="The provider's name of it.")
    status = serializers.ChoiceField([s.value for s in PaymentStatus])
    automatic = serializers.BooleanField(help_text="Whether nobody asked for it.")
    amount = AmountField()
    unapplied = serializers.SerializerMethodField(
        help_text="What of it is on the customer's account, not yet used for an invoice."
    )
    refunded = serializers.SerializerMethodField(help_text="What of it was paid back, or is being.")
    disputed = serializers.SerializerMethodField(
        help_text="What of it the provider has withdrawn: in dispute, or lost by one."
    )
    currency = serializers.CharField()
    reference = serializers.CharField(allow_null=True)
    failure_code = serializers.CharField(help_text="Why it failed, or why nobody can tell yet.")
    failure_message = serializers.CharField()
    created_at = InstantField()
    settled_at = InstantField(allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["payment"]})
    def get_object(self, _payment: Payment) -> str:
        return "payment"

    @extend_schema_field({"type": "string", "example": "0.00"})
    def get_unapplied(self, payment: Any) -> str:
        settled = payment.status == PaymentStatus.SUCCEEDED
        left = unapplied_of(payment) if settled else Decimal(0)
        return AmountField().to_representation(Money(left, payment.currency))

    @extend_schema_field({"type": "string", "example": "0.00"})
    def get_refunded(self, payment: Any) -> str:
        return AmountField().to_representation(Money(payment.refunded, payment.currency))

    @extend_schema_field({"type": "string", "example": "0.00"})
    def get_disputed(self, payment: Any) -> str:
        return AmountField().to_representation(Money(payment.disputed, payment.currency))


class ChargeView(serializers.Serializer[Payment]):
    """What became of a charge."""

    object = serializers.SerializerMethodField()
    invoice_id = IdField("inv")
    status = serializers.ChoiceField(
        [s.value for s in InvoiceStatus], source="invoice.status", help_text="The invoice's."
    )
    payment_id = IdField("pay", source="id")
    payment_status = serializers.ChoiceField([s.value for s in PaymentStatus], source="status")
    provider_ref = serializers.CharField(allow_null=True)
    amount = AmountField()
    currency = serializers.CharField()
    charged_at = InstantField(source="settled_at", allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["charge"]})
    def get_object(self, _payment: Payment) -> str:
        return "charge"


class _PaidBackBody(StrictSerializer):
    """What is paid back, and how."""

    amount = DecimalField(required=False, help_text="All that can be, if left out.")
    currency = CurrencyField(required=False, help_text="That of the payment or the credit memo.")
    reason = LineField(max_length=500, help_text="Why; the credit memo shows it.")
    reference = LineField(
        max_length=255,
        required=False,
        help_text="Of money that a person paid back, as the bank calls it; once per customer.",
    )
    paid_at = InstantField(required=False, help_text="When a person paid it back.")


class PayBackBody(_PaidBackBody):
    """How a payment is paid back."""

    credit_memo = IdField(
        "inv",
        required=False,
        help_text="Whose money it is. If left out: what was paid too much, then what is owed for the"
        " invoices that it paid; for the rest they are credited.",
    )


class PayMemoBackBody(_PaidBackBody):
    """How what a credit memo has left is paid back."""

    payment = IdField(
        "pay",
        required=False,
        help_text="Where it goes. If left out: to the payments of the invoices that the memo is"
        " about, the newest first, then to others of the customer.",
    )


class RefundView(serializers.Serializer[Any]):
    """Money of a payment that is paid back."""

    object = serializers.SerializerMethodField()
    id = IdField("ref")
    payment = IdField("pay", source="payment_id")
    customer = IdField("cus", source="customer_id")
    status = serializers.ChoiceField([s.value for s in RefundStatus])
    provider = serializers.CharField(help_text="external: a person paid it back.")
    provider_ref = serializers.CharField(allow_null=True, help_text="The provider's name of it.")
    amount = AmountField()
    from_account = AmountField(help_text="The part of it that had been paid too much.")
    currency = serializers.CharField()
    credit_memos = serializers.ListField(
        child=IdField("inv"), help_text="Those that give the rest."
    )
    reason = serializers.CharField()
    reference = serializers.CharField(allow_null=True)
    failure_code = serializers.CharField(help_text="Why it failed, or why nobody can tell yet.")
    failure_message = serializers.CharField()
    created_at = InstantField()
    settled_at = InstantField(allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["refund"]})
    def get_object(self, _refund: Any) -> str:
        return "refund"


class DisputeBody(StrictSerializer):
    """Money of a payment that was taken back from you, as the provider or the bank tells it."""

    reference = LineField(
        max_length=255,
        help_text="The provider's or the bank's name of the dispute; once per provider.",
    )
    amount = DecimalField(required=False, help_text="All of the payment that is left, if left out.")
    currency = CurrencyField(required=False, help_text="The payment's.")
    fee = DecimalField(
        required=False, help_text="What the provider asks for it beside, in the same currency."
    )
    reason = LineField(
        max_length=500, required=False, allow_blank=True, default="", help_text="As it was told."
    )
    evidence_due_at = InstantField(
        required=False, help_text="Until when the provider takes evidence against it."
    )


class DecisionBody(StrictSerializer):
    """How a dispute ended."""

    reason = LineField(
        max_length=500,
        required=False,
        allow_blank=True,
        default="",
        help_text="Why; the event log shows it.",
    )


class DisputeView(serializers.Serializer[Dispute]):
    """Money of a payment that its customer had the bank take back."""

    object = serializers.SerializerMethodField()
    id = IdField("dsp")
    payment = IdField("pay", source="payment_id")
    customer = IdField("cus", source="customer_id")
    status = serializers.ChoiceField([s.value for s in DisputeStatus])
    provider = serializers.CharField()
    reference = serializers.CharField()
    amount = AmountField()
    from_account = AmountField(help_text="The part of it that had been paid too much.")
    fee = AmountField(help_text="What the provider asks for it beside.")
    currency = serializers.CharField()
    reason = serializers.CharField()
    evidence_due_at = InstantField(allow_null=True)
    opened_at = InstantField()
    decided_at = InstantField(allow_null=True)

    @extend_schema_field({"type": "string", "enum": ["dispute"]})
    def get_object(self, _dispute: Dispute) -> str:
        return "dispute"
