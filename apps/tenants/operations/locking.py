"""The lock under which a company is changed."""

from uuid import UUID

from apps.core.errors import NotFound
from apps.tenants.models import Tenant


def locked_tenant(tenant_id: UUID) -> Tenant:
    """Return the tenant, whose row the transaction holds from now on. Raises ``NotFound``."""
    tenant = Tenant.objects.select_for_update(no_key=True).filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant
