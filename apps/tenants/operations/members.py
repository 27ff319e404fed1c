"""Who may act for a company, and as what."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.tenancy import tenant_scope
from apps.tenants.domain import (
    EVERYTHING,
    ROLE_SCOPES,
    LastOwner,
    MemberExists,
    Mode,
    Role,
    refuse_beyond,
)
from apps.tenants.models import Membership, Operator, Tenant
from apps.tenants.operations.locking import locked_tenant


@transaction.atomic
def add_member(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    email: str,
    role: Role,
    name: str = "",
    held: Collection[str] = EVERYTHING,
    actor: str,
    at: datetime,
) -> Membership:
    """Give the operator with this e-mail address a role at the company, in both modes.

    Somebody unknown becomes an operator without a password, who cannot log in until an operator
    of the installation sets one. A repeat with the same ``id`` returns the membership. ``held``
    are the scopes of whoever asks. Raises ``ScopeBeyondOwn`` and ``MemberExists``.
    """
    live = _locked_live(tenant_id)
    known = Membership.objects.select_related("operator").filter(pk=id, tenant=live).first()
    if known is not None:
        return known
    refuse_beyond(held, ROLE_SCOPES[role])
    operator = Operator.objects.filter(email=email.lower()).first()
    if operator is None:
        operator = Operator.objects.create_user(email, name=name)
    if Membership.objects.filter(tenant=live, operator=operator).exists():
        raise MemberExists(f"{operator.email} is a member already.", field="email")
    member = Membership.objects.create(id=id, tenant=live, operator=operator, role=role)
    with tenant_scope(live.id):
        record(
            "member.added", member, actor=actor, at=at, operator=operator.public_id, role=str(role)
        )
    return member


@transaction.atomic
def change_role(
    member_id: UUID,
    *,
    role: Role,
    held: Collection[str] = EVERYTHING,
    actor: str,
    at: datetime,
) -> Membership:
    """Give a member another role, from the next request on.

    ``held`` are the scopes of whoever asks; they must cover both roles. Raises ``ScopeBeyondOwn``
    and ``LastOwner``.
    """
    member = _locked_member(member_id)
    if member.role == role:
        return member
    refuse_beyond(held, ROLE_SCOPES[Role(member.role)] | ROLE_SCOPES[role])
    _keep_an_owner(member)
    was, member.role = member.role, role
    member.save(update_fields=["role"])
    with tenant_scope(member.tenant_id):
        record("member.changed", member, actor=actor, at=at, role=str(role), was=str(was))
    return member


@transaction.atomic
def remove_member(
    member_id: UUID, *, held: Collection[str] = EVERYTHING, actor: str, at: datetime
) -> None:
    """Take a member's role away, from the next request on.

    ``held`` are the scopes of whoever asks. Raises ``ScopeBeyondOwn`` and ``LastOwner``.
    """
    member = _locked_member(member_id)
    refuse_beyond(held, ROLE_SCOPES[Role(member.role)])
    _keep_an_owner(member)
    with tenant_scope(member.tenant_id):
        record(
            "member.removed",
            member,
            actor=actor,
            at=at,
            operator=member.operator.public_id,
            role=str(member.role),
        )
    member.delete()


def _locked_live(tenant_id: UUID) -> Tenant:
    tenant = (
        Tenant.objects.select_for_update(no_key=True)
        .filter(Q(pk=tenant_id) | Q(twin=tenant_id), mode=Mode.LIVE)
        .first()
    )
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def _locked_member(member_id: UUID) -> Membership:
    # the tenant's row first: it guards that an owner is left
    found = Membership.objects.filter(pk=member_id).values_list("tenant_id", flat=True).first()
    if found is not None:
        locked_tenant(found)
    member = Membership.objects.select_related("operator").filter(pk=member_id).first()
    if member is None:
        raise NotFound("There is no such member.")
    return member


def _keep_an_owner(member: Membership) -> None:
    if member.role != Role.OWNER:
        return
    others = Membership.objects.filter(tenant=member.tenant_id, role=Role.OWNER)
    if not others.exclude(pk=member.pk).exists():
        raise LastOwner("A tenant keeps at least one owner; make somebody else an owner first.")
