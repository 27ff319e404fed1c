"""The end of grace: drafts are refreshed once more, then issued."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import DatabaseError, transaction

from apps.core.errors import BillingError
from apps.core.failpoints import failpoint
from apps.core.locks import lock_rows
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import refresh_drafts
from apps.invoicing.operations.issuing import issue_documents
from apps.invoicing.queries import drafts_due

logger = logging.getLogger(__name__)

CHUNK: Final = 500


def issue_due(
    at: datetime, *, actor: str, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> int:
    """Refresh and issue every draft whose grace has ended by ``at``; return how many were issued.

    Each is computed anew to its own cutoff first, so that usage which arrived during the grace is
    on it; one that is left with nothing to bill vanishes.
    Taken in chunks of 500 per tenant, one transaction each; where a chunk fails its drafts are
    issued one by one, and one that fails then stays a draft, is logged, and stops no other. Any
    number of runs may work side by side: a customer that one holds is skipped by the others. ``clock_id`` takes the drafts of customers on that test
    clock instead of those on real time.
    """
    issued = 0
    for owner in [tenant_id] if tenant_id else tenants_by("invoicing_tenants_with_drafts", at):
        with tenant_scope(owner):
            found = drafts_due(at, clock_id=clock_id, tenant_id=owner).order_by("id")
            drafts = list(found.values_list("id", flat=True))
            for first in range(0, len(drafts), CHUNK):
                issued += _issue_chunk(drafts[first : first + CHUNK], owner, actor, at)
    return issued


def _issue_chunk(drafts: Sequence[UUID], tenant_id: UUID, actor: str, at: datetime) -> int:
    try:
        return _issue_together(drafts, tenant_id, actor, at)
    except (BillingError, DatabaseError):
        logger.exception("a chunk of %d drafts failed; issuing them singly", len(drafts))
    issued = 0
    for draft in drafts:
        try:
            issued += _issue_together([draft], tenant_id, actor, at)
        except (BillingError, DatabaseError):
            logger.exception("draft %s could not be issued", draft)
    return issued


@transaction.atomic
def _issue_together(drafts: Sequence[UUID], tenant_id: UUID, actor: str, at: datetime) -> int:
    still_due = Invoice.objects.filter(
        id__in=drafts, status=InvoiceStatus.DRAFT, issue_after__lte=at
    )
    customers = still_due.values_list("customer_id", flat=True)
    lock_rows(Customer, list(customers), tenant_id=tenant_id)
    ready = {one.id: one for one in still_due.order_by("cutoff_at")}
    cutoffs = {one.customer_id: one.cutoff_at for one in ready.values()}
    refreshed = refresh_drafts(cutoffs, tenant_id=tenant_id, actor=actor, at=at)
    failpoint("invoicing.drafts.after_refresh")
    issued = [
        one for one in refreshed if one in ready
    ]  # not a draft that waits in another currency
    issue_documents(issued, tenant_id=tenant_id, actor=actor, at=at)
    return len(issued)
