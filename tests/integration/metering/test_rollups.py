"""The reader counts every event once, whatever happens beside it."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.metering.domain import UsageRequest, UsageSpan
from apps.metering.invariants import every_event_has_its_key, rollups_equal_events
from apps.metering.models import ChangedUsage, Meter, RollupPosition, UsageRollup
from apps.metering.operations import (
    clear_changed,
    rebuild_rollups,
    revise_meter,
    roll_up,
)
from apps.metering.operations.rollups import Rebuilt
from apps.metering.queries import changed_usage, latest_version, measure
from apps.rating.aggregation import Aggregation
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.neighbours import outlive_neighbours
from tests.make.tenants import ACTOR, AT

pytestmark = pytest.mark.django_db(transaction=True)

DAY = AT.replace(hour=0)


@pytest.fixture
def customer() -> Customer:
    return make_customer(external_id="a")


@pytest.fixture
def meter(customer: Customer) -> Meter:
    return make_meter(customer.tenant, key="calls")


def calls(*values: int, at: datetime = AT, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "event_name": "calls",
            "customer": "a",
            "value": value,
            "timestamp": at.isoformat(),
            **more,
        }
        for value in values
    ]


def quantity(customer: Customer, meter: Meter, version_id: UUID | None = None) -> Decimal:
    request = UsageRequest(
        0,
        customer.tenant_id,
        customer.pk,
        None,
        version_id or latest_version(meter.pk).pk,
        (UsageSpan(DAY - timedelta(days=40), DAY + timedelta(days=1), unassigned=True),),
    )
    (one,) = measure([request]).by_request[0]
    return one.measured.quantity


def totals() -> list[tuple[str, int]]:
    return [
        (f"{row.grain} {row.starts_at:%d %H}", int(row.total))
        for row in UsageRollup.objects.order_by("-grain", "starts_at")
    ]


@pytest.mark.holds("U11")
def test_hours_and_days_are_kept(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, calls(1, 2))
    send(customer.tenant, calls(4, at=AT + timedelta(minutes=59)))
    send(customer.tenant, calls(8, at=AT - timedelta(hours=20)))
    assert count_all() == 4
    send(customer.tenant, calls(16, at=AT - timedelta(hours=20)))
    assert count_all() == 1
    assert count_all() == 0
    assert totals() == [("h 30 16", 24), ("h 01 12", 7), ("d 30 00", 24), ("d 01 00", 7)]
    assert quantity(customer, meter) == 31


@pytest.mark.holds("U10")
def test_a_slow_transaction_is_not_skipped(customer: Customer, meter: Meter) -> None:
    """It began before others that are read already, and commits after them."""
    slow = psycopg.connect(**_where())
    slow.execute("SELECT set_config('app.tenant_id', %s, false)", [str(customer.tenant_id)])
    slow.execute(
        "INSERT INTO metering_usageevent (tenant_id, id, customer_id, event_name, occurred_at,"
        " value, properties, key, received_at)"
        " VALUES (%s, gen_random_uuid(), %s, 'calls', %s, 100, '{}', 'slow', %s)",
        [customer.tenant_id, customer.pk, AT, AT],
    )
    send(customer.tenant, calls(1))
    assert roll_up() == 0  # the slow one might still store events below this one's number
    assert quantity(customer, meter) == 1
    slow.commit()
    slow.close()
    assert quantity(customer, meter) == 101
    assert count_all() == 2
    assert quantity(customer, meter) == 101
    assert list(rollups_equal_events(None)) == []


def test_a_second_reader_waits_for_nothing_and_counts_nothing(
    customer: Customer, meter: Meter
) -> None:
    send(customer.tenant, calls(1))
    with psycopg.connect(**_where()) as other:
        other.execute("SELECT pg_advisory_xact_lock(4803112021)")
        assert roll_up() == 0
    assert count_all() == 1


def test_a_reader_that_dies_leaves_nothing_half_counted(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, calls(1, 2))

    class Died(Exception):
        pass

    def die() -> None:
        with transaction.atomic():
            roll_up()
            raise Died

    with pytest.raises(Died):
        die()
    assert totals() == []
    assert count_all() == 2
    assert list(rollups_equal_events(None)) == []


def test_a_new_version_catches_up_with_what_was_there(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, calls(3, 5))
    count_all()
    version = revise_meter(
        meter.pk,
        tenant_id=meter.tenant_id,
        id=new_id(),
        event_name="calls",
        aggregation=Aggregation.MAX,
        actor=ACTOR,
        at=AT,
    )
    assert quantity(customer, meter, version.pk) == 5  # from the events themselves
    send(customer.tenant, calls(7))
    count_all()
    assert RollupPosition.objects.get(pk=version.pk).caught_up
    assert quantity(customer, meter, version.pk) == 7
    assert list(rollups_equal_events(None)) == []


def test_catching_up_marks_only_what_may_have_been_billed(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, calls(3))
    count_all()
    clear_changed({customer.pk: changed_usage([customer.pk])[customer.pk].mark})
    revise_meter(
        meter.pk,
        tenant_id=meter.tenant_id,
        id=new_id(),
        event_name="calls",
        aggregation=Aggregation.MAX,
        actor=ACTOR,
        at=AT,
    )
    count_all()
    assert changed_usage([customer.pk]) == {}


def test_changes_are_marked_from_the_earliest_and_cleared_by_their_mark(
    customer: Customer, meter: Meter
) -> None:
    send(customer.tenant, calls(1))
    send(customer.tenant, calls(1, at=AT - timedelta(days=9)))
    count_all()
    first = changed_usage([customer.pk])[customer.pk]
    assert first.since == AT - timedelta(days=9)
    send(customer.tenant, calls(1))
    count_all()
    clear_changed({customer.pk: first.mark})  # of a run that has not seen the last event
    second = changed_usage([customer.pk])[customer.pk]
    assert (second.since, second.mark > first.mark) == (AT - timedelta(days=9), True)
    clear_changed({customer.pk: second.mark})
    assert not ChangedUsage.objects.exists()


def test_long_group_values_are_kept_apart(customer: Customer) -> None:
    make_meter(customer.tenant, key="calls", group_by=["path"])
    long = "/" + "x" * 9000
    send(
        customer.tenant,
        [*calls(1, properties={"path": long}), *calls(2, properties={"path": long + "y"})],
    )
    count_all()
    assert sorted(row.total for row in UsageRollup.objects.filter(grain="h")) == [1, 2]
    assert list(rollups_equal_events(None)) == []


def test_rebuilding_mends_what_is_wrong_and_finds_nothing_twice(
    customer: Customer, meter: Meter
) -> None:
    send(customer.tenant, calls(1, 2))
    count_all()
    UsageRollup.objects.filter(grain="d").update(total=99)
    UsageRollup.objects.filter(grain="h").delete()
    assert len(list(rollups_equal_events(meter.tenant_id))) == 2
    assert list(rebuild_rollups(meter.tenant_id)) == [Rebuilt("calls v1", buckets=2, wrong=2)]
    assert list(rebuild_rollups(meter.tenant_id)) == [Rebuilt("calls v1", buckets=2, wrong=0)]
    assert totals() == [("h 01 12", 3), ("d 01 00", 3)]


def test_an_event_without_its_key_shows(customer: Customer, meter: Meter) -> None:
    send(customer.tenant, calls(1, idempotency_key="k1"))
    assert list(every_event_has_its_key(None)) == []
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO metering_usageevent (tenant_id, id, customer_id, event_name, occurred_at,"
            " value, properties, key, received_at) SELECT tenant_id, id, customer_id, event_name,"
            " occurred_at, value, properties, key, received_at FROM metering_usageevent"
        )
    assert list(every_event_has_its_key(customer.tenant_id)) == [
        f"the event 'k1' of tenant {customer.tenant_id} is stored 2 times with its key"
    ]


def _where() -> dict[str, Any]:
    settings = connection.get_connection_params()
    return {name: settings[name] for name in ("dbname", "user", "host") if settings.get(name)}


def test_the_command_tells_what_it_mended(
    customer: Customer, meter: Meter, capsys: pytest.CaptureFixture[str]
) -> None:
    send(customer.tenant, calls(1, 2))
    outlive_neighbours()
    call_command("rebuild_rollups", "--json")
    assert json.loads(capsys.readouterr().out) == {
        "events_counted": 2,
        "meter_versions": 1,
        "buckets": 2,
        "wrong": 0,
    }
    UsageRollup.objects.filter(grain="d").update(count=7)
    call_command("rebuild_rollups", "--tenant", customer.tenant.slug)
    told = capsys.readouterr()
    assert told.out == "1 meter versions, 1 buckets mended\n"
    assert told.err == "calls v1: 2 buckets, 1 were wrong\n"
    assert totals() == [("h 01 12", 3), ("d 01 00", 3)]
    with pytest.raises(CommandError):
        call_command("rebuild_rollups", "--tenant", "nobody")
