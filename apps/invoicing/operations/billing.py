"""Billing customers: one by one to a cutoff, as a preview, or everybody who is due."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import DatabaseError, transaction
from django.db.models import F, Max, Min, Q

from apps.core.errors import BillingError, Invalid
from apps.core.events import Happening, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import new_id, new_ids
from apps.core.locks import lock_row
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.customers.queries import on_clock
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.gathering import gather
from apps.invoicing.lines import ProposedLine
from apps.invoicing.models import Invoice, InvoiceLine, ParkedCustomer
from apps.invoicing.operations.drafting import (
    Order,
    by_currency,
    facts_for,
    kind_of,
    store_drafts,
    tax_proposed,
)
from apps.invoicing.operations.issuing import issue_drafts
from apps.invoicing.operations.looks import look_again
from apps.invoicing.taxing import TaxFacts, TaxOfRate, taxes_by_rate
from apps.metering.models import ChangedUsage
from apps.metering.operations import clear_changed
from apps.metering.queries import changed_usage
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import mark_billed
from apps.tenants.domain import LateUsagePolicy
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)

CHUNK: Final = 500
# a parked customer is tried again after so long
PARKED_FOR: Final = timedelta(hours=1)
# what parks a customer instead of ending the run
_FAILURES: Final = (BillingError, ArithmeticError, ValueError, LookupError, DatabaseError)


class CutoffInFuture(Invalid):
    reason = "cutoff_in_future"


@dataclass(frozen=True, slots=True)
class PreviewDocument:
    """A document as it would be: amounts in ``currency``."""

    kind: DocumentKind
    currency: str
    lines: tuple[ProposedLine, ...]
    subtotal: Decimal
    taxes: tuple[TaxOfRate, ...]
    tax: Decimal
    total: Decimal


@dataclass(slots=True)
class RunSummary:
    """What a run did so far."""

    customers: int = 0
    documents: int = 0
    parked: int = 0


@transaction.atomic
def bill_customer(
    customer_id: UUID,
    *,
    tenant_id: UUID,
    request_id: UUID,
    cutoff: datetime,
    issue: bool,
    actor: str,
    at: datetime,
) -> list[Invoice]:
    """Bill everything of the customer that is due by ``cutoff`` (inclusive) and not yet billed.

    Returns one document per currency (an invoice, or a credit memo where the differences sum
    below zero), none if nothing is to be billed. A repeat with the same ``request_id`` returns
    the same documents and makes nothing. A draft of the customer is replaced and keeps its id.
    With ``issue`` they are issued unless the tenant has a grace period; without, they wait to be
    issued by hand. Raises ``CutoffInFuture`` where ``cutoff`` lies after ``at``.
    """
    _refuse_future(cutoff, at)
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    known = Invoice.objects.filter(customer_id=customer_id, request_id=request_id).order_by("id")
    if known:
        return list(known)
    tenant = Tenant.objects.get(id=tenant_id)
    order = Order(request_id=request_id, by_hand=not issue, actor=actor, at=at)
    made = bill_locked(tenant, {customer_id: cutoff}, order)
    return list(Invoice.objects.filter(id__in=made).order_by("id"))


def preview_customer(
    customer_id: UUID, *, tenant_id: UUID, cutoff: datetime, begun_before: datetime | None = None
) -> list[PreviewDocument]:
    """Return the documents that billing the customer to ``cutoff`` would make, storing nothing.

    The cutoff may lie in the future: the usage counted is what there is so far. Only services that
    begin before ``begun_before`` are told, if it is given.
    """
    tenant = Tenant.objects.get(id=tenant_id)
    cutoffs = {customer_id: cutoff}
    reopened = reopened_by([customer_id])
    with transaction.atomic():
        due = gather(tenant, cutoffs, reopened=reopened).by_customer.get(customer_id)
        lines = [
            line
            for line in (due.lines if due else [])
            if begun_before is None or line.service.start < begun_before
        ]
        facts = facts_for(tenant, {customer_id: lines})
    return [
        _foreseen(customer_id, currency, alike, net, facts)
        for currency, alike, net in by_currency(lines)
    ]


def _foreseen(
    customer_id: UUID, currency: str, lines: Sequence[ProposedLine], net: Decimal, facts: TaxFacts
) -> PreviewDocument:
    named = zip(new_ids(len(lines)), lines, strict=True)
    tax = tax_proposed(new_id(), customer_id, currency, named, facts)
    total = net + tax.total
    return PreviewDocument(
        kind=kind_of(total),
        currency=currency,
        lines=tuple(lines),
        subtotal=net,
        taxes=tuple(taxes_by_rate(tax.rows, currency)),
        tax=tax.total,
        total=total,
    )


def close_due(
    at: datetime,
    *,
    actor: str,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    progress: Callable[[RunSummary], None] = lambda _summary: None,
) -> RunSummary:
    """Bill every customer for whom something came due by ``at``: each period once, in order.

    A customer who missed several periods gets the documents he would have got in time, one per
    due instant, the earliest first. Customers are taken in chunks of 500, one transaction each;
    where a chunk fails its customers are billed one by one, and who fails then is parked with the
    reason and stops nobody else. Any number of runs may work side by side: a customer that one
    holds is skipped by the others, and left to the next run. ``clock_id`` takes the customers on
    that test clock instead of those on real time, and waits for whoever holds one: its time goes on
    only when everybody is billed. Repeating it bills nothing twice.
    """
    summary = RunSummary()
    order = Order(request_id=None, by_hand=False, actor=actor, at=at, waits=clock_id is not None)
    for owner in [tenant_id] if tenant_id else tenants_by("invoicing_tenants_to_bill", at):
        with tenant_scope(owner):
            tenant = Tenant.objects.get(id=owner)
            failed: set[UUID] = set()
            while _close_chunk(tenant, order, clock_id, summary, failed):
                progress(summary)
    return summary


def refresh_drafts(
    cutoffs: Mapping[UUID, datetime], *, tenant_id: UUID, actor: str, at: datetime
) -> list[UUID]:
    """Compute the drafts of customers anew, each customer to his cutoff; return the drafts' ids.

    In the transaction of the caller, who holds the customers' locks. A draft keeps its id; one
    that has nothing to bill any more is gone.
    """
    if not cutoffs:
        return []
    order = Order(request_id=None, by_hand=True, keeps_time=True, actor=actor, at=at)
    return bill_locked(Tenant.objects.get(id=tenant_id), cutoffs, order)


# --- choosing who is due ------------------------------------------------------------------------


def _refuse_future(cutoff: datetime, at: datetime) -> None:
    if cutoff > at:
        raise CutoffInFuture(
            f"The cutoff {cutoff.isoformat()} lies in the future; preview it instead.",
            field="cutoff",
        )


def _lock_next(
    tenant: Tenant, order: Order, clock_id: UUID | None, failed: set[UUID]
) -> list[UUID]:
    """Lock up to a chunk of customers to be billed: who is due, then whose past changed.

    Whom another transaction holds is passed over, unless the order is to wait, so that runs side by
    side share the work.
    """
    parked = ParkedCustomer.objects.filter(
        tenant_id=tenant.id, parked_at__gt=order.at - PARKED_FOR
    ).values("customer_id")
    waiting = (
        Customer.objects.filter(on_clock(clock_id), tenant=tenant)
        .exclude(id__in=failed)
        .exclude(id__in=parked)
        .select_for_update(skip_locked=not order.waits, no_key=True, of=("self",))
        .values_list("id", flat=True)
    )
    due = waiting.filter(subscriptions__next_bill_at__lte=order.at)
    found = dict.fromkeys(due.order_by("subscriptions__next_bill_at", "id")[:CHUNK])
    if found:
        return list(found)
    late = ChangedUsage.objects.filter(_wants_correction(tenant), tenant_id=tenant.id)
    return list(waiting.filter(id__in=late.values("customer_id")).order_by("id")[:CHUNK])


def _lock_one(customer_id: UUID, order: Order) -> list[UUID]:
    """Lock a customer; none if another transaction holds him, unless the order is to wait."""
    rows = Customer.objects.filter(id=customer_id)
    return list(
        rows.select_for_update(skip_locked=not order.waits, no_key=True, of=("self",)).values_list(
            "id", flat=True
        )
    )


def _wants_correction(tenant: Tenant) -> Q:
    """Select changed usage that no regular document will take up, or that must not wait for one."""
    billed_past = Q(customer__subscriptions__billed_until__gt=F("since"))
    if tenant.late_usage == LateUsagePolicy.CREDIT_MEMO:
        return billed_past
    living = Subscription.objects.filter(next_bill_at__isnull=False).values("customer_id")
    return billed_past & ~Q(customer_id__in=living)


def _cutoffs(tenant: Tenant, customers: Sequence[UUID], order: Order) -> dict[UUID, datetime]:
    """Return, for locked customers, the earliest instant at which something of each is due.

    One whose past changed and for whom nothing is due is billed again up to where he was billed;
    one whom another run has billed meanwhile is left out.
    """
    rows = list(
        Subscription.objects.filter(tenant=tenant, customer_id__in=customers)
        .values("customer_id")
        .annotate(
            due=Min("next_bill_at", filter=Q(next_bill_at__lte=order.at)),
            billed=Max("billed_until"),
        )
        .values_list("customer_id", "due", "billed")
    )
    billed_until = {customer: billed for customer, due, billed in rows if billed and not due}
    changed = changed_usage(billed_until)
    return {customer: due for customer, due, _ in rows if due} | {
        customer: billed_until[customer] for customer in changed
    }


# --- one chunk ----------------------------------------------------------------------------------


def _close_chunk(
    tenant: Tenant,
    order: Order,
    clock_id: UUID | None,
    summary: RunSummary,
    failed: set[UUID],
) -> bool:
    """Bill the next customers, together or else one by one; say whether there were any."""
    chunk: list[UUID] = []
    try:
        with transaction.atomic():
            chunk = _lock_next(tenant, order, clock_id, failed)
            failpoint("invoicing.close.after_lock")
            taken, documents = _close(tenant, chunk, order)
    except _FAILURES:
        if not chunk:
            raise
        logger.exception("a chunk of %d customers failed; billing them singly", len(chunk))
    else:
        summary.customers += taken
        summary.documents += documents
        failpoint("invoicing.close.after_chunk")
        return bool(chunk)
    for customer_id in chunk:
        try:
            with transaction.atomic():
                taken, documents = _close(tenant, _lock_one(customer_id, order), order)
        except _FAILURES as error:
            logger.exception("billing customer %s failed; he is parked", customer_id)
            _park(tenant, customer_id, order, error)
            failed.add(customer_id)
            summary.parked += 1
        else:
            summary.customers += taken
            summary.documents += documents
    return bool(chunk)


def _close(tenant: Tenant, locked: Sequence[UUID], order: Order) -> tuple[int, int]:
    """Bill locked customers; return for how many something was due, and the documents."""
    cutoffs = _cutoffs(tenant, locked, order) if locked else {}
    if not cutoffs:
        return 0, 0
    made = bill_locked(tenant, cutoffs, order)
    ParkedCustomer.objects.filter(customer_id__in=cutoffs).delete()
    return len(cutoffs), len(made)


@transaction.atomic
def _park(tenant: Tenant, customer_id: UUID, order: Order, error: Exception) -> None:
    reason = str(error) if isinstance(error, BillingError) else f"{type(error).__name__}: {error}"
    parked, is_new = ParkedCustomer.objects.get_or_create(
        customer_id=customer_id,
        defaults={
            "tenant_id": tenant.id,
            "reason": reason,
            "cutoff_at": order.at,
            "parked_at": order.at,
        },
    )
    if not is_new:
        parked.reason, parked.parked_at = reason, order.at
        parked.attempts += 1
        parked.save()
    happening = Happening(
        "customer.parked", tenant.id, Customer.ID_PREFIX, customer_id, {"reason": parked.reason}
    )
    record_all([happening], actor=order.actor, at=order.at)


def bill_locked(
    tenant: Tenant,
    cutoffs: Mapping[UUID, datetime],
    order: Order,
    *,
    early: frozenset[UUID] = frozenset(),
) -> list[UUID]:
    """Make the documents of locked customers; issue them at once where there is no grace.

    Of ``early`` subscriptions usage is billed up to the cutoff, and the documents are issued at once.
    """
    drafts = {
        (draft.customer_id, draft.currency): draft
        for draft in Invoice.objects.filter(customer_id__in=cutoffs, status=InvoiceStatus.DRAFT)
    }
    reopened = reopened_by(cutoffs) if drafts else {}
    Invoice.objects.filter(id__in=[draft.id for draft in drafts.values()]).delete()
    failpoint("invoicing.bill.after_discard")
    gathered = gather(tenant, cutoffs, reopened=reopened, early=early)
    failpoint("invoicing.bill.before_store")
    made = store_drafts(tenant, gathered, cutoffs, drafts, order)
    failpoint("invoicing.bill.after_store")
    mark_billed([mark for due in gathered.by_customer.values() for mark in due.marks])
    if gathered.accruing and not early:
        unseen = {one: gathered.usage_marks[one] for one in gathered.accruing}
        look_again(unseen, tenant_id=tenant.id)
    clear_changed(gathered.usage_marks)
    failpoint("invoicing.bill.after_marks")
    if early or (not order.by_hand and not tenant.grace_period):
        issue_drafts(
            [draft for draft in made if not draft.waits],
            tenant=tenant,
            actor=order.actor,
            at=order.at,
        )
    return [draft.id for draft in made]


def reopened_by(customers: Iterable[UUID]) -> dict[UUID, datetime]:
    """Return the start of the earliest period in each customer's drafts."""
    rows = (
        InvoiceLine.objects.filter(
            invoice__customer_id__in=customers, invoice__status=InvoiceStatus.DRAFT
        )
        .values("invoice__customer_id")
        .annotate(earliest=Min("period_start"))
        .values_list("invoice__customer_id", "earliest")
    )
    return dict(rows)
