"""Getting the money."""

from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from djmoney.models.fields import MoneyField

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.payments.domain import DisputeStatus, PaymentStatus, RefundStatus, last_month
from apps.tenants.models import TenantOwned


def _amount() -> MoneyField:
    return MoneyField(
        max_digits=38, decimal_places=12, currency_field_name="currency", default_currency=None
    )


class PaymentMethod(TenantOwned):
    """A way in which a customer pays: a reference at a provider, never a card number."""

    ID_PREFIX = "pam"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payment_methods")
    provider = models.CharField(max_length=20)  # a key of payments.providers.PROVIDERS
    provider_ref = models.CharField(max_length=255)
    label = models.CharField(max_length=100, blank=True, default="")
    is_default = models.BooleanField(default=False)
    # set while it is the default: invoices issued before are not charged to it by themselves
    default_since = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    detached_at = models.DateTimeField(null=True)
    # exclusive: the end of the month that the provider told; null: it told none
    expires_at = models.DateTimeField(null=True)

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
            models.CheckConstraint(
                condition=models.Q(is_default=True, default_since__isnull=False)
                | models.Q(is_default=False, default_since__isnull=True),
                name="default_method_since",
            ),
        )

    def __str__(self) -> str:
        return self.label or f"{self.provider} {self.provider_ref}"

    @property
    def expires(self) -> str | None:
        """The last month in which it can be charged, as ``2027-08``."""
        return last_month(self.expires_at) if self.expires_at else None

    def is_expired(self, at: datetime) -> bool:
        """Say whether it can be charged no more at the instant ``at``."""
        return self.expires_at is not None and self.expires_at <= at


class Payment(Stateful, TenantOwned):
    """One attempt to collect one invoice, or money for it that came by itself.

    At most one per invoice is in flight. Everything that happens to it happens under the lock of
    its invoice.
    """

    ID_PREFIX = "pay"

    status = models.CharField(
        max_length=20,
        choices=[(s.value, s.value) for s in PaymentStatus],
        default=PaymentStatus.CREATED,
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="payments")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="payments")
    method = models.ForeignKey(
        PaymentMethod, null=True, on_delete=models.PROTECT, related_name="payments"
    )
    provider = models.CharField(max_length=20)
    automatic = models.BooleanField(default=False)  # a step of its invoice's Collection
    currency = models.CharField(max_length=3)
    amount = _amount()
    # sent with every call of this attempt; stored before the first
    idempotency_key = models.CharField(max_length=100)
    provider_ref = models.CharField(max_length=255, null=True)
    reference = models.CharField(max_length=255, null=True)  # of money that came by itself
    # why it failed, or why its outcome is open
    failure_code = models.CharField(max_length=60, blank=True, default="")
    failure_message = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    # an open outcome is asked for then; null while none is open, or if only a person can settle it
    ask_after = models.DateTimeField(null=True)
    asked = models.PositiveSmallIntegerField(default=0)

    objects: ClassVar[models.Manager["Payment"]] = models.Manager()

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
            models.CheckConstraint(
                condition=models.Q(ask_after__isnull=True)
                | models.Q(status__in=["sent", "unknown", "pending"]),
                name="payment_asked_about_while_open",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="payments_newest"),
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
            models.CheckConstraint(condition=models.Q(amount__gt=0), name="allocation_positive"),
            models.UniqueConstraint(fields=("payment", "invoice"), name="allocated_once"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class Refund(Stateful, TenantOwned):
    """Money of a payment that is paid back: what we owe the customer, by credit memo or on account.

    What it takes is taken when it begins, so that nothing else can use it: ``from_account`` of what
    the payment brought too much, the rest of credit memos (``invoicing.CreditPaidOut``). A failed
    refund gives it back.
    """

    ID_PREFIX = "ref"

    status = models.CharField(
        max_length=20,
        choices=[(s.value, s.value) for s in RefundStatus],
        default=RefundStatus.PENDING,
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="refunds")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="refunds")
    provider = models.CharField(max_length=20)  # the payment's, or external: paid back by hand
    currency = models.CharField(max_length=3)
    amount = _amount()
    from_account = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    reason = models.CharField(max_length=500)
    # sent with every call; stored before the first
    idempotency_key = models.CharField(max_length=100)
    provider_ref = models.CharField(max_length=255, null=True)
    reference = models.CharField(max_length=255, null=True)  # of money paid back by hand
    # why it failed, or why its outcome is open
    failure_code = models.CharField(max_length=60, blank=True, default="")
    failure_message = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True)
    # as of a payment
    ask_after = models.DateTimeField(null=True)
    asked = models.PositiveSmallIntegerField(default=0)

    objects: ClassVar[models.Manager["Refund"]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "provider", "idempotency_key"), name="refund_key_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "provider", "provider_ref"), name="refund_ref_once"
            ),
            models.UniqueConstraint(
                fields=("tenant", "customer", "reference", "payment"), name="refund_reference_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in RefundStatus]),
                name="refund_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    amount__gt=0, from_account__gte=0, from_account__lte=models.F("amount")
                ),
                name="refund_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(status="succeeded", settled_at__isnull=False)
                | (~models.Q(status="succeeded") & models.Q(settled_at__isnull=True)),
                name="refund_settled_when_succeeded",
            ),
            models.CheckConstraint(
                condition=models.Q(ask_after__isnull=True)
                | models.Q(status__in=["pending", "unknown"]),
                name="refund_asked_about_while_open",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="refunds_newest"),
            models.Index(
                fields=("ask_after",),
                condition=models.Q(ask_after__isnull=False),
                name="refunds_to_ask_about",
            ),
            models.Index(fields=("payment", "-id"), name="refunds_by_payment"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.status}"


class Dispute(Stateful, TenantOwned):
    """Money of a payment that its customer had the bank take back: a chargeback.

    The provider withdraws it when the dispute is opened, and brings it back if it is won. So long
    as it is not won it is nobody's to refund or to use; what the payment brought too much is
    disputed first (``from_account``). The invoice stays paid.
    """

    ID_PREFIX = "dsp"

    status = models.CharField(
        max_length=20,
        choices=[(s.value, s.value) for s in DisputeStatus],
        default=DisputeStatus.OPENED,
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="disputes")
    payment = models.ForeignKey(Payment, on_delete=models.PROTECT, related_name="disputes")
    provider = models.CharField(max_length=20)  # the payment's
    reference = models.CharField(max_length=255)  # the provider's or the bank's name of it
    currency = models.CharField(max_length=3)
    amount = _amount()
    from_account = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    # what the provider asks for it beside, and keeps
    fee = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    reason = models.CharField(max_length=500, blank=True, default="")
    evidence_due_at = models.DateTimeField(null=True)  # null: nobody told
    opened_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    # when prepaid credit that the money had bought was taken; and given back, or gone for good
    credit_taken_at = models.DateTimeField(null=True)
    credit_settled_at = models.DateTimeField(null=True)

    objects: ClassVar[models.Manager["Dispute"]] = models.Manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "provider", "reference"), name="dispute_reference_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in DisputeStatus]),
                name="dispute_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    amount__gt=0,
                    fee__gte=0,
                    from_account__gte=0,
                    from_account__lte=models.F("amount"),
                ),
                name="dispute_positive",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status="opened", decided_at__isnull=True, credit_settled_at__isnull=True
                )
                | models.Q(status__in=["won", "lost"], decided_at__isnull=False),
                name="dispute_decided_once",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="disputes_newest"),
            models.Index(fields=("payment", "-id"), name="disputes_by_payment"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.status}"


class Collection(TenantOwned):
    """The effort to collect an issued invoice by itself: how often tried, and when next."""

    ID_PREFIX = "col"

    invoice = models.OneToOneField(Invoice, on_delete=models.PROTECT, related_name="collection")
    first_failed_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    # null: an attempt is under way, or nothing more will be tried
    next_attempt_at = models.DateTimeField(null=True)
    last_failure = models.CharField(max_length=500, blank=True, default="")
    closed_at = models.DateTimeField(null=True)  # paid, canceled or written off

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(closed_at__isnull=True) | models.Q(next_attempt_at__isnull=True),
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


class SandboxCharge(models.Model):
    """What the sandbox provider knows: its own truth, as a real provider's lies elsewhere.

    Written by ``providers.sandbox`` on a connection of its own, so that it survives whatever
    happens to the caller. Refers to nothing of ours.
    """

    idempotency_key = models.CharField(primary_key=True, max_length=100)
    tenant_id = models.UUIDField()  # this and the invoice as the caller's metadata names them
    behaviour = models.CharField(max_length=60)
    invoice = models.CharField(max_length=60)
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    outcome = models.CharField(max_length=20)
    failure = models.CharField(max_length=60, blank=True, default="")
    calls = models.PositiveIntegerField(default=1)  # how often it was sent
    asked = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = (models.Index(fields=("invoice",), name="sandbox_charges_by_invoice"),)

    def __str__(self) -> str:
        return f"{self.idempotency_key} {self.outcome}"


class SandboxRefund(models.Model):
    """What the sandbox provider knows of paying back, as ``SandboxCharge`` of charging."""

    idempotency_key = models.CharField(primary_key=True, max_length=100)
    tenant_id = models.UUIDField()
    behaviour = models.CharField(max_length=60)
    charge = models.CharField(max_length=100)  # its idempotency key
    amount = models.DecimalField(max_digits=38, decimal_places=12)
    currency = models.CharField(max_length=3)
    outcome = models.CharField(max_length=20)
    failure = models.CharField(max_length=60, blank=True, default="")
    calls = models.PositiveIntegerField(default=1)
    asked = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = (models.Index(fields=("charge",), name="sandbox_refunds_by_charge"),)

    def __str__(self) -> str:
        return f"{self.idempotency_key} {self.outcome}"
