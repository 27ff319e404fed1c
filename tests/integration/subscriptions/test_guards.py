"""What the database itself refuses of subscriptions, and what the books show if it is tricked."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import DecimalField, Value
from django.db.models.functions import Cast
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.core.constraints import broken
from apps.core.errors import BillingError
from apps.core.ids import new_id
from apps.core.tenancy import enter_tenant
from apps.rating.periods import Cadence, Unit
from apps.subscriptions import invariants
from apps.subscriptions.domain import (
    Anchoring,
    Behaviour,
    CancelMode,
    ChangeVerb,
    Settlement,
    Wish,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations import (
    apply_due_changes,
    cancel_subscription,
    change_subscription,
    renew_subscription,
    withdraw_change,
)
from tests.make.catalog import make_plan
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

START = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def make() -> Subscription:
    tenant = make_tenant()
    version = make_plan(
        tenant,
        phases=[
            {"kind": "discount", "duration": {"unit": "day", "count": 30}},
            {
                "kind": "evergreen",
                "charges": [
                    {
                        "key": "base",
                        "period": "monthly",
                        "pricing": {"model": "flat", "amount": "49.00"},
                    }
                ],
            },
        ],
    )
    return make_subscription(make_customer(tenant), version, START)


def refused(change: Callable[[], object]) -> str:
    """Make a change and let its deferred rules speak; return the name of the rule it broke."""
    try:
        with transaction.atomic():
            change()
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except IntegrityError as error:
        return broken(error)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    return ""


def first(row: Subscription) -> Any:
    return row.segments.filter(starts_at=START)


def last(row: Subscription) -> Any:
    return row.segments.filter(ends_at=None)


TRICKS: dict[str, Callable[[Subscription], object]] = {
    "a gap": lambda row: first(row).update(ends_at=START + 29 * DAY),
    "an overlap": lambda row: first(row).update(ends_at=START + 31 * DAY),
    "a late beginning": lambda row: first(row).update(starts_at=START + DAY),
    "an early beginning": lambda row: first(row).update(starts_at=START - DAY),
    "no beginning": lambda row: first(row).delete(),
    "no end": lambda row: last(row).delete(),
    "nothing": lambda row: row.segments.all().delete(),
    "an end of its own": lambda row: last(row).update(ends_at=START + 99 * DAY),
    "an end that no segment has": lambda row: Subscription.objects.filter(pk=row.pk).update(
        ends_at=START + 99 * DAY
    ),
    "a segment of another": lambda row: last(row).update(
        subscription=make(), starts_at=START + 98 * DAY, ends_at=START + 99 * DAY
    ),
}


@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS.keys())
@pytest.mark.holds("P1")
def test_segments_tile_the_time(trick: Callable[[Subscription], object]) -> None:
    row = make()

    assert refused(lambda: trick(row)) in {"segments_tile", "one_open_segment"}
    assert list(invariants.segments_tile_time(row.tenant_id)) == []


def test_a_subscription_needs_segments() -> None:
    row = make()
    bare = Subscription.objects.get(pk=row.pk)
    bare.id = new_id()

    assert refused(lambda: bare.save(force_insert=True)) == "segments_tile"


def test_a_change_that_keeps_the_tiles_passes() -> None:
    row = make()

    def move_the_border() -> None:
        first(row).update(ends_at=START + 10 * DAY)
        last(row).update(starts_at=START + 10 * DAY)

    assert refused(move_the_border) == ""


FROZEN: dict[str, tuple[dict[str, Any], str]] = {
    "currency": ({"currency": "EUR"}, "subscription_grid_stays"),
    "zone": ({"zone": "Asia/Tokyo"}, "subscription_grid_stays"),
    "alignment": ({"alignment": "calendar"}, "subscription_grid_stays"),
    "anchor day": ({"anchor_day": 15}, "subscription_grid_stays"),
    "start": ({"started_at": START - DAY}, "subscription_grid_stays"),
    "status": ({"status": "scheduled"}, "subscription_status_moves_on"),
    "first quantity": ({"first_quantity": 7}, "subscription_grid_stays"),
    "no status": ({"status": "asleep"}, "subscription_status_known"),
    "quantity": (
        {"quantity": Cast(Value("NaN"), DecimalField(max_digits=38, decimal_places=12))},
        "not_nan_quantity",
    ),
}


@pytest.mark.parametrize(("values", "rule"), FROZEN.values(), ids=FROZEN.keys())
@pytest.mark.holds("P7")
def test_what_periods_are_computed_from_stays(values: dict[str, Any], rule: str) -> None:
    row = make()

    assert refused(lambda: Subscription.objects.filter(pk=row.pk).update(**values)) == rule


def test_a_settled_change_stays_settled() -> None:
    row = make()
    cancel_subscription(row.pk, mode=CancelMode.PERIOD_END, actor=ACTOR, at=START + DAY)
    change = ScheduledChange.objects.get()
    withdraw_change(change.pk, actor=ACTOR, at=START + DAY)

    def wake() -> None:
        ScheduledChange.objects.filter(pk=change.pk).update(status="pending")

    assert refused(wake) == "change_settled_once"


@pytest.mark.usefixtures("all_tenants")
def test_a_segment_has_a_phase_of_its_version() -> None:
    row = make()
    other = make()

    def mix() -> None:
        last(row).update(phase=last(other).get().phase_id)

    assert refused(mix) == "segment_phase_of_version"


# --- whatever is done, in whatever order --------------------------------------------------------

verbs = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "now",
                "period_end",
                "date",
                "withdraw",
                "undo",
                "renew",
                "sweep",
                *(verb for verb in ChangeVerb if verb is not ChangeVerb.CANCEL),
            ]
        ),
        st.integers(0, 40),  # days that pass before it
        st.integers(-60, 90),  # days from now at which it takes effect
    ),
    max_size=6,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(starts=st.integers(-90, 30), renews=st.booleans(), trial=st.booleans(), deeds=verbs)
def test_no_order_of_operations_breaks_a_timeline(
    *, starts: int, renews: bool, trial: bool, deeds: list[tuple[str, int, int]], db: None
) -> None:
    tenant = make_tenant()
    enter_tenant(tenant.pk)
    phases: list[dict[str, Any]] = [
        *([{"kind": "trial", "duration": {"unit": "day", "count": 14}}] if trial else []),
        {"kind": "discount", "duration": "monthly"},
        {
            "kind": "evergreen",
            "charges": [
                {
                    "key": "base",
                    "period": "monthly",
                    "pricing": {"model": "flat", "amount": "49.00"},
                }
            ],
        },
    ]
    row = make_subscription(
        make_customer(tenant),
        make_plan(tenant, phases=phases),
        START,
        started_at=START + starts * DAY,
        term=Cadence(Unit.MONTH),
        auto_renew=renews,
    )
    at = START
    for verb, passed, effective in deeds:
        at += passed * DAY
        with suppress(BillingError):
            do(row, verb, at, at + effective * DAY)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")

    apply_due_changes(at + 400 * DAY)
    for rule in invariants.RULES:
        assert list(rule(tenant.pk)) == []
    row.refresh_from_db()
    if renews and row.status != "ended":
        assert row.term_ends_at is not None
        assert row.term_ends_at > at + 400 * DAY
    assert renews or row.status == "ended"


def do(row: Subscription, verb: str, at: datetime, effective_at: datetime) -> None:
    match verb:
        case "withdraw":
            for change in row.scheduled_changes.filter(status="pending"):
                withdraw_change(change.pk, actor=ACTOR, at=at)
        case "undo":
            for change in row.scheduled_changes.filter(status="applied"):
                withdraw_change(change.pk, actor=ACTOR, at=at)
        case ChangeVerb():
            behaviours = list(Behaviour)
            wish = Wish(
                verb,
                effective_at=effective_at,
                behaviour=behaviours[effective_at.day % len(behaviours)],
                quantity=Decimal(1 + effective_at.day % 5),
                plan_version_id=row.plan_version_id,
                anchoring=Anchoring.RESET if effective_at.day % 2 else Anchoring.KEEP,
                trial_ends_at=effective_at + 7 * DAY,
            )
            change_subscription(row.pk, wish, change_id=new_id(), actor=ACTOR, at=at)
        case "renew":
            renew_subscription(row.pk, actor=ACTOR, at=at)
        case "sweep":
            apply_due_changes(at)
        case _:
            cancel_subscription(
                row.pk,
                mode=CancelMode(verb),
                ends_at=effective_at if verb == "date" else None,
                settlement=Settlement.PRORATE,
                actor=ACTOR,
                at=at,
            )


# --- the books ----------------------------------------------------------------------------------


def tricked(*statements: str) -> list[tuple[str, int]]:
    """Run SQL with the triggers off; return which rules then complain, and how often."""
    with as_superuser(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
        cursor.execute("SET session_replication_role = replica")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET session_replication_role = DEFAULT")
        counts = [(rule.__name__, len(list(rule(None)))) for rule in invariants.RULES]
    return [(name, count) for name, count in counts if count]


def test_books_that_are_right_are_not_complained_about() -> None:
    make()

    assert tricked() == []


@pytest.mark.parametrize(
    ("rule", "statement"),
    [
        (
            "segments_tile_time",
            "UPDATE subscriptions_subscriptionsegment SET ends_at = ends_at - interval '1 day'",
        ),
        ("segments_tile_time", "DELETE FROM subscriptions_subscriptionsegment"),
        (
            "status_agrees_with_timeline",
            "UPDATE subscriptions_subscription SET status = 'scheduled', billed_until = now()",
        ),
        ("what_is_unbilled_is_due", "UPDATE subscriptions_subscription SET next_bill_at = NULL"),
        (
            "metering_knows_the_same_times",
            "UPDATE metering_usagesubject SET opens_at = opens_at - interval '1 day'",
        ),
        ("metering_knows_the_same_times", "DELETE FROM metering_usagesubject"),
        (
            "parts_belong_to_one_tenant",
            "UPDATE customers_customer SET tenant_id = gen_random_uuid()",
        ),
        (
            "segments_come_of_changes",
            "UPDATE subscriptions_subscriptionsegment SET quantity = quantity + 1",
        ),
    ],
)
def test_each_rule_of_the_books_sees_what_it_is_for(rule: str, statement: str) -> None:
    make()

    assert tricked(statement) == [(rule, 1)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalog_coupon SET redeemed = redeemed + 1",
        "DELETE FROM subscriptions_couponredemption",
    ],
)
def test_a_coupon_that_was_miscounted_is_seen(statement: str) -> None:
    row = make()
    redeem(row, make_coupon(row.tenant))
    assert tricked() == []

    assert tricked(statement) == [("coupons_are_counted", 1)]


def test_what_ended_awaits_nothing() -> None:
    row = make()
    cancel_subscription(row.pk, mode=CancelMode.PERIOD_END, actor=ACTOR, at=START + DAY)

    ended = (
        "UPDATE subscriptions_subscription SET status = 'ended', ends_at = '2026-07-01Z'",
        "UPDATE subscriptions_subscriptionsegment SET ends_at = coalesce(ends_at, '2026-07-01Z')",
        "UPDATE metering_usagesubject SET closes_at = '2026-07-01Z'",
    )

    assert tricked(*ended) == [("status_agrees_with_timeline", 1)]


@pytest.mark.parametrize(
    ("billed_until", "complaints"),
    [("2026-05-01", 1), ("2026-06-10", 0)],
)
def test_an_ended_subscription_is_due_until_it_is_billed_to_its_end(
    billed_until: str, complaints: int
) -> None:
    row = make()
    cancel_subscription(row.pk, mode=CancelMode.NOW, actor=ACTOR, at=START + 40 * DAY)

    Subscription.objects.update(
        next_bill_at=None, changed_from=None, billed_until=f"{billed_until}T00:00Z"
    )

    assert tricked() == [("what_is_unbilled_is_due", 1)][:complaints]
