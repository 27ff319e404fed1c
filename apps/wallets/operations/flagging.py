"""Flagging the subscriptions whose usage credit does not cover."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.subscriptions.operations import flag_uncovered
from apps.wallets.models import Wallet


@transaction.atomic
def flag_subscriptions(wallet_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> None:
    """Flag the subscriptions of a wallet's customer of which any of his wallets is short.

    What the wallets say once the customer is locked counts: told late, twice or in another order
    it comes to the same.
    """
    customer_id = Wallet.objects.values_list("customer_id", flat=True).get(
        pk=wallet_id, tenant_id=tenant_id
    )
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    short = Wallet.objects.filter(customer_id=customer_id, short_since__isnull=False)
    named = {one for ids in short.values_list("short_subscriptions", flat=True) for one in ids}
    flag_uncovered(customer_id, named, actor=actor, at=at)
