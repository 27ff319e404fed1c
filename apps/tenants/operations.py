"""What is done to tenants, their keys, members and clocks."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from apps.core.errors import NotFound
from apps.core.events import Happening, record, record_all
from apps.core.ids import new_id
from apps.core.jobs import revive
from apps.core.models import Job
from apps.core.money import exponent
from apps.rating.periods import zone_info
from apps.tenants.domain import (
    EVERYTHING,
    ROLE_SCOPES,
    SCOPES,
    ClockAhead,
    ClockAttached,
    ClockBackwards,
    ClockOnLive,
    ExpiryPast,
    JobNotDead,
    KeyNotActive,
    LastOwner,
    MemberExists,
    Mode,
    Role,
    ScopeUnknown,
    SlugTaken,
    refuse_beyond,
)
from apps.tenants.logo import clean_logo
from apps.tenants.models import ApiKey, Membership, Operator, Tenant, TestClock
from apps.tenants.secrets import hash_of, hint_of, new_secret
from apps.tenants.tax_numbers import check_tax_numbers

_USE_GRAIN: Final = timedelta(minutes=1)


@transaction.atomic
def create_tenant(
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    slug: str,
    name: str,
    currency: str,
    zone: str,
    legal_name: str = "",
    email: str = "",
    actor: str,
    at: datetime,
) -> Tenant:
    """Create a company: its live tenant, which is returned, and its test twin.

    ``legal_name`` is ``name`` if empty. A repeat with the same ``id`` returns the tenant as it is.
    Raises ``SlugTaken``.
    """
    known = Tenant.objects.filter(pk=id).first()
    if known is not None:
        return known
    _check_settings({"currency": currency, "zone": zone})
    twin_id = new_id()
    both = [
        Tenant(
            id=own,
            twin_id=other,
            slug=slug,
            mode=mode,
            name=name,
            legal_name=legal_name or name,
            email=email,
            currency=currency,
            zone=zone,
        )
        for own, other, mode in ((id, twin_id, Mode.LIVE), (twin_id, id, Mode.TEST))
    ]
    Tenant.objects.bulk_create(both, ignore_conflicts=True)
    live = Tenant.objects.filter(pk=id).first()
    if live is None:
        raise SlugTaken(f"There is a tenant {slug!r} already.", field="slug")
    for tenant in both:
        record("tenant.created", tenant, actor=actor, at=at, slug=slug, mode=str(tenant.mode))
    return live


@transaction.atomic
def change_tenant(tenant_id: UUID, *, actor: str, at: datetime, **changes: Any) -> Tenant:
    """Change how the tenant does business; only the columns named in ``changes``.

    What is issued already keeps what it shows. Changing nothing records nothing. ``slug``,
    ``mode`` and the clock are not changed here. ``tax_ids`` are (kind, number) pairs. Raises
    ``Invalid`` for an unknown currency or zone, a wrong tax number, and what is no logo.
    """
    tenant = _locked(tenant_id)
    _check_settings(changes)
    changed = sorted(name for name, value in changes.items() if getattr(tenant, name) != value)
    if not changed:
        return tenant
    for name in changed:
        setattr(tenant, name, changes[name])
    tenant.save(update_fields=changed)
    record("tenant.changed", tenant, actor=actor, at=at, fields=", ".join(changed))
    return tenant


@transaction.atomic
def create_api_key(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    held: Collection[str] = EVERYTHING,
    actor: str,
    at: datetime,
) -> tuple[ApiKey, str]:
    """Create a key of the tenant; return it and its secret, which cannot be shown again.

    A repeat with the same ``id`` returns the key and "" for the secret. ``expires_at`` is
    exclusive and, like ``at``, real time even for a tenant on a test clock. ``held`` are the
    scopes of whoever asks. Raises ``ScopeUnknown``, ``ScopeBeyondOwn`` and ``ExpiryPast``.
    """
    tenant = _locked(tenant_id)
    known = ApiKey.objects.filter(pk=id, tenant=tenant).first()
    if known is not None:
        return known, ""
    _check_key(scopes, expires_at, at)
    refuse_beyond(held, scopes)
    secret = new_secret(Mode(tenant.mode))
    key = ApiKey.objects.create(
        id=id,
        tenant=tenant,
        name=name,
        hash=hash_of(secret),
        hint=hint_of(secret),
        scopes=sorted(set(scopes)),
        created_by=actor,
        expires_at=expires_at,
    )
    record("api_key.created", key, actor=actor, at=at, hint=key.hint, scopes=", ".join(key.scopes))
    return key, secret


@transaction.atomic
def rotate_api_key(
    key_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    overlap: timedelta,
    held: Collection[str] = EVERYTHING,
    actor: str,
    at: datetime,
) -> tuple[ApiKey, str]:
    """Replace a key by a new one with its name, scopes and lifetime; return it and its secret.

    The old one works until ``at + overlap``, or its own end if that is sooner. A repeat with the
    same ``id`` returns the new key and "" for the secret. ``held`` are the scopes of whoever asks.
    Raises ``ScopeBeyondOwn``, and ``KeyNotActive`` for a key that has been replaced or works no
    more.
    """
    old = _locked_key(key_id)
    if old.replaced_by_id == id and old.replaced_by is not None:
        return old.replaced_by, ""
    refuse_beyond(held, old.scopes)
    lapsed = old.expires_at is not None and old.expires_at <= at
    if old.revoked_at is not None or old.replaced_by_id is not None or lapsed:
        raise KeyNotActive("This key works no more or has been replaced; create a new one.")
    tenant = Tenant.objects.get(pk=old.tenant_id)
    secret = new_secret(Mode(tenant.mode))
    lifetime = old.expires_at - old.created_at if old.expires_at else None
    new = ApiKey.objects.create(
        id=id,
        tenant=tenant,
        name=old.name,
        hash=hash_of(secret),
        hint=hint_of(secret),
        scopes=old.scopes,
        created_by=actor,
        expires_at=at + lifetime if lifetime else None,
    )
    old.replaced_by = new
    old.expires_at = min(filter(None, (old.expires_at, at + overlap)))
    old.save(update_fields=["replaced_by", "expires_at"])
    record("api_key.created", new, actor=actor, at=at, hint=new.hint, scopes=", ".join(new.scopes))
    record("api_key.rotated", old, actor=actor, at=at, hint=old.hint, by=new.public_id)
    return new, secret


@transaction.atomic
def revoke_api_key(key_id: UUID, *, actor: str, at: datetime) -> ApiKey:
    """End a key at once and for ever; revoking it again changes nothing."""
    key = _locked_key(key_id)
    if key.revoked_at is not None:
        return key
    key.revoked_at = at
    key.save(update_fields=["revoked_at"])
    record("api_key.revoked", key, actor=actor, at=at, hint=key.hint)
    return key


def mark_key_used(key: ApiKey, *, wall: datetime) -> None:
    """Remember when the key was last used, to the minute: most uses write nothing."""
    if key.last_used_at is not None and wall - key.last_used_at < _USE_GRAIN:
        return
    ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lte=wall - _USE_GRAIN), pk=key.pk
    ).update(last_used_at=wall)


@transaction.atomic
def flag_exposed_key(secret: str, *, at: datetime) -> None:
    """Remember that somebody sent this key in a URL; once per key, nothing if it is none."""
    key = ApiKey.objects.select_for_update().filter(hash=hash_of(secret), exposed_at=None).first()
    if key is None:
        return
    key.exposed_at = at
    key.save(update_fields=["exposed_at"])
    record("api_key.exposed", key, actor=f"api_key:{key.public_id}", at=at, hint=key.hint)


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
    record("member.added", member, actor=actor, at=at, operator=operator.public_id, role=str(role))
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
    record(
        "member.removed",
        member,
        actor=actor,
        at=at,
        operator=member.operator.public_id,
        role=str(member.role),
    )
    member.delete()


@transaction.atomic
def create_clock(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    name: str,
    now: datetime,
    actor: str,
    at: datetime,
) -> TestClock:
    """Create a clock of a tenant in test mode, standing at ``now``; nothing lives on it yet.

    A repeat with the same ``id`` returns the clock as it is. Raises ``ClockOnLive``.
    """
    tenant = _locked(tenant_id)
    known = TestClock.objects.filter(pk=id, tenant=tenant).first()
    if known is not None:
        return known
    _refuse_live(tenant)
    clock = TestClock.objects.create(id=id, tenant=tenant, name=name, now=now)
    record("test_clock.created", clock, actor=actor, at=at, now=now.isoformat())
    return clock


@transaction.atomic
def attach_clock(tenant_id: UUID, clock_id: UUID, *, actor: str, at: datetime) -> Tenant:
    """Let a tenant in test mode, with all customers that have no clock, live on one of its clocks.

    Attaching the same clock again changes nothing. Raises ``NotFound``, ``ClockOnLive`` and, if it
    lives on another, ``ClockAttached``.
    """
    tenant = _locked(tenant_id)
    if tenant.test_clock_id == clock_id:
        return tenant
    _refuse_live(tenant)
    if tenant.test_clock_id is not None:
        raise ClockAttached("This tenant lives on another clock already.", field="test_clock")
    clock = TestClock.objects.filter(pk=clock_id, tenant=tenant).first()
    if clock is None:
        raise NotFound("There is no such test clock.")
    tenant.test_clock = clock
    tenant.save(update_fields=["test_clock"])
    record("test_clock.attached", clock, actor=actor, at=at)
    return tenant


@transaction.atomic
def detach_clock(tenant_id: UUID, *, actor: str, at: datetime) -> Tenant:
    """Let a tenant live in real time again, with all customers that have no clock of their own.

    ``at`` is real time. A tenant without a clock is returned as it is. Raises ``ClockAhead`` while
    the clock shows a later time: what has happened by then would lie in the future.
    """
    tenant = _locked(tenant_id)
    clock = tenant.test_clock
    if clock is None:
        return tenant
    if clock.now > at:
        raise ClockAhead(f"The clock stands at {clock.now:%Y-%m-%dT%H:%M:%SZ}; wait until then.")
    tenant.test_clock = None
    tenant.save(update_fields=["test_clock"])
    record("test_clock.detached", clock, actor=actor, at=at)
    return tenant


@transaction.atomic
def move_clock(clock_id: UUID, *, to: datetime, actor: str, at: datetime) -> TestClock:
    """Set a clock forward to ``to``; runs nothing that falls due. Raises ``ClockBackwards``."""
    clock = TestClock.objects.select_for_update(no_key=True).filter(pk=clock_id).first()
    if clock is None:
        raise NotFound("There is no such test clock.")
    if clock.now == to:
        return clock
    if to < clock.now:
        raise ClockBackwards(
            f"The clock stands at {clock.now:%Y-%m-%dT%H:%M:%SZ} and only moves forward.",
            field="to",
        )
    was, clock.now = clock.now, to
    clock.save(update_fields=["now"])
    record("test_clock.advanced", clock, actor=actor, at=at, to=to.isoformat(), was=was.isoformat())
    return clock


@transaction.atomic
def revive_job(job_id: UUID, *, actor: str, at: datetime) -> Job:
    """Give a dead job, and those that died with it, their attempts back; they are due at once.

    A job that waits or runs is returned as it is. Raises ``JobNotDead`` for one that is done.
    """
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NotFound("There is no such job.")
    if revive(job_id) and job.tenant_id is not None:
        happening = Happening(
            "job.revived", job.tenant_id, Job.ID_PREFIX, job.id, {"name": job.name}
        )
        record_all([happening], actor=actor, at=at)
    job.refresh_from_db()
    if job.state == Job.State.DONE:
        raise JobNotDead("This job is done.")
    return job


def _locked(tenant_id: UUID) -> Tenant:
    tenant = Tenant.objects.select_for_update(no_key=True).filter(pk=tenant_id).first()
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def _locked_live(tenant_id: UUID) -> Tenant:
    tenant = (
        Tenant.objects.select_for_update(no_key=True)
        .filter(Q(pk=tenant_id) | Q(twin=tenant_id), mode=Mode.LIVE)
        .first()
    )
    if tenant is None:
        raise NotFound("There is no such tenant.")
    return tenant


def _locked_key(key_id: UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update(no_key=True).filter(pk=key_id).first()
    if key is None:
        raise NotFound("There is no such API key.")
    return key


def _locked_member(member_id: UUID) -> Membership:
    # the tenant's row first: it guards that an owner is left
    found = Membership.objects.filter(pk=member_id).values_list("tenant_id", flat=True).first()
    if found is not None:
        _locked(found)
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


def _refuse_live(tenant: Tenant) -> None:
    if tenant.mode != Mode.TEST:
        raise ClockOnLive("A live tenant lives in real time; use its test mode.")


def _check_settings(changes: dict[str, Any]) -> None:
    """Refuse values that no tenant can have, and put the others into the form that is kept."""
    if "currency" in changes:
        exponent(changes["currency"])
    if "zone" in changes:
        zone_info(changes["zone"])
    if "logo" in changes:
        changes["logo"] = clean_logo(changes["logo"])
    if "tax_ids" in changes:
        numbers = check_tax_numbers(changes["tax_ids"])
        changes["tax_ids"] = [{"kind": one.kind, "value": one.value} for one in numbers]


def _check_key(scopes: Collection[str], expires_at: datetime | None, at: datetime) -> None:
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        raise ScopeUnknown(
            f"Unknown scopes: {', '.join(unknown)}." if unknown else "A key needs a scope.",
            field="scopes",
        )
    if expires_at is not None and expires_at <= at:
        raise ExpiryPast("The key would have expired already.", field="expires_at")
