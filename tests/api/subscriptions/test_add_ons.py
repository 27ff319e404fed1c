"""Add-ons of subscriptions by date, over HTTP, and what they are billed."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.catalog.domain import ProductKind
from apps.catalog.models import AddOnOffer
from apps.catalog.operations.lists import create_product
from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.entitlements import entitlements_of
from apps.subscriptions.invariants import RULES
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment
from apps.subscriptions.operations import apply_due_changes
from tests.make.api import Api
from tests.make.books import unguarded
from tests.make.catalog import make_feature, make_offer, make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def seats(price: str, timing: str = "advance", **charge: Any) -> dict[str, Any]:
    pricing = {"model": "per_unit", "unit_price": price}
    return {"key": "units", "timing": timing, "pricing": pricing, **charge}


def shop(start: str = "2026-01-01", plan: str = "base") -> Api:
    """Return the API of a tenant whose subscription ``s`` has been on the base plan since then."""
    with time_machine.travel(on(1, 1), tick=False):
        tenant = make_tenant()
        for product in ("storage", "support"):
            create_product(
                tenant.id,
                id=new_id(),
                key=product,
                name=product,
                kind=ProductKind.ADD_ON,
                actor=ACTOR,
                at=on(1, 1),
            )
        make_plan(tenant, [seats("310.00")], key="base")
        make_plan(tenant, [seats("620.00")], key="pro")
        make_plan(tenant, [seats("3650.00")], key="annual", billing_period="yearly")
        make_plan(tenant, [seats("31.00")], key="pack", product="storage")
        make_plan(tenant, [seats("31.00", "arrears")], key="late", product="support")
        make_offer(tenant, {"product": "base"}, "storage")
        make_offer(tenant, {"plan": "base"}, "support")
        make_offer(tenant, {"plan": "pro"}, "storage", least="2", most="5")
        make_offer(tenant, {"plan": "annual"}, "storage")
        make_customer(tenant, external_id="acme", zone="UTC")
        api = Api(make_key(tenant))
        body = {"customer": "acme", "plan": plan, "external_id": "s", "start_date": start}
        made = api.post("/subscriptions", body)
        assert made.status_code == 201, made.json()
    return api


def change(api: Api, when: datetime, verb: str, **body: Any) -> Any:
    answer = ask(api, when, verb, **body)
    assert answer.status_code == 200, answer.json()
    return answer.json()


def ask(api: Api, when: datetime, verb: str, path: str = "", **body: Any) -> Any:
    with time_machine.travel(when, tick=False):
        return api.post(f"/subscriptions/s/changes{path}", {"verb": verb, **body})


def close(when: datetime) -> Decimal:
    """Do what is due by then, and return what the documents of this run come to."""
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    made = Invoice.objects.exclude(id__in=before)
    assert [line for rule in RULES for line in rule(None)] == []
    return sum((one.total.amount for one in made), Decimal(0))


@pytest.mark.parametrize(
    ("add_on", "behaviour", "now", "next_month"),
    [
        # 21 of 31 days at 31, and February
        ("pack", "prorate", "0", "362.00"),
        ("pack", "invoice_now", "21.00", "341.00"),
        ("pack", "next_period", "0", "341.00"),
        ("late", "prorate", "0", "331.00"),
        ("late", "invoice_now", "0", "331.00"),
        ("late", "next_period", "0", "310.00"),
    ],
)
def test_an_add_on_is_paid_from_when_it_is_added(
    add_on: str, behaviour: str, now: str, next_month: str
) -> None:
    api = shop()
    assert close(on(1, 1)) == 310

    told = ask(api, on(1, 11), "add_add_on", "?preview=true", add_on=add_on, behaviour=behaviour)
    assert told.json()["verb"] == "add_add_on"
    assert ScheduledChange.objects.count() == 0
    change(api, on(1, 11), "add_add_on", add_on=add_on, behaviour=behaviour)

    assert close(on(1, 11)) == Decimal(now)
    assert close(on(2, 1)) == Decimal(next_month)


@pytest.mark.parametrize(
    ("behaviour", "now", "next_month"),
    [
        ("prorate", "0", "289.00"),  # 21 of 31 days are given back; February without it
        ("invoice_now", "-21.00", "310.00"),
        ("none", "0", "310.00"),
        ("full_credit", "0", "279.00"),
        ("next_period", "0", "310.00"),
    ],
)
def test_what_is_removed_settles_its_period(behaviour: str, now: str, next_month: str) -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="pack")
    assert close(on(1, 1)) == 341

    change(api, on(1, 11), "remove_add_on", add_on="pack", behaviour=behaviour)

    assert close(on(1, 11)) == Decimal(now)
    assert close(on(2, 1)) == Decimal(next_month)


def test_a_preview_tells_what_an_add_on_costs() -> None:
    api = shop()
    close(on(1, 1))
    told = ask(api, on(1, 11), "add_add_on", "?preview=true", add_on="pack", quantity="2").json()
    assert (told["difference"], told["otherwise"]) == ("42.00", "0.00")
    assert [(one["quantity"], one["amount"]) for one in told["lines"]] == [("2", "42.00")]


def test_how_many_changes_from_day_to_day() -> None:
    api = shop()
    change(api, on(1, 6), "add_add_on", add_on="pack", quantity="3")
    shown = change(api, on(1, 11), "change_add_on", add_on="pack", quantity="2")
    change(api, on(1, 21), "change_add_on", add_on="pack", quantity="7")

    assert shown["quantity"] == "1"
    (pack,) = shown["add_ons"]
    assert (pack["add_on"], [one["quantity"] for one in pack["segments"]]) == ("pack", ["3", "2"])
    # 5 days of 3, 10 of 2, 11 of 7; January and February of the base, 7 in February
    assert close(on(2, 1)) == 15 + 20 + 77 + 620 + 217


def test_what_is_added_again_is_not_paid_twice() -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="pack")
    close(on(1, 1))
    change(api, on(1, 11), "remove_add_on", add_on="pack", behaviour="none")
    change(api, on(1, 21), "add_add_on", add_on="pack")

    assert close(on(2, 1)) == 341

    change(api, on(2, 8), "remove_add_on", add_on="pack")
    assert close(on(3, 1)) == Decimal("310.00") - Decimal("23.25")  # 21 of 28 days


def test_an_add_on_ends_pauses_and_resumes_with_its_subscription() -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="pack")
    assert close(on(1, 1)) == 341
    change(api, on(1, 11), "pause", behaviour="invoice_now")
    assert close(on(1, 11)) == -231
    change(api, on(1, 21), "resume", behaviour="invoice_now")
    assert close(on(1, 21)) == 11 * 11
    with time_machine.travel(on(1, 26), tick=False):
        ended = api.post("/subscriptions/s/cancel", {"mode": "now"}).json()
    assert ended["add_ons"][0]["segments"][-1]["ends_at"] == "2026-01-26T00:00:00Z"
    assert close(on(1, 26)) == -66
    assert close(on(3, 1)) == 0


def test_a_yearly_plan_lets_a_monthly_add_on_count_its_months_anew() -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="pack")
    close(on(1, 1))
    moved = change(api, on(1, 11), "change_plan", plan="annual", behaviour="invoice_now")

    (pack,) = moved["add_ons"]
    assert [one["anchor_at"] for one in pack["segments"]] == [
        "2026-01-01T00:00:00Z",
        "2026-01-11T00:00:00Z",
    ]
    # a year, less 21 days of the base; the pack is paid for a month from the 11th on
    assert close(on(1, 11)) == 3650 - 210 - 21 + 31
    assert close(on(2, 1)) == 0
    assert close(on(2, 11)) == 31


def test_a_plan_to_which_it_is_not_offered_removes_it() -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="late")
    close(on(1, 1))
    told = ask(api, on(1, 11), "change_plan", "?preview=true", plan="pro").json()
    assert told["difference"] == "220.00"  # 21 days of 310 more; 10 days of support
    moved = change(api, on(1, 11), "change_plan", plan="pro")
    assert [one["absent"] for one in moved["add_ons"][0]["segments"]] == [False, True]

    assert close(on(2, 1)) == 210 + 10 + 620


def test_a_removal_that_is_undone_never_was() -> None:
    api = shop()
    change(api, on(1, 1), "add_add_on", add_on="pack")
    close(on(1, 1))
    change(api, on(1, 11), "remove_add_on", add_on="pack", behaviour="invoice_now")
    assert close(on(1, 11)) == -21
    removal = ScheduledChange.objects.get(verb="remove_add_on")
    with time_machine.travel(on(1, 21), tick=False):
        api.delete(f"/subscriptions/s/scheduled-changes/{removal.public_id}")
    assert close(on(2, 1)) == 21 + 341


def test_an_add_on_of_the_past_and_one_that_waits() -> None:
    api = shop()
    close(on(3, 1))
    change(api, on(3, 11), "add_add_on", add_on="pack", effective_at="2026-01-11T00:00:00Z")
    waits = change(
        api, on(3, 11), "remove_add_on", add_on="pack", effective_at="2026-05-01T00:00:00Z"
    )
    assert [one["verb"] for one in waits["scheduled_changes"]] == ["remove_add_on"]
    assert close(on(4, 1)) == 21 + 31 + 31 + 31 + 310
    assert close(on(5, 1)) == 310
    assert close(on(6, 1)) == 310


def test_a_trial_of_an_add_on_is_had_once() -> None:
    api = shop()
    tenant = Customer.objects.get().tenant
    phases: list[dict[str, Any]] = [
        {"kind": "trial", "duration": {"unit": "day", "count": 10}, "charges": []},
        {"kind": "evergreen", "charges": [seats("31.00"), {**seats("5.00"), "key": "set_up", "kind": "fixed"}]},
    ]  # fmt: skip
    make_plan(tenant, phases=phases, key="tried", product="storage")
    close(on(1, 1))
    change(api, on(1, 2), "add_add_on", add_on="tried")
    change(api, on(1, 7), "remove_add_on", add_on="tried")
    change(api, on(1, 22), "add_add_on", add_on="tried")
    assert close(on(2, 1)) == 10 + 5 + 310 + 31

    change(api, on(2, 1), "remove_add_on", add_on="tried")
    anew = change(api, on(2, 1), "add_add_on", add_on="tried", phase_alignment="change")
    assert [one["phase"]["kind"] for one in anew["add_ons"][0]["segments"]][-2:] == [
        "trial",
        "evergreen",
    ]


def setup_for_days(api: Api) -> None:
    """Let ``brief`` be an add-on that is had for ten days, with 5.00 for setting it up."""
    phases: list[dict[str, Any]] = [
        {
            "kind": "fixed_term",
            "duration": {"unit": "day", "count": 10},
            "charges": [seats("31.00"), {**seats("5.00"), "key": "set_up", "kind": "fixed"}],
        }
    ]
    make_plan(Customer.objects.get().tenant, phases=phases, key="brief", product="storage")


def test_what_is_over_is_not_settled_again_when_its_subscription_ends() -> None:
    api = shop()
    setup_for_days(api)
    change(api, on(1, 1), "add_add_on", add_on="brief")
    assert close(on(1, 1)) == 310 + 10 + 5
    with time_machine.travel(on(1, 21), tick=False):
        api.post("/subscriptions/s/cancel", {"mode": "now", "settlement": "none"})
    assert close(on(1, 21)) == 0


def test_what_is_over_can_be_had_anew() -> None:
    api = shop()
    setup_for_days(api)
    change(api, on(1, 1), "add_add_on", add_on="brief")
    assert close(on(1, 1)) == 310 + 10 + 5
    anew = change(api, on(1, 21), "add_add_on", add_on="brief", phase_alignment="change")
    assert [one["absent"] for one in anew["add_ons"][0]["segments"]] == [False, True, False]
    assert close(on(2, 1)) == 10 + 5 + 310


def test_what_is_had_anew_is_set_up_again() -> None:
    api = shop()
    charges = [seats("31.00"), {**seats("5.00"), "key": "set_up", "kind": "fixed"}]
    make_plan(Customer.objects.get().tenant, charges, key="lasting", product="storage")
    change(api, on(1, 1), "add_add_on", add_on="lasting")
    change(api, on(1, 6), "remove_add_on", add_on="lasting")
    change(api, on(1, 11), "add_add_on", add_on="lasting")
    assert close(on(2, 1)) == 310 + 5 + 5 + 21 + 310 + 31
    change(api, on(2, 1), "remove_add_on", add_on="lasting")
    change(api, on(2, 1), "add_add_on", add_on="lasting", phase_alignment="change")
    change(api, on(2, 8), "change_add_on", add_on="lasting", quantity="2")
    assert close(on(3, 1)) == 5 + Decimal("23.25") + 310 + 62


def test_an_add_on_may_be_added_before_it_first_was() -> None:
    api = shop()
    change(api, on(1, 21), "add_add_on", add_on="pack")
    change(api, on(1, 21), "add_add_on", add_on="pack", effective_at="2026-01-11T00:00:00Z")
    assert close(on(1, 21)) == 310 + 21


def test_a_plan_that_waits_removes_what_is_added_meanwhile() -> None:
    api = shop()
    change(api, on(1, 6), "change_plan", plan="pro", effective_at="2026-02-01T00:00:00Z")
    change(api, on(1, 11), "add_add_on", add_on="late")
    assert close(on(2, 1)) == 310 + 21 + 620
    (support,) = api.get("/subscriptions/s").json()["add_ons"]
    assert [one["absent"] for one in support["segments"]] == [False, True]
    assert close(on(3, 1)) == 620


@pytest.mark.django_db(transaction=True)
def test_usage_of_an_add_on_is_charged_while_it_is_there() -> None:
    api = shop()
    with time_machine.travel(on(1, 1), tick=False):
        api.post("/meters", {"key": "gigabytes", "aggregation": "sum", "value_property": "n"})
        tenant = Customer.objects.get().tenant
        usage = {"meter": "gigabytes", "pricing": {"model": "per_unit", "unit_price": "1"}}
        make_plan(tenant, [usage], key="metered", product="storage")
    close(on(1, 1))
    change(api, on(1, 11), "add_add_on", add_on="metered")
    change(api, on(1, 21), "remove_add_on", add_on="metered")
    with time_machine.travel(on(1, 25), tick=False):
        for day, n in ((5, 1), (11, 10), (20, 100), (21, 1000)):
            event = {
                "idempotency_key": f"e{day}",
                "event_name": "gigabytes",
                "subscription": "s",
                "timestamp": f"2026-01-{day:02}T00:00:00Z",
                "properties": {"n": n},
            }
            sent = api.post("/events", event)
            assert sent.status_code == 202, sent.json()
    count_all()
    assert close(on(2, 1)) == 110 + 310


def test_what_an_add_on_grants_adds_up() -> None:
    api = shop()
    customer = Customer.objects.get()
    make_feature(customer.tenant_id, "rooms")
    granted = [{"feature": "rooms", "limit": "3"}]
    make_plan(customer.tenant, [seats("1.00")], key="roomy", product="storage", features=granted)
    change(api, on(1, 11), "add_add_on", add_on="roomy")
    change(api, on(1, 21), "remove_add_on", add_on="roomy")

    limits = {
        day: [one.limit for one in entitlements_of(customer, at=on(1, day))] for day in (5, 15, 25)
    }
    assert limits == {5: [None], 15: [Decimal(3)], 25: [None]}
    assert [one.granted for one in entitlements_of(customer, at=on(1, 25))] == [False]


@pytest.mark.parametrize(
    ("body", "status", "reason", "field"),
    [
        ({"verb": "add_add_on", "add_on": "pro"}, 422, "subscription_invalid", "add_on"),
        ({"verb": "add_add_on", "add_on": "nothing"}, 404, "not_found", None),
        ({"verb": "add_add_on"}, 400, "required", "add_on"),
        ({"verb": "add_add_on", "add_on": "pack", "plan": "pack"}, 400, "unused", "plan"),
        ({"verb": "add_add_on", "add_on": "pack", "quantity": "0"}, 400, "quantity_invalid", "quantity"),
        ({"verb": "add_add_on", "add_on": "pack", "quantity": "1.5"}, 400, "quantity_invalid", "quantity"),
        ({"verb": "add_add_on", "add_on": "pack", "plan_version": 2}, 404, "not_found", None),
        ({"verb": "change_add_on", "add_on": "pack", "quantity": "2"}, 409, "change_refused", None),
        ({"verb": "change_add_on", "add_on": "pack"}, 400, "required", "quantity"),
        ({"verb": "remove_add_on", "add_on": "pack"}, 409, "change_refused", None),
        ({"verb": "pause", "add_on": "pack"}, 400, "unused", "add_on"),
        ({"verb": "change_plan", "plan": "pack"}, 422, "subscription_invalid", "plan"),
    ],
)  # fmt: skip
def test_add_ons_that_cannot_be_are_refused(
    body: dict[str, Any], status: int, reason: str, field: str | None
) -> None:
    api = shop()
    with time_machine.travel(on(1, 11), tick=False):
        refused = api.post("/subscriptions/s/changes", body)
    problem = refused.json()
    assert refused.status_code == status, problem
    if field is None:
        assert problem["reason"] == reason
    else:
        assert (reason, field) in [(one["code"], one["field"]) for one in problem["errors"]]
    assert ScheduledChange.objects.count() == 0


def test_an_offer_says_to_whom_and_how_many() -> None:
    api = shop(plan="pro")
    refused = ask(api, on(1, 11), "add_add_on", add_on="late")
    assert (refused.status_code, refused.json()["reason"]) == (409, "add_on_not_offered")
    assert refused.json()["detail"] == "support is not offered to subscriptions on pro."
    for quantity in ("1", "6"):
        few = ask(api, on(1, 11), "add_add_on", add_on="pack", quantity=quantity)
        assert (few.status_code, few.json()["errors"][0]["field"]) == (422, "quantity")
    added = change(api, on(1, 11), "add_add_on", add_on="pack")
    assert added["add_ons"][0]["segments"][0]["quantity"] == "2"  # the least
    again = ask(api, on(1, 12), "add_add_on", add_on="pack")
    assert (again.status_code, again.json()["reason"]) == (409, "change_refused")
    many = ask(api, on(1, 12), "change_add_on", add_on="pack", quantity="6")
    assert many.status_code == 422


def test_an_add_on_is_no_subscription_of_its_own() -> None:
    api = shop()
    refused = api.post("/subscriptions", {"customer": "acme", "plan": "pack"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "plan")
    assert Subscription.objects.count() == 1


def test_offers_are_shown_filtered_and_removed() -> None:
    api = shop()
    (support,) = api.get("/add-on-offers?add_on=support").json()["data"]
    assert support == {
        "object": "add_on_offer",
        "id": support["id"],
        "base": {"plan": "base", "product": None},
        "add_on": "support",
        "least": "1",
        "most": None,
        "created_at": support["created_at"],
    }
    to_base = api.get("/add-on-offers", plan="base").json()["data"]
    assert {(one["add_on"], one["base"]["product"]) for one in to_base} == {
        ("support", None),
        ("storage", "base"),
    }
    assert api.get("/add-on-offers", plan="nothing").json()["data"] == []
    assert api.delete(f"/add-on-offers/{support['id']}").status_code == 204
    assert ask(api, on(1, 11), "add_add_on", add_on="late").status_code == 409


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({"add_on": "storage"}, 400, "required", "base"),
        ({"base": {"plan": "base"}}, 400, "required", "add_on"),
        ({"base": {"plan": "none"}, "add_on": "storage"}, 422, "plan_unknown", "base.plan"),
        ({"base": {"plan": "base"}, "add_on": "none"}, 422, "product_unknown", "add_on"),
        ({"base": {"plan": "base"}, "add_on": "base"}, 422, "product_kind", "add_on"),
        ({"base": {"plan": "pack"}, "add_on": "storage"}, 422, "product_kind", "base"),
        ({"base": {"product": "storage"}, "add_on": "storage"}, 422, "product_kind", "base"),
        ({"base": {"plan": "base"}, "add_on": "storage", "least": "0"}, 400, "quantity_invalid", "least"),
        ({"base": {"plan": "base"}, "add_on": "storage", "most": "1.5"}, 400, "quantity_invalid", "most"),
        ({"base": {"plan": "base"}, "add_on": "storage", "least": "3", "most": "2"}, 422, "most_below_least", "most"),
        ({"base": {"plan": "base"}, "add_on": "storage", "id": "aof_1"}, 400, "unknown_field", "id"),
    ],
)  # fmt: skip
def test_offers_that_cannot_be_are_refused(
    body: dict[str, Any], status: int, code: str, field: str
) -> None:
    api = shop()
    before = AddOnOffer.objects.count()
    refused = api.post("/add-on-offers", body)
    assert refused.status_code == status, refused.json()
    assert (code, field) in [(one["code"], one["field"]) for one in refused.json()["errors"]]
    assert AddOnOffer.objects.count() == before


def test_the_same_offer_twice_is_refused() -> None:
    api = shop()
    again = api.post("/add-on-offers", {"base": {"plan": "base"}, "add_on": "support", "most": "1"})
    assert (again.status_code, again.json()["reason"]) == (409, "offer_taken")


def test_books_see_an_add_on_that_goes_astray() -> None:
    api = shop()
    change(api, on(1, 6), "add_add_on", add_on="pack", quantity="3")
    change(api, on(1, 11), "change_add_on", add_on="pack", quantity="2")
    with unguarded("subscriptions_subscriptionsegment"):
        SubscriptionSegment.objects.filter(add_on__isnull=False, quantity=3).delete()
        SubscriptionSegment.objects.filter(add_on__isnull=False).update(starts_at=on(1, 12))
    told = [line for rule in RULES for line in rule(None)]
    assert len(told) == 1
    assert told[0].endswith("has other terms than its changes come to")
    with unguarded("subscriptions_subscriptionsegment"):
        SubscriptionSegment.objects.filter(add_on__isnull=False).update(
            starts_at=on(1, 1).replace(year=2025)
        )
    told = [line for rule in RULES for line in rule(None)]
    assert told[0].startswith("an add-on of subscription sub_")
