"""How lists go to the database, and instants come from it."""

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from types import NoneType
from typing import Any, Final
from uuid import UUID

from psycopg.abc import Buffer, DumperKey
from psycopg.adapt import Dumper, PyFormat
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.array import BaseListDumper, ListDumper
from psycopg.types.datetime import TimestamptzLoader

_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    UUID: attrgetter("hex"),
    Decimal: str,
    int: str,
}


# dimensions, whether there may be nulls, type of the elements, number of them, lower bound
_HEADER: Final = struct.Struct("!iiIii")
_LENGTH: Final = struct.Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_UUID_LENGTH: Final = _LENGTH.pack(16)
_JSONB_VERSION: Final = b"\x01"


class ArrayDumper(ListDumper):
    """psycopg's own; where all values are of one plain type it writes them in one go.

    Ids go in binary form where the cursor sends parameters beside the statement.
    """

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:  # noqa: A002 -- psycopg's name
        """Return what lists of this kind have in common."""
        if format is PyFormat.AUTO and set(map(type, obj)) == {UUID}:
            return _IdsDumper
        return super().get_key(obj, format)

    def upgrade(self, obj: list[Any], format: PyFormat) -> BaseListDumper:  # noqa: A002 -- psycopg's name
        """Return the dumper for lists like this one."""
        if self.get_key(obj, format) is _IdsDumper:
            return _IdsDumper(self.cls, self._tx)
        return super().upgrade(obj, format)

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return the list as an array in PostgreSQL's notation."""
        kinds = set(map(type, obj))
        has_nulls = NoneType in kinds
        kinds.discard(NoneType)
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is not None and issubclass(kind, str) and not has_nulls:
            return _texts(obj) or super().dump(obj)
        if kind is datetime:
            return _instants(obj)
        write = _WRITERS.get(kind) if kind is not None else None
        if write is None:
            return super().dump(obj)
        if has_nulls:
            values = ["NULL" if one is None else write(one) for one in obj]
        else:
            values = list(map(write, obj))
        return f"{{{','.join(values)}}}".encode()


class Documents:
    """An array of jsonb, given as JSON texts; only for cursors that bind (``binding_cursor``).

    In PostgreSQL's binary form: as text, every document would be quoted once more.
    """

    def __init__(self, documents: Sequence[bytes | None]) -> None:
        """Take one JSON text per element; None is SQL's null."""
        pack = _LENGTH.pack
        self.sent = _array(
            "jsonb",
            [
                _NULL if one is None else pack(len(one) + 1) + _JSONB_VERSION + one
                for one in documents
            ],
        )


class DocumentsDumper(Dumper):
    """Sends ``Documents``."""

    format = Format.BINARY
    oid = types["jsonb"].array_oid

    def dump(self, obj: Documents) -> Buffer:
        return obj.sent


class _IdsDumper(BaseListDumper):
    format = Format.BINARY
    oid = types["uuid"].array_oid

    def dump(self, obj: list[UUID]) -> Buffer:
        return _array("uuid", [_UUID_LENGTH + one.bytes for one in obj])


def _array(kind: str, elements: Sequence[bytes]) -> bytes:
    """Return an array of elements that each begin with their length."""
    return _HEADER.pack(1, 1, types[kind].oid, len(elements), 1) + b"".join(elements)


def _instants(values: list[datetime | None]) -> bytes:
    """Return instants as an array; most rows share theirs with others."""
    texts = {
        key: "NULL" if one is None else one.isoformat()
        for key, one in {id(one): one for one in values}.items()
    }
    return f"{{{','.join([texts[id(one)] for one in values])}}}".encode()


def _texts(values: list[str]) -> bytes | None:
    """Return texts as an array, or None if one of them cannot be stored."""
    joined = '","'.join(values)
    if "\0" in joined:
        return None
    if "\\" in joined or joined.count('"') > 2 * (len(values) - 1):
        joined = '","'.join([one.replace("\\", "\\\\").replace('"', '\\"') for one in values])
    return f'{{"{joined}"}}'.encode()


class InstantLoader(TimestamptzLoader):
    """Reads instants as the server writes them for sessions in UTC, which all of ours are."""

    timezone = UTC  # Django registers a loader of its own on cursors where it wants another zone

    def load(self, data: Buffer) -> datetime:
        """Return the instant in UTC."""
        text = bytes(data).decode()
        if text.endswith("+00"):
            try:
                return datetime.fromisoformat(text)
            except ValueError:  # infinity, or a year that Python cannot hold: psycopg says so
                pass
        return super().load(data).astimezone(UTC)
