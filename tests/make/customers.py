"""Customers for tests, made by the operation."""

from datetime import datetime
from typing import Any

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.customers.operations import create_customer
from apps.tenants.models import Tenant
from tests.make.tenants import ACTOR, AT, make_tenant


def make_customer(tenant: Tenant | None = None, *, at: datetime = AT, **values: Any) -> Customer:
    """Return a new customer, of a new tenant unless one is given; USD and UTC unless said."""
    owner = tenant or make_tenant()
    with tenant_scope(owner.id):
        return create_customer(
            owner.id,
            id=values.pop("id", None) or new_id(),
            actor=ACTOR,
            at=at,
            **{
                "name": "Globex",
                "email": "billing@globex.example",
                "currency": owner.currency,
                "zone": owner.zone,
                **values,
            },
        )
