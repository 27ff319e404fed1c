"""Who runs billing here, and who may act for them."""

from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.models import Identified
from apps.core.sealing import SealedField
from apps.rating.proration import Basis
from apps.tenants.domain import (
    LARGEST_DOCUMENT,
    BoundsApplied,
    CreditTaxed,
    LateUsagePolicy,
    Mode,
    Role,
    TaxRounding,
    default_retry_days,
)


class TestClock(Identified):
    """A time of its own for a test tenant or for single customers; it only moves forward."""

    __test__ = False  # for pytest: this is no test
    ID_PREFIX = "clk"

    tenant = models.ForeignKey("tenants.Tenant", on_delete=models.PROTECT, related_name="clocks")
    name = models.CharField(max_length=100)
    now = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} at {self.now:%Y-%m-%d %H:%M}Z"


class Tenant(Identified):
    """A company that bills, in one mode: a live one and its test twin are two tenants.

    It is also the legal entity that issues: its numbers are gapless. The columns below the
    line are its way of doing business; ``docs/billing.md`` says what each means.
    """

    ID_PREFIX = "ten"

    slug = models.SlugField(max_length=60)
    mode = models.CharField(max_length=4, choices=[(m, m) for m in Mode])
    # the same company in the other mode
    twin = models.OneToOneField("self", on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=200)
    # the tenant as issued documents show it
    legal_name = models.CharField(max_length=200)
    address = models.TextField(blank=True, default="")
    tax_ids = models.JSONField(default=list)  # [{"kind": "eu_vat", "value": "DE…"}]
    logo = models.TextField(blank=True, default="")  # data:image/png;base64,… and nothing else
    email = models.EmailField(blank=True, default="")
    test_clock = models.ForeignKey(
        TestClock, null=True, on_delete=models.PROTECT, related_name="tenants"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    # ---
    zone = models.CharField(max_length=64, default="UTC")
    currency = models.CharField(max_length=3, default="USD")
    invoice_prefix = models.CharField(max_length=20, default="INV")
    credit_memo_prefix = models.CharField(max_length=20, default="CM")
    grace_period = models.DurationField(default=timedelta(0))  # how long drafts stay drafts
    payment_term = models.DurationField(default=timedelta(days=30))  # issued to overdue
    # how long before the end of a trial, of another phase, of a term or contract it is told; null: not
    trial_notice = models.DurationField(null=True)
    phase_notice = models.DurationField(null=True)
    term_notice = models.DurationField(null=True)
    late_usage = models.CharField(
        max_length=20,
        choices=[(p, p) for p in LateUsagePolicy],
        default=LateUsagePolicy.NEXT_INVOICE,
    )
    proration_basis = models.CharField(
        max_length=10, choices=[(b, b) for b in Basis], default=Basis.SECOND
    )
    bounds_applied = models.CharField(
        max_length=20,
        choices=[(b, b) for b in BoundsApplied],
        default=BoundsApplied.AFTER_DISCOUNTS,
    )
    tax_rounding = models.CharField(
        max_length=10, choices=[(r, r) for r in TaxRounding], default=TaxRounding.PER_RATE
    )
    # fixed once credit has been sold
    credit_taxed = models.CharField(
        max_length=20, choices=[(t, t) for t in CreditTaxed], default=CreditTaxed.ON_USE
    )
    # what exceeds these is not billed but parked, for somebody to look at
    largest_document = models.DecimalField(
        max_digits=38, decimal_places=12, default=LARGEST_DOCUMENT
    )
    most_document_lines = models.PositiveIntegerField(default=20_000)
    # days after the first failure at which collecting is tried again
    retry_days = ArrayField(
        models.PositiveSmallIntegerField(), default=default_retry_days, blank=True
    )
    auto_collect = models.BooleanField(default=True)
    event_max_age = models.DurationField(default=timedelta(days=366))
    event_max_ahead = models.DurationField(default=timedelta(hours=1))

    class Meta:
        ordering = ("slug", "mode")
        constraints = (
            models.UniqueConstraint(fields=("slug", "mode"), name="one_tenant_per_slug_and_mode"),
            models.CheckConstraint(
                condition=models.Q(mode__in=[m.value for m in Mode]), name="tenant_mode_known"
            ),
            models.CheckConstraint(
                condition=models.Q(mode="test") | models.Q(test_clock__isnull=True),
                name="live_tenant_on_real_time",
            ),
            models.CheckConstraint(
                condition=models.Q(largest_document__gt=0, most_document_lines__gt=0),
                name="tenant_documents_may_exist",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.mode})"

    @property
    def tenant_id(self) -> UUID:
        """Its own id: audit events about a tenant are in its own chain."""
        return self.id


class TenantOwned(Identified):
    """A row of one tenant."""

    tenant = models.ForeignKey(Tenant, on_delete=models.PROTECT, related_name="+")

    class Meta:
        abstract = True


class ApiKey(TenantOwned):
    """A secret that acts for a tenant. Only its SHA-256 is kept; the secret is shown once."""

    ID_PREFIX = "key"

    name = models.CharField(max_length=100)
    hash = models.BinaryField(max_length=32, unique=True)
    hint = models.CharField(max_length=20)  # "sk_live_…a1b2", to recognise it by
    scopes = ArrayField(models.CharField(max_length=40))
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=120)
    last_used_at = models.DateTimeField(null=True)  # to the minute
    expires_at = models.DateTimeField(null=True)  # exclusive
    revoked_at = models.DateTimeField(null=True)
    # it was sent in a URL, which logs and browsers keep: replace it
    exposed_at = models.DateTimeField(null=True)
    replaced_by = models.OneToOneField(
        "self", null=True, on_delete=models.PROTECT, related_name="replaces"
    )

    def __str__(self) -> str:
        return f"{self.name} {self.hint}"


class OperatorAccounts(BaseUserManager["Operator"]):
    """How operators are made and found."""

    def create_user(self, email: str, password: str | None = None, **fields: object) -> "Operator":
        """Return a new operator; ``password`` None makes one that cannot log in."""
        operator = self.model(email=email.lower(), **fields)
        operator.set_password(password)
        operator.save()
        return operator

    def create_superuser(
        self, email: str, password: str | None = None, **fields: object
    ) -> "Operator":
        """Return a new operator of the installation, who sees every tenant."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> "Operator":
        return self.get(email=(username or "").lower())


class Operator(AbstractBaseUser, PermissionsMixin, Identified):
    """A person who works with billing, at the tenants of his memberships."""

    ID_PREFIX = "opr"

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=True)  # may open the admin site
    # the seed of his one-time codes; asked for them only once one has been confirmed
    otp_seed = SealedField(null=True, editable=False)
    otp_confirmed_at = models.DateTimeField(null=True)
    otp_last_step = models.BigIntegerField(null=True)  # of the code used last: none works twice
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[OperatorAccounts] = OperatorAccounts()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    def __str__(self) -> str:
        return self.email


class LoginTries(models.Model):
    """How often somebody tried to log in as an e-mail address, known or not, since ``since``."""

    email_hash = models.BinaryField(primary_key=True, max_length=32)
    tries = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.tries} since {self.since:%Y-%m-%d %H:%M:%S}Z"


class Membership(TenantOwned):
    """An operator's role at a company, kept at its live tenant and good for both modes."""

    ID_PREFIX = "mem"

    operator = models.ForeignKey(Operator, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=[(r, r) for r in Role])
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tenant", "operator"), name="one_role_per_tenant"),
            models.CheckConstraint(
                condition=models.Q(role__in=[r.value for r in Role]), name="member_role_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.operator} is {self.role}"
