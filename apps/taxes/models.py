"""What tax applies. A rate is a definition: it may be ended and succeeded, never edited."""

from django.db import models

from apps.tenants.models import TenantOwned


class TaxRate(TenantOwned):
    """A rate of a tax, added to amounts that are without it.

    It applies at a place (empty: anywhere), to products with a tax code (empty: all), in
    ``[valid_from, valid_until)`` (null: open), until it is archived. A trigger lets nothing of it
    change but its end and its archiving, and lets no two of a tax stand for the same.
    """

    ID_PREFIX = "txr"

    key = models.CharField(max_length=100)
    tax = models.CharField(max_length=40)  # "vat": of one tax, one rate applies
    name = models.CharField(max_length=100)  # as documents print it
    percentage = models.DecimalField(max_digits=9, decimal_places=6)
    country = models.CharField(max_length=2, blank=True, default="")
    region = models.CharField(max_length=100, blank=True, default="")
    tax_code = models.CharField(max_length=40, blank=True, default="")
    valid_from = models.DateTimeField(null=True)
    valid_until = models.DateTimeField(null=True)
    archived_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("tenant", "key"), name="tax_rate_key_once"),
            models.CheckConstraint(
                condition=models.Q(percentage__gte=0, percentage__lte=100),
                name="tax_rate_percentage_range",
            ),
            models.CheckConstraint(
                condition=models.Q(region="") | ~models.Q(country=""),
                name="tax_rate_region_in_country",
            ),
            models.CheckConstraint(
                condition=models.Q(valid_from__isnull=True)
                | models.Q(valid_until__isnull=True)
                | models.Q(valid_until__gt=models.F("valid_from")),
                name="tax_rate_forward",
            ),
        )

    def __str__(self) -> str:
        return self.name
