"""What is measured on: a tenant with a plan, and as many subscriptions and events as wanted.

One of each is made by the operations, as anybody's would be; the rest are copies of it that SQL
makes, tens of thousands a second.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection, connections, transaction
from django.db.models import Model
from psycopg import sql

from apps.backoffice.bench.scratch import OWNER
from apps.catalog.operations.plans import create_plan
from apps.core.ids import new_id
from apps.core.tenancy import enter_tenant
from apps.customers.models import Customer
from apps.customers.operations import create_customer
from apps.metering.models import UsageSubject
from apps.metering.operations import create_meter
from apps.rating.aggregation import Aggregation
from apps.rating.periods import Span
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.operations import start_subscription
from apps.tenants.operations import create_api_key, create_tenant

ACTOR: Final = "system:bench"
METERS: Final[Mapping[str, Aggregation]] = {
    "calls": Aggregation.COUNT,
    "traffic": Aggregation.SUM,
    "storage": Aggregation.MAX,
}
_CHARGES: Final[tuple[dict[str, Any], ...]] = (
    {"key": "base", "name": "Base fee", "pricing": {"model": "flat", "amount": "49.00"}},
    {
        "meter": "calls",
        "pricing": {
            "model": "graduated",
            "tiers": [
                {"up_to": "10", "unit_price": "0.05"},
                {"up_to": "100", "unit_price": "0.02"},
                {"up_to": None, "unit_price": "0.01"},
            ],
        },
    },
    {"meter": "traffic", "pricing": {"model": "per_unit", "unit_price": "0.0015"}},
    {"meter": "storage", "pricing": {"model": "package", "size": "100", "price": "1.00"}},
)
_EVENTS_PER_TRANSACTION: Final = 50_000
# the first part of the ids of what is numbered; the rest is the number
CUSTOMER: Final = "c0000000"
_SUBSCRIPTION: Final = "50000000"
_SEGMENT: Final = "5e000000"


@dataclass(frozen=True, slots=True)
class World:
    """A tenant whose customers, numbered from 1, have one subscription each since ``month``."""

    tenant_id: UUID
    secret: str  # of an API key of the tenant
    month: Span
    subscriptions: int


def customer_id(number: int) -> UUID:
    """Return the id of a customer by his number."""
    return _numbered(CUSTOMER, number)


def subscription_id(number: int) -> UUID:
    """Return the id of the customer's subscription."""
    return _numbered(_SUBSCRIPTION, number)


def subscription_name(number: int) -> str:
    """Return the name by which events name the subscription."""
    return f"subscription-{number}"


@transaction.atomic
def make_world(subscriptions: int, month: Span) -> World:
    """Make a tenant, three meters, one plan, and so many customers with a subscription to it.

    The plan has a base fee in advance and a usage charge per meter; nothing has been billed. The
    month is one of UTC.
    """
    acting: dict[str, Any] = {"actor": ACTOR, "at": month.start}
    tenant = create_tenant(
        id=new_id(), slug="bench", name="Bench", currency="USD", zone="UTC", **acting
    )
    enter_tenant(tenant.id)
    _, secret = create_api_key(
        tenant.id, id=new_id(), name="bench", scopes=("*:read", "*:write"), **acting
    )
    for key, aggregation in METERS.items():
        create_meter(
            tenant.id,
            id=new_id(),
            key=key,
            name=key.capitalize(),
            event_name=key,
            aggregation=aggregation,
            **acting,
        )
    plan = create_plan(
        tenant.id,
        id=new_id(),
        document={
            "key": "bench",
            "name": "Bench",
            "currency": "USD",
            "billing_period": "monthly",
            "charges": list(_CHARGES),
        },
        **acting,
    )
    customer = create_customer(
        tenant.id,
        id=customer_id(1),
        external_id="customer-1",
        name="Globex",
        email="billing@globex.example",
        currency="USD",
        zone="UTC",
        **acting,
    )
    start_subscription(
        customer.id,
        id=subscription_id(1),
        plan_version_id=plan.versions.get().id,
        started_at=month.start,
        external_id=subscription_name(1),
        **acting,
    )
    _multiply(subscriptions)
    return World(tenant.id, secret, month, subscriptions)


def fill(world: World, events: int) -> None:
    """Give every subscription so many events, spread evenly over the month and the meters.

    They are stored in the order of time, as they would arrive, a slice of it per transaction.
    """
    step = max(1, _EVENTS_PER_TRANSACTION // world.subscriptions)
    for first in range(0, events, step):
        _fill_slice(world, events, first, min(first + step, events) - 1)


def remember_keys() -> None:
    """Store the keys of the events that ``fill`` has stored, as ingestion would have."""
    _run(
        "INSERT INTO {keys} (id, fingerprint, occurred_at)"
        " SELECT id, id, occurred_at FROM {events} ON CONFLICT DO NOTHING",
        keys=sql.Identifier("metering_usageeventkey"),
        events=sql.Identifier("metering_usageevent"),
    )


def settle() -> None:
    """Have the database do now what it would do later, so that it does not fall into a timing."""
    with connections[OWNER].cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _fill_slice(world: World, events: int, first: int, last: int) -> None:
    _run(
        """
        INSERT INTO {events}
          (tenant_id, id, customer_id, subscription_id, event_name, occurred_at, value, properties,
           key, received_at)
        SELECT {tenant}, md5(key)::uuid, {customer}, {subscription}, event_name, occurred_at,
               value, '{{}}', key, occurred_at
        FROM generate_series({first}, {last}) AS i, generate_series(1, {subscriptions}) AS n,
             LATERAL (SELECT 'event-' || n || '-' || i AS key,
                             ({names}::text[])[1 + i % {meters}] AS event_name,
                             1 + (n * 7 + i * 13) % 100 AS value,
                             {begins} + ({ends} - {begins}) * ((i + n % 97 / 97.0) / {count})
                               AS occurred_at) AS one
        """,
        events=sql.Identifier("metering_usageevent"),
        tenant=sql.Literal(world.tenant_id),
        customer=numbered_sql(CUSTOMER),
        subscription=numbered_sql(_SUBSCRIPTION),
        first=sql.Literal(first),
        last=sql.Literal(last),
        subscriptions=sql.Literal(world.subscriptions),
        names=sql.Literal(list(METERS)),
        meters=sql.Literal(len(METERS)),
        begins=sql.Literal(world.month.start),
        ends=sql.Literal(world.month.end),
        count=sql.Literal(events),
    )


def _multiply(count: int) -> None:
    """Make customers 2 to ``count`` like the first one, with all that belongs to him."""
    customer = {"customer_id": numbered_sql(CUSTOMER)}
    subscription = {"subscription_id": numbered_sql(_SUBSCRIPTION)}
    name = {"external_id": sql.SQL("'subscription-' || n")}
    copies(
        Customer,
        count,
        {"id": numbered_sql(CUSTOMER), "external_id": sql.SQL("'customer-' || n")},
    )
    copies(Subscription, count, {"id": numbered_sql(_SUBSCRIPTION), **customer, **name})
    copies(UsageSubject, count, {**subscription, **customer, **name})
    copies(SubscriptionSegment, count, {"id": numbered_sql(_SEGMENT), **subscription})


def copies(model: type[Model], count: int, changes: Mapping[str, sql.Composable]) -> None:
    """Copy the only row of a table; ``changes`` are SQL over the number ``n`` of the copy."""
    pairs = [sql.SQL("{}, {}").format(sql.Literal(name), value) for name, value in changes.items()]
    _run(
        """
        INSERT INTO {table} SELECT made.*
        FROM {table} AS one, generate_series(2, {count}) AS n,
             LATERAL jsonb_populate_record(one, jsonb_build_object({changes})) AS made
        """,
        table=sql.Identifier(model._meta.db_table),
        count=sql.Literal(count),
        changes=sql.SQL(", ").join(pairs),
    )


def _numbered(head: str, number: int) -> UUID:
    return UUID(f"{head}-0000-7000-8000-{number:012x}")


def numbered_sql(head: str) -> sql.Composed:
    """Return SQL for the id that begins with ``head``, of the number ``n``."""
    return sql.SQL("({} || lpad(to_hex(n), 12, '0'))::uuid").format(
        sql.Literal(f"{head}-0000-7000-8000-")
    )


def _run(statement: str, **names: sql.Composable) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(**names))
