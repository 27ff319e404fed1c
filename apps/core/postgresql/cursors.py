"""Cursors for statements about many rows."""

from typing import Any

import psycopg
from django.db import connections
from django.db.backends.utils import CursorWrapper

from apps.core.postgresql.base import tell_tenant


class _BindingCursor(psycopg.Cursor[Any]):
    """One that sends parameters beside the statement; in the scope of the tenant, as all are."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        tell_tenant(self.connection)
        return super().execute(*args, **kwargs)


def binding_cursor() -> CursorWrapper:
    """Return a cursor that sends parameters beside the statement instead of quoting them into it.

    Megabytes of arrays are then neither escaped here nor read as SQL there. The types of parameters
    are not guessed from the values: the statement casts each.
    """
    using: Any = connections["default"]
    using.ensure_connection()
    # Django makes such a cursor only where a setting asks for it everywhere
    made: CursorWrapper = using._prepare_cursor(_BindingCursor(using.connection))  # noqa: SLF001
    return made
