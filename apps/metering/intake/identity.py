"""What tells events apart: their keys, and what they say."""

import hashlib
from functools import lru_cache
from uuid import UUID

from apps.core.ids import IdMalformed, decode
from apps.metering.domain import SubjectKind

HASH_BYTES = 16


def event_id(tenant_id: UUID, key: str) -> UUID:
    """Return the id of the event with a key: the first 16 bytes of a SHA-256 of both."""
    return UUID(bytes=hashlib.sha256(tenant_id.bytes + key.encode()).digest()[:HASH_BYTES])


@lru_cache(maxsize=65_536)
def subject_ids(kind: str, name: str) -> tuple[UUID | None, UUID | None]:
    """Return the customer's or the subscription's id if the name is one."""
    if kind != SubjectKind.CUSTOMER and name.startswith("sub_"):
        return None, _decoded("sub", name)
    if kind != SubjectKind.SUBSCRIPTION and name.startswith("cus_"):
        return _decoded("cus", name), None
    return None, None


def _decoded(prefix: str, name: str) -> UUID | None:
    try:
        return decode(prefix, name)
    except IdMalformed:
        return None
