"""Arrays in PostgreSQL's binary form, built by joining bytes.

psycopg adapts a list element by element in Python; and as text every element would be quoted here,
and read again character by character there. For batches of a thousand events both show.
"""

import struct
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID
from weakref import WeakSet

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from apps.core.postgresql.base import tell_tenant

# dimensions, whether there are nulls, type of the elements, number of them, lower bound
_HEADER: Final = struct.Struct("!iiIii")
_LENGTH: Final = struct.Struct("!i")
_INT: Final = struct.Struct("!ii")
_BIGINT: Final = struct.Struct("!iq")
_NULL: Final = _LENGTH.pack(-1)
_UUID_LENGTH: Final = _LENGTH.pack(16)
_JSONB_VERSION: Final = b"\x01"
_BOOLEANS: Final = {False: _LENGTH.pack(1) + b"\x00", True: _LENGTH.pack(1) + b"\x01"}

T = TypeVar("T", bound=Hashable)


class BinaryArray:
    """An array ready to be sent; a subclass for each type of its elements."""

    array_oid: ClassVar[int]
    element_oid: ClassVar[int]

    def __init__(
        self, elements: Sequence[bytes], *, count: int | None = None, has_nulls: bool = False
    ) -> None:
        """Take elements that each begin with their length; ``count`` if some are joined already."""
        number = len(elements) if count is None else count
        header = _HEADER.pack(1, has_nulls, self.element_oid, number, 1)
        self.sent = header + b"".join(elements)


class Uuids(BinaryArray):
    array_oid, element_oid = 2951, 2950


class Texts(BinaryArray):
    array_oid, element_oid = 1009, 25


class Booleans(BinaryArray):
    array_oid, element_oid = 1000, 16


class Documents(BinaryArray):
    array_oid, element_oid = 3807, 3802


class Ints(BinaryArray):
    array_oid, element_oid = 1007, 23


class Instants(BinaryArray):
    array_oid, element_oid = 1185, 1184


def uuids(values: Sequence[bytes]) -> Uuids:
    """Return an array of uuids, given as 16 bytes each."""
    return Uuids([_sized(values)], count=len(values))


def optional_uuids(values: Sequence[UUID | None]) -> Uuids:
    """Return an array of uuids, most of them null."""
    if not any(values):
        return Uuids([_NULL * len(values)], count=len(values), has_nulls=True)
    elements = [_NULL if value is None else _UUID_LENGTH + value.bytes for value in values]
    return Uuids(elements, has_nulls=True)


def texts(values: Sequence[str]) -> Texts:
    """Return an array of texts."""
    return Texts([_sized([value.encode() for value in values])], count=len(values))


def few_texts(values: Sequence[str]) -> Texts:
    """Return an array of texts, few of them different."""
    packed = {value: _LENGTH.pack(len(value.encode())) + value.encode() for value in set(values)}
    return Texts([packed[value] for value in values])


def optional_texts(values: Sequence[str | None]) -> Texts:
    """Return an array of texts, some of them null."""
    pack = _LENGTH.pack
    elements = [
        _NULL if text is None else pack(len(text)) + text
        for text in [None if value is None else value.encode() for value in values]
    ]
    return Texts(elements, has_nulls=True)


def documents(values: Sequence[bytes]) -> Documents:
    """Return an array of jsonb, given as JSON."""
    return Documents([_sized(values, _JSONB_VERSION)], count=len(values))


def booleans(values: Sequence[bool]) -> Booleans:
    """Return an array of booleans."""
    return Booleans([_BOOLEANS[value] for value in values])


def places(values: Sequence[T]) -> tuple[list[T], Ints]:
    """Return the different values, and an array of the place of each among them, from 1."""
    distinct = list(dict.fromkeys(values))
    packed = {value: _INT.pack(4, place) for place, value in enumerate(distinct, 1)}
    return distinct, Ints([packed[value] for value in values])


def instants(values: Sequence[int]) -> Instants:
    """Return an array of timestamptz, given as microseconds since 2000."""
    return Instants([_BIGINT.pack(8, value) for value in values])


def _sized(values: Sequence[bytes], head: bytes = b"") -> bytes:
    """Return values, each after its length and ``head``."""
    pack = _LENGTH.pack
    lengths = set(map(len, values))
    if len(lengths) == 1:  # then what lies between them is always the same
        return (pack(lengths.pop() + len(head)) + head).join([b"", *values])
    return b"".join([pack(len(value) + len(head)) + head + value for value in values])


class _BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.sent


# Django forbids to prepare statements by None; so often none is met unless it is asked for
_NEVER_BY_ITSELF: Final = 1_000_000_000
_told: "WeakSet[psycopg.Connection[Any]]" = WeakSet()


def cursor(connection: "psycopg.Connection[Any]") -> "psycopg.Cursor[Any]":
    """Return a cursor for the scope that this is, which takes binary arrays and may prepare."""
    if connection not in _told:
        for kind in (Uuids, Texts, Booleans, Documents, Ints, Instants):
            dumper = type(f"{kind.__name__}Dumper", (_BinaryDumper,), {"oid": kind.array_oid})
            connection.adapters.register_dumper(kind, dumper)
        connection.prepare_threshold = _NEVER_BY_ITSELF
        _told.add(connection)
    tell_tenant(connection)
    return psycopg.Cursor(connection)
