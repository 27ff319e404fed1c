"""Meters, subjects and events for tests, made by the operations."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import count
from typing import Any

from django.db import connection

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.metering.domain import Backfilling, Receipt
from apps.metering.models import EventAmendment, Meter, UsageSubject
from apps.metering.operations import (
    amend_events,
    create_meter,
    ingest_batch,
    register_subject,
    roll_up,
)
from apps.metering.queries import sender_of
from apps.rating.aggregation import Aggregation
from apps.tenants.models import Tenant
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.servers import as_superuser

_numbers = count(1)


def make_meter(
    tenant: Tenant | None = None, *, key: str | None = None, at: datetime = AT, **values: Any
) -> Meter:
    """Return a new meter: the sum of the values of the events called like its key, unless said."""
    name = key or f"meter_{next(_numbers)}"
    owner = tenant or make_tenant()
    with tenant_scope(owner.id):
        return create_meter(
            owner.id,
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
    with tenant_scope(customer.tenant_id):
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
    with tenant_scope(tenant.id):
        return ingest_batch(sender_of(tenant), keyed, at=at)


def make_amendment(meter: Meter, customer: Customer, *, at: datetime = AT) -> EventAmendment:
    """Return an amendment that brings in one event of the customer."""
    event = {
        "idempotency_key": f"event-{next(_numbers)}",
        "meter": meter.key,
        "customer": customer.public_id,
        "timestamp": at.isoformat(),
        "value": 1,
    }
    with tenant_scope(customer.tenant_id):
        return amend_events(
            customer.tenant_id,
            Backfilling([event]),
            id=new_id(),
            reason="a queue was down",
            actor=ACTOR,
            at=at,
        )


def count_all() -> int:
    """Let the reader count every event there is; return how often events were counted.

    It may have to wait: whatever else runs on the server holds the horizon back.
    """
    counted = 0
    for _ in range(2400):
        counted += roll_up()
        with as_superuser(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM metering_rollupfrontier f"
                " WHERE EXISTS (SELECT FROM metering_usageevent e"
                "               WHERE e.ingest_xid >= f.below_xid::text::xid8)"
                " OR EXISTS (SELECT FROM metering_eventeffect x"
                "            WHERE x.xid >= f.below_xid::text::xid8)"
            )
            if cursor.fetchone() is None:
                return counted
        time.sleep(0.05)
    raise AssertionError("the reader does not come through")
