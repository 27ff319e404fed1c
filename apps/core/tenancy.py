"""Whose rows the program may see: one tenant's at a time, or none.

PostgreSQL keeps the tenants apart by row security: a statement sees the rows of the tenant that
``app.tenant_id`` names, and without one it sees none. What it names is decided here, and told to
the server by ``core.postgresql`` before each statement for which that has changed.

Doors enter a scope: requests once it is known who asks, jobs, sweeps tenant by tenant, commands.
Operations and queries run in whatever scope they are called.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from psycopg import sql

_current: Final[ContextVar[UUID | None]] = ContextVar("tenant", default=None)


def current_tenant() -> UUID | None:
    """Return the tenant whose scope this is; None outside of any."""
    return _current.get()


@contextmanager
def tenant_scope(tenant_id: UUID | None) -> Iterator[None]:
    """See this tenant's rows inside ``with``, and afterwards those that were seen before.

    None is nobody's scope: there are no rows in it. It changes neither what has been read already
    nor the transaction, and may be entered inside one. Threads begin in nobody's scope.
    """
    before = _current.set(tenant_id)
    try:
        yield
    finally:
        _current.reset(before)


def enter_tenant(tenant_id: UUID | None) -> None:
    """See this tenant's rows from now on, until the scope around ends: a request's, for example."""
    _current.set(tenant_id)


def tenants_by(function: str, *arguments: datetime | UUID | str) -> list[UUID]:
    """Return the tenants that a function of the database finds, in whatever scope this is.

    It is one of those that docs/adr/0007 lists, which see the rows of all tenants and tell no more
    than whose they are: for sweeps, which then enter the scope of one after the other.
    """
    call = sql.SQL("SELECT * FROM {}({}) AS tenant_id ORDER BY tenant_id").format(
        sql.Identifier(function), sql.SQL(", ").join([sql.Placeholder()] * len(arguments))
    )
    with connection.cursor() as cursor:
        cursor.execute(call, arguments)
        return [row[0] for row in cursor.fetchall()]
