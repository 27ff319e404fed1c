"""What the operators' desk keeps: the results of checking the books."""

from django.db import models

from apps.tenants.models import TenantOwned


class BooksCheck(TenantOwned):
    """One check of a tenant's books: how many rows there were that must not exist."""

    ID_PREFIX = "chk"

    checked_at = models.DateTimeField()
    breaches = models.PositiveIntegerField()
    details = models.JSONField(default=list)  # the first of them, a sentence each

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("tenant", "-id"), name="checks_newest"),)

    def __str__(self) -> str:
        return f"{self.breaches or 'no'} breaches"
