"""What happens to usage because time passed."""

from datetime import timedelta

import pytest

from apps.core.clock import now
from apps.metering import tasks
from apps.metering.models import OrphanEvent, UsageRollup
from billing_project.schedule import BEAT_SCHEDULE
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, make_subject, send

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_schedule_names_tasks_that_there_are() -> None:
    named = {one["task"] for one in BEAT_SCHEDULE.values()}
    assert {tasks.roll_up.name, tasks.keep_partitions.name} <= named


def test_usage_is_rolled_up_and_what_just_failed_to_match_is_tried_again() -> None:
    customer = make_customer(external_id="a")
    make_meter(customer.tenant, key="calls")
    call = {"event_name": "calls", "value": 1, "timestamp": now().isoformat()}
    send(customer.tenant, [{**call, "customer": "a"}, {**call, "subscription": "s"}], at=now())
    assert tasks.roll_up() + count_all() == 1
    make_subject(customer, external_id="s", opens_at=now() - timedelta(hours=1))
    tasks.roll_up()
    assert OrphanEvent.objects.get().status == "attached"
    assert tasks.roll_up() + count_all() == 1
    assert UsageRollup.objects.filter(grain="h").count() == 2


def test_every_orphan_is_tried_again_when_partitions_are_kept() -> None:
    customer = make_customer()
    make_meter(customer.tenant, key="calls")
    item = {"event_name": "calls", "customer": "late", "value": 1, "timestamp": now().isoformat()}
    send(customer.tenant, [item], at=now())
    make_customer(customer.tenant, external_id="late")
    tasks.keep_partitions()
    assert OrphanEvent.objects.get().status == "attached"
