"""Tenants, keys, operators and clocks for tests, made by the operations."""

from collections.abc import Collection
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import Final

from django.contrib.auth.hashers import make_password

from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.tenancy import current_tenant, enter_tenant, tenant_scope
from apps.tenants.domain import Mode, Role
from apps.tenants.models import Membership, Operator, Tenant, TestClock
from apps.tenants.operations import (
    add_member,
    attach_clock,
    create_api_key,
    create_clock,
    create_tenant,
    mark_key_used,
)

ACTOR: Final = "system:test"
AT: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)
PASSWORD: Final = "correct horse battery"  # noqa: S105 -- of people who only exist in tests
_numbers = count(1)


def make_tenant(
    *,
    slug: str | None = None,
    name: str = "Acme",
    currency: str = "USD",
    zone: str = "UTC",
    mode: Mode = Mode.LIVE,
) -> Tenant:
    """Return a new tenant: the live one, or its test twin if asked for.

    The first tenant of a test is the one in whose scope the test goes on; what concerns another
    is for ``with tenant_scope(other.id)``.
    """
    live = create_tenant(
        id=new_id(),
        slug=slug or f"acme-{next(_numbers)}",
        name=name,
        currency=currency,
        zone=zone,
        actor=ACTOR,
        at=AT,
    )
    made = live if mode == Mode.LIVE else Tenant.objects.get(pk=live.twin_id)
    if current_tenant() is None:
        enter_tenant(made.id)
    return made


def make_key(
    tenant: Tenant,
    *,
    scopes: Collection[str] = ("*:read", "*:write"),
    expires_at: datetime | None = None,
) -> str:
    """Return the secret of a new key of the tenant.

    It counts as just used, so that its first request takes no more queries than the next.
    """
    with tenant_scope(tenant.id):
        key, secret = create_api_key(
            tenant.id,
            id=new_id(),
            name="test",
            scopes=scopes,
            expires_at=expires_at,
            actor=ACTOR,
            at=AT,
        )
        mark_key_used(key, wall=now())
    return secret


def make_clock(tenant: Tenant, *, at: datetime = AT, attach: bool = False) -> TestClock:
    """Return a new clock of a tenant in test mode; with ``attach`` the tenant lives on it."""
    with tenant_scope(tenant.id):
        clock = create_clock(tenant.id, id=new_id(), name="clock", now=at, actor=ACTOR, at=AT)
        if attach:
            attach_clock(tenant.id, clock.id, actor=ACTOR, at=AT)
    return clock


def make_operator(*, email: str | None = None, is_superuser: bool = False) -> Operator:
    """Return a new operator whose password is ``PASSWORD``."""
    return Operator.objects.create(
        email=email or f"operator-{next(_numbers)}@example.com",
        password=_hashed_password(),
        is_superuser=is_superuser,
        is_staff=True,
    )


@cache
def _hashed_password() -> str:
    """Hash it once; that is slow on purpose."""
    return make_password(PASSWORD)


def make_member(tenant: Tenant, *, role: Role = Role.OWNER) -> Membership:
    """Return the membership of a new operator at the tenant."""
    operator = make_operator()
    with tenant_scope(tenant.id):
        return add_member(
            tenant.id, id=new_id(), email=operator.email, role=role, actor=ACTOR, at=AT
        )
