"""Writing many rows at the speed of COPY."""

from collections.abc import Iterable, Sequence

from django.db import connection
from psycopg import sql


def copy_rows(table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Insert rows into a table in the caller's transaction; every constraint applies.

    Values are adapted as psycopg does it; JSON columns take ``str`` or ``bytes`` of JSON text.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
