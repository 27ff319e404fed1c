"""Wallets, and the rules by which they fill themselves up."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.tenants.models import TenantOwned
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    Insufficient,
    Settlement,
    TopOffKind,
    TopOffTerms,
    WalletStatus,
)
from apps.wallets.models.columns import PRIORITY_RANGE, Scoped, figure
from apps.wallets.models.units import CreditUnit


class Wallet(Stateful, TenantOwned, Scoped):
    """Credit of one customer, in a currency or in a unit.

    ``balance`` is what can be spent: the sum of all its transactions, and of what its grants have
    left, less what was lent. What holds have put aside is not in it. Each figure is written with
    the transactions that change it, under the row's lock, and compared by trigger at commit.
    """

    ID_PREFIX = "wal"

    status = models.CharField(
        max_length=20, choices=[(s, s) for s in WalletStatus], default=WalletStatus.ACTIVE
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="wallets")
    external_id = models.CharField(max_length=255, null=True)
    name = models.CharField(max_length=200, blank=True, default="")
    unit = models.ForeignKey(
        CreditUnit, null=True, on_delete=models.PROTECT, related_name="wallets"
    )
    currency = models.CharField(max_length=3)  # of the money that the credit is worth
    priority = models.PositiveSmallIntegerField(default=DEFAULT_PRIORITY)  # 1 is used first
    settlement = models.CharField(max_length=10, choices=[(s, s) for s in Settlement])
    insufficient = models.CharField(max_length=10, choices=[(p, p) for p in Insufficient])
    overdraft_limit = figure()
    low_watermark = models.DecimalField(
        max_digits=38, decimal_places=12, null=True
    )  # below it the top-off rule buys; null: there is no rule
    remind_before = models.DurationField(null=True)  # of an expiry
    balance = figure()
    held = figure()
    overdrawn = figure()
    overdrawn_value = figure()  # the same in the currency
    entries = models.BigIntegerField(default=0)  # how many transactions it has
    short_since = models.DateTimeField(null=True)  # usage could not be covered since
    shortfall = figure()  # … and how much of it
    # the subscriptions whose usage that is; where events named none, all that the customer had
    short_subscriptions = ArrayField(models.UUIDField(), default=list, blank=True)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "external_id"), name="wallet_external_id_once"
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=[s.value for s in WalletStatus]),
                name="wallet_status_known",
            ),
            models.CheckConstraint(
                condition=models.Q(balance__gte=-models.F("overdraft_limit")),
                name="wallet_not_overspent",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    held__gte=0,
                    overdrawn__gte=0,
                    overdrawn__lte=models.F("overdraft_limit"),
                    overdrawn_value__gte=0,
                    shortfall__gte=0,
                    entries__gte=0,
                ),
                name="wallet_figures_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(insufficient="overdraft", overdraft_limit__gt=0)
                | (~models.Q(insufficient="overdraft") & models.Q(overdraft_limit=0)),
                name="wallet_overdraft_declared",
            ),
            models.CheckConstraint(condition=PRIORITY_RANGE, name="wallet_priority_range"),
            models.CheckConstraint(
                condition=models.Q(
                    shortfall=0, short_since__isnull=True, short_subscriptions__len=0
                )
                | models.Q(shortfall__gt=0, short_since__isnull=False),
                name="wallet_short_since",
            ),
            models.CheckConstraint(
                condition=models.Q(status="closed", closed_at__isnull=False, balance=0, held=0)
                | (~models.Q(status="closed") & models.Q(closed_at__isnull=True)),
                name="wallet_closed_empty",
            ),
        )
        indexes = (
            models.Index(fields=("tenant", "-id"), name="wallets_newest"),
            models.Index(fields=("customer", "priority", "id"), name="wallets_by_customer"),
            models.Index(
                fields=("id",),
                condition=models.Q(status="active", balance__lt=models.F("low_watermark")),
                name="wallets_to_top_off",
            ),
        )

    def __str__(self) -> str:
        return self.name or self.public_id

    @property
    def denomination(self) -> str:
        """The key of the unit, or the currency: what the figures are in."""
        return self.unit.key if self.unit else self.currency


class TopOffRule(TenantOwned):
    """What is bought for a wallet when less than its ``low_watermark`` is left."""

    ID_PREFIX = "tor"

    wallet = models.OneToOneField(Wallet, on_delete=models.PROTECT, related_name="top_off")
    kind = models.CharField(max_length=10, choices=[(k, k) for k in TopOffKind])
    amount = figure()
    # what it buys expires after so long; null: never
    expiry_unit = models.CharField(max_length=10, null=True)
    expiry_count = models.PositiveSmallIntegerField(null=True)
    cap = models.DecimalField(
        max_digits=38, decimal_places=12, null=True
    )  # of what it buys in ``cap_days`` days
    cap_days = models.PositiveSmallIntegerField(default=30)
    cool_off = models.DurationField()  # after a purchase that failed
    attempt_limit = models.PositiveSmallIntegerField()  # failures in a row after which it stops
    failures = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)  # it cools off until then
    # it buys nothing while this names anything: refunds and disputes that took credit back
    paused_by = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    paused_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(amount__gt=0, cap_days__gt=0, attempt_limit__gt=0),
                name="top_off_buys",
            ),
            models.CheckConstraint(
                condition=models.Q(expiry_unit__isnull=True, expiry_count__isnull=True)
                | models.Q(expiry_unit__isnull=False, expiry_count__gt=0),
                name="top_off_expiry_whole",
            ),
            models.CheckConstraint(
                condition=models.Q(paused_at__isnull=True, paused_by__len=0)
                | models.Q(paused_at__isnull=False, paused_by__len__gt=0),
                name="top_off_paused_by",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.amount}"

    @property
    def terms(self) -> TopOffTerms:
        """The rule as the arithmetic sees it."""
        return TopOffTerms(
            TopOffKind(self.kind), self.amount, self.cap, self.cool_off, self.attempt_limit
        )
