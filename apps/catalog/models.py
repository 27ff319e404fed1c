"""What is sold and at what price. Published versions never change (by trigger)."""

from django.db import models

from apps.catalog.domain import (
    Behaviour,
    ChargeKind,
    CouponDuration,
    CouponTarget,
    FeatureKind,
    PhaseAlignment,
    PhaseKind,
    PlanVersionStatus,
    ProductKind,
    Timing,
    TransitionTiming,
)
from apps.core.states import Stateful
from apps.metering.models import Meter, MeterVersion
from apps.rating.periods import Unit
from apps.rating.proration import Basis
from apps.tenants.models import TenantOwned


class Product(TenantOwned):
    """A thing that plans sell."""

    ID_PREFIX = "pro"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=[(k, k) for k in ProductKind])
    tax_code = models.CharField(max_length=40, blank=True, default="")
    description = models.TextField(blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="product_key_once"),)

    def __str__(self) -> str:
        return self.key


class PriceList(TenantOwned):
    """Alternative prices (price points) that subscriptions or single usages may name."""

    ID_PREFIX = "prl"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="price_list_key_once"),
        )

    def __str__(self) -> str:
        return self.key


class Feature(TenantOwned):
    """Something that a plan lets its customers do; what it is never changes, only its name may."""

    ID_PREFIX = "fea"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=[(k, k) for k in FeatureKind])
    meter = models.ForeignKey(Meter, null=True, on_delete=models.PROTECT, related_name="features")
    unit = models.CharField(max_length=40, blank=True, default="")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="feature_key_once"),
            models.CheckConstraint(
                condition=models.Q(kind="metered", meter__isnull=False)
                | models.Q(kind__in=("boolean", "limit"), meter__isnull=True),
                name="feature_meter_if_metered",
            ),
        )

    def __str__(self) -> str:
        return self.key


class Coupon(TenantOwned):
    """A discount that may be redeemed by its key. What it takes off never changes (by trigger)."""

    ID_PREFIX = "cpn"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    # one of the two: per cent of what is left, or amounts by currency as decimal strings
    percentage = models.DecimalField(max_digits=9, decimal_places=6, null=True)
    amounts = models.JSONField(default=dict)
    duration = models.CharField(max_length=20, choices=[(d, d) for d in CouponDuration])
    periods = models.PositiveSmallIntegerField(null=True)  # null: forever
    target = models.CharField(max_length=20, choices=[(t, t) for t in CouponTarget])
    # what it is for, by key; everything where both are empty
    products = models.JSONField(default=list)
    charges = models.JSONField(default=list)
    priority = models.SmallIntegerField(default=0)  # the lowest first
    once_per_customer = models.BooleanField(default=True)
    max_redemptions = models.PositiveIntegerField(null=True)
    redeemed = models.PositiveIntegerField(default=0)
    redeem_until = models.DateTimeField(null=True)  # exclusive
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="coupon_key_once"),
            models.CheckConstraint(
                condition=models.Q(percentage__isnull=False, amounts={})
                | models.Q(percentage__isnull=True) & ~models.Q(amounts={}),
                name="coupon_takes_one_thing_off",
            ),
            models.CheckConstraint(
                condition=models.Q(percentage__isnull=True)
                | models.Q(percentage__gt=0, percentage__lte=100),
                name="coupon_percentage_bounded",
            ),
            models.CheckConstraint(
                condition=models.Q(duration="forever", periods__isnull=True)
                | models.Q(duration="once", periods=1)
                | models.Q(duration="periods", periods__gt=0),
                name="coupon_periods_as_duration",
            ),
            models.CheckConstraint(
                condition=models.Q(max_redemptions__isnull=True)
                | models.Q(max_redemptions__gt=0, redeemed__lte=models.F("max_redemptions")),
                name="coupon_not_redeemed_too_often",
            ),
        )

    def __str__(self) -> str:
        return self.key


class Plan(TenantOwned):
    """A product's way of being sold; what it costs is in its versions."""

    ID_PREFIX = "pla"

    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="plans")
    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField()
    archived_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("tenant", "key"), name="plan_key_once"),)

    def __str__(self) -> str:
        return self.key


class PlanVersion(Stateful, TenantOwned):
    """One price of a plan. Subscriptions pin it; once published nothing of it changes."""

    ID_PREFIX = "plv"

    status = models.CharField(
        max_length=20,
        choices=[(s, s) for s in PlanVersionStatus],
        default=PlanVersionStatus.DRAFT,
    )
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    published_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("plan", "number")
        constraints = (
            models.UniqueConstraint(fields=("plan", "number"), name="plan_version_once"),
            models.CheckConstraint(condition=models.Q(number__gt=0), name="plan_version_positive"),
            models.CheckConstraint(
                condition=models.Q(status="draft", published_at__isnull=True)
                | (~models.Q(status="draft") & models.Q(published_at__isnull=False)),
                name="plan_version_published_at",
            ),
        )

    def __str__(self) -> str:
        return f"{self.plan} v{self.number}"


class Phase(TenantOwned):
    """A stretch of a plan version: trial, discount, fixed term; the last may be evergreen."""

    ID_PREFIX = "pha"

    version = models.ForeignKey(PlanVersion, on_delete=models.CASCADE, related_name="phases")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=20, choices=[(k, k) for k in PhaseKind])
    name = models.CharField(max_length=200)
    # both null: it lasts until the subscription ends
    length_unit = models.CharField(max_length=10, choices=[(u, u) for u in Unit], null=True)
    length_count = models.PositiveSmallIntegerField(null=True)

    class Meta:
        ordering = ("version", "position")
        constraints = (
            models.UniqueConstraint(fields=("version", "position"), name="phase_position_once"),
            models.CheckConstraint(
                condition=models.Q(kind="evergreen", length_unit__isnull=True)
                | (~models.Q(kind="evergreen") & models.Q(length_unit__isnull=False)),
                name="phase_length_unless_evergreen",
            ),
            models.CheckConstraint(
                condition=models.Q(length_unit__isnull=True, length_count__isnull=True)
                | models.Q(length_unit__isnull=False, length_count__gt=0),
                name="phase_length_whole",
            ),
        )

    def __str__(self) -> str:
        return f"{self.version} {self.name}"


class Charge(TenantOwned):
    """One priced part of a phase."""

    ID_PREFIX = "chg"

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="charges")
    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=20, choices=[(k, k) for k in ChargeKind])
    # null for fixed charges, which have no period
    period_unit = models.CharField(max_length=10, choices=[(u, u) for u in Unit], null=True)
    period_count = models.PositiveSmallIntegerField(null=True)
    timing = models.CharField(max_length=10, choices=[(t, t) for t in Timing])
    prorated = models.BooleanField(default=True)
    # how parts of a period are told where it is prorated; null: as the tenant does
    proration = models.CharField(max_length=10, choices=[(b, b) for b in Basis], null=True)
    meter_version = models.ForeignKey(
        MeterVersion, null=True, on_delete=models.PROTECT, related_name="charges"
    )
    included_quantity = models.DecimalField(max_digits=38, decimal_places=12, default=0)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("phase", "position")
        constraints = (
            models.UniqueConstraint(fields=("phase", "key"), name="charge_key_once"),
            models.CheckConstraint(
                condition=models.Q(kind="usage", meter_version__isnull=False, timing="arrears")
                | (~models.Q(kind="usage") & models.Q(meter_version__isnull=True)),
                name="charge_meter_for_usage",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    kind="fixed", period_unit__isnull=True, period_count__isnull=True
                )
                | (
                    ~models.Q(kind="fixed")
                    & models.Q(period_unit__isnull=False, period_count__gt=0)
                ),
                name="charge_period_unless_fixed",
            ),
            models.CheckConstraint(
                condition=models.Q(included_quantity__gte=0), name="charge_included_not_negative"
            ),
        )

    def __str__(self) -> str:
        return self.key


class ChargePrice(TenantOwned):
    """What a charge costs in one currency, on the standard list (null) or a price list."""

    ID_PREFIX = "prc"

    charge = models.ForeignKey(Charge, on_delete=models.CASCADE, related_name="prices")
    price_list = models.ForeignKey(
        PriceList, null=True, on_delete=models.PROTECT, related_name="prices"
    )
    currency = models.CharField(max_length=3)
    pricing = models.JSONField()  # rating.pricing's document
    minimum = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    maximum = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    billing_threshold = models.DecimalField(max_digits=38, decimal_places=12, null=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("charge", "price_list", "currency"),
                name="charge_price_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(minimum__isnull=True) | models.Q(minimum__gte=0),
                name="price_minimum_not_negative",
            ),
            models.CheckConstraint(
                condition=models.Q(maximum__isnull=True)
                | models.Q(minimum__isnull=True, maximum__gte=0)
                | models.Q(maximum__gte=models.F("minimum")),
                name="price_maximum_above_minimum",
            ),
        )

    def __str__(self) -> str:
        return f"{self.charge} {self.currency}"


class PhaseFeature(TenantOwned):
    """What a phase grants of a feature; what it does not list, it does not grant."""

    ID_PREFIX = "phf"

    phase = models.ForeignKey(Phase, on_delete=models.CASCADE, related_name="features")
    feature = models.ForeignKey(Feature, on_delete=models.PROTECT, related_name="grants")
    # null: without limit, and always so for boolean ones
    limit = models.DecimalField(max_digits=38, decimal_places=12, null=True)

    class Meta:
        ordering = ("phase", "feature")
        constraints = (
            models.UniqueConstraint(fields=("phase", "feature"), name="phase_feature_once"),
            models.CheckConstraint(
                condition=models.Q(limit__isnull=True) | models.Q(limit__gte=0),
                name="feature_limit_not_negative",
            ),
        )

    def __str__(self) -> str:
        return f"{self.feature} of {self.phase}"


class PlanTransition(TenantOwned):
    """A rule for changes from one plan, product or anything to another.

    Of several the most specific holds; see ``queries.transition_between``. Without any, all is
    allowed.
    """

    ID_PREFIX = "ptr"

    # of each side one or none: none is any plan
    from_plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+")
    from_product = models.ForeignKey(Product, null=True, on_delete=models.PROTECT, related_name="+")
    to_plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+")
    to_product = models.ForeignKey(Product, null=True, on_delete=models.PROTECT, related_name="+")
    allowed = models.BooleanField()
    reason = models.CharField(max_length=500, blank=True, default="")  # told where it refuses
    # what holds where who asks for the change says nothing
    effective = models.CharField(max_length=20, choices=[(t, t) for t in TransitionTiming])
    behaviour = models.CharField(max_length=20, choices=[(b, b) for b in Behaviour])
    phase_alignment = models.CharField(max_length=20, choices=[(a, a) for a in PhaseAlignment])
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "from_plan", "from_product", "to_plan", "to_product"),
                name="transition_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(from_plan__isnull=True) | models.Q(from_product__isnull=True),
                name="transition_from_one",
            ),
            models.CheckConstraint(
                condition=models.Q(to_plan__isnull=True) | models.Q(to_product__isnull=True),
                name="transition_to_one",
            ),
            models.CheckConstraint(
                condition=~models.Q(behaviour="next_period"), name="transition_says_when_once"
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self._side(self.from_plan, self.from_product)}"
            f" to {self._side(self.to_plan, self.to_product)}"
        )

    @staticmethod
    def _side(plan: Plan | None, product: Product | None) -> str:
        if plan is not None:
            return f"the plan {plan.key}"
        return "any plan" if product is None else f"any plan of {product.key}"


class AddOnOffer(TenantOwned):
    """Which add-ons subscriptions on a plan, or on any plan of a product, may have, and how many.

    What nothing offers cannot be added. The most specific offer holds; see ``queries.offer_of``.
    """

    ID_PREFIX = "aof"

    base_plan = models.ForeignKey(Plan, null=True, on_delete=models.PROTECT, related_name="+")
    base_product = models.ForeignKey(Product, null=True, on_delete=models.PROTECT, related_name="+")
    # any plan of this add-on
    product = models.ForeignKey(Product, on_delete=models.PROTECT, related_name="offers")
    least = models.DecimalField(max_digits=38, decimal_places=12, default=1)
    most = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "base_plan", "base_product", "product"),
                name="offer_once",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(base_plan__isnull=True, base_product__isnull=False)
                | models.Q(base_plan__isnull=False, base_product__isnull=True),
                name="offer_of_one_base",
            ),
            models.CheckConstraint(
                condition=models.Q(least__gte=1)
                & (models.Q(most__isnull=True) | models.Q(most__gte=models.F("least"))),
                name="offer_limits",
            ),
        )

    def __str__(self) -> str:
        return f"{self.product} for {self.base_plan or self.base_product}"
