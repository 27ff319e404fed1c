"""Contracts for tests, made by the operation."""

from datetime import datetime
from typing import Any

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.subscriptions.models import Contract, Subscription
from apps.subscriptions.operations import create_contract
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT


@in_its_scope
def make_contract(owner: Subscription | Customer, at: datetime = AT, **values: Any) -> Contract:
    """Return a new contract for a subscription, or for all that a customer has."""
    one = owner.pk if isinstance(owner, Subscription) else None
    customer_id = owner.customer_id if isinstance(owner, Subscription) else owner.pk
    return create_contract(
        customer_id,
        id=values.pop("id", None) or new_id(),
        name="Agreed",
        subscription_id=one,
        actor=ACTOR,
        at=at,
        **values,
    )
