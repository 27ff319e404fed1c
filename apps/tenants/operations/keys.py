"""Keys of the API."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.tenancy import tenant_scope
from apps.tenants.domain import (
    EVERYTHING,
    SCOPES,
    ExpiryPast,
    KeyNotActive,
    Mode,
    ScopeUnknown,
    refuse_beyond,
)
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.operations.locking import locked_tenant
from apps.tenants.queries import key_with_hash
from apps.tenants.secrets import hash_of, hint_of, new_secret

_USE_GRAIN: Final = timedelta(minutes=1)


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
    tenant = locked_tenant(tenant_id)
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
    failpoint("tenants.rotate_key.after_new")
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
    known = key_with_hash(hash_of(secret))
    if known is None:
        return
    with tenant_scope(known.tenant_id):
        key = ApiKey.objects.select_for_update().filter(pk=known.pk, exposed_at=None).first()
        if key is None:
            return
        key.exposed_at = at
        key.save(update_fields=["exposed_at"])
        record("api_key.exposed", key, actor=f"api_key:{key.public_id}", at=at, hint=key.hint)


def _locked_key(key_id: UUID) -> ApiKey:
    key = ApiKey.objects.select_for_update(no_key=True).filter(pk=key_id).first()
    if key is None:
        raise NotFound("There is no such API key.")
    return key


def _check_key(scopes: Collection[str], expires_at: datetime | None, at: datetime) -> None:
    unknown = sorted(set(scopes) - SCOPES)
    if unknown or not scopes:
        raise ScopeUnknown(
            f"Unknown scopes: {', '.join(unknown)}." if unknown else "A key needs a scope.",
            field="scopes",
        )
    if expires_at is not None and expires_at <= at:
        raise ExpiryPast("The key would have expired already.", field="expires_at")
