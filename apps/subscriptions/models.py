"""Who has what, since when."""

from django.db import models

from apps.catalog.domain import Behaviour
from apps.catalog.models import Coupon, Phase, Plan, PlanVersion, PriceList
from apps.core.states import Stateful
from apps.customers.models import Customer
from apps.rating.periods import Alignment, Unit
from apps.subscriptions.domain import (
    ChangeStatus,
    ChangeVerb,
    CommitmentPer,
    MemberOutcome,
    MigrationStatus,
    NoticeKind,
    Settlement,
    Standing,
    SubscriptionStatus,
)
from apps.tenants.models import TenantOwned


class Subscription(Stateful, TenantOwned):
    """A customer on a pinned plan version. Its truth in time is its segments.

    Those are what its opening terms come to with every change that was applied. The plan version,
    price list and quantity are the ones that held when it was last looked at.
    """

    ID_PREFIX = "sub"

    status = models.CharField(
        max_length=20,
        choices=[(s, s) for s in SubscriptionStatus],
        default=SubscriptionStatus.SCHEDULED,
    )
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="subscriptions")
    external_id = models.CharField(max_length=255, null=True)
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    price_list = models.ForeignKey(PriceList, null=True, on_delete=models.PROTECT, related_name="+")
    currency = models.CharField(max_length=3)
    # the customer's zone when it started: moving house neither re-bills nor skips time
    zone = models.CharField(max_length=64)
    alignment = models.CharField(max_length=20, choices=[(a, a) for a in Alignment])
    anchor_day = models.PositiveSmallIntegerField(null=True)  # null: the start decides
    quantity = models.DecimalField(max_digits=38, decimal_places=12, default=1)
    started_at = models.DateTimeField()
    # the opening terms, which stay; the trial in days where another than the plan's was agreed
    first_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    first_price_list = models.ForeignKey(
        PriceList, null=True, on_delete=models.PROTECT, related_name="+"
    )
    first_quantity = models.DecimalField(max_digits=38, decimal_places=12)
    trial_days = models.PositiveSmallIntegerField(null=True)
    # exclusive; the end of the last segment, known when it has one. Pending changes do not show.
    ends_at = models.DateTimeField(null=True)
    # a term, and whether another follows it
    term_unit = models.CharField(max_length=10, choices=[(u, u) for u in Unit], null=True)
    term_count = models.PositiveSmallIntegerField(null=True)
    term_ends_at = models.DateTimeField(null=True)
    auto_renew = models.BooleanField(default=True)
    # due work is read from here: the next instant at which something is to be billed
    next_bill_at = models.DateTimeField(null=True)
    billed_until = models.DateTimeField(null=True)  # the cutoff of the last run
    # set by a change of the past: the next run recomputes from there
    changed_from = models.DateTimeField(null=True)
    # since then usage came in that prepaid credit should have covered and did not
    uncovered_since = models.DateTimeField(null=True)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "external_id"), name="subscription_external_id_once"
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True)
                | models.Q(ends_at__gte=models.F("started_at")),
                name="subscription_ends_after_start",
            ),
            models.CheckConstraint(
                condition=models.Q(quantity__gte=0), name="subscription_quantity_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(anchor_day__isnull=True)
                | models.Q(anchor_day__gte=1, anchor_day__lte=31),
                name="subscription_anchor_day",
            ),
            models.CheckConstraint(
                condition=~models.Q(status="ended") | models.Q(ends_at__isnull=False),
                name="subscription_ended_has_end",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    term_unit__isnull=True, term_count__isnull=True, term_ends_at__isnull=True
                )
                | models.Q(term_unit__isnull=False, term_count__gt=0, term_ends_at__isnull=False),
                name="subscription_term_whole",
            ),
        )
        indexes = (
            models.Index(fields=("customer", "started_at"), name="subscriptions_by_customer"),
            models.Index(
                fields=("next_bill_at",),
                condition=models.Q(next_bill_at__isnull=False),
                name="subscriptions_due",
            ),
            models.Index(
                fields=("status", "started_at"),
                condition=models.Q(status="scheduled"),
                name="subscriptions_to_start",
            ),
            models.Index(
                fields=("ends_at",),
                condition=models.Q(
                    status__in=["active", "paused", "suspended"], ends_at__isnull=False
                ),
                name="subscriptions_to_end",
            ),
            models.Index(
                fields=("term_ends_at",),
                condition=models.Q(
                    status__in=["active", "paused", "suspended"], term_ends_at__isnull=False
                ),
                name="subscriptions_to_renew",
            ),
            models.Index(fields=("tenant", "-id"), name="subscriptions_newest"),
        )

    def __str__(self) -> str:
        return self.external_id or self.public_id


class SubscriptionSegment(TenantOwned):
    """A stretch of a subscription's timeline, or of one of its add-ons, whose terms do not change.

    Segments of a subscription tile its time: no gap, no overlap, at most the last is open (by
    deferred trigger). Those of an add-on do so from when it was first added; where it is not there,
    they are ``absent``.
    """

    ID_PREFIX = "seg"

    subscription = models.ForeignKey(
        Subscription, on_delete=models.PROTECT, related_name="segments"
    )
    # null: of the subscription itself
    add_on = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+")
    absent = models.BooleanField(default=False)
    anew = models.BooleanField(default=False)  # an add-on that was there before begins its phases
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)  # exclusive
    plan_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    phase = models.ForeignKey(Phase, on_delete=models.PROTECT, related_name="+")
    quantity = models.DecimalField(max_digits=38, decimal_places=12)
    price_list = models.ForeignKey(PriceList, null=True, on_delete=models.PROTECT, related_name="+")
    anchor_at = models.DateTimeField()  # billing periods are counted from here
    standing = models.CharField(
        max_length=20, choices=[(s, s) for s in Standing], default=Standing.ACTIVE
    )
    # since when its terms are paid for, where that is not its start; and how its end settles
    paid_from = models.DateTimeField(null=True)
    settlement = models.CharField(
        max_length=20, choices=[(s, s) for s in Settlement], default=Settlement.PRORATE
    )

    class Meta:
        ordering = ("subscription", "starts_at")
        constraints = (
            models.UniqueConstraint(
                fields=("subscription", "add_on", "starts_at"),
                name="segment_start_once",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                fields=("subscription", "add_on"),
                condition=models.Q(ends_at__isnull=True),
                name="one_open_segment",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(absent=False) | models.Q(add_on__isnull=False),
                name="segment_absent_if_add_on",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True)
                | models.Q(ends_at__gt=models.F("starts_at")),
                name="segment_not_empty",
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant", "ends_at"),
                condition=models.Q(ends_at__isnull=False, add_on__isnull=True),
                name="segments_that_end",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subscription_id} from {self.starts_at}"


class ScheduledChange(Stateful, TenantOwned):
    """A change of the timeline and when it takes effect; what lies ahead waits until then.

    ``arguments`` are those of its verb, as ``queries.timelines`` reads them.
    """

    ID_PREFIX = "sch"

    status = models.CharField(
        max_length=20, choices=[(s, s) for s in ChangeStatus], default=ChangeStatus.PENDING
    )
    subscription = models.ForeignKey(
        Subscription, on_delete=models.PROTECT, related_name="scheduled_changes"
    )
    verb = models.CharField(max_length=20, choices=[(v, v) for v in ChangeVerb])
    effective_at = models.DateTimeField()
    arguments = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("effective_at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("subscription",),
                condition=models.Q(status="pending", verb="cancel"),
                name="one_pending_cancellation",
            ),
        )
        indexes = (
            models.Index(
                fields=("effective_at",),
                condition=models.Q(status="pending"),
                name="changes_due",
            ),
            models.Index(fields=("subscription", "effective_at"), name="changes_by_subscription"),
        )

    def __str__(self) -> str:
        return f"{self.verb} at {self.effective_at}"


class CouponRedemption(TenantOwned):
    """A coupon that was redeemed: it discounts the billing periods that begin while it holds.

    Those of one subscription, or (null) of all that the customer has. ``ends_at`` may come closer,
    nothing else changes.
    """

    ID_PREFIX = "crd"

    coupon = models.ForeignKey(Coupon, on_delete=models.PROTECT, related_name="redemptions")
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, related_name="coupon_redemptions"
    )
    subscription = models.ForeignKey(
        Subscription, null=True, on_delete=models.PROTECT, related_name="coupon_redemptions"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)  # exclusive; null: never
    # an amount is taken off once in each of these, counted from the start in the zone
    period_unit = models.CharField(max_length=10, choices=[(u, u) for u in Unit])
    period_count = models.PositiveSmallIntegerField()
    zone = models.CharField(max_length=64)
    once_per_customer = models.BooleanField()  # as its coupon
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("coupon", "customer", "subscription"),
                name="coupon_redeemed_once",
                nulls_distinct=False,
            ),
            models.UniqueConstraint(
                fields=("coupon", "customer"),
                condition=models.Q(once_per_customer=True),
                name="coupon_once_per_customer",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True)
                | models.Q(ends_at__gte=models.F("starts_at")),
                name="redemption_ends_after_start",
            ),
            models.CheckConstraint(
                condition=models.Q(period_count__gt=0), name="redemption_period_positive"
            ),
        )

    def __str__(self) -> str:
        return f"{self.coupon} from {self.starts_at}"


class Contract(TenantOwned):
    """What was negotiated for one subscription or (null) all that a customer has.

    It is about the billing periods that begin while it holds. ``ends_at`` may come closer; name and
    documents may change; nothing else does (by trigger).
    """

    ID_PREFIX = "ctr"

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="contracts")
    subscription = models.ForeignKey(
        Subscription, null=True, on_delete=models.PROTECT, related_name="contracts"
    )
    external_id = models.CharField(max_length=255, null=True)
    name = models.CharField(max_length=200)
    currency = models.CharField(max_length=3)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)  # exclusive
    # the turns of a commitment per period, counted from the start in the zone
    period_unit = models.CharField(max_length=10, choices=[(u, u) for u in Unit])
    period_count = models.PositiveSmallIntegerField()
    zone = models.CharField(max_length=64)
    # a list of charge, currency, starts_at, pricing, minimum and maximum
    prices = models.JSONField(default=list)
    # null: nothing has to be spent
    commitment = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    commitment_per = models.CharField(
        max_length=10, choices=[(p, p) for p in CommitmentPer], blank=True, default=""
    )
    commitment_charges = models.JSONField(default=list)  # keys; empty: all
    overage_factor = models.DecimalField(max_digits=38, decimal_places=12, default=1)
    true_up = models.BooleanField(default=True)
    features = models.JSONField(default=list)  # a list of feature, by key, and limit
    documents = models.JSONField(default=list)  # a list of name and url
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "external_id"), name="contract_external_id_once"
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True)
                | models.Q(ends_at__gte=models.F("starts_at")),
                name="contract_ends_after_start",
            ),
            models.CheckConstraint(
                condition=models.Q(commitment__isnull=True, commitment_per="")
                | models.Q(commitment__gt=0, commitment_per="period", subscription__isnull=False)
                | models.Q(
                    commitment__gt=0,
                    commitment_per="term",
                    subscription__isnull=False,
                    ends_at__isnull=False,
                ),
                name="contract_commitment_whole",
            ),
            models.CheckConstraint(
                condition=models.Q(overage_factor__gte=1), name="contract_overage_costs_more"
            ),
            models.CheckConstraint(
                condition=models.Q(period_count__gt=0), name="contract_period_positive"
            ),
        )

    def __str__(self) -> str:
        return self.external_id or self.name


class Notice(TenantOwned):
    """An end that lay ahead, of a subscription or a contract, and was told; never changed."""

    ID_PREFIX = "ntc"

    subscription = models.ForeignKey(
        Subscription, null=True, on_delete=models.PROTECT, related_name="notices"
    )
    contract = models.ForeignKey(
        Contract, null=True, on_delete=models.PROTECT, related_name="notices"
    )
    kind = models.CharField(max_length=20, choices=[(k, k) for k in NoticeKind])
    boundary_at = models.DateTimeField()  # when it was to end
    told_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("subscription", "contract", "kind", "boundary_at"),
                name="notice_told_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(subscription__isnull=False, contract__isnull=True)
                | models.Q(subscription__isnull=True, contract__isnull=False),
                name="notice_about_one",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} at {self.boundary_at}"


class PlanMigration(Stateful, TenantOwned):
    """A move of many subscriptions to another version of their plan, as of one instant."""

    ID_PREFIX = "mig"

    status = models.CharField(
        max_length=20,
        choices=[(s, s) for s in MigrationStatus],
        default=MigrationStatus.RUNNING,
    )
    from_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    to_version = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    effective_at = models.DateTimeField()
    behaviour = models.CharField(max_length=20, choices=[(b, b) for b in Behaviour])
    batch_size = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    rolled_back_at = models.DateTimeField(null=True)  # when that was asked for

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(
                condition=~models.Q(from_version=models.F("to_version")),
                name="migration_to_another_version",
            ),
            models.CheckConstraint(
                condition=models.Q(batch_size__gt=0), name="migration_batch_not_empty"
            ),
        )

    def __str__(self) -> str:
        return f"{self.from_version} to {self.to_version}"


class PlanMigrationMember(TenantOwned):
    """One subscription of a migration, and what has become of it."""

    ID_PREFIX = "mgm"

    migration = models.ForeignKey(PlanMigration, on_delete=models.PROTECT, related_name="members")
    subscription = models.ForeignKey(Subscription, on_delete=models.PROTECT, related_name="+")
    effective_at = models.DateTimeField()  # where none was named, by the clock of its customer
    # the change that moved it, which rolling back undoes
    change = models.ForeignKey(
        ScheduledChange, null=True, on_delete=models.PROTECT, related_name="+"
    )
    outcome = models.CharField(
        max_length=20, choices=[(o, o) for o in MemberOutcome], default=MemberOutcome.PENDING
    )
    reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        ordering = ("migration", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("migration", "subscription"), name="migration_member_once"
            ),
            models.CheckConstraint(
                condition=models.Q(outcome__in=["pending", "refused"], change__isnull=True)
                | models.Q(outcome__in=["migrated", "rolled_back"], change__isnull=False),
                name="migration_member_has_change",
            ),
        )
        indexes = (models.Index(fields=("migration", "outcome"), name="migration_members_left"),)

    def __str__(self) -> str:
        return f"{self.subscription_id}: {self.outcome}"
