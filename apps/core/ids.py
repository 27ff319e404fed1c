"""Identifiers: UUIDv7 in the database, TypeID text (``inv_01h455vb4pex5vsknk084sn02q``) outside.

Formats: UUIDv7 is RFC 9562 section 5.7; TypeID is the public specification, version 0.3:
a prefix, an underscore and the 128 bits as 26 characters of Crockford's base32, lower case.
"""

import os
import struct
import time
from typing import Final
from uuid import UUID

from apps.core.errors import Invalid

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUE: Final = {char: value for value, char in enumerate(_ALPHABET)}
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_LENGTH: Final = 26
_CHANCE: Final = 0x3FFF_FFFF_FFFF_FFFF  # the bits that are random


class IdMalformed(Invalid):
    reason = "id_malformed"


def new_id() -> UUID:
    """Return a new UUIDv7: it sorts by when it was made, to a quarter of a microsecond.

    The twelve bits behind the millisecond are its fraction (RFC 9562 section 6.2, method 3): what
    one process makes one after the other stays in that order.
    """
    return UUID(int=_head() | int.from_bytes(os.urandom(8)) & _CHANCE)


def new_ids(count: int) -> list[UUID]:
    """Return so many new UUIDv7 of one instant, in their order."""
    head = _head()
    chances = struct.unpack(f"!{count}Q", os.urandom(8 * count))
    return [UUID(int=head | chance) for chance in sorted(one & _CHANCE for one in chances)]


def _head() -> int:
    """Return what says the version and the time."""
    millis, nanos = divmod(time.time_ns(), 1_000_000)
    fraction = (nanos << 12) // 1_000_000
    return (millis & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62


def encode(prefix: str, identifier: UUID) -> str:
    """Return the TypeID text of ``identifier``."""
    number = identifier.int
    pairs = [_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def decode(prefix: str, text: str, *, field: str = "id") -> UUID:
    """Return the identifier in ``text``; raise ``IdMalformed`` unless it is one of ``prefix``."""
    head, _, body = text.rpartition("_")
    if (
        head == prefix
        and len(body) == _LENGTH
        and body[0] <= "7"
        and all(c in _VALUE for c in body)
    ):
        number = 0
        for char in body:
            number = number << 5 | _VALUE[char]
        return UUID(int=number)
    raise IdMalformed(
        f"{text[:64]!r} is not an id of this kind; expected {prefix}_ and 26 characters.",
        field=field,
    )


def is_id(prefix: str, text: str) -> bool:
    """Say whether ``text`` is a well-formed TypeID of ``prefix``."""
    try:
        decode(prefix, text)
    except IdMalformed:
        return False
    return True
