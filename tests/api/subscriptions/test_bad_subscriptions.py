"""What is refused of subscriptions: status, code, the field to blame, and that nothing is stored."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import time_machine

from apps.catalog.operations.plans import archive_plan, retire_version
from apps.metering.models import UsageSubject
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

NOW: Final = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
Json = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _the_same_day() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    make_plan(tenant, key="growth")
    make_plan(
        tenant,
        [{"key": "daily", "period": "daily", "pricing": {"model": "flat", "amount": "1"}}],
        key="daily",
    )
    make_plan(tenant, key="draft", publish=False)
    archive_plan(make_plan(tenant, key="archived").plan_id, actor=ACTOR, at=NOW)
    retire_version(make_plan(tenant, key="retired").pk, actor=ACTOR, at=NOW)
    make_customer(tenant, external_id="acme")
    return Api(make_key(tenant))


BAD: Final[dict[str, tuple[Json, int, str, str]]] = {
    # B75, the anchor day
    "anchor day 0": ({"anchor_day": 0}, 400, "min_value", "anchor_day"),
    "anchor day 32": ({"anchor_day": 32}, 400, "max_value", "anchor_day"),
    "anchor day in words": ({"anchor_day": "1"}, 400, "number_format", "anchor_day"),
    "anchor day of days": (
        {"plan": "daily", "anchor_day": 5},
        422,
        "anchor_day_invalid",
        "anchor_day",
    ),
    # B74, trials
    "trial of -30 days": ({"trial_days": -30}, 400, "min_value", "trial_days"),
    "trial of 10,000 days": ({"trial_days": 10_000}, 400, "max_value", "trial_days"),
    "trial of a plan without one": ({"trial_days": 7}, 422, "no_trial", "trial_days"),
    # B76, terms
    "term of 0": ({"term": {"unit": "month", "count": 0}}, 400, "cadence_invalid", "term.count"),
    "term of -1": ({"term": {"unit": "month", "count": -1}}, 400, "cadence_invalid", "term.count"),
    "term of a million": (
        {"term": {"unit": "month", "count": 10**6}},
        400,
        "cadence_invalid",
        "term.count",
    ),
    "term in fortnights": ({"term": {"unit": "fortnight"}}, 400, "invalid_choice", "term.unit"),
    # B87, the start
    "start in the last century": (
        {"started_at": "1980-01-01T00:00:00Z"},
        422,
        "start_too_far",
        "started_at",
    ),
    "start in thirty years": ({"start_date": "2056-01-01"}, 422, "start_too_far", "started_at"),
    "start before all time": ({"start_date": "0001-01-01"}, 400, "timestamp_format", "start_date"),
    "start without a zone": (
        {"started_at": "2026-05-01T00:00:00"},
        400,
        "timestamp_zone_required",
        "started_at",
    ),
    "start on 30 February": ({"start_date": "2026-02-30"}, 400, "date_format", "start_date"),
    "start as a number": ({"start_date": 20260501}, 400, "date_format", "start_date"),
    "two starts": (
        {"started_at": "2026-05-01T00:00:00Z", "start_date": "2026-05-01"},
        400,
        "ambiguous",
        "start_date",
    ),
    # B89, the quantity
    "no seats": ({"quantity": "0"}, 400, "quantity_invalid", "quantity"),
    "less than no seats": ({"quantity": "-1"}, 400, "quantity_invalid", "quantity"),
    "one and a half seats": ({"quantity": "1.5"}, 400, "quantity_invalid", "quantity"),
    "a seat for every ant": ({"quantity": "1000000000000"}, 400, "quantity_invalid", "quantity"),
    "seats in words": ({"quantity": "three"}, 400, "number_format", "quantity"),
    "a true seat": ({"quantity": True}, 400, "number_format", "quantity"),
    # currencies and other words
    "currency in small letters": ({"currency": "usd"}, 400, "currency_unknown", "currency"),
    "currency without prices": ({"currency": "EUR"}, 422, "currency_not_priced", "currency"),
    "unknown alignment": ({"alignment": "lunar"}, 400, "invalid_choice", "alignment"),
    "external id with a space": ({"external_id": "a b"}, 400, "external_id_format", "external_id"),
    "metadata that nests": ({"metadata": {"a": {}}}, 400, "metadata_format", "metadata"),
    "unknown field": ({"quantitiy": "3"}, 400, "unknown_field", "quantitiy"),
    "no plan": ({"plan": None}, 400, "required", "plan"),
    "no customer": ({"customer": None}, 400, "required", "customer"),
}


def body(patch: Json) -> dict[str, Any]:
    """Return a good request, patched; what is patched with None is left out."""
    whole = {"customer": "acme", "plan": "growth", **patch}
    return {name: value for name, value in whole.items() if value is not None}


def assert_nothing_is_stored() -> None:
    for model in (Subscription, SubscriptionSegment, ScheduledChange, UsageSubject):
        assert not model.objects.exists()


@pytest.mark.parametrize(
    ("patch", "status", "code", "field"), [pytest.param(*row, id=name) for name, row in BAD.items()]
)
@pytest.mark.holds("B74", "B75", "B87", "B89")
def test_a_bad_beginning_is_refused(
    api: Api, patch: Json, status: int, code: str, field: str
) -> None:
    answer = api.post("/subscriptions", body(patch))

    problem = answer.json()
    assert (answer.status_code, [(e["field"], e["code"]) for e in problem["errors"]]) == (
        status,
        [(field, code)],
    )
    assert_nothing_is_stored()


@pytest.mark.parametrize(
    ("patch", "status", "reason"),
    [
        ({"customer": "nobody"}, 404, "not_found"),
        ({"customer": "cus_01h455vb4pex5vsknk084sn02q"}, 404, "not_found"),
        ({"plan": "nothing"}, 404, "not_found"),
        ({"plan": "growth", "plan_version": 7}, 404, "not_found"),
        ({"price_list": "vip"}, 404, "not_found"),
        ({"plan": "draft"}, 409, "plan_not_on_sale"),
        ({"plan": "draft", "plan_version": 1}, 409, "plan_not_on_sale"),
        ({"plan": "archived"}, 409, "plan_not_on_sale"),
        ({"plan": "retired"}, 409, "plan_not_on_sale"),
    ],
)
def test_what_is_not_there_or_not_sold_cannot_be_had(
    api: Api, patch: Json, status: int, reason: str
) -> None:
    answer = api.post("/subscriptions", body(patch))

    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert_nothing_is_stored()


@pytest.mark.parametrize("day", [29, 30, 31])
@pytest.mark.holds("B75")
def test_days_that_some_months_lack_are_good(api: Api, day: int) -> None:
    answer = api.post("/subscriptions", body({"anchor_day": day, "start_date": "2026-01-31"}))

    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("given", "status", "code", "field"),
    [
        ({}, 400, "required", "mode"),
        ({"mode": "never"}, 400, "invalid_choice", "mode"),
        ({"mode": "date"}, 422, "subscription_invalid", "ends_at"),
        (
            {"mode": "now", "ends_at": "2026-06-01T00:00:00Z"},
            422,
            "subscription_invalid",
            "ends_at",
        ),
        (
            {"mode": "date", "ends_at": "2026-03-31T00:00:00Z"},
            422,
            "subscription_invalid",
            "ends_at",
        ),
        (
            {"mode": "date", "ends_at": "2056-01-01T00:00:00Z"},
            422,
            "subscription_invalid",
            "ends_at",
        ),
        ({"mode": "date", "ends_at": "2026-05-31T23:59:59Z"}, 400, "end_exclusive", "ends_at"),
        ({"mode": "date", "ends_at": "tomorrow"}, 400, "timestamp_format", "ends_at"),
        ({"mode": "now", "settlement": "money"}, 400, "invalid_choice", "settlement"),
        ({"mode": "now", "reason": "price"}, 400, "unknown_field", "reason"),
    ],
)
def test_a_bad_cancellation_is_refused(
    api: Api, given: Json, status: int, code: str, field: str
) -> None:
    made = api.post("/subscriptions", body({"start_date": "2026-04-01"})).json()

    answer = api.post(f"/subscriptions/{made['id']}/cancel", given)

    assert (answer.status_code, [(e["field"], e["code"]) for e in answer.json()["errors"]]) == (
        status,
        [(field, code)],
    )
    assert api.get(f"/subscriptions/{made['id']}").json() == made


def test_every_problem_is_told_at_once(api: Api) -> None:
    answer = api.post(
        "/subscriptions",
        {"plan": "growth", "quantity": "0", "anchor_day": 99, "start_date": "soon", "trial": 3},
    )

    assert answer.status_code == 400
    assert sorted(error["field"] for error in answer.json()["errors"]) == [
        "anchor_day",
        "customer",
        "quantity",
        "start_date",
        "trial",
    ]
