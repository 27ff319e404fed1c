"""Ends that are told before they come: once for each, where it is, and in order."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.rating.periods import Cadence, Unit
from apps.subscriptions.domain import CancelMode, ChangeVerb, Wish
from apps.subscriptions.models import Notice, Subscription
from apps.subscriptions.operations import (
    apply_due_changes,
    cancel_subscription,
    change_subscription,
    tell_of_endings,
)
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from apps.tenants.operations import change_tenant
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.contracts import make_contract
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db
FEE = {"key": "base", "pricing": {"model": "flat", "amount": "31.00"}}
LESS = {"key": "less", "pricing": {"model": "flat", "amount": "15.00"}}
TRIAL = {"kind": "trial", "name": "Trial", "charges": [], "duration": {"unit": "day", "count": 14}}
CHEAP = {"kind": "discount", "name": "Start", "duration": {"unit": "month", "count": 2}}
FOR_EVER = {"kind": "evergreen", "name": "Paid", "charges": [FEE]}


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def make_telling(*, days: int = 7, **values: Any) -> Tenant:
    """Return a tenant that wants to be told so many days before."""
    tenant = make_tenant(**values)
    names = ("trial_notice", "phase_notice", "term_notice")
    leads = dict.fromkeys(names, timedelta(days=days))
    return change_tenant(tenant.id, actor=ACTOR, at=on(1, 1), **leads)


def make_tried(tenant: Tenant, **values: Any) -> Subscription:
    """Return a subscription since 1 January: a fortnight's trial, two cheap months, then for ever."""
    phases: list[dict[str, Any]] = [TRIAL, {**CHEAP, "charges": [LESS]}, FOR_EVER]
    plan = make_plan(tenant, phases=phases, key="tried")
    customer = make_customer(tenant, external_id="acme", zone="UTC")
    return make_subscription(customer, plan, on(1, 1), external_id="s", **values)


def told(at: datetime) -> list[tuple[str, str]]:
    """Tell what is due, and return which events that recorded, and of which ends."""
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    apply_due_changes(at)
    tell_of_endings(at)
    found = AuditEvent.objects.exclude(pk__in=before).filter(type__endswith="ending")
    return [(one.type, one.data["ends_at"][:10]) for one in found.order_by("pk")]


def test_each_end_of_a_phase_is_told_once_in_its_time() -> None:
    make_tried(make_telling())

    assert told(on(1, 7)) == []
    assert told(on(1, 8)) == [("subscription.trial_ending", "2026-01-15")]
    assert told(on(1, 9)) == []
    assert told(on(1, 15)) == []
    assert told(on(3, 8)) == [("subscription.phase_ending", "2026-03-15")]
    assert told(on(12, 1)) == []
    (first, _) = Notice.objects.order_by("boundary_at")
    assert (first.kind, first.boundary_at, first.told_at) == ("trial_ending", on(1, 15), on(1, 8))
    event = AuditEvent.objects.get(type="subscription.trial_ending")
    assert (event.data["plan"], event.data["phase"]) == ("tried", "Trial")


def test_a_tenant_that_says_nothing_is_told_nothing() -> None:
    make_tried(make_tenant())

    assert told(on(1, 14)) == []


def test_an_end_that_moves_is_told_again_where_it_is_then() -> None:
    subscription = make_tried(make_telling())
    assert told(on(1, 8)) == [("subscription.trial_ending", "2026-01-15")]
    wish = Wish(ChangeVerb.EXTEND_TRIAL, trial_ends_at=on(2, 10))

    change_subscription(subscription.id, wish, change_id=new_id(), actor=ACTOR, at=on(1, 9))

    assert told(on(1, 15)) == []
    assert told(on(2, 3)) == [("subscription.trial_ending", "2026-02-10")]


def test_one_that_is_canceled_by_then_is_not_told() -> None:
    subscription = make_tried(make_telling())
    cancel_subscription(
        subscription.id, mode=CancelMode.DATE, ends_at=on(1, 15), actor=ACTOR, at=on(1, 2)
    )

    assert told(on(1, 8)) == []
    assert told(on(1, 14)) == []


def test_what_has_passed_unseen_is_not_told_any_more() -> None:
    make_tried(make_telling())

    assert told(on(1, 16)) == []


def test_terms_subscriptions_and_contracts() -> None:
    tenant = make_telling(days=10)
    fixed = {"kind": "fixed_term", "name": "A year", "duration": {"unit": "year", "count": 1}}
    plan = make_plan(tenant, phases=[{**fixed, "charges": [FEE]}], key="fixed")
    customer = make_customer(tenant, zone="UTC")
    make_subscription(customer, plan, on(1, 1), external_id="year")
    monthly = make_plan(tenant, [FEE], key="monthly")
    make_subscription(customer, monthly, on(1, 1), term=Cadence(Unit.MONTH, 3), external_id="term")
    make_contract(customer, on(1, 1), starts_at=on(1, 1), ends_at=on(6, 1))

    assert told(on(3, 22)) == [("subscription.term_ending", "2026-04-01")]
    assert told(on(4, 1)) == []
    assert told(on(5, 22)) == [("contract.ending", "2026-06-01")]
    assert told(on(6, 21)) == [("subscription.term_ending", "2026-07-01")]
    assert told(on(12, 22)) == [
        ("subscription.term_ending", "2027-01-01"),
        ("subscription.ending", "2027-01-01"),
    ]
    renewing = AuditEvent.objects.filter(type="subscription.term_ending").first()
    assert renewing is not None
    assert renewing.data["auto_renew"] is True


def test_a_term_that_does_not_renew_takes_its_phases_with_it() -> None:
    make_tried(make_telling(), term=Cadence(Unit.MONTH, 1), auto_renew=False)

    assert told(on(1, 25)) == [("subscription.term_ending", "2026-02-01")]
    assert told(on(3, 8)) == []


def test_a_test_clock_stops_where_something_is_to_be_told() -> None:
    tenant = make_telling(mode=Mode.TEST)
    clock = make_clock(tenant, at=on(1, 1), attach=True)
    make_tried(tenant)
    api = Api(make_key(tenant))

    answer = api.post(f"/test-clocks/{clock.public_id}/advance", {"to": "2026-04-01T00:00:00Z"})

    assert answer.json()["status"] == "done"
    with tenant_scope(tenant.id):
        found = AuditEvent.objects.filter(type__endswith="_ending").order_by("pk")
        assert [(one.type, one.at) for one in found] == [
            ("subscription.trial_ending", on(1, 8)),
            ("subscription.phase_ending", on(3, 8)),
        ]


def test_the_setting_is_in_days() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))

    assert api.get("/tenant").json()["trial_notice_days"] is None
    answer = api.patch("/tenant", {"trial_notice_days": 3, "term_notice_days": 30})
    assert (answer.status_code, answer.json()["trial_notice_days"]) == (200, 3)
    back = api.patch("/tenant", {"trial_notice_days": None}).json()
    assert (back["trial_notice_days"], back["term_notice_days"]) == (None, 30)
