"""Telling of what ends soon: trials, phases, terms, subscriptions and contracts."""

import logging
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet

from apps.core.bulk import Same, insert_rows
from apps.core.events import Happening, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import new_ids
from apps.core.tenancy import tenant_scope
from apps.customers.queries import on_clock
from apps.subscriptions.domain import NoticeKind
from apps.subscriptions.models import Contract, Notice, Subscription
from apps.subscriptions.noticing import Endings, endings
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)

_PAGE: Final = 500
_SWEEP: Final = "system:subscriptions.tell_of_endings"


def tell_of_endings(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = _SWEEP,
) -> int:
    """Record an event for each end whose time to be told has come by ``at``; return how many.

    Once for each end and instant at which it is: one that moves is told again for where it is then.
    One that has passed already is not told. Any number of sweeps at once, or none for a month, tell
    each once; what another transaction holds is left to the next sweep.
    """
    leads = Tenant.objects.filter(Q(id=tenant_id) if tenant_id else Q()).exclude(
        trial_notice=None, phase_notice=None, term_notice=None
    )
    told = 0
    for owner, *spans in leads.values_list("id", "trial_notice", "phase_notice", "term_notice"):
        longest = max(one for one in spans if one is not None)
        with tenant_scope(owner):
            for found in endings():
                due = found.rows.filter(
                    on_clock(clock_id, found.customer),
                    tenant=owner,
                    tell_at__lte=at,
                    boundary__gt=at,
                    boundary__lte=at + longest,
                )
                try:
                    told += _tell(owner, found, due, actor, at)
                except Exception:
                    logger.exception("telling of %s failed for tenant %s", found.kind, owner)
    return told


def _tell(tenant_id: UUID, found: Endings, due: QuerySet[Any], actor: str, at: datetime) -> int:
    told = 0
    while owners := list(due.order_by(found.owner).values_list(found.owner, flat=True)[:_PAGE]):
        page = due.filter(**{f"{found.owner}__in": owners})
        done = _tell_page(tenant_id, found, page, actor, at)
        told += done
        if not done:
            break
    return told


@transaction.atomic
def _tell_page(
    tenant_id: UUID, found: Endings, due: QuerySet[Any], actor: str, at: datetime
) -> int:
    """Tell of what is still due once its owners are locked; return how many that was."""
    model = Contract if found.kind is NoticeKind.CONTRACT_ENDING else Subscription
    wanted = list(due.values_list(found.owner, flat=True))
    locked = model._default_manager.filter(pk__in=wanted).order_by("pk")
    held = list(
        locked.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
    )
    rows = list(
        due.filter(**{f"{found.owner}__in": held})
        .order_by("tell_at", found.owner)
        .values(found.owner, "boundary", *found.shown)
    )
    if not rows:
        return 0
    owners = [row[found.owner] for row in rows]
    about = "contract" if model is Contract else "subscription"
    other = "subscription" if model is Contract else "contract"
    insert_rows(
        Notice,
        {
            "id": new_ids(len(rows)),
            "tenant": Same(tenant_id),
            about: owners,
            other: Same(None),
            "kind": Same(found.kind.value),
            "boundary_at": [row["boundary"] for row in rows],
            "told_at": Same(at),
        },
    )
    failpoint("subscriptions.notice.after_insert")
    record_all(
        [
            Happening(
                found.kind.event, tenant_id, model.ID_PREFIX, row[found.owner], _said(found, row)
            )
            for row in rows
        ],
        actor=actor,
        at=at,
    )
    return len(rows)


def _said(found: Endings, row: dict[str, Any]) -> dict[str, Any]:
    names = {"plan_version__plan__key": "plan", "phase__name": "phase"}
    shown = {names.get(way, way): row[way] for way in found.shown}
    return {"ends_at": row["boundary"].isoformat(), **shown}
