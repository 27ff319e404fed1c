"""Every movement of credit, and what of it documents took off."""

from django.db import models

from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.tenants.models import TenantOwned
from apps.wallets.domain import (
    EntryKind,
)
from apps.wallets.models.columns import figure
from apps.wallets.models.grants import CreditGrant, CreditHold
from apps.wallets.models.wallets import Wallet


class CreditTransaction(TenantOwned):
    """One movement of credit. Append-only; numbered per wallet, each going on from the one before.

    Without a grant it is credit that was lent (consume) or is paid back (overdraft). What it is
    for: an event, a line of an invoice, a hold, or what the caller named as ``source_key``.
    """

    ID_PREFIX = "ctx"

    wallet = models.ForeignKey(
        Wallet, on_delete=models.PROTECT, related_name="transactions", db_index=False
    )
    number = models.BigIntegerField()  # 1, 2, 3 … in its wallet
    kind = models.CharField(max_length=10, choices=[(k, k) for k in EntryKind])
    grant = models.ForeignKey(
        CreditGrant,
        null=True,
        on_delete=models.PROTECT,
        related_name="transactions",
        db_index=False,
    )
    hold = models.ForeignKey(
        CreditHold,
        null=True,
        on_delete=models.PROTECT,
        related_name="transactions",
        db_index=False,
    )
    amount = figure()
    balance_after = figure()  # of the wallet
    grant_after = models.DecimalField(
        max_digits=38, decimal_places=12, null=True
    )  # what the grant then has left
    value = figure()  # of the amount in the wallet's currency, with its sign
    covers = figure()  # of the invoice line, in the currency; below zero where it gives back
    # what it is for: the same thing takes of the same grant once
    source_key = models.CharField(max_length=120)
    meter = models.ForeignKey(
        Meter, null=True, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    subscription_id = models.UUIDField(null=True)
    event_id = models.UUIDField(null=True)
    used_at = models.DateTimeField(null=True)  # when the event happened
    invoice_id = models.UUIDField(null=True)
    line_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=500, blank=True, default="")
    # place in the order of burning, of how many, and why there: rating.burndown
    place = models.PositiveSmallIntegerField(null=True)
    places = models.PositiveSmallIntegerField(null=True)
    because = models.CharField(max_length=20, blank=True, default="")
    actor = models.CharField(max_length=120)
    at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("wallet", "number"), name="credit_entry_number_once"),
            models.UniqueConstraint(
                fields=("wallet", "kind", "source_key", "grant"),
                name="credit_entry_source_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind__in=["grant", "return", "release", "overdraft", "reinstate"],
                    amount__gt=0,
                )
                | models.Q(
                    kind__in=["consume", "expire", "void", "refund", "hold", "dispute"],
                    amount__lt=0,
                ),
                name="credit_entry_sign",
            ),
            models.CheckConstraint(
                condition=models.Q(grant__isnull=False, grant_after__isnull=False)
                | models.Q(
                    grant__isnull=True,
                    grant_after__isnull=True,
                    kind__in=["consume", "return", "overdraft"],
                ),
                name="credit_entry_has_grant",
            ),
            models.CheckConstraint(
                condition=~models.Q(kind__in=["void", "refund", "dispute", "reinstate"])
                | models.Q(reason__gt=""),
                name="credit_entry_reason_given",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="credit_entries_newest"),
            models.Index(fields=("grant", "-number"), name="credit_entries_by_grant"),
            models.Index(
                fields=("hold",),
                condition=models.Q(hold__isnull=False),
                name="credit_entries_by_hold",
            ),
            models.Index(
                fields=("invoice_id",),
                condition=models.Q(invoice_id__isnull=False),
                name="credit_entries_by_invoice",
            ),
            models.Index(
                fields=("wallet", "meter", "used_at"),
                condition=models.Q(event_id__isnull=False),
                name="credit_entries_by_use",
            ),
            models.Index(
                fields=("event_id",),
                condition=models.Q(event_id__isnull=False),
                name="credit_entries_by_event",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"


class UsageSettlement(TenantOwned):
    """What of a document's line was paid before, event by event, by wallets settled on event.

    Below zero it came back to the wallets, as far as the line takes usage back. Append-only. It counts as long as the invoice is not canceled.
    """

    ID_PREFIX = "ust"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    invoice_id = models.UUIDField()
    line_id = models.UUIDField()
    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="+", db_index=False)
    service_start = models.DateTimeField()
    service_end = models.DateTimeField()  # exclusive
    amount = figure()
    currency = models.CharField(max_length=3)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("line_id",), name="settled_once_per_line"),
            models.CheckConstraint(condition=~models.Q(amount=0), name="settlement_moves"),
        )
        indexes = (
            models.Index(fields=("customer", "meter"), name="settlements_by_use"),
            models.Index(fields=("invoice_id",), name="settlements_by_invoice"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


class SettlementUndone(models.Model):
    """An invoice whose settlements do not count any more, because it was canceled. Append-only."""

    invoice_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.invoice_id)
