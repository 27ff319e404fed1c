"""The physical limit of storing: the same rows by COPY, into tables that look the same."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from threading import Barrier
from time import perf_counter
from typing import Final, TypeAlias

from django.db import connections, transaction
from psycopg import sql

from apps.backoffice.bench.scratch import OWNER

_SCHEMA: Final = "bench_limit"


_Chunk: TypeAlias = Sequence[tuple[sql.Composed, bytes]]  # what to run, with what


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table in COPY's text format, one by one; generated columns left out."""

    table: str
    columns: Sequence[str]
    lines: Sequence[bytes]


def transaction_now() -> int:
    """Return the number of a transaction that begins and ends here, to tell rows by their age."""
    with connections[OWNER].cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::xid::text")
        return int(cursor.fetchone()[0])


def rows_since(begun: int, tables: Sequence[str]) -> list[Rows]:
    """Return what transactions that began after the one numbered ``begun`` left in the tables."""
    return [_rows_of(table, begun) for table in tables]


def copy_limit(found: Sequence[Rows], parts: int, *, connections_used: int) -> float:
    """Store the rows by COPY into empty tables of the same columns, checks and indexes.

    In so many transactions, each with its part of every table, shared by so many connections at the
    same time; return the seconds until the last is done. Foreign keys and triggers are not copied.
    """
    chunks = [
        [(_copy_into(rows), b"".join(_part(rows.lines, part, parts))) for rows in found]
        for part in range(parts)
    ]
    with connections[OWNER].cursor() as cursor:
        cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_SCHEMA)))
        for rows in found:
            cursor.execute(
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(
                    _clone(rows.table), sql.Identifier(rows.table)
                )
            )
    ready = Barrier(connections_used)
    shares = [chunks[first::connections_used] for first in range(connections_used)]
    try:
        # threads will do: they wait for the server nearly all of the time
        with ThreadPoolExecutor(connections_used) as pool:
            times = list(pool.map(_copy, shares, repeat(ready)))
        return max(ended for _, ended in times) - min(began for began, _ in times)
    finally:
        with connections[OWNER].cursor() as cursor:
            cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(_SCHEMA)))


def _copy(chunks: Sequence[_Chunk], ready: Barrier) -> tuple[float, float]:
    """Store chunks on a connection of this thread; return when that began and ended."""
    own = connections[OWNER]
    try:
        own.ensure_connection()
        ready.wait()
        began = perf_counter()
        for chunk in chunks:
            with transaction.atomic(OWNER), own.cursor() as cursor:
                for statement, content in chunk:
                    with cursor.copy(statement) as copy:
                        copy.write(content)
        return began, perf_counter()
    finally:
        own.close()


def _rows_of(table: str, begun: int) -> Rows:
    with connections[OWNER].cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = '' ORDER BY attnum",
            [table],
        )
        columns = [name for (name,) in cursor.fetchall()]
        statement = sql.SQL(
            "COPY (SELECT {} FROM {} WHERE age(xmin) < age({}::xid)) TO STDOUT"
        ).format(_listed(columns), sql.Identifier(table), sql.Literal(str(begun)))
        with cursor.copy(statement) as copy:
            return Rows(table, columns, [bytes(row) for row in copy])


def _copy_into(rows: Rows) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN").format(_clone(rows.table), _listed(rows.columns))


def _listed(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _clone(table: str) -> sql.Identifier:
    return sql.Identifier(_SCHEMA, table)


def _part(lines: Sequence[bytes], part: int, parts: int) -> Sequence[bytes]:
    return lines[len(lines) * part // parts : len(lines) * (part + 1) // parts]
