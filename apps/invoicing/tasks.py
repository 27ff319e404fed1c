"""Celery's way in: what is due because time passed, for everybody on real time."""

from uuid import UUID

from celery import shared_task

from apps.core.clock import due_now, now
from apps.core.jobs import job
from apps.customers.queries import customer_now
from apps.invoicing.models import Backtest, Invoice
from apps.invoicing.operations import (
    accruing,
    backtesting,
    billing,
    closing,
    drafts,
    giving_back,
    selling,
)
from apps.tenants.queries import tenant_now
from apps.wallets.models import CreditGrant


@shared_task(name="invoicing.close_periods")
def close_periods() -> int:
    """Bill everybody for whom something came due; return how many documents that made."""
    return billing.close_due(due_now(), actor="system:close_periods").documents


@shared_task(name="invoicing.bill_accrued")
def bill_accrued() -> int:
    """Bill usage that has reached its billing threshold; return how many documents that made."""
    return accruing.bill_accrued(due_now(), actor="system:bill_accrued")


@shared_task(name="invoicing.issue_drafts")
def issue_drafts() -> int:
    """Issue the drafts whose grace has ended; return how many."""
    return drafts.issue_due(due_now(), actor="system:issue_drafts")


@shared_task(name="invoicing.mark_overdue")
def mark_overdue() -> int:
    """Mark the invoices whose term has ended; return how many."""
    return closing.mark_overdue(due_now(), actor="system:mark_overdue")


@job("invoicing.sell_credit")
def sell_credit(subject: str) -> None:
    """Issue the invoice for credit that somebody asked to buy."""
    grant = _grant(subject)
    selling.sell_credit(
        grant.id,
        actor="system:invoicing.sell_credit",
        at=customer_now(grant.wallet.customer, wall=now()),
    )


@job("invoicing.refund_credit")
def refund_credit(subject: str) -> None:
    """Issue the credit memo for credit that was taken back."""
    grant = _grant(subject)
    selling.refund_credit(
        grant.id,
        actor="system:invoicing.refund_credit",
        at=customer_now(grant.wallet.customer, wall=now()),
    )


@job("invoicing.claw_back_credit")
def claw_back_credit(subject: str) -> None:
    """Take prepaid credit back whose money a credit memo gives back."""
    memo = Invoice.objects.select_related(
        "customer__test_clock", "customer__tenant__test_clock"
    ).get(id=UUID(subject))
    giving_back.claw_back_credit(
        memo.id,
        actor="system:invoicing.claw_back_credit",
        at=customer_now(memo.customer, wall=now()),
    )


@job("invoicing.continue_backtest")
def continue_backtest(subject: str) -> None:
    """Look at the next customers of a backtest."""
    backtest = Backtest.objects.select_related("tenant__test_clock").get(id=UUID(subject))
    backtesting.continue_backtest(
        backtest.id,
        actor="system:invoicing.continue_backtest",
        at=tenant_now(backtest.tenant, wall=now()),
    )


def _grant(subject: str) -> CreditGrant:
    return CreditGrant.objects.select_related(
        "wallet__customer__test_clock", "wallet__customer__tenant__test_clock"
    ).get(id=UUID(subject))
