"""Who asks, for which tenant, with which rights, at what time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller. ``actor`` is what the audit trail will say.

    A scope is ``<resource>:read`` or ``<resource>:write``; write includes read, ``*`` stands for
    every resource. ``at`` is the instant of the request on the tenant's clock.
    """

    actor: str
    tenant_id: UUID
    scopes: frozenset[str]
    at: datetime
    is_authenticated: bool = True

    def may(self, resource: str, access: str) -> bool:
        """Say whether the caller may ``read`` or ``write`` the resource."""
        wanted = {f"{resource}:{access}", f"*:{access}"}
        if access == "read":
            wanted |= {f"{resource}:write", "*:write"}
        return not wanted.isdisjoint(self.scopes)
