"""The locks under which a subscription is changed: its customer's, then its own."""

from uuid import UUID

from apps.core.errors import NotFound
from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.subscriptions.domain import SubscriptionEnded, SubscriptionStatus
from apps.subscriptions.models import Subscription


def lock_customer(customer_id: UUID) -> Customer:
    """Return the customer, locked for the transaction. Raises ``NotFound``."""
    tenant_id = Customer.objects.filter(pk=customer_id).values_list("tenant", flat=True).first()
    if tenant_id is None:
        raise NotFound("There is no such customer.")
    return lock_row(Customer, customer_id, tenant_id=tenant_id)


def lock_subscription(subscription_id: UUID) -> Subscription:
    """Return the subscription, locked after its customer. Raises ``NotFound``."""
    found = Subscription.objects.filter(pk=subscription_id).first()
    if found is None:
        raise NotFound("There is no such subscription.")
    lock_customer(found.customer_id)
    return lock_row(Subscription, subscription_id, tenant_id=found.tenant_id)


def refuse_ended(subscription: Subscription) -> None:
    """Raise ``SubscriptionEnded`` for one that has ended."""
    if subscription.status == SubscriptionStatus.ENDED and subscription.ends_at is not None:
        raise SubscriptionEnded(
            f"This subscription is {subscription.status}: it ended at"
            f" {subscription.ends_at.isoformat()}."
        )
