"""Celery's and the job queue's way in."""

from uuid import UUID

from celery import shared_task

from apps.core.clock import now
from apps.core.jobs import job
from apps.customers.queries import customer_now
from apps.invoicing.models import Invoice
from apps.payments.models import Dispute
from apps.payments.operations import (
    collecting,
    dispute_asking,
    disputed_credit,
    refund_resolving,
    resolving,
    unused,
)


@job("payments.collect_invoice")
def collect_invoice(subject: str) -> None:
    """Begin to collect an invoice that was issued."""
    invoice = _invoice(subject)
    collecting.collect_invoice(
        invoice.id,
        tenant_id=invoice.tenant_id,
        actor="system:payments.collect_invoice",
        at=customer_now(invoice.customer, wall=now()),
    )


@job("payments.refund_unused")
def refund_unused(subject: str) -> None:
    """Pay back what a credit memo gives of time that was paid, of a subscription that was canceled."""
    memo = _invoice(subject)
    unused.refund_unused(
        memo.id,
        tenant_id=memo.tenant_id,
        actor="system:payments.refund_unused",
        at=customer_now(memo.customer, wall=now()),
    )


@job("payments.end_collection")
def end_collection(subject: str) -> None:
    """Stop collecting an invoice that was canceled or written off."""
    invoice = _invoice(subject)
    collecting.end_collection(
        invoice.id,
        tenant_id=invoice.tenant_id,
        at=customer_now(invoice.customer, wall=now()),
    )


@job("payments.follow_dispute")
def follow_dispute(subject: str) -> None:
    """Take prepaid credit whose money is disputed, or give it back."""
    dispute = Dispute.objects.select_related(
        "customer__test_clock", "customer__tenant__test_clock"
    ).get(id=UUID(subject))
    disputed_credit.follow_dispute(
        dispute.id,
        tenant_id=dispute.tenant_id,
        actor="system:payments.follow_dispute",
        at=customer_now(dispute.customer, wall=now()),
    )


@job("payments.follow_disputes_of")
def follow_disputes_of(subject: str) -> None:
    """Take credit that an invoice has sold for money that is disputed meanwhile."""
    invoice = _invoice(subject)
    disputed_credit.follow_disputes_of(
        invoice.id,
        tenant_id=invoice.tenant_id,
        actor="system:payments.follow_disputes_of",
        at=customer_now(invoice.customer, wall=now()),
    )


@shared_task(name="payments.retry_collections")
def retry_collections() -> int:
    """Try again to collect what failed, by the tenants' timetables."""
    return collecting.retry_collections(now())


@shared_task(name="payments.resolve_unknown")
def resolve_unknown() -> int:
    """Ask about payments whose outcome is open."""
    return resolving.resolve_unknown(now())


@shared_task(name="payments.resolve_refunds")
def resolve_refunds() -> int:
    """Ask about refunds whose outcome is open."""
    return refund_resolving.resolve_refunds(now())


@shared_task(name="payments.ask_disputes")
def ask_disputes() -> int:
    """Ask providers which payments are disputed."""
    return dispute_asking.ask_disputes(now())


def _invoice(subject: str) -> Invoice:
    return Invoice.objects.select_related(
        "customer__test_clock", "customer__tenant__test_clock"
    ).get(id=UUID(subject))
