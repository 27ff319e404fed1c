"""What the endpoints of tenants read and write."""

from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from rest_framework import serializers

from apps.core.models import AuditEvent, Job
from apps.core.web.fields import (
    CurrencyField,
    DecimalField,
    FlagField,
    IdField,
    InstantField,
    LineField,
    ObjectField,
    StrictSerializer,
    TextField,
    WholeField,
    ZoneField,
)
from apps.rating.proration import Basis
from apps.tenants.domain import (
    SCOPES,
    BoundsApplied,
    CreditTaxed,
    LateUsagePolicy,
    Mode,
    Role,
    TaxRounding,
)
from apps.tenants.tax_numbers import KINDS

_SLUG: Final = r"^[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?$"
_NUMBER_PREFIX: Final = r"^[A-Za-z0-9][A-Za-z0-9/_.-]{0,19}$"
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)
_MAX_DAYS: Final = 3660


class SpanField(WholeField):
    """A length of time as a whole number of units."""

    def __init__(self, unit: timedelta, **options: Any) -> None:
        super().__init__(min_value=0, max_value=_MAX_DAYS * (_DAY // unit), **options)
        self.unit = unit

    def run_validation(self, data: Any = serializers.empty) -> Any:
        number = super().run_validation(data)
        return number * self.unit if isinstance(number, int) else number

    def to_representation(self, value: Any) -> int:
        return int(value // self.unit)


def _notice(what: str, source: str) -> SpanField:
    return SpanField(
        _DAY,
        source=source,
        required=False,
        allow_null=True,
        help_text=f"How many days before {what} an event tells of it; null: none does.",
    )


class CompanyTaxId(StrictSerializer):
    """A tax number of the tenant."""

    kind = serializers.ChoiceField(choices=list(KINDS))
    value = LineField(max_length=40)


class TenantBody(StrictSerializer):
    """What it takes to create a tenant."""

    slug = serializers.RegexField(_SLUG, help_text="Names the tenant in headers and URLs.")
    name = LineField(max_length=200)
    legal_name = LineField(max_length=200, required=False, default="")
    email = serializers.EmailField(required=False, default="", allow_blank=True)
    currency = CurrencyField(help_text="What new customers are billed in unless said otherwise.")
    zone = ZoneField(required=False, default="UTC")


class TenantChanges(StrictSerializer):
    """What can be changed about a tenant; what is left out stays."""

    name = LineField(max_length=200, required=False)
    legal_name = LineField(max_length=200, required=False)
    address = TextField(max_length=1000, required=False, allow_blank=True)
    tax_ids = CompanyTaxId(many=True, required=False)
    email = serializers.EmailField(required=False, allow_blank=True)
    logo = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=360_000,
        help_text="data:image/png;base64,…, at most 256 KiB and 2000 by 2000 pixels.",
    )
    zone = ZoneField(required=False)
    currency = CurrencyField(required=False)
    invoice_prefix = serializers.RegexField(_NUMBER_PREFIX, required=False)
    credit_memo_prefix = serializers.RegexField(_NUMBER_PREFIX, required=False)
    grace_period_hours = SpanField(_HOUR, source="grace_period", required=False)
    payment_term_days = SpanField(_DAY, source="payment_term", required=False)
    trial_notice_days = _notice("the end of a trial", "trial_notice")
    phase_notice_days = _notice("the end of another phase", "phase_notice")
    term_notice_days = _notice("the end of a term, a subscription or a contract", "term_notice")
    late_usage = serializers.ChoiceField(choices=[str(p) for p in LateUsagePolicy], required=False)
    proration_basis = serializers.ChoiceField(choices=[str(b) for b in Basis], required=False)
    bounds_applied = serializers.ChoiceField(
        choices=[str(b) for b in BoundsApplied],
        required=False,
        help_text="When minimums and maximums of usage charges apply; of what is computed later.",
    )
    tax_rounding = serializers.ChoiceField(
        choices=[str(r) for r in TaxRounding],
        required=False,
        help_text="Of later documents; corrections are rounded as what they correct.",
    )
    credit_taxed = serializers.ChoiceField(
        choices=[str(t) for t in CreditTaxed],
        required=False,
        help_text="When prepaid credit is taxed. Fixed once credit has been sold.",
    )
    largest_document = DecimalField(
        above=Decimal(0),
        required=False,
        help_text="In the currency of the document. A customer for whom a run would make a larger"
        " one is parked with the reason, until you have looked at it and raised this.",
    )
    most_document_lines = WholeField(
        min_value=1, max_value=1_000_000, required=False, help_text="As `largest_document`."
    )
    retry_days = serializers.ListField(
        child=WholeField(min_value=1, max_value=365),
        max_length=10,
        required=False,
        help_text="Days after the first failure at which collecting is tried again.",
    )
    auto_collect = FlagField(required=False)
    event_max_age_days = SpanField(_DAY, source="event_max_age", required=False)
    event_max_ahead_minutes = SpanField(_MINUTE, source="event_max_ahead", required=False)

    def validate_retry_days(self, value: list[int]) -> list[int]:
        """Days ascend, each once."""
        if value != sorted(set(value)):
            raise serializers.ValidationError("Days ascend, each once.", code="not_ascending")
        return value


class TenantView(serializers.Serializer[Any]):
    """A tenant: one mode of a company."""

    object = ObjectField("tenant")
    id = IdField("ten")
    twin = IdField("ten", source="twin_id")
    slug = serializers.CharField()
    mode = serializers.ChoiceField(choices=[str(m) for m in Mode])
    name = serializers.CharField()
    legal_name = serializers.CharField()
    address = serializers.CharField()
    tax_ids = CompanyTaxId(many=True)
    email = serializers.CharField()
    logo = serializers.CharField()
    zone = serializers.CharField()
    currency = serializers.CharField()
    invoice_prefix = serializers.CharField()
    credit_memo_prefix = serializers.CharField()
    grace_period_hours = SpanField(_HOUR, source="grace_period")
    payment_term_days = SpanField(_DAY, source="payment_term")
    trial_notice_days = SpanField(_DAY, source="trial_notice", allow_null=True)
    phase_notice_days = SpanField(_DAY, source="phase_notice", allow_null=True)
    term_notice_days = SpanField(_DAY, source="term_notice", allow_null=True)
    late_usage = serializers.ChoiceField(choices=[str(p) for p in LateUsagePolicy])
    proration_basis = serializers.ChoiceField(choices=[str(b) for b in Basis])
    bounds_applied = serializers.ChoiceField(choices=[str(b) for b in BoundsApplied])
    tax_rounding = serializers.ChoiceField(choices=[str(r) for r in TaxRounding])
    credit_taxed = serializers.ChoiceField(choices=[str(t) for t in CreditTaxed])
    largest_document = DecimalField()
    most_document_lines = serializers.IntegerField()
    retry_days = serializers.ListField(child=serializers.IntegerField())
    auto_collect = serializers.BooleanField()
    event_max_age_days = SpanField(_DAY, source="event_max_age")
    event_max_ahead_minutes = SpanField(_MINUTE, source="event_max_ahead")
    test_clock = IdField("clk", source="test_clock_id", allow_null=True)
    created_at = InstantField()


class ApiKeyBody(StrictSerializer):
    """What it takes to create an API key."""

    name = LineField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=sorted(SCOPES)), allow_empty=False, max_length=40
    )
    expires_at = InstantField(required=False, allow_null=True, default=None)


class RotationBody(StrictSerializer):
    """How long the old key goes on working."""

    overlap_hours = SpanField(_HOUR, required=False, default=24)


class ApiKeyView(serializers.Serializer[Any]):
    """An API key, without its secret."""

    object = ObjectField("api_key")
    id = IdField("key")
    name = serializers.CharField()
    hint = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    created_at = InstantField()
    created_by = serializers.CharField()
    last_used_at = InstantField(allow_null=True)
    expires_at = InstantField(allow_null=True)
    revoked_at = InstantField(allow_null=True)
    exposed_at = InstantField(allow_null=True)
    replaced_by = IdField("key", source="replaced_by_id", allow_null=True)


class NewApiKeyView(ApiKeyView):
    """A new API key; ``secret`` is shown this once, and null when a request is repeated."""

    secret = serializers.CharField(allow_null=True)


class MemberBody(StrictSerializer):
    """Who gets a role."""

    email = serializers.EmailField()
    name = LineField(max_length=200, required=False, default="")
    role = serializers.ChoiceField(choices=[str(r) for r in Role])


class RoleBody(StrictSerializer):
    """A member's new role."""

    role = serializers.ChoiceField(choices=[str(r) for r in Role])


class MemberView(serializers.Serializer[Any]):
    """An operator's role at the company."""

    object = ObjectField("member")
    id = IdField("mem")
    operator = IdField("opr", source="operator_id")
    email = serializers.CharField(source="operator.email")
    name = serializers.CharField(source="operator.name")
    is_active = serializers.BooleanField(source="operator.is_active")
    role = serializers.ChoiceField(choices=[str(r) for r in Role])
    created_at = InstantField()


class ClockBody(StrictSerializer):
    """What it takes to create a test clock."""

    name = LineField(max_length=100)
    now = InstantField()


class ClockView(serializers.Serializer[Any]):
    """A test clock."""

    object = ObjectField("test_clock")
    id = IdField("clk")
    name = serializers.CharField()
    now = InstantField()
    created_at = InstantField()


class LoginBody(StrictSerializer):
    """Who logs in."""

    email = serializers.EmailField()
    password = TextField(max_length=128, trim_whitespace=False)
    code = LineField(
        max_length=10,
        required=False,
        allow_blank=True,
        default="",
        help_text="The one-time code of who has a second factor.",
    )


class LoginTenant(serializers.Serializer[Any]):
    """A tenant that the operator may name in ``X-Tenant``."""

    id = IdField("ten")
    slug = serializers.CharField()
    mode = serializers.ChoiceField(choices=[str(m) for m in Mode])
    name = serializers.CharField()


class LoginView(serializers.Serializer[Any]):
    """A token and where it is good."""

    object = ObjectField("token")
    token = serializers.CharField()
    expires_at = InstantField()
    operator = IdField("opr")
    tenants = LoginTenant(many=True)


class AuditEventView(serializers.ModelSerializer[AuditEvent]):
    """One thing that happened."""

    object = ObjectField("audit_event")
    id = IdField("aud")
    at = InstantField()
    data = serializers.DictField()  # type: ignore[assignment]  # a field

    class Meta:
        model = AuditEvent
        fields = ("object", "id", "type", "object_type", "object_id", "actor", "at", "data")


class JobView(serializers.ModelSerializer[Job]):
    """One piece of work."""

    object = ObjectField("job")
    id = IdField("job")
    arguments = serializers.DictField(child=serializers.CharField())
    due_at = InstantField()
    lease_until = InstantField(allow_null=True)
    after = IdField("job", source="after_id", allow_null=True)
    created_at = InstantField()
    ended_at = InstantField(allow_null=True)

    class Meta:
        model = Job
        fields = (
            "object",
            "id",
            "name",
            "arguments",
            "state",
            "due_at",
            "lease_until",
            "attempts",
            "after",
            "reason",
            "created_at",
            "ended_at",
        )
