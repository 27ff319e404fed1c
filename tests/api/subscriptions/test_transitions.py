"""Rules for changes from plan to plan: what they refuse, and what they decide."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import PlanTransition
from apps.core.models import AuditEvent
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.models import ScheduledChange
from apps.subscriptions.operations import apply_due_changes
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def seats(price: str) -> dict[str, Any]:
    return {"key": "seats", "pricing": {"model": "per_unit", "unit_price": price}}


TRIAL = {"kind": "trial", "duration": {"unit": "day", "count": 14}, "charges": []}
INTRODUCTION = {"kind": "discount", "duration": {"unit": "month", "count": 3}}


def shop() -> Api:
    """Return the API of a tenant with plans of two products; ``s`` is on basic since 1 January."""
    with time_machine.travel(on(1, 1), tick=False):
        tenant = make_tenant()
        api = Api(make_key(tenant))
        for product in ("cloud", "classic"):
            api.post("/products", {"key": product, "name": product})
        make_plan(tenant, [seats("31.00")], key="basic", product="cloud")
        make_plan(tenant, [seats("62.00")], key="pro", product="cloud")
        make_plan(tenant, [seats("15.50")], key="old", product="classic")
        for key, price, introductory in (("tried", "31.00", "15.50"), ("better", "62.00", "31.00")):
            phases: list[dict[str, Any]] = [
                TRIAL,
                {**INTRODUCTION, "charges": [seats(introductory)]},
                {"kind": "evergreen", "charges": [seats(price)]},
            ]
            make_plan(tenant, phases=phases, key=key, product="cloud")
        make_customer(tenant, external_id="acme", zone="UTC")
        start(api, "s", "basic")
    return api


def start(api: Api, name: str, plan: str, day: str = "2026-01-01") -> None:
    body = {"customer": "acme", "plan": plan, "external_id": name, "start_date": day}
    made = api.post("/subscriptions", body)
    assert made.status_code == 201, made.json()


def rule(api: Api, was: Any = None, to: Any = None, **body: Any) -> Any:
    made = api.post("/plan-transitions", {"from": was, "to": to, **body})
    assert made.status_code == 201, made.json()
    return made.json()


def change(api: Api, when: datetime, name: str = "s", **body: Any) -> Any:
    with time_machine.travel(when, tick=False):
        return api.post(f"/subscriptions/{name}/changes", {"verb": "change_plan", **body})


def close(when: datetime) -> Decimal:
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    made = Invoice.objects.exclude(id__in=before)
    return sum((one.total.amount for one in made), Decimal(0))


def test_a_rule_refuses_and_says_why() -> None:
    api = shop()
    made = rule(
        api, None, {"product": "classic"}, allowed=False, reason="Classic is for those who have it."
    )

    refused = change(api, on(1, 11), plan="old")

    assert (refused.status_code, refused.json()["reason"]) == (409, "transition_refused")
    assert refused.json()["detail"] == (
        f"The rule {made['id']}, from any plan to any plan of classic, does not allow it."
        " Classic is for those who have it."
    )
    assert change(api, on(1, 11), plan="pro").status_code == 200
    preview = api.post(
        "/subscriptions/s/changes?preview=true", {"verb": "change_plan", "plan": "old"}
    )
    assert preview.json()["reason"] == "transition_refused"
    assert ScheduledChange.objects.count() == 1


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ([], 200),
        ([(None, None, False)], 409),
        ([(None, None, False), (None, {"plan": "pro"}, True)], 200),
        ([({"product": "cloud"}, {"product": "cloud"}, False), (None, {"plan": "pro"}, True)], 409),
        ([({"plan": "basic"}, None, False), (None, {"plan": "pro"}, True)], 409),
        ([({"plan": "basic"}, {"product": "cloud"}, False), ({"product": "cloud"}, {"plan": "pro"}, True)], 409),
        ([({"plan": "basic"}, {"plan": "pro"}, True), (None, None, False)], 200),
        ([({"plan": "pro"}, {"plan": "basic"}, False)], 200),
        ([({"product": "classic"}, None, False)], 200),
    ],
)  # fmt: skip
def test_of_several_rules_the_one_that_says_most_holds(
    rules: list[tuple[Any, Any, bool]], status: int
) -> None:
    api = shop()
    for was, to, is_allowed in rules:
        rule(api, was, to, allowed=is_allowed)
    answer = change(api, on(1, 11), plan="pro")
    assert answer.status_code == status, answer.json()


def test_a_rule_says_when_and_how_unless_the_caller_does() -> None:
    api = shop()
    close(on(1, 1))
    rule(api, {"plan": "basic"}, {"plan": "pro"}, effective="period_end", behaviour="full_credit")

    waits = change(api, on(1, 11), plan="pro").json()
    (scheduled,) = waits["scheduled_changes"]
    assert (waits["plan"], scheduled["effective_at"]) == ("basic", "2026-02-01T00:00:00Z")
    api.delete(f"/subscriptions/s/scheduled-changes/{scheduled['id']}")

    dated = change(api, on(1, 11), plan="pro", effective_at="2026-01-21T00:00:00Z").json()
    (scheduled,) = dated["scheduled_changes"]
    assert (scheduled["effective_at"], scheduled["settlement"]) == (
        "2026-01-21T00:00:00Z",
        "full_credit",
    )
    api.delete(f"/subscriptions/s/scheduled-changes/{scheduled['id']}")

    named = change(
        api, on(1, 11), plan="pro", effective_at="2026-01-11T00:00:00Z", behaviour="invoice_now"
    )
    assert named.json()["plan"] == "pro"
    assert close(on(1, 11)) == Decimal("21.00")


def test_a_change_within_a_plan_asks_no_rule() -> None:
    api = shop()
    rule(api, allowed=False)
    with time_machine.travel(on(1, 5), tick=False):
        terms = {"currency": "USD", "billing_period": "monthly", "charges": [seats("33.00")]}
        assert api.post("/plans/basic/versions", terms).status_code == 201
    assert change(api, on(1, 11), plan="basic").status_code == 200


@pytest.mark.parametrize(
    ("alignment", "day", "phases", "ends"),
    [
        # the trial of 14 days began on the 1st, the introduction on the 15th, for three months
        ("start", (1, 11), ["trial", "discount", "evergreen"], ["01-15", "04-15", None]),
        ("continue", (1, 11), ["trial", "discount", "evergreen"], ["01-15", "04-15", None]),
        ("change", (1, 11), ["trial", "discount", "evergreen"], ["01-25", "04-25", None]),
        ("start", (3, 1), ["discount", "evergreen"], ["04-15", None]),
        ("continue", (3, 1), ["discount", "evergreen"], ["04-15", None]),
        ("change", (3, 1), ["trial", "discount", "evergreen"], ["03-15", "06-15", None]),
        ("continue", (5, 1), ["evergreen"], [None]),
    ],
)
def test_from_where_a_rule_lets_phases_be_counted(
    alignment: str, day: tuple[int, int], phases: list[str], ends: list[str | None]
) -> None:
    api = shop()
    with time_machine.travel(on(1, 1), tick=False):
        start(api, "t", "tried")
    rule(api, {"plan": "tried"}, {"plan": "better"}, phase_alignment=alignment)

    changed = change(api, on(*day), "t", plan="better").json()

    since = f"2026-{day[0]:02}-{day[1]:02}T00:00:00Z"
    new = [one for one in changed["segments"] if one["starts_at"] >= since]
    assert [one["phase"]["kind"] for one in new] == phases
    assert [one["ends_at"] for one in new] == [end and f"2026-{end}T00:00:00Z" for end in ends]


def test_an_extended_trial_goes_on_in_the_new_plan_from_where_it_began() -> None:
    api = shop()
    with time_machine.travel(on(1, 20), tick=False):
        start(api, "t", "basic", "2026-01-05")
    # basic has no trial: evergreen goes on as evergreen, and nothing is introductory again
    rule(api, None, {"plan": "better"}, phase_alignment="continue")
    changed = change(api, on(1, 21), "t", plan="better").json()
    assert [one["phase"]["kind"] for one in changed["segments"]] == ["evergreen", "evergreen"]

    with time_machine.travel(on(1, 21), tick=False):
        start(api, "u", "tried", "2026-01-15")
    rule(api, {"plan": "better"}, {"plan": "tried"}, phase_alignment="continue")
    assert change(api, on(1, 22), "u", plan="better").status_code == 200
    back = change(api, on(1, 23), "u", plan="tried").json()
    # both changes carry on the trial that began on the 15th
    assert [one["ends_at"] for one in back["segments"]][-3:] == [
        "2026-01-29T00:00:00Z",
        "2026-04-29T00:00:00Z",
        None,
    ]


def test_a_plan_without_such_a_phase_begins_with_its_first_that_is_paid() -> None:
    api = shop()
    with time_machine.travel(on(1, 1), tick=False):
        start(api, "t", "tried")
    rule(api, None, {"plan": "basic"}, phase_alignment="continue")
    changed = change(api, on(1, 11), "t", plan="basic").json()
    assert [(one["starts_at"], one["phase"]["kind"]) for one in changed["segments"]] == [
        ("2026-01-01T00:00:00Z", "trial"),
        ("2026-01-11T00:00:00Z", "evergreen"),
    ]
    # the trial is over with the change: what is paid is counted from there
    assert changed["segments"][1]["anchor_at"] == "2026-01-11T00:00:00Z"


def test_rules_are_shown_listed_and_removed() -> None:
    api = shop()
    made = rule(api, {"plan": "basic"}, {"product": "classic"}, allowed=False, reason="No.")
    assert made == {
        "object": "plan_transition",
        "id": made["id"],
        "from": {"plan": "basic", "product": None},
        "to": {"plan": None, "product": "classic"},
        "allowed": False,
        "reason": "No.",
        "effective": "now",
        "behaviour": "prorate",
        "phase_alignment": "start",
        "created_at": made["created_at"],
    }
    assert api.get(f"/plan-transitions/{made['id']}").json() == made
    rule(api)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        page = api.get("/plan-transitions").json()
    assert [one["to"]["product"] for one in page["data"]] == [None, "classic"]
    assert len([one for one in seen if "catalog_plantransition" in one["sql"]]) == 1

    assert api.delete(f"/plan-transitions/{made['id']}").status_code == 204
    assert api.delete(f"/plan-transitions/{made['id']}").status_code == 404
    assert PlanTransition.objects.count() == 1
    kinds = AuditEvent.objects.filter(type__startswith="plan_transition").order_by("id")
    assert list(kinds.values_list("type", flat=True)) == [
        "plan_transition.created",
        "plan_transition.created",
        "plan_transition.deleted",
    ]


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"from": {"plan": "nowhere"}}, 422, "plan_unknown", "from.plan"),
        ({"to": {"product": "nothing"}}, 422, "product_unknown", "to.product"),
        ({"to": {"plan": "pro", "product": "cloud"}}, 400, "ambiguous", "to.plan"),
        ({"to": {}}, 400, "ambiguous", "to.plan"),
        ({"to": "pro"}, 400, "invalid_type", "to"),
        ({"to": {"plans": "pro"}}, 400, "unknown_field", "to.plans"),
        ({"allowed": "no"}, 400, "invalid_type", "allowed"),
        ({"effective": "later"}, 400, "unknown_choice", "effective"),
        ({"behaviour": "next_period"}, 400, "unknown_choice", "behaviour"),
        ({"phase_alignment": "end"}, 400, "unknown_choice", "phase_alignment"),
        ({"reason": "Because."}, 422, "only_for_refusals", "reason"),
        ({"reason": "x" * 501, "allowed": False}, 400, "text_length", "reason"),
        ({"id": "ptr_1"}, 400, "unknown_field", "id"),
    ],
)
def test_rules_that_cannot_be_are_refused(
    body: dict[str, Any], status: int, code: str, field: str
) -> None:
    api = shop()
    refused = api.post("/plan-transitions", body)
    assert refused.status_code == status, refused.json()
    assert (code, field) in [(one["code"], one["field"]) for one in refused.json()["errors"]]
    assert PlanTransition.objects.count() == 0


def test_two_rules_about_the_same_change_are_refused() -> None:
    api = shop()
    rule(api, None, {"plan": "pro"})
    again = api.post("/plan-transitions", {"to": {"plan": "pro"}, "allowed": False})
    assert (again.status_code, again.json()["reason"]) == (409, "transition_taken")


def test_a_repeated_request_adds_one_rule() -> None:
    api = shop()
    first = api.post("/plan-transitions", {"to": {"plan": "pro"}}, key="once")
    again = api.post("/plan-transitions", {"to": {"plan": "pro"}}, key="once")
    assert first.json() == again.json()
    assert PlanTransition.objects.count() == 1
