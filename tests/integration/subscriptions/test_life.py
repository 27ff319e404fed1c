"""Beginning, canceling, renewing and ending subscriptions."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from celery import current_app
from django.db import connections

from apps.catalog.operations.plans import archive_plan, retire_version
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.customers.operations import change_customer
from apps.metering.models import UsageSubject
from apps.rating.periods import Alignment, Cadence, Unit
from apps.subscriptions import operations
from apps.subscriptions.domain import (
    BilledMark,
    CancellationPending,
    CancelMode,
    ExternalIdTaken,
    NoTerm,
    PlanNotOnSale,
    Settlement,
    SubscriptionEnded,
    SubscriptionInvalid,
)
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment
from apps.subscriptions.operations import (
    apply_due_changes,
    apply_due_changes_of,
    mark_billed,
    passing,
    renew_subscription,
    start_subscription,
    withdraw_change,
)
from apps.subscriptions.queries import customers_due, timelines
from apps.tenants.domain import Mode
from tests.make.catalog import make_plan, make_price_list, make_version
from tests.make.customers import make_customer
from tests.make.scope import in_its_scope
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_tenant

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def on(month: int, day: int, hour: int = 0, *, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


@in_its_scope
def cancel(row: Subscription, mode: CancelMode, *, at: datetime, **values: Any) -> Subscription:
    return operations.cancel_subscription(row.pk, mode=mode, actor=ACTOR, at=at, **values)


@in_its_scope
def spans(row: Subscription) -> list[tuple[datetime, datetime | None]]:
    return list(row.segments.order_by("starts_at").values_list("starts_at", "ends_at"))


@in_its_scope
def fresh(row: Subscription) -> Subscription:
    return Subscription.objects.get(pk=row.pk)


@in_its_scope
def happened(row: Subscription) -> list[str]:
    events = AuditEvent.objects.filter(object_id=row.public_id).order_by("id")
    return [event.type for event in events]


# --- beginning ----------------------------------------------------------------------------------


def test_a_subscription_begins_now_with_the_customer_s_currency_and_zone() -> None:
    tenant = make_tenant()
    version = make_plan(tenant, currency="EUR")
    customer = make_customer(tenant, currency="EUR", zone="Europe/Berlin")

    row = make_subscription(customer, version, AT, external_id="acme-1")

    assert (row.status, row.currency, row.zone) == ("active", "EUR", "Europe/Berlin")
    assert (row.started_at, row.ends_at, row.next_bill_at) == (AT, None, AT)
    segment = SubscriptionSegment.objects.get()
    assert (segment.starts_at, segment.ends_at, segment.anchor_at) == (AT, None, AT)
    assert segment.phase.version == version
    subject = UsageSubject.objects.get()
    assert (subject.subscription_id, subject.customer_id, subject.external_id) == (
        row.pk,
        customer.pk,
        "acme-1",
    )
    assert (subject.opens_at, subject.closes_at) == (AT, None)
    assert happened(row) == ["subscription.created", "subscription.active"]


def test_a_subscription_begins_in_the_past_or_ahead() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customer = make_customer(tenant)

    past = make_subscription(customer, version, AT, started_at=on(1, 31))
    ahead = make_subscription(customer, version, AT, started_at=on(8, 1))

    assert (past.status, past.next_bill_at) == ("active", on(1, 31))
    assert (ahead.status, ahead.next_bill_at) == ("scheduled", on(8, 1))
    assert spans(ahead) == [(on(8, 1), None)]


def test_the_same_id_begins_one_subscription() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customer = make_customer(tenant)
    identity = new_id()

    first = make_subscription(customer, version, AT, id=identity)
    second = make_subscription(customer, version, AT + DAY, id=identity, quantity=Decimal(9))

    assert second == first
    assert Subscription.objects.get().quantity == 1


def test_phases_and_trials_are_laid_down_at_once() -> None:
    tenant = make_tenant()
    version = make_plan(
        tenant,
        phases=[
            {"kind": "trial", "duration": {"unit": "day", "count": 14}},
            {"kind": "fixed_term", "duration": "yearly"},
        ],
    )
    customer = make_customer(tenant)

    row = make_subscription(customer, version, on(5, 1))
    longer = make_subscription(customer, version, on(5, 1), trial_days=30)
    none = make_subscription(customer, version, on(5, 1), trial_days=0)

    end = on(5, 15, year=2027)
    assert spans(row) == [(on(5, 1), on(5, 15)), (on(5, 15), end)]
    assert row.ends_at == end
    assert UsageSubject.objects.get(subscription_id=row.pk).closes_at == end
    assert spans(longer) == [(on(5, 1), on(5, 31)), (on(5, 31), on(5, 31, year=2027))]
    assert spans(none) == [(on(5, 1), on(5, 1, year=2027))]
    assert [s.anchor_at for s in row.segments.order_by("starts_at")] == [on(5, 1), on(5, 15)]


def test_a_subscription_keeps_its_version_and_zone() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customer = make_customer(tenant, zone="Europe/Berlin")
    row = make_subscription(customer, version, AT)

    make_version(version)
    retire_version(version.pk, actor=ACTOR, at=AT)
    change_customer(customer.pk, tenant_id=tenant.pk, zone="Asia/Tokyo", actor=ACTOR, at=AT)

    terms = timelines([customer.pk])[customer.pk][0]
    assert (fresh(row).plan_version, terms.zone) == (version, "Europe/Berlin")
    assert terms.segments[0].plan_version_id == version.pk


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({"started_at": on(1, 1, year=1980)}, [("started_at", "start_too_far")]),
        ({"started_at": on(1, 1, year=2040)}, [("started_at", "start_too_far")]),
        ({"quantity": Decimal(0)}, [("quantity", "quantity_invalid")]),
        ({"quantity": Decimal("1.5")}, [("quantity", "quantity_invalid")]),
        ({"quantity": Decimal(10) ** 12}, [("quantity", "quantity_invalid")]),
        ({"currency": "EUR"}, [("currency", "currency_not_priced")]),
        ({"currency": "usd"}, [("currency", "currency_unknown")]),
        ({"anchor_day": 32}, [("anchor_day", "anchor_day_invalid")]),
        ({"anchor_day": 0}, [("anchor_day", "anchor_day_invalid")]),
        ({"trial_days": 7}, [("trial_days", "no_trial")]),
        ({"trial_days": -30}, [("trial_days", "trial_too_long")]),
        (
            {"trial_days": 7, "currency": "EUR", "quantity": Decimal(-1)},
            [
                ("trial_days", "no_trial"),
                ("currency", "currency_not_priced"),
                ("quantity", "quantity_invalid"),
            ],
        ),
    ],
)
def test_what_cannot_be_is_refused_with_every_reason(
    values: dict[str, Any], errors: list[tuple[str, str]]
) -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customer = make_customer(tenant)

    with pytest.raises(SubscriptionInvalid) as caught:
        make_subscription(customer, version, AT, **values)

    assert [(one.field, one.code) for one in caught.value.errors] == errors
    assert not Subscription.objects.exists()
    assert not UsageSubject.objects.exists()


def test_only_what_is_on_sale_can_be_had() -> None:
    tenant = make_tenant()
    customer = make_customer(tenant)
    retired, archived, foreign = make_plan(tenant), make_plan(tenant), make_plan(make_tenant())
    retire_version(retired.pk, actor=ACTOR, at=AT)
    archive_plan(archived.plan_id, actor=ACTOR, at=AT)

    for version in (retired, archived, make_plan(tenant, publish=False)):
        with pytest.raises(PlanNotOnSale):
            make_subscription(customer, version, AT)
    with pytest.raises(NotFound):
        make_subscription(customer, foreign, AT)
    with pytest.raises(NotFound):
        make_subscription(
            customer, make_plan(tenant), AT, price_list_id=make_price_list(make_tenant()).pk
        )
    with pytest.raises(NotFound):
        start_subscription(
            new_id(),
            id=new_id(),
            plan_version_id=make_plan(tenant).pk,
            started_at=AT,
            actor=ACTOR,
            at=AT,
        )


def test_an_external_id_is_given_once_per_tenant() -> None:
    tenant, other = make_tenant(), make_tenant()
    version = make_plan(tenant)
    make_subscription(make_customer(tenant), version, AT, external_id="acme")

    with pytest.raises(ExternalIdTaken):
        make_subscription(make_customer(tenant), version, AT, external_id="acme")

    row = make_subscription(make_customer(other), make_plan(other), AT, external_id="acme")
    assert fresh(row).external_id == "acme"


# --- canceling ----------------------------------------------------------------------------------


def started(at: datetime | None = None, **values: Any) -> Subscription:
    tenant = make_tenant()
    return make_subscription(make_customer(tenant), make_plan(tenant), at or on(5, 1), **values)


def test_canceled_now_it_ends_now_and_is_due() -> None:
    row = started()
    mark_billed([BilledMark(row.pk, on(5, 1), on(6, 1))])

    cancel(row, CancelMode.NOW, settlement=Settlement.NONE, at=on(5, 10))

    row = fresh(row)
    assert (row.status, row.ends_at) == ("ended", on(5, 10))
    assert (row.changed_from, row.next_bill_at) == (on(5, 10), on(5, 10))
    assert spans(row) == [(on(5, 1), on(5, 10))]
    assert row.segments.get().settlement == "none"
    assert UsageSubject.objects.get().closes_at == on(5, 10)
    assert happened(row)[-1] == "subscription.ended"


def test_canceled_in_the_past_it_is_recomputed_from_there() -> None:
    row = started(on(1, 1))
    mark_billed([BilledMark(row.pk, on(5, 1), on(6, 1))])

    cancel(row, CancelMode.DATE, ends_at=on(3, 10), at=on(5, 10))

    row = fresh(row)
    assert (row.status, row.ends_at, row.changed_from) == ("ended", on(3, 10), on(3, 10))
    assert row.next_bill_at == on(5, 10)


def test_canceled_from_its_very_start_nothing_of_it_is_left() -> None:
    row = started(on(1, 1))

    cancel(row, CancelMode.DATE, ends_at=on(1, 1), at=on(5, 10))

    assert fresh(row).ends_at == on(1, 1)
    assert spans(row) == []


def test_canceled_with_its_period_it_can_be_withdrawn_until_then() -> None:
    row = started()
    change_id = new_id()

    cancel(row, CancelMode.PERIOD_END, change_id=change_id, at=on(5, 10))
    cancel(row, CancelMode.PERIOD_END, change_id=change_id, at=on(5, 11))

    change = ScheduledChange.objects.get()
    assert (change.pk, change.status, change.effective_at) == (change_id, "pending", on(6, 1))
    assert (fresh(row).status, fresh(row).ends_at) == ("active", None)
    with pytest.raises(CancellationPending):
        cancel(row, CancelMode.PERIOD_END, at=on(5, 12))

    withdrawn = withdraw_change(change_id, actor=ACTOR, at=on(5, 12))
    again = withdraw_change(change_id, actor=ACTOR, at=on(5, 13))

    assert withdrawn.status == again.status == "withdrawn"
    assert apply_due_changes(on(7, 1)) == 0
    assert fresh(row).status == "active"
    assert happened(row)[-1] == "subscription.cancellation_scheduled"


def test_a_scheduled_end_comes_at_its_time() -> None:
    row = started()
    cancel(row, CancelMode.DATE, ends_at=on(7, 15), at=on(5, 10))
    change = ScheduledChange.objects.get()

    assert apply_due_changes(on(7, 14)) == 0
    assert apply_due_changes(on(7, 15)) == 1
    assert apply_due_changes(on(7, 15)) == 0

    row = fresh(row)
    assert (row.status, row.ends_at, row.next_bill_at) == ("ended", on(7, 15), on(5, 1))
    change.refresh_from_db()
    assert change.status == "applied"
    with pytest.raises(SubscriptionEnded):
        withdraw_change(change.pk, actor=ACTOR, at=on(7, 16))


def test_a_preview_sees_the_end_that_waits() -> None:
    row = started()
    cancel(row, CancelMode.DATE, ends_at=on(7, 15), settlement=Settlement.NONE, at=on(5, 10))

    now, before, after = (
        timelines([row.customer_id], as_of=as_of)[row.customer_id][0].segments[0]
        for as_of in (None, {row.customer_id: on(7, 14)}, {row.customer_id: on(7, 15)})
    )

    assert (now.ends_at, before.ends_at) == (None, None)
    assert (after.ends_at, after.settlement) == (on(7, 15), Settlement.NONE)


def test_an_end_that_was_billed_by_and_withdrawn_is_looked_at_again() -> None:
    row = started()
    cancel(row, CancelMode.DATE, ends_at=on(7, 15), at=on(5, 10))
    mark_billed([BilledMark(row.pk, on(8, 1), None)])

    withdraw_change(ScheduledChange.objects.get().pk, actor=ACTOR, at=on(5, 12))

    assert (fresh(row).changed_from, fresh(row).next_bill_at) == (on(7, 15), on(5, 12))


def test_a_term_that_was_billed_as_the_last_and_is_renewed_is_looked_at_again() -> None:
    row = started(on(5, 1), term=Cadence(Unit.MONTH), auto_renew=False)
    mark_billed([BilledMark(row.pk, on(6, 1), None)])

    renew_subscription(row.pk, actor=ACTOR, at=on(5, 20))

    assert (fresh(row).changed_from, fresh(row).next_bill_at) == (on(6, 1), on(5, 20))


def test_an_end_at_once_replaces_one_that_waits() -> None:
    row = started()
    cancel(row, CancelMode.PERIOD_END, at=on(5, 10))

    cancel(row, CancelMode.NOW, at=on(5, 11))

    assert fresh(row).ends_at == on(5, 11)
    statuses = ScheduledChange.objects.order_by("effective_at").values_list("status", flat=True)
    assert list(statuses) == ["applied", "withdrawn"]


def test_what_ended_is_not_ended_again() -> None:
    row = started()
    cancel(row, CancelMode.NOW, at=on(5, 10))

    for mode in (CancelMode.NOW, CancelMode.PERIOD_END):
        with pytest.raises(SubscriptionEnded, match="is ended: it ended at 2026-05-10"):
            cancel(row, mode, at=on(5, 11))


def test_what_has_not_begun_never_begins() -> None:
    for mode, values in (
        (CancelMode.NOW, {}),
        (CancelMode.PERIOD_END, {}),
        (CancelMode.DATE, {"ends_at": on(7, 1)}),
        (CancelMode.DATE, {"ends_at": on(8, 1)}),
    ):
        row = started(on(5, 1), started_at=on(8, 1))

        cancel(row, mode, at=on(5, 10), **values)

        row = fresh(row)
        assert (row.status, row.ends_at) == ("ended", on(8, 1))
        assert spans(row) == []
        assert apply_due_changes(on(9, 1)) == 0


def test_what_has_not_begun_can_be_canceled_for_later() -> None:
    row = started(on(5, 1), started_at=on(8, 1))

    cancel(row, CancelMode.DATE, ends_at=on(9, 1), at=on(5, 10))

    assert fresh(row).status == "scheduled"
    assert apply_due_changes(on(10, 1)) == 1
    assert (fresh(row).status, fresh(row).ends_at) == ("ended", on(9, 1))
    assert happened(row) == [
        "subscription.created",
        "subscription.cancellation_scheduled",
        "subscription.active",
        "subscription.ended",
    ]


@pytest.mark.parametrize(
    ("mode", "ends_at"),
    [
        (CancelMode.DATE, None),
        (CancelMode.NOW, on(6, 1)),
        (CancelMode.DATE, on(4, 30)),
        (CancelMode.DATE, on(6, 1, year=2040)),
    ],
)
def test_ends_that_cannot_be_are_refused(mode: CancelMode, ends_at: datetime | None) -> None:
    row = started(on(5, 1))

    with pytest.raises(SubscriptionInvalid) as caught:
        cancel(row, mode, ends_at=ends_at, at=on(5, 10))

    assert [one.field for one in caught.value.errors] == ["ends_at"]
    assert fresh(row).status == "active"


def test_a_cancellation_cuts_the_phases_to_come() -> None:
    tenant = make_tenant()
    version = make_plan(
        tenant,
        phases=[
            {"kind": "discount", "duration": "monthly"},
            {"kind": "discount", "duration": "monthly"},
            {"kind": "evergreen"},
        ],
    )
    row = make_subscription(make_customer(tenant), version, on(5, 1))

    cancel(row, CancelMode.DATE, ends_at=on(6, 1), at=on(6, 10))

    assert spans(row) == [(on(5, 1), on(6, 1))]
    assert fresh(row).ends_at == on(6, 1)


# --- terms --------------------------------------------------------------------------------------

YEAR = Cadence(Unit.YEAR)


def test_a_term_follows_the_other_by_itself() -> None:
    row = started(on(5, 31), term=Cadence(Unit.MONTH))
    assert row.term_ends_at == on(6, 30)

    assert apply_due_changes(on(6, 29)) == 0
    assert apply_due_changes(on(6, 30)) == 1
    assert fresh(row).term_ends_at == on(7, 31)

    assert apply_due_changes(on(12, 1)) == 1
    assert apply_due_changes(on(12, 1)) == 0
    assert (fresh(row).status, fresh(row).term_ends_at) == ("active", on(12, 31))


def test_a_term_that_does_not_renew_ends_the_subscription() -> None:
    row = started(on(5, 1), term=YEAR, auto_renew=False)
    end = on(5, 1, year=2027)

    at_end = timelines([row.customer_id], as_of={row.customer_id: end})[row.customer_id][0]
    assert at_end.segments[0].ends_at == end
    assert apply_due_changes(end + DAY) == 1

    assert (fresh(row).status, fresh(row).ends_at) == ("ended", end)
    assert fresh(row).term_ends_at == end


def test_a_renewal_adds_one_term_however_often_it_is_asked_for() -> None:
    row = started(on(5, 1), term=YEAR, auto_renew=False)

    for at in (on(6, 1), on(6, 1), on(4, 30, year=2027)):
        assert renew_subscription(row.pk, actor=ACTOR, at=at).term_ends_at == on(5, 1, year=2028)
    assert renew_subscription(row.pk, actor=ACTOR, at=on(5, 1, year=2027)).term_ends_at == on(
        5, 1, year=2029
    )

    assert happened(row).count("subscription.renewed") == 2
    assert apply_due_changes(on(5, 2, year=2028)) == 0


def test_only_a_live_term_is_renewed() -> None:
    without = started()
    ended = started(term=YEAR)
    cancel(ended, CancelMode.NOW, at=on(5, 2))

    with pytest.raises(NoTerm):
        renew_subscription(without.pk, actor=ACTOR, at=on(5, 2))
    with tenant_scope(ended.tenant_id), pytest.raises(SubscriptionEnded):
        renew_subscription(ended.pk, actor=ACTOR, at=on(5, 3))


def test_a_term_ends_before_a_later_cancellation_and_after_an_earlier_one() -> None:
    early, late = (started(on(5, 1), term=Cadence(Unit.MONTH), auto_renew=False) for _ in "12")
    cancel(early, CancelMode.DATE, ends_at=on(5, 20), at=on(5, 2))
    cancel(late, CancelMode.DATE, ends_at=on(6, 20), at=on(5, 2))

    assert apply_due_changes(on(7, 1)) == 2

    assert (fresh(early).ends_at, fresh(late).ends_at) == (on(5, 20), on(6, 1))
    assert (changes(early), changes(late)) == (["applied"], ["applied", "withdrawn"])


@in_its_scope
def changes(row: Subscription) -> list[str]:
    found = ScheduledChange.objects.filter(subscription=row).order_by("effective_at")
    return list(found.values_list("status", flat=True))


# --- the sweep ----------------------------------------------------------------------------------


def test_the_sweep_begins_and_ends_what_is_due_however_late() -> None:
    tenant = make_tenant()
    version = make_plan(tenant, phases=[{"kind": "fixed_term", "duration": "monthly"}])
    row = make_subscription(make_customer(tenant), version, AT, started_at=on(8, 1))

    assert apply_due_changes(on(7, 31)) == 0
    assert apply_due_changes(on(8, 1)) == 1
    assert fresh(row).status == "active"
    assert apply_due_changes(on(12, 1)) == 1
    assert (fresh(row).status, fresh(row).ends_at) == ("ended", on(9, 1))
    assert apply_due_changes(on(12, 1)) == 0


def test_the_sweep_keeps_to_one_clock_and_one_tenant() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=AT)
    version = make_plan(tenant)
    real = make_subscription(make_customer(tenant), version, AT, started_at=on(6, 1))
    simulated = make_subscription(
        make_customer(tenant, test_clock_id=clock.pk), version, AT, started_at=on(6, 1)
    )
    elsewhere = started(AT, started_at=on(6, 1))

    assert apply_due_changes(on(6, 2), clock_id=clock.pk) == 1
    assert [fresh(row).status for row in (real, simulated, elsewhere)] == [
        "scheduled",
        "active",
        "scheduled",
    ]
    assert apply_due_changes(on(6, 2), tenant_id=tenant.pk) == 1
    assert fresh(real).status == "active"
    assert apply_due_changes(on(6, 2)) == 1
    assert fresh(elsewhere).status == "active"


def test_the_sweep_goes_on_when_one_subscription_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [started(AT, started_at=on(6, 1)) for _ in range(3)]
    broken = sorted(rows, key=lambda row: row.pk)[1]

    def failing(subscription_id: UUID, *, actor: str, at: datetime) -> bool:
        if subscription_id == broken.pk:
            raise RuntimeError("as planned")
        return apply_due_changes_of(subscription_id, actor=actor, at=at)

    monkeypatch.setattr(passing, "apply_due_changes_of", failing)
    monkeypatch.setattr(passing, "_PAGE", 2)

    assert apply_due_changes(on(6, 2)) == 2

    assert sorted(fresh(row).status for row in rows) == ["active", "active", "scheduled"]
    assert str(broken.pk) in caplog.text


# --- billing ------------------------------------------------------------------------------------


def test_customers_are_due_by_what_is_to_be_billed_next() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customers = [make_customer(tenant) for _ in range(3)]
    rows = [make_subscription(one, version, AT) for one in customers]
    make_subscription(customers[0], version, AT)
    ids = sorted(one.pk for one in customers)

    assert customers_due(AT - DAY, limit=10) == []
    assert customers_due(AT, limit=10) == ids
    assert customers_due(AT, limit=2) == ids[:2]
    assert customers_due(AT, limit=2, after=ids[1]) == ids[2:]
    assert customers_due(AT, limit=10, tenant_id=make_tenant().pk) == []

    mark_billed([BilledMark(row.pk, AT, on(6, 1)) for row in rows])
    assert customers_due(AT, limit=10) == [customers[0].pk]
    assert customers_due(on(6, 1), limit=10) == ids


def test_customers_on_a_clock_are_due_on_it() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=AT)
    customer = make_customer(tenant, test_clock_id=clock.pk)
    make_subscription(customer, make_plan(tenant), AT)

    assert customers_due(AT, limit=10) == []
    assert customers_due(AT, clock_id=clock.pk, limit=10) == [customer.pk]


def test_marks_say_how_far_and_forget_the_change() -> None:
    row = started(on(1, 1))
    cancel(row, CancelMode.DATE, ends_at=on(3, 1), at=on(5, 1))

    mark_billed([BilledMark(row.pk, on(5, 1), None)])
    mark_billed([])

    row = fresh(row)
    assert (row.billed_until, row.next_bill_at, row.changed_from) == (on(5, 1), None, None)


def test_timelines_tell_everybody_asked_for_in_order(django_assert_num_queries: Any) -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    some, none = make_customer(tenant), make_customer(tenant)
    later = make_subscription(some, version, AT, started_at=on(4, 1))
    earlier = make_subscription(
        some, version, AT, started_at=on(3, 1), alignment=Alignment.CALENDAR
    )

    with django_assert_num_queries(2):
        found = timelines([some.pk, none.pk])

    assert {customer: [one.id for one in listed] for customer, listed in found.items()} == {
        some.pk: [earlier.pk, later.pk],
        none.pk: [],
    }
    assert found[some.pk][0].alignment is Alignment.CALENDAR


# --- at the same time ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_identical_beginnings_one_wins() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    customers = [make_customer(tenant) for _ in range(2)]
    outcomes = together(
        [
            lambda one=one: make_subscription(one, version, AT, external_id="acme").status
            for one in [*customers, *customers]
        ]
    )

    assert sorted(outcomes) == ["ExternalIdTaken"] * 3 + ["active"]
    assert Subscription.objects.count() == UsageSubject.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_cancellations_one_wins() -> None:
    row = started()

    outcomes = together(
        [lambda: cancel(row, CancelMode.NOW, at=on(5, 10)).status for _ in range(4)]
    )

    assert sorted(outcomes) == ["SubscriptionEnded"] * 3 + ["ended"]


@pytest.mark.django_db(transaction=True)
def test_sweeps_at_the_same_time_do_everything_once() -> None:
    rows = [started(AT, started_at=on(6, 1)) for _ in range(5)]

    counts = together([lambda: str(apply_due_changes(on(6, 2))) for _ in range(4)])

    assert sum(map(int, counts)) == 5
    assert [happened(row).count("subscription.active") for row in rows] == [1] * 5


def together(works: list[Any]) -> list[str]:
    """Do all at the same time on connections of their own; return results or names of errors."""
    barrier = threading.Barrier(len(works))
    outcomes: list[str] = []

    def run(work: Any) -> None:
        barrier.wait()
        try:
            outcomes.append(work())
        except Exception as error:  # noqa: BLE001 -- its name is the outcome
            outcomes.append(type(error).__name__)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


# --- the tasks ----------------------------------------------------------------------------------


def test_the_task_sweeps_by_the_clock_on_the_wall() -> None:
    row = started(now() - DAY, started_at=now() - timedelta(seconds=1))

    assert row.status == "scheduled"
    assert current_app.tasks["subscriptions.apply_due_changes"]() == 1
    assert fresh(row).status == "active"
    assert current_app.tasks["subscriptions.apply_due_changes"]() == 0
