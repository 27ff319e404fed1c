"""Reading rates."""

from uuid import UUID

from django.db.models import QuerySet

from apps.taxes.domain import RateTerms
from apps.taxes.models import TaxRate

_TERMS = (
    "id",
    "tax",
    "name",
    "percentage",
    "country",
    "region",
    "tax_code",
    "valid_from",
    "valid_until",
)


def tax_rates_for(tenant_id: UUID) -> QuerySet[TaxRate]:
    """Return all rates of the tenant, archived ones too."""
    return TaxRate.objects.filter(tenant_id=tenant_id)


def rates_of(tenant_id: UUID) -> list[RateTerms]:
    """Return the rates of the tenant that may apply to something new, whatever their time."""
    rows = tax_rates_for(tenant_id).filter(archived_at__isnull=True).order_by("id")
    return [RateTerms(*row) for row in rows.values_list(*_TERMS)]
