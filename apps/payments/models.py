"""Getting the money."""

from django.db import models
from djmoney.models.fields import MoneyField

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.payments.domain import PaymentStatus
from apps.tenants.models import TenantOwned


class PaymentMethod(TenantOwned):
    """A way in which a customer pays: a reference at a provider, never a card number."""

    ID_PREFIX = "pam"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payment_methods")
    provider = models.CharField(max_length=20)  # a key of payments.providers.PROVIDERS
    provider_ref = models.CharField(max_length=255)
    label = models.CharField(max_length=100, blank=True, default="")
    is_default = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    detached_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("customer",),
                condition=models.Q(is_default=True),
                name="one_default_method_per_customer",
            ),
            models.CheckConstraint(
                condition=models.Q(is_default=False) | models.Q(detached_at__isnull=True),
                name="default_method_attached",
            ),
        )

    def __str__(self) -> str:
        return self.label or f"{self.provider} {self.provider_ref}"


class Payment(Stateful, TenantOwned):
    """One attempt to collect one invoice; at most one per invoice is in flight."""

    ID_PREFIX = "pay"

    status = models.CharField(
        max_length=20, choices=[(s, s) for s in PaymentStatus], default=PaymentStatus.CREATED
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    method = models.ForeignKey(
        PaymentMethod, null=True, on_delete=models.PROTECT, related_name="payments"
    )
    provider = models.CharField(max_length=20)
    currency = models.CharField(max_length=3)
    amount = MoneyField(
        max_digits=38, decimal_places=12, currency_field_name="currency", default_currency=None
    )
    # sent with every call of this attempt; stored before the first
    idempotency_key = models.CharField(max_length=100)
    provider_ref = models.CharField(max_length=255, null=True)
    reference = models.CharField(max_length=255, null=True)  # of money that came by itself
    failure_code = models.CharField(max_length=60, blank=True, default="")
    failure_message = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    # an unknown or pending outcome is asked for again then
    ask_after = models.DateTimeField(null=True)
    asked = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("invoice",),
                condition=models.Q(status__in=["created", "sent", "unknown", "pending"]),
                name="one_payment_in_flight_per_invoice",
            ),
            models.UniqueConstraint(
                fields=("tenant", "provider", "idempotency_key"), name="payment_key_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "provider", "provider_ref"), name="provider_ref_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "customer", "reference"), name="payment_reference_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in PaymentStatus]),
                name="payment_status_known",
            ),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="payment_positive"),
            models.CheckConstraint(
                condition=models.Q(status="succeeded", settled_at__isnull=False)
                | (~models.Q(status="succeeded") & models.Q(settled_at__isnull=True)),
                name="payment_settled_when_succeeded",
            ),
        )
        indexes = (
            models.Index(
                fields=("ask_after",),
                condition=models.Q(ask_after__isnull=False),
                name="payments_to_ask_about",
            ),
            models.Index(fields=("invoice", "-id"), name="payments_by_invoice"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.status}"


class Allocation(TenantOwned):
    """What of a settled payment paid which invoice. Append-only; bounded by trigger."""

    ID_PREFIX = "alc"

    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="allocations")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="allocations")
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    allocated_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("payment", "invoice"), name="allocated_once"),
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="allocation_positive"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class Collection(TenantOwned):
    """The effort to collect an issued invoice: how often tried, and when next."""

    ID_PREFIX = "col"

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="collection")
    first_failed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True)  # null: nothing more will be tried
    last_failure = models.CharField(max_length=500, blank=True, default="")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True)
                | models.Q(next_attempt_at__isnull=True),
                name="closed_collection_tries_no_more",
            ),
        )
        indexes = (
            models.Index(
                fields=("next_attempt_at",),
                condition=models.Q(next_attempt_at__isnull=False),
                name="collections_due",
            ),
        )

    def __str__(self) -> str:
        return f"{self.invoice_id} after {self.attempts}"
