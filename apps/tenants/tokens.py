"""Operators' tokens: signed by a key of their own, good for this API and no other door."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import jwt
from django.utils.crypto import salted_hmac

from apps.core.ids import decode, encode
from apps.tenants.domain import TokenExpired, TokenInvalid, WrongRealm

_REALM: Final = "countinghouse-"
ISSUER: Final = "countinghouse"
AUDIENCE: Final = f"{_REALM}api"
TYPE: Final = "operator+jwt"
ALGORITHM: Final = "HS256"
_LOG_IN: Final = "The token is not valid; log in at /api/v1/auth/login."
_CLAIMS: Final = ("iss", "aud", "sub", "iat", "exp", "stamp")


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says: who, with which password, and where if he works at one tenant only."""

    operator_id: UUID
    stamp: str
    tenant_id: UUID | None


def password_stamp(password_hash: str) -> str:
    """Return a text that changes with the password and tells nothing about it."""
    return salted_hmac("tenants.tokens.stamp", password_hash, algorithm="sha256").hexdigest()[:32]


def sign(token: Token, *, at: datetime, lifetime: timedelta) -> str:
    """Return the text of ``token``, good in ``[at, at + lifetime)``."""
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": encode("opr", token.operator_id),
        "iat": int(at.timestamp()),
        "exp": int((at + lifetime).timestamp()),
        "stamp": token.stamp,
    }
    if token.tenant_id is not None:
        claims["tenant"] = encode("ten", token.tenant_id)
    return jwt.encode(claims, _key(), algorithm=ALGORITHM, headers={"typ": TYPE})


def read(text: str, *, at: datetime) -> Token:
    """Return what the token says at the instant ``at``.

    Raises ``TokenInvalid`` unless its signature, algorithm, type, issuer and audience are those of
    this API, ``WrongRealm`` if it is of another door of this installation, ``TokenExpired``.
    """
    try:
        whole = jwt.decode_complete(
            text,
            _key(),
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": list(_CLAIMS), "verify_exp": False, "verify_iat": False},
        )
    except jwt.InvalidTokenError as error:
        if _is_of_another_door(text):
            raise WrongRealm("This token is of another door; log in here.") from error
        raise TokenInvalid(_LOG_IN) from error
    if whole["header"].get("typ") != TYPE:
        raise TokenInvalid(_LOG_IN)
    claims = whole["payload"]
    if datetime.fromtimestamp(claims["exp"], UTC) <= at:
        raise TokenExpired("The token has expired; log in again.")
    tenant = claims.get("tenant")
    return Token(
        operator_id=decode("opr", claims["sub"]),
        stamp=claims["stamp"],
        tenant_id=None if tenant is None else decode("ten", tenant),
    )


def _is_of_another_door(text: str) -> bool:
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return False
    audience = claims.get("aud")
    return isinstance(audience, str) and audience.startswith(_REALM) and audience != AUDIENCE


def _key() -> bytes:
    return salted_hmac("tenants.tokens.key", "operator", algorithm="sha256").digest()
