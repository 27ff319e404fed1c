"""The backend, as ``DATABASES`` names it; see the package."""

from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.postgresql import base

from apps.core.postgresql.adapters import ArrayDumper, Documents, DocumentsDumper, InstantLoader
from apps.core.tenancy import current_tenant

_Connection = psycopg.Connection[Any]

_UNKNOWN: Final = object()  # what is set on the server may have been rolled back
_set: "Final[WeakKeyDictionary[_Connection, object]]" = WeakKeyDictionary()


class ScopedCursor(psycopg.ClientCursor[Any]):
    """The cursor that Django uses; before a statement the server gets to know whose scope it is."""

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        tell_tenant(self.connection)
        return super().execute(*args, **kwargs)

    def executemany(self, *args: Any, **kwargs: Any) -> Any:
        tell_tenant(self.connection)
        return super().executemany(*args, **kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        tell_tenant(self.connection)
        return super().copy(*args, **kwargs)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, with adapters of ours on each of its connections, and tenants' scopes."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "cursor_factory": ScopedCursor}

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        made = super().get_new_connection(conn_params)
        made.adapters.register_dumper(list, ArrayDumper)
        made.adapters.register_dumper(Documents, DocumentsDumper)
        made.adapters.register_loader("timestamptz", InstantLoader)
        _set[made] = None
        return made

    def create_cursor(self, name: str | None = None) -> Any:
        if name is not None:  # a cursor of the server begins with its one statement
            tell_tenant(self.connection)
        return super().create_cursor(name)

    def _rollback(self) -> Any:
        self._forget_tenant()
        return super()._rollback()  # type: ignore[misc]  # left out of the stubs

    def _savepoint_rollback(self, sid: str) -> None:
        _set[self.connection] = current_tenant()  # in a broken transaction nothing can be told
        super()._savepoint_rollback(sid)  # type: ignore[misc]  # left out of the stubs
        self._forget_tenant()

    def _forget_tenant(self) -> None:
        # what was set inside is undone with the rest
        if self.connection is not None:
            _set[self.connection] = _UNKNOWN


def tell_tenant(connection: _Connection) -> None:
    """Have the server show the rows of the scope's tenant, unless it does so already.

    For the session, not the transaction: reads outside of transactions are then one round trip,
    and requests for one tenant that follow each other on a connection need no other.
    """
    wanted = current_tenant()
    if _set.get(connection, _UNKNOWN) == wanted:
        return
    value = "" if wanted is None else str(wanted)
    psycopg.ClientCursor(connection).execute(
        "SELECT set_config('app.tenant_id', %s, false)", [value]
    )
    _set[connection] = wanted
