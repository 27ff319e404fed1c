"""Tax rates for tests, made by the operation."""

from decimal import Decimal
from typing import Any

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.taxes.models import TaxRate
from apps.taxes.operations import create_tax_rate
from apps.tenants.models import Tenant
from tests.make.tenants import ACTOR, AT

BERLIN = {"line1": "Hauptstr. 1", "city": "Berlin", "country": "DE"}


def make_tax_rate(tenant: Tenant, percentage: str = "19", **values: Any) -> TaxRate:
    """Return a new rate of the tenant: a VAT that applies everywhere unless said otherwise."""
    with tenant_scope(tenant.id):
        return create_tax_rate(
            tenant.id,
            id=values.pop("id", None) or new_id(),
            percentage=Decimal(percentage),
            actor=ACTOR,
            at=AT,
            **{"key": "vat", "tax": "vat", "name": f"VAT {percentage} %", **values},
        )
