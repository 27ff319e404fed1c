"""What a rule of the books is: a question whose every answer is a row that must not exist."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

from django.db import connection

Rule = Callable[[UUID | None], Iterator[str]]
"""Yields a sentence per breach within one tenant, or within all of them for None."""


def rows_that_break(query: str, tenant_id: UUID | None) -> list[tuple[Any, ...]]:
    """Return the rows of a rule's query, in which ``%(tenant)s`` is the tenant or null."""
    with connection.cursor() as cursor:
        cursor.execute(query, {"tenant": tenant_id})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
