"""What credit is counted in, and what usage takes of it."""

from django.db import models

from apps.metering.models import Meter
from apps.tenants.models import TenantOwned
from apps.wallets.models.columns import figure


class CreditUnit(TenantOwned):
    """Credit that is no money, such as tokens: how finely it is granted, and what one is worth.

    Key, precision, currency and rate never change: credit that was sold would change its worth.
    """

    ID_PREFIX = "cru"

    key = models.CharField(max_length=100)
    name = models.CharField(max_length=200)
    precision = models.PositiveSmallIntegerField(default=0)
    currency = models.CharField(max_length=3)
    rate = figure()  # of one unit in the currency; zero: worth nothing in the books
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
    price = figure()
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
