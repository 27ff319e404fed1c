"""The text of an API key: made once, shown once, kept as a hash."""

import hashlib
import re
import secrets
from typing import Final

from apps.tenants.domain import Mode

_SHAPE: Final = re.compile(r"sk_(live|test)_[A-Za-z0-9_-]{43}")
_ANYWHERE: Final = re.compile(r"sk_(?:live|test)_[A-Za-z0-9_-]*")


def new_secret(mode: Mode) -> str:
    """Return a new key: a prefix to know it by and 256 random bits."""
    return f"sk_{mode}_{secrets.token_urlsafe(32)}"


def has_shape(text: str) -> bool:
    """Say whether ``text`` could be a key."""
    return _SHAPE.fullmatch(text) is not None


def find_in(text: str) -> str | None:
    """Return the first thing in ``text`` that looks like a key."""
    found = _ANYWHERE.search(text)
    return found[0] if found else None


def hash_of(secret: str) -> bytes:
    """Return what is kept of a key; 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def hint_of(secret: str) -> str:
    """Return what people recognise a key by."""
    return f"{secret[:8]}…{secret[-4:]}"
