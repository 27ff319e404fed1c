"""Writing many rows at once: new ones at the speed of COPY, changed ones in one statement."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, cast

from django.db import connection
from django.db.models import Field, JSONField, Model
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


def save_rows(rows: Sequence[Model], fields: Iterable[str]) -> None:
    """Store the named fields of existing rows of one model, in one statement.

    ``bulk_update`` with the same promise takes seconds where this takes milliseconds.
    """
    if not rows:
        return
    meta = rows[0]._meta
    changed = [cast("Field[Any, Any]", meta.get_field(name)) for name in fields]
    columns = [meta.pk, *changed]
    names = [sql.Identifier(str(one.column)) for one in columns]
    statement = sql.SQL("UPDATE {} AS t SET {} FROM unnest({}) AS v ({}) WHERE t.{} = v.{}").format(
        sql.Identifier(meta.db_table),
        sql.SQL(", ").join(sql.SQL("{0} = v.{0}").format(name) for name in names[1:]),
        sql.SQL(", ").join(
            sql.SQL("%s::{}[]").format(sql.SQL(one.db_type(connection) or "")) for one in columns
        ),
        sql.SQL(", ").join(names),
        names[0],
        names[0],
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [_column(one, rows) for one in columns])


def _column(field: Field[Any, Any], rows: Sequence[Model]) -> list[Any]:
    """Return what the rows have in a field, as the statement takes it."""
    values = [getattr(row, field.attname) for row in rows]
    if not isinstance(field, JSONField):
        return [field.get_db_prep_save(one, connection) for one in values]
    # many rows share one value, such as who issued a document
    distinct = {id(one): one for one in values if one is not None}
    texts = {key: json.dumps(one, cls=field.encoder) for key, one in distinct.items()}
    return [texts.get(id(one)) for one in values]
