"""What row security costs: one look at the scope per statement."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from django.db import connection
from psycopg import sql

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.invoicing.operations.billing import bill_customer
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

APRIL: Final = datetime(2026, 4, 1, tzinfo=UTC)
MAY: Final = datetime(2026, 5, 1, tzinfo=UTC)
_PLANNED: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")


@pytest.fixture
def customer() -> Customer:
    tenant = make_tenant()
    customer = make_customer(tenant, external_id="crm-1")
    make_meter(tenant, key="calls", at=APRIL)
    price = {"model": "per_unit", "unit_price": "0.01"}
    version = make_plan(tenant, [{"meter": "calls", "name": "Calls", "pricing": price}])
    make_subscription(customer, version, at=APRIL)
    return customer


def ingest(customer: Customer) -> None:
    used = {"event_name": "calls", "customer": "crm-1", "timestamp": APRIL.isoformat(), "value": 1}
    items = [{**used, "idempotency_key": f"key-{number}"} for number in range(3)]
    ingest_batch(sender_of(customer.tenant), items, at=APRIL)


def bill(customer: Customer) -> None:
    ingest(customer)
    bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=MAY,
        issue=True,
        actor=ACTOR,
        at=MAY,
    )


def read(customer: Customer) -> None:
    api = Api(make_key(customer.tenant))
    for path in ("customers", "invoices", "subscriptions", f"customers/{customer.public_id}"):
        api.get(f"/{path}")


def explained(work: Callable[[Customer], None], customer: Customer) -> list[Any]:
    """Do the work; return the plan of each of its statements."""
    found: list[Any] = []

    def explain(execute: Any, statement: Any, params: Any, many: Any, context: Any) -> Any:
        text = sql.SQL(statement) if isinstance(statement, str) else statement
        if text.as_string().lstrip().upper().startswith(_PLANNED):
            execute(sql.SQL("EXPLAIN (VERBOSE, FORMAT JSON) ") + text, params, many, context)
            found.append(context["cursor"].fetchone()[0][0]["Plan"])
        return execute(statement, params, many, context)

    with connection.execute_wrapper(explain):
        work(customer)
    return found


def nodes(node: Any) -> Iterator[Any]:
    yield node
    for part in node.get("Plans", ()):
        yield from nodes(part)


@pytest.mark.parametrize("work", [ingest, bill, read])
def test_whose_scope_it_is_is_asked_once_per_statement(
    work: Callable[[Customer], None], customer: Customer
) -> None:
    asked = per_row = 0
    for plan in explained(work, customer):
        for node in nodes(plan):
            own = {name: value for name, value in node.items() if name != "Plans"}
            told = "app.tenant_id" in str(own)
            once = node.get("Parent Relationship") == "InitPlan" and node["Node Type"] == "Result"
            asked += told and once
            per_row += told and not once
    assert asked > 0
    assert per_row == 0
