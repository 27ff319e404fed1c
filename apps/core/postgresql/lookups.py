"""How queries ask for many rows by their ids."""

from typing import Any, Final
from uuid import UUID

from django.db.models import UUIDField
from django.db.models.fields.related import ForeignObject
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In
from django.db.models.sql.compiler import SQLCompiler

_ONLY_IDS: Final = frozenset({UUID})
_COLLECTIONS: Final = (list, tuple, set, frozenset, dict)


class _ByArray(In):
    """``IN`` with an array of ids as its one parameter, instead of one parameter per id.

    PostgreSQL plans both alike, and Django need not look at each. Whatever else stands on the
    right is left to Django.
    """

    rhs: Any

    def get_prep_lookup(self) -> Any:
        return list(self.rhs) if _is_ids(self.rhs) else super().get_prep_lookup()

    def process_rhs(self, compiler: SQLCompiler, connection: Any) -> Any:
        if _is_ids(self.rhs):
            return "%s", [list(self.rhs)]
        return super().process_rhs(compiler, connection)

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return "= ANY(%s)" if _is_ids(self.rhs) else super().get_rhs_op(connection, rhs)


class IdIn(_ByArray):
    """Rows that have one of the ids."""


class OwnerIn(_ByArray, RelatedIn):
    """Rows that refer to one of the ids."""


def ask_by_arrays() -> None:
    """Have every ``__in`` of ids use an array from now on."""
    UUIDField.register_lookup(IdIn)
    ForeignObject.register_lookup(OwnerIn)


def _is_ids(value: object) -> bool:
    return isinstance(value, _COLLECTIONS) and frozenset(map(type, value)) == _ONLY_IDS
