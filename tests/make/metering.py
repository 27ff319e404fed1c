"""Meters, subjects and events for tests, made by the operations."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import count
from typing import Any

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.metering.domain import Receipt
from apps.metering.models import Meter, UsageSubject
from apps.metering.operations import create_meter, ingest_batch, register_subject
from apps.metering.queries import sender_of
from apps.rating.aggregation import Aggregation
from apps.tenants.models import Tenant
from tests.make.tenants import ACTOR, AT, make_tenant

_numbers = count(1)


def make_meter(
    tenant: Tenant | None = None, *, key: str | None = None, at: datetime = AT, **values: Any
) -> Meter:
    """Return a new meter: the sum of the values of the events called like its key, unless said."""
    name = key or f"meter_{next(_numbers)}"
    return create_meter(
        (tenant or make_tenant()).id,
        id=new_id(),
        key=name,
        actor=ACTOR,
        at=at,
        **{"name": name, "event_name": name, "aggregation": Aggregation.SUM, **values},
    )


def make_subject(
    customer: Customer,
    *,
    external_id: str | None = None,
    opens_at: datetime = AT,
    closes_at: datetime | None = None,
) -> UsageSubject:
    """Return the name of a new subscription of the customer, of which metering alone knows."""
    return register_subject(
        new_id(),
        tenant_id=customer.tenant_id,
        customer_id=customer.id,
        external_id=external_id,
        opens_at=opens_at,
        closes_at=closes_at,
    )


def send(tenant: Tenant, items: Iterable[Mapping[str, Any]], *, at: datetime = AT) -> list[Receipt]:
    """Ingest events of the tenant that arrive at ``at``; one without a key gets a new one."""
    keyed = [{"idempotency_key": f"event-{next(_numbers)}", **item} for item in items]
    return ingest_batch(sender_of(tenant), keyed, at=at)
