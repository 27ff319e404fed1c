"""Secrets at rest: encrypted with a key from the settings, readable only in the row they belong to.

What must be read again (a provider's key, the seed of somebody's one-time codes) is sealed; what is
only ever compared (API keys, passwords) is hashed instead.
"""

import base64
from functools import cache
from typing import Final
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.apps import apps
from django.conf import settings
from django.db import models

from apps.core.tenancy import tenant_scope

_SALT: Final = b"countinghouse.sealing.1"
_KEY_BYTES: Final = 32
_BATCH: Final = 500


class SealBroken(RuntimeError):
    """No key of the settings opens this: it was sealed by another, for another row, or changed."""


class SealedField(models.BinaryField[bytes | None, bytes | None]):
    """A secret as it is stored; written by ``seal`` and read by ``unseal``, shown by nobody."""


def seal(row: models.Model, field: str, secret: str) -> None:
    """Put ``secret`` into the row's ``SealedField``, encrypted with the newest key; save it yourself.

    It can be read only there: moved to another row, or to another field, it does not open.
    """
    setattr(row, field, _keys(_place(row, field)).encrypt(secret.encode()))


def unseal(row: models.Model, field: str) -> str:
    """Return the secret in the row's ``SealedField``; raise ``SealBroken`` if no key opens it."""
    try:
        return _keys(_place(row, field)).decrypt(bytes(getattr(row, field))).decode()
    except InvalidToken as error:
        raise SealBroken(f"{_place(row, field)} cannot be opened; see ENCRYPTION_KEYS") from error


def sealed_fields() -> list[tuple[type[models.Model], str]]:
    """Return every column of the installation that holds secrets."""
    return [
        (model, field.name)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, SealedField)
    ]


def reseal(model: type[models.Model], field: str) -> int:
    """Encrypt every secret of a column with the newest key; return how many were not before.

    Those of all tenants, each in his own scope. A secret that somebody changes meanwhile is left
    alone: it is sealed with the newest key already. Raises ``SealBroken``, with everything before
    it done; a repeat goes on from there.
    """
    done = 0
    for tenant_id in _owners(model):
        with tenant_scope(tenant_id):
            done += _reseal_seen(model, field)
    return done


def _owners(model: type[models.Model]) -> list[UUID | None]:
    """Return the tenants who may have rows; of what is nobody's, nobody."""
    owner = next((one for one in model._meta.concrete_fields if one.attname == "tenant_id"), None)
    if owner is None or owner.related_model is None:
        return [None]
    # the directory of tenants is not kept apart: these are all there are
    tenants = owner.related_model._default_manager
    return list(tenants.order_by("pk").values_list("pk", flat=True))


def _reseal_seen(model: type[models.Model], field: str) -> int:
    """Do so with the rows that this scope shows."""
    done = 0
    rows = model._default_manager.exclude(**{field: None}).order_by("pk")
    for row in rows.iterator(chunk_size=_BATCH):
        found = bytes(getattr(row, field))
        newest, *_ = _fernets(_place(row, field))
        if _opens(newest, found):
            continue
        seal(row, field, unseal(row, field))
        unchanged = model._default_manager.filter(pk=row.pk, **{field: found})
        done += unchanged.update(**{field: getattr(row, field)})
    return done


def _opens(key: Fernet, found: bytes) -> bool:
    try:
        key.decrypt(found)
    except InvalidToken:
        return False
    return True


def _place(row: models.Model, field: str) -> str:
    return f"{row._meta.label_lower}.{field}:{row.pk}"


def _keys(place: str) -> MultiFernet:
    return MultiFernet(_fernets(place))


def _fernets(place: str) -> list[Fernet]:
    """Return the keys for one secret, the newest first: each derived for that place alone."""
    return [_fernet(key, place) for key in settings.ENCRYPTION_KEYS]


@cache
def _master(key: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, _SALT, b"master").derive(key.encode())


def _fernet(key: str, place: str) -> Fernet:
    derived = HKDF(SHA256(), _KEY_BYTES, _SALT, place.encode()).derive(_master(key))
    return Fernet(base64.urlsafe_b64encode(derived))
