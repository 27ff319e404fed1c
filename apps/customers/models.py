"""Who is billed."""

from django.db import models

from apps.customers.domain import TaxExempt
from apps.tenants.models import TenantOwned, TestClock


class Customer(TenantOwned):
    """A billed party. Issued documents keep their own copy of what they show of it."""

    ID_PREFIX = "cus"

    external_id = models.CharField(max_length=255, null=True)  # the caller's own id
    name = models.CharField(max_length=200)
    email = models.EmailField(blank=True, default="")
    currency = models.CharField(max_length=3)
    zone = models.CharField(max_length=64)  # periods are computed in it
    address = models.JSONField(default=dict)  # line1, line2, city, postal_code, state, country
    tax_exempt = models.CharField(
        max_length=20, choices=[(e, e) for e in TaxExempt], default=TaxExempt.NONE
    )
    tax_exempt_reason = models.CharField(max_length=200, blank=True, default="")
    metadata = models.JSONField(default=dict)
    payment_provider = models.CharField(max_length=20, blank=True, default="")
    payment_provider_customer_id = models.CharField(max_length=255, blank=True, default="")
    # a customer on a test clock is left alone by what runs in real time
    test_clock = models.ForeignKey(
        TestClock, null=True, on_delete=models.PROTECT, related_name="customers"
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(
                fields=("tenant", "external_id"), name="customer_external_id_once"
            ),
            models.CheckConstraint(
                condition=models.Q(tax_exempt="none", tax_exempt_reason="")
                | models.Q(tax_exempt__in=["exempt", "reverse_charge"]),
                name="customer_tax_exempt_known",
            ),
        )
        indexes = (models.Index(fields=("tenant", "-id"), name="customers_newest"),)

    def __str__(self) -> str:
        return self.name


class TaxId(TenantOwned):
    """A customer's tax number, checked for form."""

    ID_PREFIX = "txi"

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="tax_ids")
    kind = models.CharField(max_length=20)  # "eu_vat", "us_ein", …
    value = models.CharField(max_length=40)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("customer", "kind", "value"), name="tax_id_once"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"
