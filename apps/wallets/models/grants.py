"""Credit that came together, and credit put aside."""

from django.db import models

from apps.core.states import Stateful
from apps.tenants.models import TenantOwned
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    GrantKind,
    GrantSource,
    GrantStatus,
    HoldStatus,
)
from apps.wallets.models.columns import PRIORITY_RANGE, Scoped, figure
from apps.wallets.models.wallets import Wallet


class CreditGrant(Stateful, TenantOwned, Scoped):
    """Credit that came together: it has one price, one expiry and one place in the order.

    ``amount`` = ``remaining`` + ``held`` + what was consumed, expired or taken back, once it has
    become available; before that nothing of it counts. ``value`` is what was paid for it, or what
    promotional credit is nominally worth, and ``value_left`` the share of ``remaining + held``.
    """

    ID_PREFIX = "grt"

    status = models.CharField(max_length=20, choices=[(s, s) for s in GrantStatus])
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="grants")
    kind = models.CharField(max_length=12, choices=[(k, k) for k in GrantKind])
    source = models.CharField(max_length=12, choices=[(s, s) for s in GrantSource])
    name = models.CharField(max_length=200, blank=True, default="")
    reason = models.CharField(max_length=500, blank=True, default="")
    amount = figure()
    remaining = figure()
    held = figure()
    value = figure()
    value_left = figure()
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)
    effective_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)  # exclusive
    # of credit that is bought: it expires so long after it has become available
    lasts_unit = models.CharField(max_length=10, null=True)
    lasts_count = models.PositiveSmallIntegerField(null=True)
    remind_at = models.DateTimeField(null=True)  # null: nobody is to be reminded, or was
    invoice_id = models.UUIDField(null=True, unique=True)  # by which it is sold
    created_at = models.DateTimeField()
    available_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in GrantStatus]),
                name="grant_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    amount__gt=0,
                    remaining__gte=0,
                    held__gte=0,
                    amount__gte=models.F("remaining") + models.F("held"),
                    value__gte=models.F("value_left"),
                    value_left__gte=0,
                ),
                name="grant_within_its_amount",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["pending", "payment_failed", "scheduled"],
                    available_at__isnull=True,
                    remaining=0,
                    held=0,
                    value_left=0,
                )
                | models.Q(status__in=["available"], available_at__isnull=False)
                | models.Q(status__in=["expired", "voided", "refunded"], remaining=0),
                name="grant_counts_while_available",
            ),
            models.CheckConstraint(
                condition=models.Q(lasts_unit__isnull=True, lasts_count__isnull=True)
                | models.Q(lasts_unit__isnull=False, lasts_count__gt=0),
                name="grant_lasts_whole",
            ),
            models.CheckConstraint(condition=PRIORITY_RANGE, name="grant_priority_range"),
            models.CheckConstraint(
                condition=models.Q(kind="promotional", source="granted", invoice_id__isnull=True)
                | models.Q(kind="paid", source__in=["purchase", "top_off"]),
                name="grant_paid_when_sold",
            ),
            models.UniqueConstraint(
                fields=("wallet",),
                condition=models.Q(source="top_off", status__in=["pending", "payment_failed"]),
                name="one_top_off_in_flight",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="grants_newest"),
            # the lock of the wallet is held; what can be used or is due is few
            models.Index(
                fields=("wallet",),
                condition=models.Q(remaining__gt=0) | models.Q(held__gt=0),
                name="grants_with_credit",
            ),
            models.Index(
                fields=("expires_at",),
                condition=models.Q(status="available", expires_at__isnull=False),
                name="grants_to_expire",
            ),
            models.Index(
                fields=("effective_at",),
                condition=models.Q(status="scheduled"),
                name="grants_to_begin",
            ),
            models.Index(
                fields=("remind_at",),
                condition=models.Q(status="available", remind_at__isnull=False),
                name="grants_to_remind_of",
            ),
        )

    def __str__(self) -> str:
        return self.name or self.public_id


class CreditHold(Stateful, TenantOwned):
    """Credit put aside for a cost that is not known yet: the worst case, for a while."""

    ID_PREFIX = "hld"

    status = models.CharField(
        max_length=10, choices=[(s, s) for s in HoldStatus], default=HoldStatus.OPEN
    )
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="holds")
    external_id = models.CharField(max_length=255, null=True)
    meter = models.CharField(max_length=100, blank=True, default="")  # key of what it is for
    amount = figure()
    captured = figure()
    expires_at = models.DateTimeField()  # exclusive
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "external_id"), name="hold_external_id_once"),
            models.CheckConstraint(
                condition=models.Q(amount__gt=0, captured__gte=0, captured__lte=models.F("amount")),
                name="hold_captures_within",
            ),
            models.CheckConstraint(
                condition=models.Q(status="open", ended_at__isnull=True, captured=0)
                | models.Q(status="captured", ended_at__isnull=False)
                | models.Q(status__in=["released", "expired"], ended_at__isnull=False, captured=0),
                name="hold_ends_once",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="holds_newest"),
            models.Index(
                fields=("expires_at",), condition=models.Q(status="open"), name="holds_to_expire"
            ),
            models.Index(fields=("wallet",), condition=models.Q(status="open"), name="holds_open"),
        )

    def __str__(self) -> str:
        return self.public_id
