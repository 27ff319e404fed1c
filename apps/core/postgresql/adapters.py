"""How lists go to the database, and instants come from it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from types import NoneType
from typing import Any, Final
from uuid import UUID

from psycopg.abc import Buffer
from psycopg.types.array import ListDumper
from psycopg.types.datetime import TimestamptzLoader

_WRITERS: Final[Mapping[type, Callable[[Any], str]]] = {
    UUID: attrgetter("hex"),
    datetime: datetime.isoformat,
    Decimal: str,
    int: str,
}


class ArrayDumper(ListDumper):
    """psycopg's own; where all values are of one plain type it writes them in one go."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """Return the list as an array in PostgreSQL's notation."""
        kinds = set(map(type, obj))
        has_nulls = NoneType in kinds
        kinds.discard(NoneType)
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is str and not has_nulls:
            return _texts(obj) or super().dump(obj)
        write = _WRITERS.get(kind) if kind is not None else None
        if write is None:
            return super().dump(obj)
        if has_nulls:
            values = ["NULL" if one is None else write(one) for one in obj]
        else:
            values = list(map(write, obj))
        return f"{{{','.join(values)}}}".encode()


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
