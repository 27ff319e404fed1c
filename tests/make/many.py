"""Tables that are as full as those of an installation in use, and how much of them is read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from django.db import connection
from psycopg import sql

from tests.servers import as_superuser

_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0
AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
"""
# rows of a table or of its partitions that this transaction has looked at
_READ = """
SELECT coalesce(sum(s.seq_tup_read + coalesce(s.idx_tup_fetch, 0)), 0)
FROM pg_stat_xact_user_tables s
WHERE s.relid = ANY (SELECT relid FROM pg_partition_tree(%s::regclass) UNION SELECT %s::regclass)
"""


def multiply(
    table: str, tenant_id: UUID, times: int, changed: Mapping[str, str] | None = None
) -> None:
    """Copy a row of the tenant so many times, behind the back of every trigger, and tell the planner.

    Each copy gets an id of its own; ``changed`` are columns and the SQL that they get instead, in
    which ``n`` is the number of the copy.
    """
    other = {"id": "gen_random_uuid()", **(changed or {})}
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute(_COLUMNS, [table])
        names = [name for (name,) in cursor.fetchall()]
        values = [sql.SQL(other[one]) if one in other else sql.Identifier(one) for one in names]
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({names}) SELECT {values} FROM {table},"
                " generate_series(1, %s) AS n WHERE id = (SELECT id FROM {table} WHERE tenant_id = %s LIMIT 1)"
            ).format(
                table=sql.Identifier(table),
                names=sql.SQL(", ").join(map(sql.Identifier, names)),
                values=sql.SQL(", ").join(values),
            ),
            [times, tenant_id],
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))


@contextmanager
def reading(table: str) -> Iterator[list[int]]:
    """Yield a list that afterwards holds how many rows of the table were looked at."""
    found: list[int] = []
    before = _read(table)
    yield found
    found.append(_read(table) - before)


def _read(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_READ, [table, table])
        return int(cursor.fetchone()[0])
