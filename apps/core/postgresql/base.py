"""The backend, as ``DATABASES`` names it; see the package."""

from typing import Any

from django.db.backends.postgresql import base

from apps.core.postgresql.adapters import ArrayDumper, InstantLoader


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, with adapters of ours on each of its connections."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        made = super().get_new_connection(conn_params)
        made.adapters.register_dumper(list, ArrayDumper)
        made.adapters.register_loader("timestamptz", InstantLoader)
        return made
