"""Advancing a test clock: a year in seconds, everything due on the way, in order."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction

from apps.backoffice.books import breaches
from apps.backoffice.domain import ClockBusy, ClockTooFar, later
from apps.backoffice.models import ClockAdvance
from apps.backoffice.operations import clocks
from apps.backoffice.operations.clocks import advance_clock, begin_advance, continue_advance
from apps.backoffice.queries.due import next_due
from apps.backoffice.tasks import advance_clock as advance_job
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.core.models import Job
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.payments.models import Collection, Payment
from apps.payments.operations.methods import add_payment_method
from apps.subscriptions.domain import CancelMode, SubscriptionStatus
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.domain import ClockBackwards, Mode
from apps.tenants.models import Tenant, TestClock
from apps.tenants.operations import change_tenant
from apps.wallets.domain import Settlement
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.neighbours import outlive_neighbours
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_tenant
from tests.make.wallets import fresh_wallet, make_grant, make_price, make_wallet

TestClock.__test__ = False  # for pytest: this is no test

START = datetime(2026, 1, 1, tzinfo=UTC)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant(slug="clocked", mode=Mode.TEST)


@pytest.fixture
def clock(tenant: Tenant) -> Any:
    return make_clock(tenant, at=START)


def make_subscriber(
    tenant: Tenant, clock: Any, method: str = "sandbox_ok", **values: Any
) -> Subscription:
    """Return a subscription of 49.00 a month, in advance, of a customer on the clock."""
    customer = make_customer(tenant, test_clock_id=clock.id, at=START)
    add_payment_method(
        customer.id,
        id=new_id(),
        provider="sandbox",
        provider_ref=method,
        make_default=True,
        tenant_id=tenant.id,
        actor=ACTOR,
        at=START,
    )
    return make_subscription(customer, make_plan(tenant, at=START), at=START, **values)


def go(clock: Any, to: datetime) -> None:
    advance_clock(clock.id, to=to, actor=ACTOR, wall=now)


def issued(subscription: Subscription) -> list[tuple[str, str, str]]:
    rows = Invoice.objects.filter(customer=subscription.customer).order_by("number")
    return [(f"{one.issued_at:%Y-%m-%d}", f"{one.total.amount:.2f}", one.status) for one in rows]


def test_a_year_bills_and_collects_every_period_on_its_day(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock)
    go(clock, START + timedelta(days=364))
    assert issued(subscription) == [
        (f"2026-{month:02}-01", "49.00", "paid") for month in range(1, 13)
    ]
    paid = {one.settled_at for one in Payment.objects.all()}
    assert paid == {datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 13)}
    assert list(breaches(tenant.id)) == []


def test_it_stops_where_something_is_due(tenant: Tenant, clock: Any) -> None:
    make_subscriber(tenant, clock)
    stops: list[datetime] = []
    advance_clock(
        clock.id, to=datetime(2026, 3, 15, tzinfo=UTC), actor=ACTOR, wall=now, progress=stops.append
    )
    assert {datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)} <= set(stops)
    clock.refresh_from_db()
    assert clock.now == datetime(2026, 3, 15, tzinfo=UTC)


def test_going_there_twice_does_nothing_twice(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock)
    there = datetime(2026, 2, 10, tzinfo=UTC)
    go(clock, there)
    before = issued(subscription)
    go(clock, there)
    assert issued(subscription) == before
    assert len(before) == 2


def test_a_declined_card_is_retried_by_the_timetable_and_the_invoice_becomes_overdue(
    tenant: Tenant, clock: Any
) -> None:
    change_tenant(tenant.id, retry_days=[3, 5], actor=ACTOR, at=START)
    subscription = make_subscriber(tenant, clock, "sandbox_declined")
    go(clock, datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert issued(subscription) == [("2026-01-01", "49.00", InvoiceStatus.OVERDUE)]
    tries = Payment.objects.order_by("id").values_list("created_at", flat=True)
    assert [f"{one:%m-%d}" for one in tries] == ["01-01", "01-04", "01-06"]
    assert Collection.objects.get().next_attempt_at is None


def test_a_draft_waits_for_its_grace(tenant: Tenant, clock: Any) -> None:
    change_tenant(tenant.id, grace_period=timedelta(hours=36), actor=ACTOR, at=START)
    subscription = make_subscriber(tenant, clock)
    go(clock, START + timedelta(hours=35))
    assert Invoice.objects.get().status == InvoiceStatus.DRAFT
    go(clock, START + timedelta(hours=36))
    assert issued(subscription) == [("2026-01-02", "49.00", "paid")]


def test_a_subscription_begins_and_ends_on_its_day(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock, started_at=datetime(2026, 1, 20, tzinfo=UTC))
    assert subscription.status == SubscriptionStatus.SCHEDULED
    go(clock, datetime(2026, 1, 20, tzinfo=UTC))
    subscription.refresh_from_db()
    assert subscription.status == SubscriptionStatus.ACTIVE
    cancel_subscription(
        subscription.id,
        mode=CancelMode.PERIOD_END,
        actor=ACTOR,
        at=datetime(2026, 1, 20, tzinfo=UTC),
    )
    go(clock, datetime(2026, 5, 1, tzinfo=UTC))
    subscription.refresh_from_db()
    assert (subscription.status, subscription.ends_at) == (
        SubscriptionStatus.ENDED,
        datetime(2026, 2, 20, tzinfo=UTC),
    )
    assert issued(subscription) == [("2026-01-20", "49.00", "paid")]


def test_clocks_run_beside_each_other_and_beside_real_time(tenant: Tenant, clock: Any) -> None:
    other = make_clock(tenant, at=START)
    on_clock, on_other = make_subscriber(tenant, clock), make_subscriber(tenant, other)
    in_real_time = make_subscription(
        make_customer(tenant, at=START), make_plan(tenant, at=START), at=START
    )
    go(clock, datetime(2026, 2, 1, tzinfo=UTC))
    assert (len(issued(on_clock)), issued(on_other), issued(in_real_time)) == (2, [], [])


def test_a_tenant_lives_on_its_clock_with_all_customers_that_have_none(tenant: Tenant) -> None:
    clock = make_clock(tenant, at=START, attach=True)
    subscription = make_subscription(
        make_customer(tenant, at=START), make_plan(tenant, at=START), at=START
    )
    go(clock, datetime(2026, 2, 1, tzinfo=UTC))
    assert [date for date, _, _ in issued(subscription)] == ["2026-01-01", "2026-02-01"]


def test_nothing_due_is_one_stop(tenant: Tenant, clock: Any) -> None:
    assert next_due(clock.id, tenant_id=tenant.id, after=START) is None
    go(clock, START + timedelta(days=3000))
    clock.refresh_from_db()
    assert clock.now == START + timedelta(days=3000)


def test_a_clock_moves_forward_only(tenant: Tenant, clock: Any) -> None:
    with pytest.raises(ClockBackwards):
        begin(clock, to=START - timedelta(seconds=1))


def test_ten_years_at_once_are_enough(clock: Any) -> None:
    begin(clock, to=START + timedelta(days=3653))
    with pytest.raises(ClockTooFar):
        later(START, "months", 121, zone="UTC")


@pytest.mark.parametrize(
    ("unit", "count", "zone", "expected"),
    [
        ("hours", 36, "UTC", "2026-01-02T12:00:00+00:00"),
        ("days", 1, "UTC", "2026-01-02T00:00:00+00:00"),
        ("weeks", 2, "UTC", "2026-01-15T00:00:00+00:00"),
        ("months", 12, "UTC", "2027-01-01T00:00:00+00:00"),
        ("years", 4, "UTC", "2030-01-01T00:00:00+00:00"),
        # one o'clock in Berlin stays one o'clock in Berlin
        ("months", 6, "Europe/Berlin", "2026-06-30T23:00:00+00:00"),
    ],
)
def test_a_stretch_is_of_the_calendar(unit: str, count: int, zone: str, expected: str) -> None:
    assert later(START, unit, count, zone=zone).isoformat() == expected


# --- in the background --------------------------------------------------------------------------


def begin(clock: Any, *, to: datetime, **values: Any) -> ClockAdvance:
    return begin_advance(
        clock.id, **{"id": new_id(), "to": to, "tenant_id": clock.tenant_id, "at": now(), **values}
    )


def test_what_was_begun_and_left_is_finished_by_a_job(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock)
    advance = begin(clock, to=datetime(2026, 3, 1, tzinfo=UTC), at=now() - timedelta(minutes=1))
    assert run_due() >= 1
    advance.refresh_from_db()
    assert (advance.reached, advance.failure) == (datetime(2026, 3, 1, tzinfo=UTC), "")
    assert advance.ended_at is not None
    assert len(issued(subscription)) == 3


def test_an_advance_goes_on_where_it_stopped(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock)
    advance = begin(clock, to=datetime(2026, 3, 1, tzinfo=UTC))
    turns = 0
    while advance.ended_at is None:
        advance = continue_advance(advance.id, actor=ACTOR, within=timedelta(0), wall=now)
        turns += 1
    assert turns == 3
    assert [date for date, _, _ in issued(subscription)] == [
        "2026-01-01",
        "2026-02-01",
        "2026-03-01",
    ]


def test_an_advance_that_takes_long_does_not_run_the_job_that_would_go_on_with_it(
    tenant: Tenant, clock: Any
) -> None:
    make_subscriber(tenant, clock)
    advance = begin(clock, to=datetime(2026, 3, 1, tzinfo=UTC), at=now() - timedelta(minutes=1))
    for month in (2, 3):
        advance = continue_advance(advance.id, actor=ACTOR, within=timedelta(0), wall=now)
        reached = datetime(2026, month, 1, tzinfo=UTC)
        assert (advance.reached, advance.steps, advance.ended_at) == (reached, month - 1, None)
    assert Job.objects.get(name="backoffice.advance_clock").state == Job.State.PENDING


def test_a_job_that_runs_out_of_time_leaves_the_rest_to_another(
    tenant: Tenant, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_subscriber(tenant, clock)
    monkeypatch.setattr(clocks, "_TURN", timedelta(0))
    advance = begin(clock, to=datetime(2026, 2, 1, tzinfo=UTC))
    Job.objects.filter(name="backoffice.advance_clock").delete()
    advance_job(str(advance.id))
    assert Job.objects.get(name="backoffice.advance_clock").state == Job.State.PENDING


def test_a_job_for_an_advance_that_has_ended_does_nothing(tenant: Tenant, clock: Any) -> None:
    advance = begin(clock, to=START)
    ended = continue_advance(advance.id, actor=ACTOR, wall=now)
    advance_job(str(advance.id))
    advance.refresh_from_db()
    assert (advance.ended_at, advance.steps) == (ended.ended_at, 1)


def test_beginning_twice_with_one_id_is_one_advance(clock: Any) -> None:
    identifier = new_id()
    first = begin(clock, id=identifier, to=START + timedelta(days=1))
    assert begin(clock, id=identifier, to=START + timedelta(days=1)) == first
    assert begin(clock, to=START + timedelta(days=1)) == first
    with pytest.raises(ClockBusy):
        begin(clock, to=START + timedelta(days=2))


def test_what_breaks_ends_the_advance_and_says_why(
    tenant: Tenant, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(clocks, "close_due", break_down)
    advance = continue_advance(begin(clock, to=START).id, actor=ACTOR, wall=now)
    assert advance.failure == "ZeroDivisionError: of all things"
    monkeypatch.undo()
    again = begin(clock, to=START + timedelta(days=1))
    assert continue_advance(again.id, actor=ACTOR, wall=now).failure == ""


def test_one_clock_is_advanced_by_one_at_a_time(clock: Any) -> None:
    other = connections.create_connection("default")
    key = int.from_bytes(clock.id.bytes[8:], signed=True)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [key])
            with pytest.raises(ClockBusy):
                go(clock, START)
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])  # closing alone does it later
    finally:
        other.close()
    go(clock, START)


def test_the_lock_is_given_back_also_after_a_failure(
    clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(clocks, "close_due", break_down)
    with pytest.raises(ZeroDivisionError):
        go(clock, START)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        assert cursor.fetchone() == (0,)


def test_who_lives_in_real_time_does_not_live_in_the_clocks_future(
    tenant: Tenant, clock: Any
) -> None:
    live = make_tenant()
    with tenant_scope(live.id):
        customer = make_customer(live, external_id="crm-1")
        make_price(make_meter(live, key="calls"), "1")
        wallet = make_wallet(customer, at=START, settlement=Settlement.ON_EVENT)
        make_grant(wallet, "10.00", at=START, expires_at=START + timedelta(days=30))
        used = {"event_name": "calls", "customer": "crm-1", "timestamp": START.isoformat()}
        send(live, [{**used, "value": 4}], at=START)
    outlive_neighbours()
    advance_clock(
        clock.id, to=START + timedelta(days=60), actor=ACTOR, wall=lambda: START + timedelta(1)
    )
    with tenant_scope(live.id):
        assert fresh_wallet(wallet).balance == 6


def test_a_clock_of_another_tenant_is_not_there(clock: Any) -> None:
    with pytest.raises(NotFound):
        begin(clock, tenant_id=make_tenant(mode=Mode.TEST).id, to=START)
    with pytest.raises(NotFound):
        advance_clock(new_id(), to=START, actor=ACTOR, wall=now)


def test_amounts_are_exact(tenant: Tenant, clock: Any) -> None:
    subscription = make_subscriber(tenant, clock)
    go(clock, START)
    invoice = Invoice.objects.get(customer=subscription.customer)
    assert invoice.total.amount == Decimal("49.00")
    assert Customer.objects.get(pk=subscription.customer_id).test_clock_id == clock.id


def test_time_waits_for_a_customer_whom_another_transaction_holds(
    tenant: Tenant, clock: Any
) -> None:
    """A worker that collects the last invoice holds the customer while the next one falls due."""
    customer = make_subscriber(tenant, clock).customer
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Customer.objects.select_for_update(no_key=True).get(pk=customer.pk)
            held.set()
            release.wait(timeout=60)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(timeout=60)
    threading.Timer(0.5, release.set).start()
    advance_clock(clock.id, to=START + timedelta(days=1), actor=ACTOR, wall=now)
    holder.join()
    assert Invoice.objects.count() == 1


def test_time_waits_for_jobs_that_workers_have_in_hand(tenant: Tenant, clock: Any) -> None:
    lease = now() + timedelta(minutes=5)
    in_hand = Job.objects.create(
        name="x", tenant_id=tenant.id, state="running", attempts=1, due_at=START, lease_until=lease
    )
    moved: list[int] = []

    def finish() -> None:
        moved.append(TestClock.objects.filter(now__gt=START).count())
        Job.objects.filter(pk=in_hand.pk).update(state="done", lease_until=None, ended_at=START)
        connection.close()

    threading.Timer(0.5, finish).start()
    advance_clock(clock.id, to=START + timedelta(days=1), actor=ACTOR, wall=now)
    assert moved == [0]


def test_time_does_not_wait_for_ever(
    tenant: Tenant, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "_PATIENCE", timedelta(0))
    lease = now() + timedelta(minutes=5)
    Job.objects.create(
        name="x", tenant_id=tenant.id, state="running", attempts=1, due_at=START, lease_until=lease
    )
    advance_clock(clock.id, to=START + timedelta(days=1), actor=ACTOR, wall=now)
    assert TestClock.objects.get(pk=clock.id).now == START + timedelta(days=1)
