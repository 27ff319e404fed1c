"""Partitions are made ahead and dropped by age; keys and rollups outlive them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection

from apps.core.clock import now
from apps.customers.models import Customer
from apps.metering.domain import UsageRequest, UsageSpan
from apps.metering.invariants import rollups_equal_events
from apps.metering.models import Meter
from apps.metering.operations import keep_partitions, rebuild_rollups
from apps.metering.operations.partitions import Kept
from apps.metering.queries import latest_version, measure
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db(transaction=True)

FAR = datetime(2031, 7, 10, tzinfo=UTC)


@pytest.fixture
def customer() -> Customer:
    return make_customer(external_id="a")


@pytest.fixture
def meter(customer: Customer) -> Meter:
    return make_meter(customer.tenant, key="calls")


def call(key: str, at: datetime, value: int = 1) -> dict[str, Any]:
    return {
        "idempotency_key": key,
        "event_name": "calls",
        "customer": "a",
        "value": value,
        "timestamp": at.isoformat(),
    }


def partitions_of(key: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM metering_usageevent WHERE key = %s", [key]
        )
        return [row[0] for row in cursor.fetchall()]


def test_months_around_now_are_there_from_the_start() -> None:
    kept = keep_partitions(now())
    assert kept.dropped == ()
    assert len(kept.made) <= 1  # the month may have turned since the migration
    assert keep_partitions(now()).made == ()


def test_what_fell_into_the_default_partition_moves_out(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, [call("k", FAR)], at=FAR)
    assert partitions_of("k") == ["metering_usageevent_default"]
    count_all()
    made = keep_partitions(FAR).made
    assert made[0] == date(2030, 6, 1)
    assert made[-1] == date(2031, 10, 1)
    assert partitions_of("k") == ["metering_usageevent_203107"]
    assert count_all() == 0  # it is the same event, not a new one
    assert list(rollups_equal_events(None)) == []


def test_events_far_off_get_a_month_of_their_own(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, [call("k", FAR)], at=FAR)
    assert date(2031, 7, 1) in keep_partitions(now()).made
    assert partitions_of("k") == ["metering_usageevent_203107"]


def test_dropping_a_month_forgets_neither_keys_nor_usage(customer: Customer, meter: Meter) -> None:
    old = now() - timedelta(days=200)
    send(customer.tenant, [call("k", old, 5)], at=now())
    month = old.date().replace(day=1)
    early = keep_partitions(now(), retention=timedelta(days=100)).dropped
    assert max(early) < month  # not before its events are rolled up
    count_all()
    dropped = keep_partitions(now(), retention=timedelta(days=100)).dropped
    assert dropped[0] == month
    assert keep_partitions(now(), retention=timedelta(days=100)) == Kept((), ())
    assert partitions_of("k") == []
    again, other = send(customer.tenant, [call("k", old, 5), call("k", old, 6)], at=now())
    assert (again.status, other.status) == ("duplicate", "conflict")
    day = old.replace(hour=0, minute=0, second=0, microsecond=0)
    request = UsageRequest(
        0,
        customer.tenant_id,
        customer.pk,
        None,
        latest_version(meter.pk).pk,
        (UsageSpan(day, day + timedelta(days=1), unassigned=True),),
    )
    assert measure([request]).by_request[0][0].measured.quantity == 5
    assert list(rollups_equal_events(None)) == []
    assert [one.wrong for one in rebuild_rollups()] == [0]
    assert measure([request]).by_request[0][0].measured.quantity == 5


def test_late_events_for_a_dropped_month_are_counted_too(customer: Customer, meter: Meter) -> None:
    old = now() - timedelta(days=200)
    send(customer.tenant, [call("k", old, 5)], at=now())
    count_all()
    keep_partitions(now(), retention=timedelta(days=100))
    send(customer.tenant, [call("late", old, 7)], at=now())
    count_all()
    keep_partitions(now(), retention=timedelta(days=100))
    assert partitions_of("late") == []
    day = old.replace(hour=0, minute=0, second=0, microsecond=0)
    request = UsageRequest(
        0,
        customer.tenant_id,
        customer.pk,
        None,
        latest_version(meter.pk).pk,
        (UsageSpan(day, day + timedelta(days=1), unassigned=True),),
    )
    assert measure([request]).by_request[0][0].measured.quantity == 12


def test_events_and_keys_are_append_only(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, [call("k", now())], at=now())
    not_a_number = (
        "INSERT INTO metering_usageevent (tenant_id, id, customer_id, event_name, occurred_at,"
        " value, properties, key, received_at) SELECT tenant_id, id, customer_id, event_name,"
        " occurred_at, 'NaN', properties, key, received_at FROM metering_usageevent"
    )
    for statement in (
        not_a_number,
        "UPDATE metering_usageevent SET value = 2",
        "DELETE FROM metering_usageevent",
        "DELETE FROM metering_usageeventkey",
        "TRUNCATE metering_usageevent",
        "UPDATE metering_meterversion SET aggregation = 'max'",
    ):
        with as_superuser(), pytest.raises(IntegrityError), connection.cursor() as cursor:
            cursor.execute(statement)
