"""How far events have been read."""

from django.db import models

from apps.customers.models import Customer
from apps.tenants.models import TenantOwned


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
