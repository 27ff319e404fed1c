"""What the endpoints of invoices read and write."""

import re
from datetime import date
from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.web.fields import (
    AmountField,
    BoundaryField,
    DecimalField,
    FlagField,
    IdField,
    InstantField,
    LineField,
    NameField,
    ObjectField,
    StrictSerializer,
)
from apps.customers.domain import TaxExempt
from apps.invoicing.domain import DocumentKind, InvoiceStatus, LineKind
from apps.rating.proration import Basis
from apps.tenants.domain import TaxRounding

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CUTOFFS: Final = ("cutoff", "cutoff_date", "target_date")
_KINDS: Final = [kind.value for kind in DocumentKind]
_STATUSES: Final = [status.value for status in InvoiceStatus]
_LINE_KINDS: Final = [kind.value for kind in LineKind]


@extend_schema_field({"type": "string", "example": "2026-05-01T00:00:00Z"})
class CutoffField(BoundaryField):
    """An instant, or a day: then its start in the customer's time zone."""

    def to_internal_value(self, data: Any) -> Any:
        """Return an instant or a ``date``."""
        if not isinstance(data, str) or not _DAY.fullmatch(data):
            return super().to_internal_value(data)
        try:
            day = date.fromisoformat(data)
        except ValueError:
            day = None
        if day is None or not 1970 <= day.year <= 9000:  # noqa: PLR2004 -- as for instants
            raise serializers.ValidationError(
                f"{data!r} is no day between 1970 and 9000.", code="timestamp_format"
            )
        return day


class PreviewBody(StrictSerializer):
    """Whom to bill, and up to when; ``cutoff_date`` and ``target_date`` are other names of it."""

    customer = NameField(help_text="The customer's id, or your own id for it.")
    cutoff = CutoffField(
        required=False,
        help_text="Bills what is due by then, inclusive; periods that end then are over."
        " Now, if left out.",
    )
    cutoff_date = CutoffField(required=False, help_text="Another name of `cutoff`.")
    target_date = CutoffField(required=False, help_text="Another name of `cutoff`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the values with the cutoff under one name."""
        given = [name for name in _CUTOFFS if name in attrs]
        if len(given) > 1:
            raise serializers.ValidationError(
                {given[1]: [serializers.ErrorDetail("Give the cutoff once.", "cutoff_repeated")]}
            )
        attrs["cutoff"] = attrs.pop(given[0]) if given else None
        return attrs


class BillBody(PreviewBody):
    """A billing run for one customer."""

    issue = FlagField(
        default=True, help_text="False leaves drafts, which wait to be issued by hand."
    )


class WriteOffBody(StrictSerializer):
    """Why nobody expects the money any more."""

    reason = LineField(max_length=500)


class LineView(serializers.Serializer[Any]):
    """A line of a document."""

    object = ObjectField("invoice_line")
    id = IdField("lin")
    kind = serializers.ChoiceField(_LINE_KINDS)
    description = serializers.CharField()
    subscription = IdField("sub", source="subscription_id", allow_null=True)
    charge = IdField("chg", source="charge_id", allow_null=True)
    grant = IdField(
        "grt", source="grant_id", allow_null=True, help_text="The prepaid credit that it sells."
    )
    period_start = InstantField(help_text="Of the whole billing period.")
    period_end = InstantField(help_text="Exclusive.")
    service_start = InstantField(help_text="Of the part of it that the line bills.")
    service_end = InstantField(help_text="Exclusive.")
    price_point = serializers.CharField(
        source="group",
        help_text="Empty: the standard prices. Of a discount, the redemption of its coupon;"
        " of what settles a commitment, the contract.",
    )
    quantity = DecimalField()
    unit = serializers.CharField()
    amount = AmountField(help_text="Without tax.")
    currency = serializers.CharField()
    tax_rates = serializers.ListField(
        child=IdField("txr"), source="taxed_by", help_text="Empty: it is not taxed."
    )
    corrects = IdField(
        "lin", source="corrects_id", allow_null=True, help_text="The line this one corrects."
    )


class PreviewLineView(serializers.Serializer[Any]):
    """A line as it would be."""

    kind = serializers.ChoiceField(_LINE_KINDS, source="key.kind")
    description = serializers.CharField()
    subscription = IdField("sub", source="key.subscription_id")
    charge = IdField("chg", source="key.charge_id", allow_null=True)
    period_start = InstantField(source="key.period_start")
    period_end = InstantField()
    service_start = InstantField(source="service.start")
    service_end = InstantField(source="service.end")
    price_point = serializers.CharField(source="key.group")
    quantity = DecimalField()
    unit = serializers.CharField()
    amount = AmountField()
    currency = serializers.CharField()
    corrects = IdField("lin", allow_null=True)


class TaxView(serializers.Serializer[Any]):
    """The tax of a document at one rate."""

    rate = IdField("txr", source="rate_id")
    name = serializers.CharField()
    percentage = DecimalField()
    taxable = AmountField(help_text="What it is on, without tax.")
    amount = AmountField()


class TaxOfScopeView(TaxView):
    """The tax that a line has a part in: what it is rounded with, and what was taxed before."""

    rounding = serializers.ChoiceField([one.value for one in TaxRounding])
    covered = AmountField(help_text="Left out: paid by credit that was taxed when it was bought.")
    taxable_before = AmountField(help_text="Billed of the same by earlier documents.")
    amount_before = AmountField(help_text="The tax that they show for it.")


class PreviewView(serializers.Serializer[Any]):
    """A document as it would be; nothing of it is stored."""

    object = ObjectField("invoice_preview")
    kind = serializers.ChoiceField(_KINDS)
    currency = serializers.CharField()
    subtotal = AmountField(help_text="The sum of the lines, without tax.")
    tax = AmountField()
    taxes = TaxView(many=True, help_text="Rate by rate.")
    total = AmountField(help_text="Before prepaid credit and the customer's balance are used.")
    lines = PreviewLineView(many=True)


class ShownTaxIdView(serializers.Serializer[Any]):
    """A tax number as the document shows it."""

    kind = serializers.CharField()
    value = serializers.CharField()


class SellerView(serializers.Serializer[Any]):
    """Who sells, as it was when the document was issued."""

    name = serializers.CharField()
    address = serializers.CharField()
    email = serializers.CharField()
    tax_ids = ShownTaxIdView(many=True)


class BuyerView(serializers.Serializer[Any]):
    """Who buys, as it was when the document was issued."""

    name = serializers.CharField()
    email = serializers.CharField()
    external_id = serializers.CharField()
    address = serializers.DictField(child=serializers.CharField())
    tax_ids = ShownTaxIdView(many=True)
    tax_exempt = serializers.ChoiceField([one.value for one in TaxExempt])
    tax_exempt_reason = serializers.CharField()


class InvoiceRow(serializers.Serializer[Any]):
    """An invoice or a credit memo, without its lines."""

    object = ObjectField("invoice")
    id = IdField("inv")
    kind = serializers.ChoiceField(_KINDS)
    number = serializers.CharField(source="display_number", help_text="Empty in drafts.")
    status = serializers.ChoiceField(_STATUSES)
    customer = IdField("cus", source="customer_id")
    credits = IdField(
        "inv",
        source="credits_id",
        allow_null=True,
        help_text="Of a credit memo made by a refund: the invoice that it gives back.",
    )
    currency = serializers.CharField()
    cutoff_at = InstantField()
    period_start = InstantField(allow_null=True)
    period_end = InstantField(allow_null=True, help_text="Exclusive.")
    zone = serializers.CharField()
    subtotal = AmountField(help_text="The sum of the lines.")
    discount = AmountField()
    tax = AmountField()
    total = AmountField(help_text="subtotal − discount + tax; below zero for a credit memo.")
    credit_applied = AmountField(
        help_text="Usage paid with prepaid credit, less what came back as credit instead of money."
    )
    balance_applied = AmountField(help_text="Paid from the customer's balance.")
    amount_paid = AmountField()
    amount_due = AmountField(help_text="What is asked for; zero once written off or canceled.")
    created_at = InstantField()
    issue_after = InstantField(
        allow_null=True, help_text="When a draft is to be issued; null: by hand."
    )
    issued_at = InstantField(allow_null=True)
    due_at = InstantField(allow_null=True)
    closed_at = InstantField(allow_null=True, help_text="When paid, written off or canceled.")
    pdf_sha256 = serializers.CharField(help_text="Empty until its PDF is first asked for.")


class InvoiceView(InvoiceRow):
    """An invoice or a credit memo with everything it shows."""

    seller = serializers.SerializerMethodField()
    buyer = serializers.SerializerMethodField()
    taxes = TaxView(many=True, source="taxes_shown", help_text="Rate by rate.")
    lines = LineView(many=True)

    @extend_schema_field(SellerView(allow_null=True))
    def get_seller(self, document: Any) -> Any:
        """Return who sells; null in drafts, which have nothing written down yet."""
        return SellerView(document.seller).data if document.seller else None

    @extend_schema_field(BuyerView(allow_null=True))
    def get_buyer(self, document: Any) -> Any:
        """Return who buys; null in drafts, which have nothing written down yet."""
        return BuyerView(document.buyer).data if document.buyer else None


class EventView(serializers.Serializer[Any]):
    """Something that happened to a document."""

    object = ObjectField("event")
    id = IdField("aud")
    type = serializers.CharField()
    actor = serializers.CharField()
    at = InstantField()
    data = serializers.JSONField()  # type: ignore[assignment]  # DRF keeps fields apart


class ShareView(serializers.Serializer[Any]):
    """Which part of the period is billed: numerator / denominator."""

    numerator = serializers.IntegerField()
    denominator = serializers.IntegerField()


class StepView(serializers.Serializer[Any]):
    """One stretch of the walk through the price."""

    label = serializers.CharField()  # type: ignore[assignment]  # DRF keeps fields apart
    quantity = DecimalField()
    unit_price = DecimalField(allow_null=True)
    flat_fee = DecimalField()
    amount = DecimalField(help_text="Exact, not rounded.")
    lower = DecimalField(allow_null=True, help_text="Excluded bound of the tier.")
    upper = DecimalField(allow_null=True, help_text="Included bound of the tier.")


class GroupView(serializers.Serializer[Any]):
    """The usage of one combination of dimensions."""

    key = serializers.ListField(child=serializers.CharField(allow_null=True))
    quantity = DecimalField()


class UsageSpanView(serializers.Serializer[Any]):
    """A time whose events count."""

    start = InstantField()
    end = InstantField(help_text="Exclusive.")
    unassigned = serializers.BooleanField(
        help_text="Whether events count that name only the customer."
    )


class UsageBehindView(serializers.Serializer[Any]):
    """What was measured, and how."""

    meter = serializers.CharField(source="meter.meter.key")
    meter_version = serializers.IntegerField(source="meter.number")
    aggregation = serializers.CharField(source="meter.aggregation")
    events = serializers.IntegerField(source="derivation.measured.count")
    groups = GroupView(many=True, help_text="By the dimensions that the price looks at.")
    spans = UsageSpanView(many=True, source="derivation.usage")


class ReductionView(serializers.Serializer[Any]):
    """What a coupon takes off, and of what."""

    redemption = serializers.CharField()
    code = serializers.CharField()
    percentage = DecimalField(allow_null=True)
    amount = DecimalField(allow_null=True, help_text="Off a billing period.")
    used = DecimalField(help_text="Of the amount, by what was due before.")
    base = DecimalField(help_text="What it is taken off.")


class SpendingView(serializers.Serializer[Any]):
    """What was committed to, and what was spent."""

    contract = serializers.CharField()
    amount = DecimalField(help_text="For the share of the time that the subscription had.")
    counted = DecimalField()
    overage_factor = DecimalField()


class EarlierView(serializers.Serializer[Any]):
    """A line that billed part of the same before."""

    line = IdField("lin", source="id")
    invoice = IdField("inv", source="invoice_id")
    number = serializers.CharField(source="invoice.display_number")
    amount = AmountField()


class ExplanationView(serializers.Serializer[Any]):
    """Why a line amounts to what it does."""

    object = ObjectField("explanation")
    line = IdField("lin", source="line.id")
    invoice = IdField("inv", source="line.invoice_id")
    kind = serializers.ChoiceField(_LINE_KINDS, source="line.kind")
    sentences = serializers.ListField(child=serializers.CharField())
    quantity = DecimalField(source="line.quantity")
    unit = serializers.CharField(source="line.unit")
    included = DecimalField(source="derivation.included")
    usage = UsageBehindView(allow_null=True, help_text="Null for charges without a meter.")
    price_point = serializers.CharField(source="derivation.price_list")
    pricing = serializers.DictField(source="model", help_text="The price as it was published.")
    steps = StepView(many=True)
    share = ShareView()
    discount = ReductionView(
        source="derivation.reduction", allow_null=True, help_text="Null for all but discounts."
    )
    commitment = SpendingView(
        source="derivation.spending", allow_null=True, help_text="Null unless it settles one."
    )
    contract_price = serializers.CharField(
        source="derivation.agreed", help_text="The contract that sets the price, and which of its."
    )
    basis = serializers.ChoiceField(
        choices=[basis.value for basis in Basis],
        source="derivation.basis",
        allow_null=True,
        help_text="How the share was told; null where it is all of the period.",
    )
    exact = DecimalField(source="derivation.exact", help_text="Before the one rounding, half up.")
    expected = AmountField(
        source="derivation.expected", currency="line.currency", help_text="All of it, rounded."
    )
    already_billed = AmountField(source="derivation.already_billed", currency="line.currency")
    amount = AmountField(
        source="line.amount", currency="line.currency", help_text="expected − already_billed"
    )
    currency = serializers.CharField(source="line.currency")
    earlier = EarlierView(many=True)
    taxes = TaxOfScopeView(many=True, help_text="Of the document, at the rates of the line.")


class VerificationView(serializers.Serializer[Any]):
    """What computing the line again gave."""

    object = ObjectField("verification")
    verified = serializers.BooleanField(help_text="Whether it is what the line says, to the cent.")
    quantity = DecimalField()
    expected = AmountField()
    already_billed = AmountField()
    amount = AmountField()
    currency = serializers.CharField()
    differences = serializers.ListField(child=serializers.CharField())


class UsageEventView(serializers.Serializer[Any]):
    """An event that a line has counted."""

    object = ObjectField("usage_event")
    idempotency_key = serializers.CharField(source="key")
    event_name = serializers.CharField()
    subscription = IdField("sub", source="subscription_id", allow_null=True)
    timestamp = InstantField(source="occurred_at")
    received_at = InstantField()
    value = DecimalField(allow_null=True)
    properties = serializers.JSONField()
