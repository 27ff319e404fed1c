"""Running every rule of the books that the installation knows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from apps.core.books import Rule
from apps.core.postgresql.base import tell_tenant
from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Breach:
    """One row that must not exist: the rule it breaks, and a sentence that names it."""

    rule: str
    detail: str


def rules() -> dict[str, Rule]:
    """Return every rule by its name, such as ``ledger.entries_are_unbalanced``, in order."""
    found: dict[str, Rule] = {}
    for module in settings.BOOKS:
        app = module.split(".")[1]
        for rule in import_module(module).RULES:
            found[f"{app}.{rule.__name__}"] = rule
    return found


def breaches(
    tenant_id: UUID | None,
    *,
    before: Callable[[str], None] = lambda _: None,
) -> Iterator[Breach]:
    """Yield what is wrong with the tenant's books (None: all of them), seen at one moment.

    ``before`` is called with the name of each rule as its turn comes. What others write meanwhile
    is not seen, so that half of it cannot look like a breach.
    """
    with _one_moment():
        every = Tenant.objects.order_by("id").values_list("id", flat=True)
        tenants = [tenant_id] if tenant_id else list(every)
        for name, rule in rules().items():
            before(name)
            for owner in tenants:
                with tenant_scope(owner):
                    details = list(rule(owner))
                for detail in details:
                    yield Breach(name, detail)


@contextmanager
def _one_moment() -> Iterator[None]:
    if connection.in_atomic_block:  # the caller's transaction decides what is seen
        yield
        return
    connection.ensure_connection()
    tell_tenant(connection.connection)  # inside, it would be a query before the level is set
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
