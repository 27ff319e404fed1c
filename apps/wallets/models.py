"""Prepaid credit. Every movement is one row of an append-only table; the rest is what it adds up to."""

from decimal import Decimal  # noqa: TC003 -- the types plugin needs it
from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.tenants.models import TenantOwned
from apps.wallets.domain import (
    DEFAULT_PRIORITY,
    LOWEST_PRIORITY,
    EntryKind,
    GrantKind,
    GrantSource,
    GrantStatus,
    HoldStatus,
    Insufficient,
    Scope,
    Settlement,
    TopOffKind,
    TopOffTerms,
    WalletStatus,
)

_PRIORITY_RANGE: Final = models.Q(priority__gte=1, priority__lte=LOWEST_PRIORITY)


def _figure(default: int = 0) -> "models.DecimalField[Decimal, Decimal]":
    return models.DecimalField(max_digits=38, decimal_places=12, default=default)


def _keys() -> "ArrayField[list[str], list[str]]":
    return ArrayField(models.CharField(max_length=100), default=list, blank=True)


class CreditUnit(TenantOwned):
    """Credit that is no money, such as tokens: how finely it is granted, and what one is worth.

    Key, precision, currency and rate never change: credit that was sold would change its worth.
    """

    ID_PREFIX = "cru"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    precision = models.PositiveSmallIntegerField(default=0)
    currency = models.CharField(max_length=3)
    rate = _figure()  # of one unit in the currency; zero: worth nothing in the books
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="credit_unit_key_once"),
            models.CheckConstraint(
                condition=models.Q(rate__gte=0, precision__lte=12), name="credit_unit_sane"
            ),
        )

    def __str__(self) -> str:
        return self.key


class CreditPrice(TenantOwned):
    """How much credit one counted unit of a meter takes, in a unit or else in a currency."""

    ID_PREFIX = "crp"

    meter = models.ForeignKey(Meter, on_delete=models.PROTECT, related_name="credit_prices")
    unit = models.ForeignKey(CreditUnit, null=True, on_delete=models.PROTECT, related_name="prices")
    currency = models.CharField(max_length=3, blank=True, default="")
    price = _figure()
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("meter", "unit", "currency"),
                name="credit_price_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=models.Q(price__gt=0), name="credit_price_positive"),
            models.CheckConstraint(
                condition=models.Q(unit__isnull=True, currency__gt="")
                | models.Q(unit__isnull=False, currency=""),
                name="credit_price_in_one_thing",
            ),
        )

    def __str__(self) -> str:
        return f"{self.meter} at {self.price}"


class _Scoped(models.Model):
    """What credit may be used for, by keys; all empty is everything."""

    scope_products = _keys()
    scope_meters = _keys()
    scope_charges = _keys()

    class Meta:
        abstract = True

    @property
    def scope(self) -> Scope:
        """The three columns as one."""
        return Scope(
            tuple(self.scope_products), tuple(self.scope_meters), tuple(self.scope_charges)
        )


class Wallet(Stateful, TenantOwned, _Scoped):
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
    overdraft_limit = _figure()
    low_watermark = models.DecimalField(
        max_digits=38, decimal_places=12, null=True
    )  # below it the top-off rule buys; null: there is no rule
    remind_before = models.DurationField(null=True)  # of an expiry
    balance = _figure()
    held = _figure()
    overdrawn = _figure()
    overdrawn_value = _figure()  # the same in the currency
    entries = models.BigIntegerField(default=0)  # how many transactions it has
    short_since = models.DateTimeField(null=True)  # usage could not be covered since
    shortfall = _figure()  # … and how much of it
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
            models.CheckConstraint(condition=_PRIORITY_RANGE, name="wallet_priority_range"),
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
    amount = _figure()
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


class CreditGrant(Stateful, TenantOwned, _Scoped):
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
    amount = _figure()
    remaining = _figure()
    held = _figure()
    value = _figure()
    value_left = _figure()
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
            models.CheckConstraint(condition=_PRIORITY_RANGE, name="grant_priority_range"),
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
    amount = _figure()
    captured = _figure()
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
    amount = _figure()
    balance_after = _figure()  # of the wallet
    grant_after = models.DecimalField(
        max_digits=38, decimal_places=12, null=True
    )  # what the grant then has left
    value = _figure()  # of the amount in the wallet's currency, with its sign
    covers = _figure()  # of the invoice line, in the currency; below zero where it gives back
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
    amount = _figure()
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


class BurnedAhead(TenantOwned):
    """What of a customer's events has burned before the reader came to it: one row each.

    All that is visible in ``snapshot``, a ``pg_snapshot``: with it an invoice was issued. A later
    one sees all that an earlier one saw.
    """

    ID_PREFIX = "bah"

    customer = models.OneToOneField(Customer, on_delete=models.PROTECT, related_name="+")
    snapshot = models.TextField()

    class Meta:
        ordering = ("-id",)

    def __str__(self) -> str:
        return self.snapshot


class BurnFrontier(models.Model):
    """How far the reader that burns credit has come among the events: one row.

    Every event of a transaction below ``below_xid`` has burned what it could, once and for ever;
    what amendments of such transactions took out has come back.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    below_xid = models.BigIntegerField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="burn_frontier_one_row"),
        )

    def __str__(self) -> str:
        return f"below {self.below_xid}"
