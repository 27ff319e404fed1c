"""Changes of subscriptions by date, over HTTP, and what they are billed."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations import apply_due_changes
from tests.make.api import Api
from tests.make.catalog import make_plan, make_price_list
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

PLANS = {
    # key: price of a seat, billing period, timing
    "basic": ("31.00", "monthly", "advance"),
    "pro": ("62.00", "monthly", "advance"),
    "annual": ("365.00", "yearly", "advance"),
    "late": ("31.00", "monthly", "arrears"),
    "late_pro": ("62.00", "monthly", "arrears"),
}


def on(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    with time_machine.travel(instant, tick=False):
        yield


def seats(price: str, timing: str = "advance") -> dict[str, Any]:
    return {
        "key": "seats",
        "timing": timing,
        "pricing": {"model": "per_unit", "unit_price": price},
    }


def shop(plan: str = "basic", *, start: str = "2026-01-01", zone: str = "UTC", **body: Any) -> Api:
    """Return the API of a tenant whose customer has the subscription ``s`` since the start."""
    with at(on(1, 1)):
        tenant = make_tenant()
        for key, (price, period, timing) in PLANS.items():
            make_plan(tenant, [seats(price, timing)], key=key, billing_period=period)
        make_customer(tenant, external_id="acme", zone=zone)
        api = Api(make_key(tenant))
        given = {"customer": "acme", "plan": plan, "external_id": "s", "start_date": start}
        made = api.post("/subscriptions", {**given, **body})
        assert made.status_code == 201, made.json()
    return api


def change(api: Api, when: datetime, verb: str, **body: Any) -> Any:
    with at(when):
        answer = api.post("/subscriptions/s/changes", {"verb": verb, **body})
        assert answer.status_code == 200, answer.json()
        return answer.json()


def close(when: datetime) -> Decimal:
    """Do what is due by then, and return what the documents of this run come to."""
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    made = Invoice.objects.exclude(id__in=before)
    return sum((one.total.amount for one in made), Decimal(0))


@pytest.mark.parametrize(
    ("plan", "to", "behaviour", "now", "next_month"),
    [
        # 10 of 31 days at 31, 21 at 62; then the next month
        ("basic", "pro", "prorate", "0", "83.00"),
        ("basic", "pro", "invoice_now", "21.00", "62.00"),
        ("basic", "pro", "none", "0", "62.00"),
        ("basic", "pro", "full_credit", "0", "93.00"),
        ("basic", "pro", "next_period", "0", "62.00"),
        ("pro", "basic", "prorate", "0", "10.00"),
        ("pro", "basic", "invoice_now", "-21.00", "31.00"),
        ("pro", "basic", "none", "0", "31.00"),
        ("pro", "basic", "full_credit", "0", "0"),
        ("pro", "basic", "next_period", "0", "31.00"),
        # in arrears: January
        ("late", "late_pro", "prorate", "0", "52.00"),
        ("late", "late_pro", "invoice_now", "10.00", "42.00"),
        ("late", "late_pro", "none", "0", "31.00"),
        ("late", "late_pro", "full_credit", "0", "62.00"),
        ("late", "late_pro", "next_period", "0", "31.00"),
        # a year begins with the change, or when the month is over
        ("basic", "annual", "prorate", "344.00", "0"),
        ("basic", "annual", "invoice_now", "344.00", "0"),
        ("basic", "annual", "none", "0", "365.00"),
        ("basic", "annual", "full_credit", "334.00", "0"),
        ("basic", "annual", "next_period", "0", "365.00"),
        # 355 of 365 days are given back
        ("annual", "basic", "prorate", "-324.00", "0"),
        ("annual", "basic", "full_credit", "-334.00", "0"),
        ("late", "annual", "prorate", "375.00", "0"),
        ("annual", "late", "prorate", "-355.00", "0"),
    ],
)
def test_another_plan_on_the_eleventh_of_january(
    plan: str, to: str, behaviour: str, now: str, next_month: str
) -> None:
    api = shop(plan)
    close(on(1, 1))

    change(api, on(1, 11), "change_plan", plan=to, behaviour=behaviour)

    assert close(on(1, 11)) == Decimal(now)
    assert close(on(2, 1)) == Decimal(next_month)


@pytest.mark.parametrize(
    ("quantity", "back", "due"),
    [("2", "5", "218.00"), ("5", "2", "-1.00")],  # ±3 seats for 21 days; February
)
def test_more_and_fewer_seats(quantity: str, back: str, due: str) -> None:
    api = shop(quantity=quantity)
    close(on(1, 1))

    changed = change(api, on(1, 11), "change_quantity", quantity=back)

    assert changed["quantity"] == back
    assert [(one["starts_at"], one["quantity"]) for one in changed["segments"]] == [
        ("2026-01-01T00:00:00Z", quantity),
        ("2026-01-11T00:00:00Z", back),
    ]
    assert close(on(2, 1)) == Decimal(due)


def test_many_changes_in_one_month_cost_the_time_spent_on_each() -> None:
    api = shop()
    close(on(1, 1))
    for day, quantity in ((6, "3"), (11, "2"), (21, "7")):
        change(api, on(1, day), "change_quantity", quantity=quantity)

    # 5 days of 1, 5 of 3, 10 of 2, 11 of 7, of which 31 are billed; 7 in February
    assert close(on(2, 1)) == 5 + 15 + 20 + 77 - 31 + 7 * 31


def test_a_pause_over_the_end_of_a_month() -> None:
    api = shop()
    close(on(1, 1))

    paused = change(api, on(1, 11), "pause")
    assert paused["status"] == "paused"
    assert close(on(1, 11)) == Decimal("-21.00")  # nothing else would ever come
    assert close(on(2, 1)) == 0

    resumed = change(api, on(2, 15), "resume")
    assert resumed["status"] == "active"
    assert close(on(2, 15)) == 0
    assert close(on(3, 1)) == Decimal("46.50")  # half of February, and March


def test_periods_may_begin_anew_after_a_pause() -> None:
    api = shop()
    close(on(1, 1))
    change(api, on(1, 11), "pause", behaviour="none")
    change(api, on(2, 15), "resume", anchoring="reset")

    assert close(on(2, 15)) == Decimal("31.00")
    assert close(on(3, 15)) == Decimal("31.00")


def test_what_is_suspended_is_charged_for() -> None:
    api = shop()
    close(on(1, 1))

    assert change(api, on(1, 11), "suspend")["status"] == "suspended"
    assert close(on(2, 1)) == Decimal("31.00")
    assert change(api, on(2, 2), "resume")["status"] == "active"
    assert close(on(3, 1)) == Decimal("31.00")


def test_a_cancellation_taken_back_before_the_boundary() -> None:
    api = shop()
    close(on(1, 1))
    with at(on(1, 20)):
        api.post("/subscriptions/s/cancel", {"mode": "period_end"})
    with at(on(1, 31, 23)):
        going_on = api.post("/subscriptions/s/uncancel")
        assert (going_on.status_code, going_on.json()["scheduled_changes"]) == (200, [])
        again = api.post("/subscriptions/s/uncancel")
        assert (again.status_code, again.json()["reason"]) == (409, "no_cancellation")

    assert close(on(2, 1)) == Decimal("31.00")


def test_a_cancellation_that_took_effect_stays() -> None:
    api = shop()
    close(on(1, 1))
    with at(on(1, 20)):
        api.post("/subscriptions/s/cancel", {"mode": "period_end"})

    assert close(on(2, 1)) == 0

    with at(on(2, 1)):
        refused = api.post("/subscriptions/s/uncancel")
    assert (refused.status_code, refused.json()["reason"]) == (409, "subscription_ended")


def test_a_change_of_the_past_corrects_every_month_since() -> None:
    with at(on(4, 1)):
        api = shop()  # since January, told in April
        assert close(on(4, 1)) == 4 * 31

    change(api, on(4, 10), "change_quantity", quantity="3", effective_at="2026-01-16T00:00:00Z")

    # two seats more: 16 days of January, and three months
    assert close(on(5, 1)) == 2 * 16 + 2 * 31 * 3 + 3 * 31


def test_a_change_of_the_past_holds_until_the_next_one() -> None:
    api = shop()
    close(on(1, 1))
    change(api, on(1, 21), "change_quantity", quantity="5")
    change(api, on(1, 22), "change_quantity", quantity="2", effective_at="2026-01-11T00:00:00Z")

    assert close(on(2, 1)) == 10 + 2 * 10 + 5 * 11 - 31 + 5 * 31


def test_a_change_that_was_applied_is_undone() -> None:
    api = shop()
    close(on(1, 1))
    change(api, on(1, 11), "change_plan", plan="pro", behaviour="invoice_now")
    assert close(on(1, 11)) == Decimal("21.00")

    made = ScheduledChange.objects.get()
    with at(on(1, 21)):
        undone = api.delete(f"/subscriptions/s/scheduled-changes/{made.public_id}")
        assert undone.json()["status"] == "undone"
        assert api.get("/subscriptions/s").json()["plan"] == "basic"

    assert close(on(2, 1)) == Decimal("10.00")  # 21 are given back; February


def test_a_change_waits_for_its_time_and_is_withdrawn() -> None:
    api = shop()
    close(on(1, 1))
    waiting = change(api, on(1, 11), "change_plan", plan="pro", effective_at="2026-01-21T00:00:00Z")
    (scheduled,) = waiting["scheduled_changes"]
    assert (waiting["plan"], scheduled["verb"], scheduled["status"]) == (
        "basic",
        "change_plan",
        "pending",
    )
    with at(on(1, 12)):
        withdrawn = api.delete(f"/subscriptions/s/scheduled-changes/{scheduled['id']}")
        assert withdrawn.json()["status"] == "withdrawn"
    assert close(on(2, 1)) == Decimal("31.00")


def test_changes_that_wait_are_applied_in_their_order_however_late() -> None:
    api = shop()
    close(on(1, 1))
    change(api, on(1, 2), "change_quantity", quantity="2", effective_at="2026-02-01T00:00:00Z")
    change(api, on(1, 2), "change_quantity", quantity="3", effective_at="2026-03-01T00:00:00Z")

    assert close(on(3, 2)) == 2 * 31 + 3 * 31
    assert Subscription.objects.get().quantity == 3


def test_other_prices_from_an_instant_on() -> None:
    api = shop()
    with at(on(1, 1)):
        customer = Customer.objects.get()
        make_price_list(customer.tenant, "partner")
        prices = [
            {"currency": "USD", "pricing": {"model": "per_unit", "unit_price": "31.00"}},
            {
                "currency": "USD",
                "price_list": "partner",
                "pricing": {"model": "per_unit", "unit_price": "15.50"},
            },
        ]
        make_plan(
            customer.tenant, [{"key": "seats", "timing": "advance", "prices": prices}], key="both"
        )
        body = {"customer": "acme", "plan": "both", "external_id": "b", "start_date": "2026-01-01"}
        assert api.post("/subscriptions", body).status_code == 201
    close(on(1, 1))
    with at(on(1, 11)):
        body = {"verb": "change_prices", "price_list": "partner"}
        changed = api.post("/subscriptions/b/changes", body).json()
    assert changed["price_list"] == "partner"
    assert close(on(2, 1)) == Decimal("31.00") + Decimal("-10.50") + Decimal("15.50")


def test_a_trial_is_extended_over_the_end_of_a_month() -> None:
    with at(on(1, 1)):
        tenant = make_tenant()
        trial = {"kind": "trial", "duration": {"unit": "day", "count": 14}, "charges": []}
        paid = {"kind": "evergreen", "charges": [seats("28.00")]}
        make_plan(tenant, phases=[trial, paid], key="tried")
        make_customer(tenant, external_id="acme", zone="UTC")
        api = Api(make_key(tenant))
        body = {"customer": "acme", "plan": "tried", "external_id": "s", "start_date": "2026-01-20"}
        made = api.post("/subscriptions", body)
        assert made.status_code == 201, made.json()

    longer = change(api, on(1, 25), "extend_trial", trial_ends_at="2026-02-10T00:00:00Z")

    assert [one["ends_at"] for one in longer["segments"]] == ["2026-02-10T00:00:00Z", None]
    assert close(on(2, 3)) == 0
    assert close(on(2, 10)) == Decimal("28.00")
    assert Subscription.objects.get().next_bill_at == on(3, 10)


@pytest.mark.parametrize(
    ("zone", "start", "hours", "day", "before"),
    [
        # hours of the month and of its days before the change, by the clocks of the place
        ("America/New_York", "2026-03-01", 743, "2026-03-16", 359),
        ("America/New_York", "2026-11-01", 721, "2026-11-02", 25),
        ("Europe/Berlin", "2026-03-01", 743, "2026-03-30", 695),
        ("Europe/Berlin", "2026-10-01", 745, "2026-10-26", 601),
        ("Australia/Sydney", "2026-04-01", 721, "2026-04-06", 121),
        ("Australia/Sydney", "2026-10-01", 743, "2026-10-05", 95),
        ("Asia/Kathmandu", "2026-03-01", 744, "2026-03-16", 360),
        ("Pacific/Kiritimati", "2026-02-01", 672, "2026-02-15", 336),
        ("UTC", "2026-01-31", 672, "2026-02-14", 336),
        ("UTC", "2024-02-29", 696, "2024-03-15", 360),
    ],
)
def test_seconds_are_counted_by_the_clocks_of_the_place(
    zone: str, start: str, hours: int, day: str, before: int
) -> None:
    with at(on(1, 1)):
        tenant = make_tenant()
        make_plan(tenant, [seats(f"{hours}.00", "arrears")], key="hourly")
        make_customer(tenant, external_id="acme", zone=zone)
        api = Api(make_key(tenant))
        body = {"customer": "acme", "plan": "hourly", "external_id": "s", "start_date": start}
        begun = datetime.fromisoformat(api.post("/subscriptions", body).json()["started_at"])
        starts = api.get("/subscriptions/s/periods", **{"from": begun.isoformat()[:19] + "Z"})
        ends = datetime.fromisoformat(starts.json()["periods"][0]["end"])
        # the instant at which that day begins there
        body = {**body, "external_id": "d", "start_date": day}
        changes_at = api.post("/subscriptions", body).json()["started_at"]
        Subscription.objects.get(external_id="d")
        api.post("/subscriptions/d/cancel", {"mode": "date", "ends_at": changes_at})
        asked = {"verb": "change_quantity", "quantity": "2", "effective_at": changes_at}
        changed = api.post("/subscriptions/s/changes", asked)
        assert changed.status_code == 200, changed.json()

    assert close(ends) == before + 2 * (hours - before)


@pytest.mark.parametrize("behaviour", ["prorate", "none", "full_credit", "invoice_now"])
def test_a_preview_tells_what_the_change_will_cost_and_stores_nothing(behaviour: str) -> None:
    api = shop()
    close(on(1, 1))
    body = {"verb": "change_plan", "plan": "pro", "behaviour": behaviour}

    with at(on(1, 11)):
        preview = api.post("/subscriptions/s/changes?preview=true", body).json()
        assert ScheduledChange.objects.count() == 0
        api.post("/subscriptions/s/changes", {**body})

    told = Decimal(preview["difference"])
    assert (preview["object"], preview["otherwise"]) == ("change_preview", "0.00")
    expected = {"prorate": 21, "invoice_now": 21, "none": 0, "full_credit": 31}[behaviour]
    assert told == expected == sum(Decimal(one["amount"]) for one in preview["lines"])
    assert close(on(1, 11)) + close(on(2, 1)) == told + 62


def test_a_subscription_is_called_otherwise() -> None:
    api = shop()
    with at(on(1, 2)):
        renamed = api.patch("/subscriptions/s", {"external_id": "t", "metadata": {"team": "7"}})
        assert renamed.status_code == 200
        assert (renamed.json()["external_id"], renamed.json()["metadata"]) == ("t", {"team": "7"})
        assert api.patch("/subscriptions/t", {}).json() == renamed.json()
        body = {"customer": "acme", "plan": "pro", "external_id": "u"}
        api.post("/subscriptions", body)
        taken = api.patch("/subscriptions/u", {"external_id": "t"})
        assert (taken.status_code, taken.json()["reason"]) == (409, "external_id_taken")


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        ({"verb": "change_quantity", "quantity": "1"}, 409, "change_refused", None),
        ({"verb": "resume"}, 409, "change_refused", None),
        ({"verb": "change_plan", "plan": "basic"}, 409, "change_refused", None),
        ({"verb": "extend_trial", "trial_ends_at": "2026-03-01T00:00:00Z"}, 409, "change_refused", None),
        ({"verb": "change_prices", "price_list": None}, 409, "change_refused", None),
        ({"verb": "change_quantity"}, 400, "required", "quantity"),
        ({"verb": "pause", "quantity": "2"}, 400, "unused", "quantity"),
        ({"verb": "cancel"}, 400, "invalid_choice", "verb"),
        ({"verb": "pause", "behaviour": "half"}, 400, "invalid_choice", "behaviour"),
        ({"verb": "pause", "effective_at": "2025-12-31T00:00:00Z"}, 422, "subscription_invalid", "effective_at"),
        ({"verb": "pause", "effective_at": "2040-01-01T00:00:00Z"}, 422, "subscription_invalid", "effective_at"),
        ({"verb": "change_plan", "plan": "nowhere"}, 404, "not_found", None),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_reason(
    body: dict[str, Any], status: int, reason: str, field: str | None
) -> None:
    api = shop()
    with at(on(1, 11)):
        refused = api.post("/subscriptions/s/changes", body)
    problem = refused.json()
    assert refused.status_code == status, problem
    if "errors" in problem:
        assert [one["field"] for one in problem["errors"]] == [field]
    else:
        assert problem["reason"] == reason
    assert ScheduledChange.objects.count() == 0
