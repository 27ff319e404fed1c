"""Writing many rows of one table in one statement, each column given as one array."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

from django.db import connection
from django.db.models import Field, JSONField, Model
from psycopg import sql

from apps.core.postgresql.adapters import Documents
from apps.core.postgresql.cursors import binding_cursor


@dataclass(frozen=True, slots=True)
class Same:
    """What all rows have in a column."""

    value: object


# one value per row, or the same for all; JSON columns as JSON texts in bytes, or None
Column: TypeAlias = Sequence[object] | Same
_Shape: TypeAlias = tuple[tuple[str, bool], ...]  # the columns, and which are the same for all


def insert_rows(model: type[Model], columns: Mapping[str, Column]) -> None:
    """Insert rows of a model in the caller's transaction, nearly as fast as COPY would.

    COPY itself is refused where row-level security applies. ``columns`` name fields (``customer``
    or ``customer_id``); what they leave out gets the column's default in the database, if any.
    Every constraint applies. Raises ``ValueError`` where columns are not of one length.
    """
    with binding_cursor() as cursor:
        cursor.execute(_insertion(model, _shape(columns)), _sent(model, columns))


def update_rows(
    model: type[Model],
    ids: Sequence[object],
    columns: Mapping[str, Column],
    *,
    where: Mapping[str, object],
) -> int:
    """Set columns of existing rows, given by their primary keys; return how many were changed.

    Those are the rows that have the values in ``where``. Columns are given as to ``insert_rows``.
    """
    listed: dict[str, Column] = {"pk": ids, **columns}
    guards: dict[str, Column] = {name: Same(value) for name, value in where.items()}
    statement = _update(model, _shape(listed), _shape(guards))
    with binding_cursor() as cursor:
        cursor.execute(statement, _sent(model, listed) + _sent(model, guards))
        changed: int = cursor.rowcount
    return changed


def save_rows(rows: Sequence[Model], fields: Iterable[str]) -> None:
    """Store the named fields of existing rows of one model, in one statement.

    ``bulk_update`` with the same promise takes seconds where this takes milliseconds.
    """
    if not rows:
        return
    model = type(rows[0])
    columns = {name: _values(_field(model, name), rows) for name in fields}
    update_rows(model, [row.pk for row in rows], columns, where={})


def _shape(columns: Mapping[str, Column]) -> _Shape:
    # unnest would fill the shorter ones up with nulls
    if len({len(one) for one in columns.values() if not isinstance(one, Same)}) > 1:
        raise ValueError(f"the columns {', '.join(columns)} are not of one length")
    return tuple((name, isinstance(one, Same)) for name, one in columns.items())


@lru_cache(256)
def _insertion(model: type[Model], shape: _Shape) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) SELECT {}").format(
        sql.Identifier(model._meta.db_table),
        sql.SQL(", ").join(_name(model, name) for name, _ in shape),
        sql.SQL(", ").join(_source(model, *column) for column in shape),
    )


@lru_cache(256)
def _update(model: type[Model], shape: _Shape, guards: _Shape) -> sql.Composed:
    key = _name(model, "pk")
    same = [
        sql.SQL("t.{} = {}").format(_name(model, name), _source(model, name, shared))
        for name, shared in guards
    ]
    return sql.SQL("UPDATE {} AS t SET {} FROM (SELECT {}) AS v WHERE {}").format(
        sql.Identifier(model._meta.db_table),
        sql.SQL(", ").join(
            sql.SQL("{0} = v.{0}").format(_name(model, name)) for name, _ in shape[1:]
        ),
        sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(_source(model, name, shared), _name(model, name))
            for name, shared in shape
        ),
        sql.SQL(" AND ").join([sql.SQL("t.{0} = v.{0}").format(key), *same]),
    )


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    meta = model._meta
    return cast("Field[Any, Any]", meta.pk if name == "pk" else meta.get_field(name))


def _name(model: type[Model], name: str) -> sql.Identifier:
    return sql.Identifier(str(_field(model, name).column))


def _source(model: type[Model], name: str, shared: bool) -> sql.Composed:  # noqa: FBT001 -- half of a shape
    # without its length: a cast to it would cut what storing refuses
    kind = _field(model, name).db_type(connection) or ""
    return sql.SQL("%s::{}" if shared else "unnest(%s::{}[])").format(
        sql.SQL(kind.partition("(")[0])
    )


def _sent(model: type[Model], columns: Mapping[str, Column]) -> list[Any]:
    sent: list[Any] = []
    for name, one in columns.items():
        is_json = isinstance(_field(model, name), JSONField)
        match one:
            case Same(value=bytes() as text) if is_json:
                sent.append(text.decode())
            case Same(value=value):
                sent.append(value)
            case _ if is_json:
                sent.append(Documents(cast("Sequence[bytes | None]", one)))
            case _:
                sent.append(list(one))
    return sent


def _values(field: "Field[Any, Any]", rows: Sequence[Model]) -> list[Any]:
    """Return what the rows have in a field, as the statement takes it."""
    values = [getattr(row, field.attname) for row in rows]
    if not isinstance(field, JSONField):
        return [field.get_db_prep_save(one, connection) for one in values]
    # many rows share one value, such as who issued a document
    texts = {
        key: None if one is None else json.dumps(one, cls=field.encoder).encode()
        for key, one in {id(one): one for one in values}.items()
    }
    return [texts[id(one)] for one in values]
