"""Row locks, always in one order, so that no two transactions wait for each other in a ring."""

from collections.abc import Iterable
from typing import Final, TypeVar
from uuid import UUID

from django.db import models, transaction

from apps.core.errors import NotFound

# A transaction that locks rows of several of these does so from top to bottom; several rows of
# one model are locked by primary key. Number sequences come last: they serialise a whole tenant.
LOCK_ORDER: Final = (
    "customers.customer",
    "subscriptions.subscription",
    "wallets.wallet",
    "invoicing.invoice",
    "payments.payment",
    "payments.refund",
    "payments.dispute",
    "payments.collection",
    "invoicing.numbersequence",
)

M = TypeVar("M", bound=models.Model)


class LockOrderViolated(RuntimeError):
    """Code took locks in the wrong order: a defect here, not a condition to handle."""


def lock_row(model: type[M], pk: UUID, *, tenant_id: UUID) -> M:
    """Lock one row of the tenant for change and return it as it now is; ``NotFound`` if absent."""
    rows = lock_rows(model, [pk], tenant_id=tenant_id)
    if not rows:
        raise NotFound(f"There is no such {model._meta.verbose_name}.")
    return rows[0]


def lock_rows(model: type[M], pks: Iterable[UUID], *, tenant_id: UUID) -> list[M]:
    """Lock rows of the tenant for change, by primary key, and return those that exist.

    ``FOR NO KEY UPDATE``: it excludes other changers but not the inserting of rows that refer
    here, which is where upgrades of weaker locks would deadlock. Waits up to ``lock_timeout``.
    """
    _check_order(model)
    return list(
        model._default_manager.filter(pk__in=pks, tenant_id=tenant_id)
        .order_by("pk")
        .select_for_update(no_key=True, of=("self",))
    )


class _Held:
    """How far down ``LOCK_ORDER`` one transaction has come."""

    def __init__(self, scope: tuple[str, ...], rank: int) -> None:
        self.scope, self.rank = scope, rank

    def __call__(self) -> None:
        """Stand among the commit hooks; there is nothing to do.

        There it goes away with the transaction, and with a savepoint that is rolled back, as the
        lock does.
        """


def _check_order(model: type[models.Model]) -> None:
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise LockOrderViolated("lock rows inside a transaction")
    label = model._meta.label_lower
    if label not in LOCK_ORDER:
        return
    rank = LOCK_ORDER.index(label)
    # a test is one transaction; what would be transactions of their own are savepoints in it
    around = sum(block._from_testcase for block in connection.atomic_blocks)  # noqa: SLF001 -- as said
    scope = tuple(connection.savepoint_ids[:around])
    held = max(
        (
            hook.rank
            for _, hook, *_ in connection.run_on_commit
            if isinstance(hook, _Held) and hook.scope == scope
        ),
        default=-1,
    )
    if rank < held:
        raise LockOrderViolated(f"{label} is locked after {LOCK_ORDER[held]}")
    if rank > held:
        transaction.on_commit(_Held(scope, rank))
