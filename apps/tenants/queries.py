"""Who a caller is, and what belongs to a tenant."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import CharField, Model, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.utils.crypto import constant_time_compare
from psycopg import sql

from apps.core.errors import NotFound
from apps.core.ids import decode, is_id
from apps.core.tenancy import tenant_scope
from apps.core.web.principal import Principal
from apps.tenants import tokens
from apps.tenants.domain import (
    ACTOR_API_KEY,
    ACTOR_OPERATOR,
    ROLE_SCOPES,
    ApiKeyExpired,
    ApiKeyInvalid,
    ApiKeyRevoked,
    Mode,
    NotAMember,
    Role,
    TokenInvalid,
)
from apps.tenants.models import ApiKey, Membership, Operator, Tenant, TestClock
from apps.tenants.secrets import has_shape, hash_of

# what operators of the installation act for where no tenant is named
INSTALLATION: Final = UUID(int=0)
_NOT_A_MEMBER: Final = "You have no role at this tenant, or there is no such tenant."


def _columns(model: type[Model]) -> list[str]:
    return [str(field.column) for field in model._meta.concrete_fields]


def tenant_of(tenant_id: UUID) -> Tenant:
    """Return the tenant, with its clock, in its scope; ``NotFound`` if there is none."""
    tenant = Tenant.objects.select_related("test_clock").filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def tenant_named(name: str, mode: Mode | None = None) -> Tenant:
    """Return the tenant with this id or slug; ``NotFound`` if there is none.

    Without ``mode`` a slug means the live tenant, and an id the one that has it.
    """
    tenant = Tenant.objects.filter(_named(name, mode)).first()
    if tenant is None:
        raise NotFound(f"There is no tenant {name[:64]!r}.")
    return tenant


def _named(name: str, mode: Mode | None) -> Q:
    if not is_id(Tenant.ID_PREFIX, name):
        return Q(slug=name, mode=mode or Mode.LIVE)
    pk = decode(Tenant.ID_PREFIX, name)
    return Q(pk=pk) if mode is None else Q(pk=pk, mode=mode) | Q(twin=pk, mode=mode)


def tenant_now(tenant: Tenant, *, wall: datetime) -> datetime:
    """Return what time it is for the tenant: on its clock if it has one, else ``wall``."""
    return tenant.test_clock.now if tenant.test_clock else wall


def api_key_for(secret: str, *, wall: datetime) -> ApiKey:
    """Return the key with its tenant and the tenant's clock, in one lookup, in whatever scope.

    Raises ``ApiKeyInvalid``, ``ApiKeyRevoked`` or ``ApiKeyExpired``. Nothing is cached, so a key
    revoked a moment ago is refused.
    """
    if not has_shape(secret):
        raise ApiKeyInvalid("This is not an API key; keys begin with sk_live_ or sk_test_.")
    key = key_with_hash(hash_of(secret))
    if key is None:
        raise ApiKeyInvalid("There is no such API key.")
    if key.revoked_at is not None:
        raise ApiKeyRevoked(f"The API key {key.hint} has been revoked.")
    if key.expires_at is not None and key.expires_at <= wall:
        raise ApiKeyExpired(f"The API key {key.hint} has expired.")
    return key


_ROWS: Final[Mapping[str, type[ApiKey | Tenant | TestClock]]] = {
    "key": ApiKey,
    "tenant": Tenant,
    "clock": TestClock,
}
_KEY: Final = sql.SQL("SELECT {} FROM tenants_key_by_hash(%s) AS found").format(
    sql.SQL(", ").join(
        sql.SQL("(found.{}).{}").format(sql.Identifier(name), sql.Identifier(column))
        for name, model in _ROWS.items()
        for column in _columns(model)
    )
)


def key_with_hash(digest: bytes) -> ApiKey | None:
    """Return the key, of whatever tenant, with its tenant and the clock that he lives on."""
    with connection.cursor() as cursor:
        cursor.execute(_KEY, [digest])
        row = cursor.fetchone()
    if row is None:
        return None
    values = iter(row)
    found: dict[str, Any] = {}
    for name, model in _ROWS.items():
        names = [field.attname for field in model._meta.concrete_fields]
        own = [next(values) for _ in names]
        found[name] = None if own[0] is None else model.from_db("default", names, own)
    key: ApiKey = found["key"]
    key.tenant = found["tenant"]
    key.tenant.test_clock = found["clock"]
    return key


def principal_of(key: ApiKey, *, wall: datetime) -> Principal:
    """Return the caller that ``key`` stands for."""
    return Principal(
        actor=f"{ACTOR_API_KEY}:{key.public_id}",
        tenant_id=key.tenant_id,
        scopes=frozenset(key.scopes),
        at=tenant_now(key.tenant, wall=wall),
        twin_id=key.tenant.twin_id,
    )


def principal_for_key(secret: str, *, wall: datetime) -> Principal:
    """Return the caller that the key ``secret`` stands for; raises as ``api_key_for`` does."""
    return principal_of(api_key_for(secret, wall=wall), wall=wall)


def operator_for_token(text: str, *, wall: datetime) -> tuple[Operator, tokens.Token]:
    """Return who holds the token, and what it says.

    Raises as ``tokens.read`` does, and ``TokenInvalid`` if the operator has been deactivated or
    his password has been changed since.
    """
    token = tokens.read(text, at=wall)
    operator = Operator.objects.filter(pk=token.operator_id, is_active=True).first()
    if operator is None or not constant_time_compare(
        token.stamp, tokens.password_stamp(operator.password)
    ):
        raise TokenInvalid("The token is not valid any more; log in again.")
    return operator, token


def principal_at(
    operator: Operator, tenant_name: str, mode: Mode | None, *, wall: datetime
) -> Principal:
    """Return the operator as caller for the tenant named by its id or slug.

    Without ``mode`` a slug means the live tenant, and an id the one that has it. Raises
    ``NotAMember`` if he has no role there; operators of the installation have every right.
    """
    tenant = with_roles(Tenant.objects.filter(_named(tenant_name, mode)), operator).first()
    role = Role.OWNER if operator.is_superuser else getattr(tenant, "role", None)
    if tenant is None or role is None:
        raise NotAMember(_NOT_A_MEMBER)
    with tenant_scope(tenant.id):
        at = tenant_now(tenant, wall=wall)
    return Principal(
        actor=f"{ACTOR_OPERATOR}:{operator.public_id}",
        tenant_id=tenant.id,
        scopes=ROLE_SCOPES[Role(role)],
        at=at,
        twin_id=tenant.twin_id,
        operator_id=operator.id,
    )


def principal_of_installation(operator: Operator, *, wall: datetime) -> Principal:
    """Return the operator as caller for no tenant: to see his tenants, or to create one."""
    scopes = {"tenants:read", "tenants:write"} if operator.is_superuser else {"tenants:read"}
    return Principal(
        actor=f"{ACTOR_OPERATOR}:{operator.public_id}",
        tenant_id=INSTALLATION,
        scopes=frozenset(scopes),
        at=wall,
        operator_id=operator.id,
    )


def tenants_of(operator: Operator) -> QuerySet[Tenant]:
    """Return the tenants, in both modes, that the operator may see: all if of the installation."""
    if operator.is_superuser:
        return Tenant.objects.all()
    return with_roles(Tenant.objects.all(), operator).exclude(Q(("role", None)))


def with_roles(tenants: QuerySet[Tenant], operator: Operator) -> QuerySet[Tenant]:
    """Add to tenants the ``role`` that the operator has there, or null, in whatever scope."""
    role = RawSQL(
        "SELECT role FROM tenants_roles_of(%s) AS held"
        " WHERE held.tenant_id IN (tenants_tenant.id, tenants_tenant.twin_id) LIMIT 1",
        [operator.pk],
        output_field=CharField(),
    )
    return tenants.annotate(role=role)


def tenants_visible_to(principal: Principal) -> QuerySet[Tenant]:
    """Return the tenants that the caller may see: an operator all of his, a key its own."""
    if principal.operator_id is None:
        return Tenant.objects.filter(pk=principal.tenant_id)
    return tenants_of(Operator.objects.get(pk=principal.operator_id))


def only_tenant_of(operator: Operator) -> UUID | None:
    """Return the live tenant where the operator works, if there is exactly one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id FROM tenants_roles_of(%s) LIMIT 2", [operator.pk])
        found = cursor.fetchall()
    return found[0][0] if len(found) == 1 else None


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    """Return who works for the company, seen from either of its modes."""
    return Membership.objects.filter(tenant_id__in=(tenant.pk, tenant.twin_id)).select_related(
        "operator"
    )
