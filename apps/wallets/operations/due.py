"""What happens to credit because time passed: read from due rows, each done once, in order."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import DatabaseError, transaction

from apps.core.errors import BillingError
from apps.core.events import record
from apps.core.money import plain
from apps.core.tenancy import tenant_scope, tenants_by
from apps.wallets.domain import GrantStatus
from apps.wallets.models import CreditGrant
from apps.wallets.operations.granting import open_for_grant
from apps.wallets.operations.spending import expire_hold
from apps.wallets.operations.till import open_till
from apps.wallets.operations.topping_off import close_till
from apps.wallets.queries import grants_due, holds_due, reminders_due, wallets_low

logger = logging.getLogger(__name__)

ACTOR: Final = "system:wallets.apply_due"


def apply_due(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = ACTOR,
) -> int:
    """Do what is due by ``at``, in this order, and return how much was done.

    Holds end; grants begin and expire; customers are reminded of expiries; and wallets with too
    little are topped off. Each wallet is a transaction of its own: one that fails is logged and
    stops no other. Any number of sweeps may work side by side. ``clock_id`` takes the customers
    on that test clock instead of those on real time.
    """
    done = 0
    for owner in [tenant_id] if tenant_id else tenants_by("wallets_tenants_with_due", at):
        with tenant_scope(owner):
            done += _apply_at(owner, at, clock_id, actor)
    return done


def _apply_at(tenant_id: UUID, at: datetime, clock_id: UUID | None, actor: str) -> int:
    def each(ids: Iterable[UUID], work: Callable[[UUID], object]) -> int:
        done = 0
        for identifier in dict.fromkeys(ids):
            try:
                work(identifier)
                done += 1
            except (BillingError, DatabaseError):
                logger.exception("what was due of %s could not be done", identifier)
        return done

    def end_hold(hold_id: UUID) -> None:
        expire_hold(hold_id, tenant_id=tenant_id, actor=actor, at=at)

    def refresh(wallet_id: UUID) -> None:
        refresh_wallet(wallet_id, tenant_id=tenant_id, actor=actor, at=at)

    def remind(grant_id: UUID) -> None:
        remind_of_expiry(grant_id, tenant_id=tenant_id, actor=actor, at=at)

    holds = holds_due(at, clock_id, tenant_id).order_by("expires_at", "id")
    done = each(list(holds.values_list("id", flat=True)), end_hold)
    grants = grants_due(at, clock_id, tenant_id).order_by("wallet_id")
    done += each(list(grants.values_list("wallet_id", flat=True)), refresh)
    reminders = reminders_due(at, clock_id, tenant_id).order_by("remind_at", "id")
    done += each(list(reminders.values_list("id", flat=True)), remind)
    low = wallets_low(at, clock_id, tenant_id).order_by("id")
    return done + each(list(low.values_list("id", flat=True)), refresh)


@transaction.atomic
def refresh_wallet(wallet_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> None:
    """Begin, expire and top off what is due of one wallet; a repeat finds nothing."""
    close_till(open_till([wallet_id], tenant_id=tenant_id, actor=actor, at=at))


@transaction.atomic
def remind_of_expiry(grant_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> CreditGrant:
    """Say that a grant will expire soon, if anything is left of it; once."""
    _, _, grant = open_for_grant(grant_id, tenant_id=tenant_id, actor=actor, at=at)
    if grant.remind_at is None or grant.remind_at > at:
        return grant
    grant.remind_at = None
    grant.save(update_fields=["remind_at"])
    if grant.status == GrantStatus.AVAILABLE and grant.remaining and grant.expires_at:
        record(
            "credit_grant.expiring",
            grant,
            actor=actor,
            at=at,
            left=plain(grant.remaining),
            expires_at=grant.expires_at.isoformat(),
        )
    return grant
