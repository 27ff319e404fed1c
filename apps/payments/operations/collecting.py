"""Collecting invoices without being asked: once when issued, then by the tenant's timetable."""

import logging
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.core.tenancy import tenant_scope, tenants_by
from apps.invoicing.domain import COLLECTABLE, DocumentKind
from apps.invoicing.models import Invoice
from apps.payments.domain import QUESTIONS
from apps.payments.models import Collection, Payment, PaymentMethod
from apps.payments.operations import timetable
from apps.payments.operations.attempts import carry_out, place_attempt
from apps.payments.operations.booking import use_money_on_account
from apps.payments.operations.locking import lock_with_customer
from apps.payments.providers import provider_named
from apps.payments.queries import collections_due, default_method, payment_in_flight
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant

logger = logging.getLogger(__name__)

RETRIES: Final = "system:payments.retry_collections"


def collect_invoice(
    invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime
) -> Payment | None:
    """Begin to collect an issued invoice: from the customer's account, then his default method.

    Returns the payment of the first attempt, or None where none was made: nothing is due, the
    tenant does not collect by itself, or the customer had no default method that can be charged
    when the invoice was issued. That is no failure; the invoice waits to be paid. A repeat does nothing: what a crash left in
    flight is asked about (``resolve_unknown``). Raises ``NotFound``.
    """
    payment = _begin_collection(invoice_id, tenant_id=tenant_id, actor=actor, at=at)
    return carry_out(payment, actor=actor, at=at) if payment else None


def retry_collections(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = RETRIES,
) -> int:
    """Make every attempt that is due by ``at``; return how many were made.

    An attempt is due as many days after the first failure as ``retry_days`` of the tenant says.
    Two sweeps at once make each attempt once. One that breaks stops nobody else: it is logged, and
    what it left is asked about. ``clock_id`` takes the customers on that test clock instead of
    those on real time.
    """
    made = 0
    for owner in [tenant_id] if tenant_id else tenants_by("payments_tenants_to_collect", at):
        with tenant_scope(owner):
            made += _retry_at(owner, at, clock_id, actor)
    return made


def _retry_at(tenant_id: UUID, at: datetime, clock_id: UUID | None, actor: str) -> int:
    due = collections_due(at, clock_id=clock_id, tenant_id=tenant_id).order_by("next_attempt_at")
    made = 0
    for invoice_id in list(due.values_list("invoice_id", flat=True)):
        try:
            payment = _begin_retry(invoice_id, tenant_id=tenant_id, actor=actor, at=at)
            if payment is not None:
                made += 1
                carry_out(payment, actor=actor, at=at)
        except Exception:
            logger.exception("collecting the invoice %s again failed", invoice_id)
    return made


@transaction.atomic
def end_collection(invoice_id: UUID, *, tenant_id: UUID, at: datetime) -> None:
    """Stop collecting an invoice that asks for no money any more; a repeat does nothing.

    Raises ``NotFound``.
    """
    invoice = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    if not _asks_for_money(invoice):
        timetable.close_collection(invoice, at=at)


@transaction.atomic(durable=True)
def _begin_collection(
    invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime
) -> Payment | None:
    invoice = lock_with_customer(invoice_id, tenant_id=tenant_id)
    if not _asks_for_money(invoice):
        return None
    collection, is_new = Collection.objects.get_or_create(
        invoice=invoice, defaults={"id": new_id(), "tenant_id": tenant_id}
    )
    failpoint("payments.collection.after_begin")
    return _attempt(invoice, collection, actor=actor, at=at) if is_new else None


@transaction.atomic(durable=True)
def _begin_retry(invoice_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> Payment | None:
    invoice = lock_with_customer(invoice_id, tenant_id=tenant_id)
    collection = Collection.objects.get(invoice=invoice)
    if collection.next_attempt_at is None or collection.next_attempt_at > at:
        return None
    if not _asks_for_money(invoice):
        timetable.close_collection(invoice, at=at)
        return None
    return _attempt(invoice, collection, actor=actor, at=at)


def _attempt(
    invoice: Invoice, collection: Collection, *, actor: str, at: datetime
) -> Payment | None:
    due = use_money_on_account(invoice, actor=actor, at=at)
    if not due.amount:
        return None
    if payment_in_flight(invoice.id) is not None:
        # somebody else's attempt decides; look again soon, in case it fails
        collection.next_attempt_at = at + QUESTIONS[0]
        collection.save(update_fields=["next_attempt_at"])
        return None
    collection.next_attempt_at = None
    tenant = Tenant.objects.get(id=invoice.tenant_id)
    method = default_method(invoice.customer_id, tenant_id=invoice.tenant_id)
    why_not = ""
    if not tenant.auto_collect:
        why_not = "The tenant does not collect by itself."
    elif method is None:
        why_not = "The customer has no default payment method."
    elif not collection.attempts and _came_later(method, invoice):
        # what is charged does not depend on how soon the job runs
        why_not = "The customer had no such payment method when it was issued."
    elif not provider_named(method.provider).collects:
        why_not = f"Money by {method.provider} arrives by itself."
    elif method.is_expired(at):
        why_not = f"The customer's default payment method expired with {method.expires}."
    elif Mode(tenant.mode) not in provider_named(method.provider).modes:
        why_not = f"{method.provider} is not for {tenant.mode} tenants."
    if why_not or method is None:
        collection.last_failure = why_not
        collection.save(update_fields=["next_attempt_at", "last_failure"])
        waits = not tenant.auto_collect or _arrives_by_itself(method)
        _tell_of_credit(invoice, why_not, waits=waits, actor=actor, at=at)
        return None
    collection.save(update_fields=["next_attempt_at"])
    return place_attempt(invoice, method, due, id=new_id(), automatic=True, actor=actor, at=at)


def _arrives_by_itself(method: PaymentMethod | None) -> bool:
    return method is not None and not provider_named(method.provider).collects


def _tell_of_credit(
    invoice: Invoice, why_not: str, *, waits: bool, actor: str, at: datetime
) -> None:
    """Record of an invoice that sells credit that it cannot be collected, unless it just waits."""
    if invoice.sells_credit and not waits:
        record("invoice.uncollected", invoice, actor=actor, at=at, reason=why_not)


def _came_later(method: PaymentMethod, invoice: Invoice) -> bool:
    """Say whether the method became the default only after the invoice was issued."""
    since, issued_at = method.default_since, invoice.issued_at
    return since is not None and issued_at is not None and since > issued_at


def _asks_for_money(invoice: Invoice) -> bool:
    return (
        invoice.kind == DocumentKind.INVOICE
        and invoice.status in COLLECTABLE
        and bool(invoice.amount_due.amount)
    )
