"""Billing usage before its period is over, where what has accrued reaches a threshold."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import Exists, F, OuterRef, Q

from apps.catalog.domain import ChargeTerms
from apps.catalog.models import ChargePrice
from apps.catalog.queries import charges_of
from apps.core.errors import BillingError
from apps.core.failpoints import failpoint
from apps.core.tenancy import tenant_scope, tenants_by
from apps.customers.models import Customer
from apps.customers.queries import on_clock
from apps.invoicing.domain import InvoiceStatus, LineKind
from apps.invoicing.gathering import gather
from apps.invoicing.lines import ProposedLine
from apps.invoicing.models import AccrualLook, Invoice
from apps.invoicing.operations.billing import bill_locked
from apps.invoicing.operations.drafting import Order
from apps.invoicing.operations.looks import note_looks
from apps.invoicing.slicing import has_threshold
from apps.metering.domain import UsageChange
from apps.metering.models import ChangedUsage
from apps.metering.queries import changed_usage
from apps.subscriptions.domain import HOLDING, SubscriptionTerms
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.queries import timelines
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)

CHUNK: Final = 200
_ACCRUING: Final = frozenset({LineKind.USAGE, LineKind.DISCOUNT})
_FAILURES: Final = (BillingError, ArithmeticError, ValueError, LookupError, DatabaseError)


def bill_accrued(
    at: datetime, *, actor: str, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> int:
    """Bill usage up to ``at`` of customers who owe for a charge as much as its billing threshold.

    What its lines would add to those issued before, its discounts taken off, is compared; the bill at
    the end of the period is for the rest. Only customers whose usage has changed since they were last
    looked at are, though another bill may have taken up that change, each once, in chunks of 200, a
    transaction each; whom another transaction holds is left to the next run. Documents are issued at
    once, whatever the grace; who has a draft waits for its issue. Returns how many documents were made.
    One that fails is logged, and looked at again when more is used; by the next run where the database
    was in the way. ``clock_id`` takes customers on that test clock instead of those on real time.
    """
    made = 0
    for owner in [tenant_id] if tenant_id else tenants_by("invoicing_tenants_with_accruals"):
        with tenant_scope(owner):
            tenant = Tenant.objects.get(id=owner)
            found = _to_look_at(tenant, clock_id, at)
            for first in range(0, len(found), CHUNK):
                chunk = found[first : first + CHUNK]
                made += _look(tenant, chunk, actor, at, waits=clock_id is not None)
    return made


def _to_look_at(tenant: Tenant, clock_id: UUID | None, at: datetime) -> list[UUID]:
    """Return customers with usage behind a threshold that changed since they were looked at.

    Those for whom something is due are left to the run that closes periods.
    """
    priced = ChargePrice.objects.filter(
        billing_threshold__isnull=False, charge__phase=OuterRef("phase")
    )
    accruing = SubscriptionSegment.objects.filter(
        Exists(priced),
        subscription__customer=OuterRef("customer"),
        subscription__status__in=HOLDING,
    )
    draft = Invoice.objects.filter(customer=OuterRef("customer"), status=InvoiceStatus.DRAFT)
    due = Subscription.objects.filter(customer=OuterRef("customer"), next_bill_at__lte=at)
    wanted = (
        on_clock(clock_id, "customer__")
        & Q(Exists(accruing), ~Exists(draft), ~Exists(due))
        & Q(tenant_id=tenant.id)
    )
    since_then = ChangedUsage.objects.filter(
        wanted,
        Q(customer__accrual_look__isnull=True) | Q(customer__accrual_look__mark__lt=F("mark")),
    )
    taken_up = AccrualLook.objects.filter(wanted, mark__isnull=True)
    customers = since_then.values_list("customer_id").union(taken_up.values_list("customer_id"))
    return sorted(customer_id for (customer_id,) in customers)


def _look(
    tenant: Tenant, customers: Sequence[UUID], actor: str, at: datetime, *, waits: bool
) -> int:
    try:
        return _look_together(tenant, customers, actor, at, waits=waits)
    except _FAILURES:
        logger.exception("%d customers could not be looked at; taking them singly", len(customers))
    made = 0
    for customer_id in customers:
        try:
            made += _look_together(tenant, [customer_id], actor, at, waits=waits)
        except _FAILURES as error:
            logger.exception("what customer %s has used could not be billed", customer_id)
            if isinstance(error, OperationalError):
                if not connection.is_usable():
                    raise
                continue  # what was in the way may be gone in a minute
            with transaction.atomic():
                _looked_at([customer_id], changed_usage([customer_id]), tenant)
    return made


@transaction.atomic
def _look_together(
    tenant: Tenant, customers: Sequence[UUID], actor: str, at: datetime, *, waits: bool
) -> int:
    """Look at customers, bill those who owe enough, and note how far each was looked at."""
    # read first: what changes from now on is looked at the next time
    changes = changed_usage(customers)
    locked = list(
        Customer.objects.filter(id__in=customers)
        .order_by("id")
        .select_for_update(skip_locked=not waits, no_key=True, of=("self",))
        .values_list("id", flat=True)
    )
    made = _bill(tenant, locked, actor, at) if locked else []
    failpoint("invoicing.accrue.after_bill")
    _looked_at(locked, changes, tenant)
    return len(made)


def _looked_at(
    customers: Sequence[UUID], changes: Mapping[UUID, UsageChange], tenant: Tenant
) -> None:
    marks = {one: changes[one].mark if one in changes else 0 for one in customers}
    note_looks(marks, tenant_id=tenant.id)


def _bill(tenant: Tenant, locked: Sequence[UUID], actor: str, at: datetime) -> list[UUID]:
    everybody = timelines(locked)
    charges = charges_of(
        phase_id for found in everybody.values() for terms in found for phase_id in terms.phase_ids
    )
    thresholds: dict[tuple[UUID, UUID], Decimal] = {}
    for found in everybody.values():
        for terms in found:
            thresholds.update(_thresholds(terms, charges))
    early = frozenset(subscription_id for subscription_id, _ in thresholds)
    gathered = gather(tenant, dict.fromkeys(locked, at), reopened={}, early=early)
    over = [
        customer_id
        for customer_id, due in gathered.by_customer.items()
        if _reaches(due.lines, thresholds, at)
    ]
    order = Order(request_id=None, by_hand=False, actor=actor, at=at)
    return bill_locked(tenant, dict.fromkeys(over, at), order, early=early) if over else []


def _thresholds(
    terms: SubscriptionTerms, charges: Mapping[UUID, Sequence[ChargeTerms]]
) -> dict[tuple[UUID, UUID], Decimal]:
    """Return the thresholds of a subscription's charges, by subscription and charge."""
    found = {}
    for segment in (one for track in terms.tracks for one in track.segments):
        for charge in charges[segment.phase_id]:
            price = charge.price(segment.price_list_id, terms.currency)
            if (
                has_threshold(terms, charge)
                and price is not None
                and price.billing_threshold is not None
            ):
                found[terms.id, charge.id] = price.billing_threshold
    return found


def _reaches(
    lines: Sequence[ProposedLine],
    thresholds: Mapping[tuple[UUID, UUID], Decimal],
    at: datetime,
) -> bool:
    """Say whether lines of some charge, of a period that is not over, come to its threshold."""
    accrued: dict[tuple[UUID, UUID], Decimal] = defaultdict(Decimal)
    for line in lines:
        if line.key.kind in _ACCRUING and line.key.charge_id is not None and line.period_end > at:
            accrued[line.key.subscription_id, line.key.charge_id] += line.amount
    return any(
        amount > 0 and key in thresholds and amount >= thresholds[key]
        for key, amount in accrued.items()
    )
