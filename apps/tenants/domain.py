"""Who may do what: modes, roles and the scopes they carry."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from apps.core.errors import Conflict, Unauthenticated


class Mode(StrEnum):
    """Live money, or a sandbox with its own customers, keys and clock."""

    LIVE = "live"
    TEST = "test"


class Role(StrEnum):
    """What an operator is at a tenant."""

    OWNER = "owner"
    ADMIN = "admin"
    FINANCE = "finance"
    SUPPORT = "support"
    DEVELOPER = "developer"
    READ_ONLY = "read_only"


class LateUsagePolicy(StrEnum):
    """What happens when usage changes inside a period that has been invoiced."""

    NEXT_INVOICE = "next_invoice"
    CREDIT_MEMO = "credit_memo"
    ASK = "ask"


# Every resource that a door names. A scope is "<resource>:read" or "<resource>:write".
RESOURCES: Final = (
    "tenants",
    "api_keys",
    "members",
    "test_clocks",
    "customers",
    "meters",
    "events",
    "usage",
    "catalog",
    "subscriptions",
    "invoices",
    "payments",
    "ledger",
    "audit",
    "jobs",
)

_ALL_READ: Final = frozenset({"*:read"})
ROLE_SCOPES: Final[Mapping[Role, frozenset[str]]] = {
    Role.OWNER: frozenset({"*:read", "*:write"}),
    Role.ADMIN: _ALL_READ
    | {f"{resource}:write" for resource in RESOURCES if resource != "tenants"},
    Role.FINANCE: _ALL_READ | {"invoices:write", "payments:write", "customers:write"},
    Role.SUPPORT: _ALL_READ | {"customers:write", "subscriptions:write", "events:write"},
    Role.DEVELOPER: _ALL_READ
    | {
        "api_keys:write",
        "meters:write",
        "events:write",
        "catalog:write",
        "test_clocks:write",
        "jobs:write",
    },
    Role.READ_ONLY: _ALL_READ,
}
SCOPES: Final = frozenset(
    f"{resource}:{access}" for resource in (*RESOURCES, "*") for access in ("read", "write")
)


class ApiKeyInvalid(Unauthenticated):
    reason = "api_key_invalid"


class ApiKeyRevoked(Unauthenticated):
    reason = "api_key_revoked"


class ApiKeyExpired(Unauthenticated):
    reason = "api_key_expired"


class ApiKeyInUrl(Unauthenticated):
    reason = "api_key_in_url"


class WrongRealm(Unauthenticated):
    reason = "wrong_realm"


class LoginFailed(Unauthenticated):
    reason = "login_failed"


class ClockOnLive(Conflict):
    reason = "clock_on_live"


class ClockBackwards(Conflict):
    reason = "clock_backwards"
