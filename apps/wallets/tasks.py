"""Celery's and the job queue's way in."""

from datetime import datetime
from uuid import UUID

from celery import shared_task

from apps.core.clock import due_now, now
from apps.core.jobs import job
from apps.customers.queries import customer_now
from apps.wallets.models import CreditGrant, Wallet
from apps.wallets.operations import burning, due, flagging, purchasing


@shared_task(name="wallets.burn_usage")
def burn_usage() -> int:
    """Burn credit for the usage that came in."""
    return burning.burn_usage(wall=now())


@shared_task(name="wallets.apply_due")
def apply_due() -> int:
    """End holds, begin and expire credit, remind of it and top it off, for everybody on real time."""
    return due.apply_due(due_now())


@job("wallets.settle_purchase")
def settle_purchase(subject: str) -> None:
    """Give the credit that an invoice sells, which has been paid."""
    invoice_id = UUID(subject)
    purchasing.settle_purchase(
        invoice_id, actor="system:wallets.settle_purchase", at=_time(invoice_id)
    )


@job("wallets.fail_purchase")
def fail_purchase(subject: str) -> None:
    """Note that an invoice that sells credit could not be collected."""
    invoice_id = UUID(subject)
    purchasing.fail_purchase(invoice_id, actor="system:wallets.fail_purchase", at=_time(invoice_id))


@job("wallets.cancel_purchase")
def cancel_purchase(subject: str) -> None:
    """Take back the purchase that an invoice asked for, if it asked for one."""
    invoice_id = UUID(subject)
    purchasing.cancel_purchase(
        invoice_id, actor="system:wallets.cancel_purchase", at=_time(invoice_id)
    )


@job("wallets.flag_subscriptions")
def flag_subscriptions(subject: str) -> None:
    """Flag the subscriptions whose usage a wallet does not cover, or take the flag back."""
    wallet = Wallet.objects.select_related(
        "customer__test_clock", "customer__tenant__test_clock"
    ).get(pk=UUID(subject))
    flagging.flag_subscriptions(
        wallet.id,
        tenant_id=wallet.tenant_id,
        actor="system:wallets.flag_subscriptions",
        at=customer_now(wallet.customer, wall=now()),
    )


def _time(invoice_id: UUID) -> datetime:
    """Return what time it is for the customer who buys by an invoice."""
    grant = (
        CreditGrant.objects.filter(invoice_id=invoice_id)
        .select_related("wallet__customer__test_clock", "wallet__customer__tenant__test_clock")
        .first()
    )
    return now() if grant is None else customer_now(grant.wallet.customer, wall=now())
