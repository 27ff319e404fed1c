"""What the operator in front of the desk may see and do, tenant by tenant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.http import HttpRequest

from apps.core.web.principal import allows
from apps.tenants.domain import ACTOR_OPERATOR, ROLE_SCOPES, Role
from apps.tenants.models import Operator, Tenant
from apps.tenants.queries import tenants_of

_CACHE: Final = "desk.rights"


@dataclass(frozen=True, slots=True)
class Rights:
    """The tenants an operator works for and his scopes there.

    ``everywhere`` is a superuser: somebody who runs the installation.
    """

    everywhere: bool
    tenants: Mapping[UUID, Tenant]
    scopes: Mapping[UUID, frozenset[str]]

    def may(self, resource: str, access: str, tenant_id: UUID | None) -> bool:
        """Say whether the operator may ``read`` or ``write`` the resource of this tenant.

        What belongs to no tenant is the installation's: only for who runs it.
        """
        if self.everywhere:
            return True
        return tenant_id is not None and allows(
            self.scopes.get(tenant_id, frozenset()), resource, access
        )

    def may_somewhere(self, resource: str, access: str) -> bool:
        """Say whether there is any tenant where the operator may."""
        return self.everywhere or any(
            allows(scopes, resource, access) for scopes in self.scopes.values()
        )

    def tenants_with(self, resource: str) -> frozenset[UUID] | None:
        """Return the tenants whose rows of the resource he may read; None means all rows."""
        if self.everywhere:
            return None
        return frozenset(one for one in self.scopes if self.may(resource, "read", one))


def rights_of(request: HttpRequest) -> Rights:
    """Return the rights of who is logged in; read once per request."""
    known: Rights | None = request.META.get(_CACHE)
    if known is None:
        known = request.META[_CACHE] = _read_rights(request)
    return known


def _read_rights(request: HttpRequest) -> Rights:
    operator = request.user
    if not isinstance(operator, Operator) or not operator.is_active:
        return Rights(everywhere=False, tenants={}, scopes={})
    if operator.is_superuser:
        tenants = {one.id: one for one in Tenant.objects.order_by("slug", "mode")}
        return Rights(everywhere=True, tenants=tenants, scopes={})
    # a role at a company holds in both of its modes
    rows = list(tenants_of(operator).order_by("slug", "mode"))
    return Rights(
        everywhere=False,
        tenants={one.id: one for one in rows},
        scopes={one.id: ROLE_SCOPES[Role(getattr(one, "role"))] for one in rows},  # noqa: B009
    )


def actor_of(request: HttpRequest) -> str:
    """Return the operator as the audit trail names him."""
    operator = request.user
    if not isinstance(operator, Operator):
        raise TypeError("the desk is open to operators only")
    return f"{ACTOR_OPERATOR}:{operator.public_id}"
