"""Who may do what: modes, roles and the scopes they carry."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Final

from apps.core.errors import Conflict, Forbidden, Invalid, Unauthenticated


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


class BoundsApplied(StrEnum):
    """Whether minimums and maximums of usage charges are for what discounts leave."""

    AFTER_DISCOUNTS = "after_discounts"
    BEFORE_DISCOUNTS = "before_discounts"  # discounts are taken off what they leave


class TaxRounding(StrEnum):
    """What of a document tax is rounded on."""

    PER_RATE = "per_rate"  # once on the sum of the lines that a rate applies to
    PER_LINE = "per_line"


class CreditTaxed(StrEnum):
    """When prepaid credit is taxed."""

    ON_USE = "on_use"  # the purchase is not, what it pays is
    ON_PURCHASE = "on_purchase"  # what it pays is not taxed again


# what no document of a new tenant exceeds: whatever the currency, a mistake rather than a debt
LARGEST_DOCUMENT: Final = Decimal(10**12)


def default_retry_days() -> list[int]:
    """Return on which days after the first failure a new tenant collects again."""
    return [1, 3, 7]


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
    "taxes",
    "catalog",
    "subscriptions",
    "wallets",
    "invoices",
    "payments",
    "ledger",
    "audit",
    "jobs",
)

# what somebody holds who may do everything, such as whoever sits at the server
EVERYTHING: Final = frozenset({"*:read", "*:write"})
_ALL_READ: Final = frozenset({"*:read"})
ROLE_SCOPES: Final[Mapping[Role, frozenset[str]]] = {
    Role.OWNER: EVERYTHING,
    Role.ADMIN: _ALL_READ
    | {f"{resource}:write" for resource in RESOURCES if resource != "tenants"},
    Role.FINANCE: _ALL_READ
    | {"invoices:write", "payments:write", "customers:write", "wallets:write", "taxes:write"},
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


ACTOR_OPERATOR: Final = "operator"
ACTOR_API_KEY: Final = "api_key"


class ApiKeyInvalid(Unauthenticated):
    """The text is no key of ours, or of nobody any more."""

    reason = "api_key_invalid"


class ApiKeyRevoked(Unauthenticated):
    reason = "api_key_revoked"


class ApiKeyExpired(Unauthenticated):
    reason = "api_key_expired"


class ApiKeyInUrl(Unauthenticated):
    """URLs are kept by logs, browsers and proxies; a key in one is no longer a secret."""

    reason = "api_key_in_url"


class TokenInvalid(Unauthenticated):
    reason = "token_invalid"


class TokenExpired(Unauthenticated):
    reason = "token_expired"


class WrongRealm(Unauthenticated):
    """A credential of another door: of the portal, or a session of the admin site."""

    reason = "wrong_realm"


class LoginFailed(Unauthenticated):
    """E-mail or password is wrong, or the operator may not log in; which, is not told."""

    reason = "login_failed"


class LoginLocked(Unauthenticated):
    """Too many tries for this e-mail address, known or not."""

    reason = "login_locked"


class SecondFactorRequired(Unauthenticated):
    """The password is right; the code is missing."""

    reason = "second_factor_required"


class SecondFactorWrong(Unauthenticated):
    reason = "second_factor_wrong"


class SecondFactorMissing(Unauthenticated):
    """Everybody has to have a second factor here, and this operator has none."""

    reason = "second_factor_missing"


class InstallationOnly(Forbidden):
    """Only an operator of the installation creates tenants; no tenant's key or member does."""

    reason = "installation_only"


class NotAMember(Forbidden):
    """The operator has no role at the tenant, or there is no such tenant; which, is not told."""

    reason = "not_a_member"


class ScopeBeyondOwn(Forbidden):
    """Nobody can give away a right that he does not have."""

    reason = "scope_beyond_own"


class CreditTaxedFixed(Conflict):
    """Credit has been sold by the setting; what was taxed then, or was not, stays so."""

    reason = "credit_taxed_fixed"


class SlugTaken(Conflict):
    reason = "slug_taken"


class MemberExists(Conflict):
    reason = "member_exists"


class LastOwner(Conflict):
    """A tenant keeps at least one owner."""

    reason = "last_owner"


class KeyNotActive(Conflict):
    """A revoked, expired or replaced key cannot be rotated."""

    reason = "api_key_not_active"


class JobNotDead(Conflict):
    """Only a job that ran out of attempts can be revived."""

    reason = "job_not_dead"


class ClockOnLive(Conflict):
    reason = "clock_on_live"


class ClockBackwards(Conflict):
    reason = "clock_backwards"


class ClockAhead(Conflict):
    """Real time has not come to where the clock stands."""

    reason = "clock_ahead"


class ClockAttached(Conflict):
    """A tenant lives on one clock at a time, and leaves it only for real time."""

    reason = "clock_attached"


class ScopeUnknown(Invalid):
    reason = "scope_unknown"


class ExpiryPast(Invalid):
    reason = "expiry_past"


def covers(held: Iterable[str], wanted: Iterable[str]) -> bool:
    """Say whether someone who holds the scopes ``held`` has every one of ``wanted``."""
    have = frozenset(held)
    return all(
        not have.isdisjoint(_sources(resource, access))
        for resource, _, access in (scope.partition(":") for scope in wanted)
    )


def refuse_beyond(held: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise ``ScopeBeyondOwn`` unless ``held`` covers ``wanted``."""
    have = frozenset(held)
    missing = sorted(scope for scope in wanted if not covers(have, [scope]))
    if missing:
        raise ScopeBeyondOwn(f"You cannot give what you do not have: {', '.join(missing)}.")


def _sources(resource: str, access: str) -> frozenset[str]:
    accesses = ("write",) if access == "write" else ("read", "write")
    return frozenset(f"{name}:{one}" for name in (resource, "*") for one in accesses)
