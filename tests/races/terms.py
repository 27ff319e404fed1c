"""Races for what customers have: subscriptions, plans, meters, usage."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection
from django.db.models import Q

from apps.catalog.domain import PlanVersionStatus
from apps.catalog.models import PlanVersion
from apps.catalog.operations.plans import add_version, publish_version, retire_version
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.customers.models import Customer
from apps.metering.models import Meter, OrphanEvent
from apps.metering.operations import create_meter, ingest_batch, reattach_orphans, roll_up
from apps.metering.operations.meters import revise_meter
from apps.metering.operations.streams import StreamPaths, create_stream
from apps.metering.queries import sender_of
from apps.rating.aggregation import Aggregation
from apps.rating.periods import Cadence, Unit
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations import (
    apply_due_changes,
    cancel_subscription,
    renew_subscription,
    start_subscription,
    withdraw_change,
)
from tests.make.catalog import make_plan, plan_document
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter
from tests.make.races import counted, refusals, winners
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.races.course import Race

DAY = timedelta(days=1)
MONTH = Cadence(Unit.MONTH)
ACT: dict[str, Any] = {"actor": ACTOR, "at": AT}


def subscribed(**values: Any) -> Subscription:
    customer = make_customer()
    return make_subscription(customer, make_plan(customer.tenant), **values)


def now_as(subscription: Subscription) -> Subscription:
    return Subscription.objects.get(pk=subscription.pk)


def happened(kind: str, subscription: Subscription) -> int:
    return AuditEvent.objects.filter(type=kind, object_id=subscription.public_id).count()


def stored_events(customer: Customer) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM metering_usageevent WHERE customer_id = %s", [customer.id]
        )
        return int(cursor.fetchone()[0])


def cancel_by_cancel() -> Race:
    subscription = subscribed()

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert refusals(results) == ["subscription_ended"] * 4
        assert happened("subscription.ended", subscription) == 1

    return Race(
        [lambda: cancel_subscription(subscription.id, mode=CancelMode.NOW, **ACT)] * 5, judge
    )


def schedule_by_schedule() -> Race:
    subscription = subscribed()

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert refusals(results) == ["cancellation_pending"] * 4
        assert ScheduledChange.objects.filter(subscription=subscription).count() == 1

    return Race(
        [lambda: cancel_subscription(subscription.id, mode=CancelMode.PERIOD_END, **ACT)] * 5,
        judge,
    )


def cancel_by_renew() -> Race:
    subscription = subscribed(term=MONTH, auto_renew=False)

    def judge(results: list[Any]) -> None:
        assert refusals(results) in ([], ["subscription_ended"])
        after = now_as(subscription)
        assert (after.status, after.ends_at) == ("ended", AT)

    return Race(
        [
            lambda: cancel_subscription(subscription.id, mode=CancelMode.NOW, **ACT),
            lambda: renew_subscription(subscription.id, **ACT),
        ],
        judge,
    )


def renew_by_renew() -> Race:
    subscription = subscribed(term=MONTH, auto_renew=False)

    def judge(results: list[Any]) -> None:
        assert refusals(results) == []
        after = now_as(subscription)
        assert after.term_ends_at is not None
        assert after.term_ends_at.isoformat() == "2026-07-01T12:00:00+00:00"
        assert happened("subscription.renewed", subscription) == 1

    return Race([lambda: renew_subscription(subscription.id, **ACT)] * 5, judge)


def withdraw_by_due() -> Race:
    """A cancellation is withdrawn at the instant at which it takes effect."""
    subscription = subscribed()
    end = AT + 10 * DAY
    change = new_id()
    cancel_subscription(subscription.id, mode=CancelMode.DATE, ends_at=end, change_id=change, **ACT)

    def judge(results: list[Any]) -> None:
        applied = ScheduledChange.objects.get(pk=change).status == "applied"
        assert now_as(subscription).status == ("ended" if applied else "active")
        assert refusals(results) == (["subscription_ended"] if applied else [])

    return Race(
        [
            lambda: withdraw_change(change, actor=ACTOR, at=end),
            lambda: apply_due_changes(end, tenant_id=subscription.tenant_id),
            lambda: apply_due_changes(end, tenant_id=subscription.tenant_id),
        ],
        judge,
    )


def due_by_due() -> Race:
    customer = make_customer()
    plan = make_plan(customer.tenant)
    begun = [
        make_subscription(customer, plan, at=AT, started_at=AT + DAY, term=MONTH, auto_renew=False)
        for _ in range(3)
    ]
    late = AT + 60 * DAY

    def judge(results: list[Any]) -> None:
        assert sum(results) >= 3
        assert [now_as(one).status for one in begun] == ["ended"] * 3
        assert [happened("subscription.ended", one) for one in begun] == [1] * 3

    return Race([lambda: apply_due_changes(late, tenant_id=customer.tenant_id)] * 4, judge)


def start_by_start() -> Race:
    customer = make_customer()
    plan = make_plan(customer.tenant)
    chosen = new_id()

    def start() -> Any:
        return start_subscription(
            customer.id, id=chosen, plan_version_id=plan.id, started_at=AT, **ACT
        ).id

    def judge(results: list[Any]) -> None:
        assert results == [chosen] * 5
        assert Subscription.objects.filter(customer=customer).count() == 1

    return Race([start] * 5, judge)


def name_by_name() -> Race:
    """Two customers' subscriptions want one external id."""
    tenant = make_tenant()
    plan = make_plan(tenant)
    customers = [make_customer(tenant) for _ in range(4)]

    def start(number: int) -> Any:
        return start_subscription(
            customers[number].id,
            id=new_id(),
            plan_version_id=plan.id,
            started_at=AT,
            external_id="main",
            **ACT,
        )

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (1, ["external_id_taken"] * 3)

    return Race([partial(start, number) for number in range(4)], judge)


def publish_by_subscribe() -> Race:
    customer = make_customer()
    draft = make_plan(customer.tenant, publish=False)

    def judge(results: list[Any]) -> None:
        assert results[0].status == PlanVersionStatus.PUBLISHED
        assert set(refusals(results)) <= {"plan_not_on_sale"}
        begun = Subscription.objects.filter(customer=customer).count()
        assert begun == len(winners(results)) - 2

    return Race(
        [lambda: publish_version(draft.id, **ACT)] * 2
        + [
            lambda: start_subscription(
                customer.id, id=new_id(), plan_version_id=draft.id, started_at=AT, **ACT
            )
        ]
        * 3,
        judge,
    )


def retire_by_subscribe() -> Race:
    customer = make_customer()
    version = make_plan(customer.tenant)

    def judge(results: list[Any]) -> None:
        assert set(refusals(results)) <= {"plan_not_on_sale"}
        begun = Subscription.objects.filter(customer=customer).count()
        assert begun == len(winners(results)) - 1
        assert PlanVersion.objects.get(pk=version.pk).status == PlanVersionStatus.RETIRED

    return Race(
        [lambda: retire_version(version.id, **ACT)]
        + [
            lambda: start_subscription(
                customer.id, id=new_id(), plan_version_id=version.id, started_at=AT, **ACT
            )
        ]
        * 3,
        judge,
    )


def version_by_version() -> Race:
    version = make_plan(make_tenant())
    document = plan_document()
    del document["key"], document["name"]

    def judge(results: list[Any]) -> None:
        assert sorted(one.number for one in results) == [2, 3, 4, 5]

    return Race(
        [lambda: add_version(version.plan_id, id=new_id(), document=document, **ACT)] * 4, judge
    )


def meter_by_meter() -> Race:
    tenant = make_tenant()

    def create() -> Any:
        return create_meter(
            tenant.id,
            id=new_id(),
            key="calls",
            name="Calls",
            event_name="calls",
            aggregation=Aggregation.SUM,
            **ACT,
        )

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (1, ["meter_key_taken"] * 3)
        assert Meter.objects.filter(tenant=tenant).count() == 1

    return Race([create] * 4, judge)


def stream_by_stream() -> Race:
    tenant = make_tenant()

    def create() -> Any:
        return create_stream(
            tenant.id,
            id=new_id(),
            handle="usage",
            event_name="calls",
            paths=StreamPaths(subject="user"),
            **ACT,
        )

    def judge(results: list[Any]) -> None:
        assert (len(winners(results)), refusals(results)) == (1, ["stream_handle_taken"] * 3)

    return Race([create] * 4, judge)


def revise_by_revise() -> Race:
    meter = make_meter()

    def revise() -> Any:
        return revise_meter(
            meter.id,
            tenant_id=meter.tenant_id,
            id=new_id(),
            event_name=meter.key,
            aggregation=Aggregation.MAX,
            **ACT,
        ).number

    def judge(results: list[Any]) -> None:
        assert sorted(results) == [2, 3, 4, 5]

    return Race([revise] * 4, judge)


def roll_up_by_ingest() -> Race:
    customer = make_customer()
    make_meter(customer.tenant, key="calls")
    sender = sender_of(customer.tenant)

    def ingest(first: int) -> dict[Any, int]:
        receipts = ingest_batch(
            sender, [_call(customer, n) for n in range(first, first + 30)], at=AT
        )
        return counted([one.status for one in receipts])

    def judge(results: list[Any]) -> None:
        assert results[:3] == [{"accepted": 30}] * 3
        count_all()  # the books compare what was rolled up with the events

    return Race(
        [*(partial(ingest, first) for first in (0, 30, 60)), roll_up, roll_up, roll_up],
        judge,
    )


def event_by_event() -> Race:
    """The same keys from four senders, one of them with another payload."""
    customer = make_customer()
    make_meter(customer.tenant, key="calls")
    sender = sender_of(customer.tenant)

    def ingest(value: str) -> dict[Any, int]:
        items = [{**_call(customer, number), "value": value} for number in range(20)]
        return counted([one.status for one in ingest_batch(sender, items, at=AT)])

    def judge(results: list[Any]) -> None:
        total: dict[Any, int] = {}
        for one in results:
            total = {key: total.get(key, 0) + one.get(key, 0) for key in {*total, *one}}
        assert total["accepted"] == 20
        assert total.get("duplicate", 0) + total.get("conflict", 0) == 60
        assert stored_events(customer) == 20

    return Race(
        [lambda: ingest("1"), lambda: ingest("1"), lambda: ingest("1"), lambda: ingest("2")], judge
    )


def orphan_by_orphan() -> Race:
    customer = make_customer()
    ingest_batch(sender_of(customer.tenant), [_call(customer, n) for n in range(12)], at=AT)
    make_meter(customer.tenant, key="calls")

    def judge(results: list[Any]) -> None:
        assert sum(one.attached for one in results) == 12
        assert stored_events(customer) == 12
        orphans = OrphanEvent.objects.filter(tenant=customer.tenant)
        assert counted([one.status for one in orphans]) == {"attached": 12}

    return Race([lambda: reattach_orphans(customer.tenant_id, Q(), **ACT)] * 4, judge)


def _call(customer: Customer, number: int) -> dict[str, str]:
    return {
        "idempotency_key": f"{customer.id}-{number}",
        "event_name": "calls",
        "customer": customer.public_id,
        "timestamp": (AT - number * timedelta(minutes=7)).isoformat(),
        "value": "1",
    }
