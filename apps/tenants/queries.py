"""Who a caller is, and what belongs to a tenant."""

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils.crypto import constant_time_compare

from apps.core.errors import NotFound
from apps.core.ids import decode, is_id
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
from apps.tenants.models import ApiKey, Membership, Operator, Tenant
from apps.tenants.secrets import has_shape, hash_of

# what operators of the installation act for where no tenant is named
INSTALLATION: Final = UUID(int=0)
_NOT_A_MEMBER: Final = "You have no role at this tenant, or there is no such tenant."


def tenant_of(tenant_id: UUID) -> Tenant:
    """Return the tenant, with its clock; ``NotFound`` if there is none."""
    tenant = Tenant.objects.select_related("test_clock").filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def tenant_named(name: str, mode: Mode | None = None) -> Tenant:
    """Return the tenant with this id or slug; ``NotFound`` if there is none.

    Without ``mode`` a slug means the live tenant, and an id the one that has it.
    """
    tenant = Tenant.objects.select_related("test_clock").filter(_named(name, mode)).first()
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
    """Return the key with its tenant, in one lookup.

    Raises ``ApiKeyInvalid``, ``ApiKeyRevoked`` or ``ApiKeyExpired``. Nothing is cached, so a key
    revoked a moment ago is refused.
    """
    if not has_shape(secret):
        raise ApiKeyInvalid("This is not an API key; keys begin with sk_live_ or sk_test_.")
    key = ApiKey.objects.select_related("tenant__test_clock").filter(hash=hash_of(secret)).first()
    if key is None:
        raise ApiKeyInvalid("There is no such API key.")
    if key.revoked_at is not None:
        raise ApiKeyRevoked(f"The API key {key.hint} has been revoked.")
    if key.expires_at is not None and key.expires_at <= wall:
        raise ApiKeyExpired(f"The API key {key.hint} has expired.")
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
    role = Membership.objects.filter(
        Q(tenant=OuterRef("pk")) | Q(tenant=OuterRef("twin")), operator=operator
    )
    tenant = (
        Tenant.objects.filter(_named(tenant_name, mode))
        .select_related("test_clock")
        .annotate(role=Subquery(role.values("role")[:1]))
        .first()
    )
    if tenant is None or (tenant.role is None and not operator.is_superuser):
        raise NotAMember(_NOT_A_MEMBER)
    held = Role.OWNER if operator.is_superuser else Role(tenant.role)
    return Principal(
        actor=f"{ACTOR_OPERATOR}:{operator.public_id}",
        tenant_id=tenant.id,
        scopes=ROLE_SCOPES[held],
        at=tenant_now(tenant, wall=wall),
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
    own = Membership.objects.filter(operator=operator).values("tenant")
    return Tenant.objects.filter(Q(pk__in=own) | Q(twin__in=own))


def tenants_visible_to(principal: Principal) -> QuerySet[Tenant]:
    """Return the tenants that the caller may see: an operator all of his, a key its own."""
    if principal.operator_id is None:
        return Tenant.objects.filter(pk=principal.tenant_id)
    return tenants_of(Operator.objects.get(pk=principal.operator_id))


def only_tenant_of(operator: Operator) -> UUID | None:
    """Return the live tenant where the operator works, if there is exactly one."""
    found = Membership.objects.filter(operator=operator).values_list("tenant_id", flat=True)[:2]
    return found[0] if len(found) == 1 else None


def members_of(tenant: Tenant) -> QuerySet[Membership]:
    """Return who works for the company, seen from either of its modes."""
    return Membership.objects.filter(tenant_id__in=(tenant.pk, tenant.twin_id)).select_related(
        "operator"
    )
