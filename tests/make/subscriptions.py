"""Subscriptions for tests, made by the operation."""

from datetime import datetime
from typing import Any

from apps.catalog.models import PlanVersion
from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import start_subscription
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT


@in_its_scope
def make_subscription(
    customer: Customer, plan_version: PlanVersion, at: datetime = AT, **values: Any
) -> Subscription:
    """Return a new subscription that starts at ``at`` unless ``started_at`` is given."""
    return start_subscription(
        customer.id,
        id=values.pop("id", None) or new_id(),
        plan_version_id=plan_version.id,
        actor=ACTOR,
        at=at,
        **{"started_at": at, **values},
    )
