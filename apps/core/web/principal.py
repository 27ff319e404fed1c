"""Who asks, for which tenant, with which rights, at what time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``actor`` is what the audit trail will say.

    A scope is ``<resource>:read`` or ``<resource>:write``; write includes read, ``*`` stands for
    every resource. ``at`` is the instant of the request on the tenant's clock. ``twin_id`` is the
    tenant's other mode, and ``operator_id`` the person, if it is one.
    """

    actor: str
    tenant_id: UUID
    scopes: frozenset[str]
    at: datetime
    twin_id: UUID | None = None
    operator_id: UUID | None = None
    is_authenticated: bool = True

    def may(self, resource: str, access: str) -> bool:
        """Say whether the caller may ``read`` or ``write`` the resource."""
        return allows(self.scopes, resource, access)


def allows(scopes: frozenset[str], resource: str, access: str) -> bool:
    """Say whether the scopes include ``read`` or ``write`` of the resource."""
    wanted = {f"{resource}:{access}", f"*:{access}"}
    if access == "read":
        wanted |= {f"{resource}:write", "*:write"}
    return not wanted.isdisjoint(scopes)
