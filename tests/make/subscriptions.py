"""Subscriptions for tests, made by the operation."""

from datetime import datetime
from typing import Any

from apps.catalog.models import PlanVersion
from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.subscriptions.models import PlanMigration, Subscription
from apps.subscriptions.operations import start_subscription
from apps.subscriptions.operations.migrating import begin_migration, cohort_of
from tests.make.catalog import make_version
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


@in_its_scope
def make_migration(subscription: Subscription, at: datetime = AT) -> PlanMigration:
    """Return a migration of a subscription to a new version of its plan, which has yet to run."""
    cohort = cohort_of(
        subscription.tenant_id,
        from_version_id=subscription.plan_version_id,
        to_version_id=make_version(subscription.plan_version).id,
        effective_at=at,
        subscription_ids=[subscription.id],
    )
    return begin_migration(
        subscription.tenant_id, cohort, id=new_id(), batch_size=10, actor=ACTOR, at=at
    )
