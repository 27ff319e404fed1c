"""What customers may do: features in the catalog, and the answers for a customer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.catalog.models import Feature, PhaseFeature
from apps.core.ids import decode
from apps.customers.models import Customer
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
FLAT = {"model": "flat", "amount": "49.00"}
CATALOG: dict[str, Any] = {
    "features": [
        {"key": "sso", "name": "Single sign-on"},
        {"key": "seats", "kind": "limit", "unit": "seat"},
        {"key": "calls", "name": "API calls", "meter": "calls", "unit": "call"},
    ],
    "plans": [
        {
            "key": "starter",
            "currency": "USD",
            "billing_period": "monthly",
            "phases": [
                {
                    "kind": "trial",
                    "duration": {"unit": "day", "count": 3},
                    "features": [{"feature": "calls", "limit": "5"}],
                },
                {
                    "kind": "evergreen",
                    "charges": [{"key": "base", "pricing": FLAT}],
                    "features": [{"feature": "seats", "limit": "3"}],
                },
            ],
            "features": [{"feature": "calls", "limit": "100"}],
        },
        {
            "key": "more",
            "currency": "USD",
            "billing_period": "monthly",
            "charges": [{"key": "more", "pricing": FLAT}],
            "features": [{"feature": "sso"}, {"feature": "seats", "limit": "2.5"}],
        },
        {
            "key": "all",
            "currency": "USD",
            "billing_period": "monthly",
            "charges": [{"key": "all", "pricing": FLAT}],
            "features": [{"feature": "seats"}, {"feature": "calls", "limit": None}],
        },
    ],
}


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant(slug="shop")


@pytest.fixture
def api(tenant: Tenant) -> Any:
    with time_machine.travel(NOW, tick=False):
        make_meter(tenant, key="calls")
        make_customer(tenant, external_id="acme", zone="Europe/Berlin")
        caller = Api(make_key(tenant))
        assert caller.post("/catalog", CATALOG).status_code == 200
        yield caller


def subscribe(api: Api, plan: str, start: str = "2026-04-01") -> Subscription:
    answer = api.post("/subscriptions", {"customer": "acme", "plan": plan, "start_date": start})
    assert answer.status_code == 201, answer.json()
    return Subscription.objects.get(pk=decode(Subscription.ID_PREFIX, answer.json()["id"]))


def may(api: Api) -> dict[str, tuple[bool, str | None, str | None, str | None]]:
    answer = api.get("/customers/acme/entitlements").json()
    return {
        one["feature"]: (one["granted"], one["limit"], one["used"], one["remaining"])
        for one in answer["entitlements"]
    }


NOTHING = (False, None, None, None)


def test_without_a_subscription_nothing_is_granted(api: Api) -> None:
    assert may(api) == {"calls": NOTHING, "seats": NOTHING, "sso": NOTHING}


def test_a_phase_grants_what_it_and_its_version_list(api: Api) -> None:
    subscribe(api, "starter")
    assert may(api) == {
        "calls": (True, "100", "0", "100"),
        "seats": (True, "3", None, None),
        "sso": NOTHING,
    }


def test_a_trial_may_grant_less(api: Api) -> None:
    subscribe(api, "starter", start="2026-05-03")
    assert may(api) == {"calls": (True, "5", "0", "5"), "seats": NOTHING, "sso": NOTHING}


def test_what_several_subscriptions_grant_adds_up(api: Api) -> None:
    subscribe(api, "starter")
    subscribe(api, "more")
    assert may(api)["seats"] == (True, "5.5", None, None)
    assert may(api)["sso"] == (True, None, None, None)


def test_no_limit_beats_any(api: Api) -> None:
    subscribe(api, "starter")
    subscribe(api, "all")
    assert may(api)["seats"] == (True, None, None, None)
    assert may(api)["calls"] == (True, None, "0", None)


@pytest.mark.parametrize("verb", ["pause", "suspend"])
def test_what_is_paused_or_suspended_grants_nothing(api: Api, verb: str) -> None:
    row = subscribe(api, "more")
    before = may(api)
    assert before["sso"][0]
    api.post(f"/subscriptions/{row.public_id}/changes", {"verb": verb})
    assert not may(api)["sso"][0]
    api.post(f"/subscriptions/{row.public_id}/changes", {"verb": "resume"})
    assert may(api) == before


def test_what_ended_or_has_not_begun_grants_nothing(api: Api) -> None:
    ended = subscribe(api, "more")
    cancel_subscription(ended.pk, mode=CancelMode.NOW, change_id=ended.pk, actor=ACTOR, at=NOW)
    subscribe(api, "all", start="2026-05-05")
    assert may(api) == {"calls": NOTHING, "seats": NOTHING, "sso": NOTHING}


def test_metered_use_counts_the_current_period_of_what_grants_it(api: Api, tenant: Tenant) -> None:
    subscribe(api, "starter", start="2026-03-28")  # paid from 31 March, thus monthly from the 31st
    period_start = datetime(2026, 4, 29, 22, tzinfo=UTC)  # 30 April in Berlin
    for at, value in (
        (period_start - timedelta(microseconds=1), "1000"),
        (period_start, "60"),
        (NOW, "55"),
    ):
        send(
            tenant,
            [
                {
                    "event_name": "calls",
                    "customer": "acme",
                    "timestamp": at.isoformat(),
                    "value": value,
                }
            ],
            at=NOW,
        )
    assert may(api)["calls"] == (True, "100", "115", "0")
    one = api.get("/customers/acme/entitlements/calls").json()
    assert (one["period_start"], one["period_end"]) == (
        "2026-04-29T22:00:00Z",
        "2026-05-30T22:00:00Z",
    )


def test_one_feature(api: Api) -> None:
    subscribe(api, "more")
    assert api.get("/customers/acme/entitlements/sso").json() == {
        "object": "entitlement",
        "feature": "sso",
        "name": "Single sign-on",
        "kind": "boolean",
        "unit": "",
        "granted": True,
        "limit": None,
        "used": None,
        "remaining": None,
        "period_start": None,
        "period_end": None,
    }
    unknown = api.get("/customers/acme/entitlements/nothing")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "There is no feature 'nothing'.",
    )
    assert api.get("/customers/nobody/entitlements").status_code == 404


def contract(api: Api, **given: Any) -> None:
    answer = api.post("/contracts", {"name": "Agreed", **given})
    assert answer.status_code == 201, answer.json()
    assert answer.json()["features"] == [{"limit": None, **one} for one in given["features"]]


def limits(api: Api, *, at: datetime = NOW) -> dict[str, Any]:
    with time_machine.travel(at, tick=False):
        rows = api.get("/customers/acme/entitlements").json()["entitlements"]
    return {one["feature"]: one["limit"] for one in rows if one["granted"]}


def test_a_contract_takes_the_place_of_what_its_subscription_grants(api: Api) -> None:
    subscribe(api, "more")
    starter = subscribe(api, "starter").public_id
    assert limits(api, at=NOW + 4 * DAY) == {"sso": None, "seats": "5.5", "calls": "100"}
    ends = NOW + 10 * DAY
    granted = [{"feature": "seats", "limit": "50"}, {"feature": "calls"}]
    with time_machine.travel(NOW + 4 * DAY, tick=False):
        contract(
            api,
            subscription=starter,
            starts_at=NOW.isoformat(),
            ends_at=ends.isoformat(),
            features=granted,
        )
    # 2.5 of the other subscription beside it, which grants no calls
    assert limits(api, at=NOW + 4 * DAY) == {"sso": None, "seats": "52.5", "calls": None}
    assert limits(api, at=ends - DAY) == {"sso": None, "seats": "52.5", "calls": None}
    assert limits(api, at=ends) == {"sso": None, "seats": "5.5", "calls": "100"}
    # of several the one that began last holds
    with time_machine.travel(NOW + 5 * DAY, tick=False):
        later = {
            "starts_at": (NOW + 5 * DAY).isoformat(),
            "features": [{"feature": "seats", "limit": "7"}],
        }
        contract(api, subscription=starter, **later)
    assert limits(api, at=NOW + 40 * DAY)["seats"] == "9.5"


def test_a_contract_for_all_of_a_customer_says_how_much_it_is_in_all(api: Api) -> None:
    agreed = {
        "customer": "acme",
        "features": [{"feature": "seats", "limit": "0"}, {"feature": "sso"}],
    }
    contract(api, **agreed)
    assert limits(api) == {}
    subscribe(api, "starter")
    subscribe(api, "all")
    assert limits(api, at=NOW + DAY)["seats"] == "0"
    assert limits(api, at=NOW + DAY)["sso"] is None


def test_what_a_contract_grants_is_in_the_catalog_once(api: Api) -> None:
    features = [
        {"feature": "sso", "limit": "1"},
        {"feature": "nothing"},
        {"feature": "seats", "limit": "-1"},
        {"feature": "seats"},
    ]
    answer = api.post("/contracts", {"name": "Agreed", "customer": "acme", "features": features})
    assert answer.status_code == 422
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [
        ("features[0].limit", "only_for_limits"),
        ("features[1].feature", "feature_unknown"),
        ("features[2].limit", "quantity_negative"),
        ("features[3].feature", "duplicate"),
    ]


@pytest.mark.parametrize("subscriptions", [1, 3])
def test_the_number_of_queries_does_not_grow(api: Api, subscriptions: int) -> None:
    for _ in range(subscriptions):
        subscribe(api, "starter")
    api.get("/customers/acme/entitlements")  # what never changes is read once
    with CaptureQueriesContext(connection) as queries:
        api.get("/customers/acme/entitlements")
    assert len(queries) == 10
    with CaptureQueriesContext(connection) as queries:
        api.get("/customers/acme/entitlements/seats")
    assert len(queries) == 7


def test_the_catalog_with_features_uploads_to_itself(api: Api) -> None:
    exported = api.get("/catalog").json()
    assert exported["features"][0] == {
        "key": "calls",
        "name": "API calls",
        "kind": "metered",
        "meter": "calls",
        "unit": "call",
    }
    again = api.post("/catalog", exported)
    assert again.status_code == 200
    assert {one["change"] for one in again.json()["items"]} == {"unchanged"}


def test_another_limit_is_another_version(api: Api) -> None:
    plan = {**CATALOG["plans"][1], "features": [{"feature": "sso"}]}
    made = api.post("/catalog", {"plans": [plan]}).json()["items"]
    assert [(one["key"], one["change"], one["version"]) for one in made] == [("more", "changed", 2)]
    assert PhaseFeature.objects.filter(phase__version__plan__key="more").count() == 3


def test_a_feature_by_itself(api: Api) -> None:
    made = api.post("/features", {"key": "export", "name": "Export"})
    assert (made.status_code, made.json()["kind"], made.json()["meter"]) == (201, "boolean", None)
    assert api.get("/features/export").json() == made.json()
    assert sorted(one["key"] for one in api.get("/features").json()["data"]) == [
        "calls",
        "export",
        "seats",
        "sso",
    ]
    taken = api.post("/features", {"key": "export"})
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "key")


@pytest.mark.parametrize(
    ("document", "code", "field"),
    [
        ({"key": "x", "kind": "metered"}, "meter_mismatch", "meter"),
        ({"key": "x", "kind": "limit", "meter": "calls"}, "meter_mismatch", "meter"),
        ({"key": "x", "meter": "nothing"}, "meter_unknown", "meter"),
        ({"key": "sso", "kind": "limit"}, "feature_fixed", "kind"),
        ({"key": "calls"}, "feature_fixed", "kind"),
        ({"key": "x", "kind": "magic"}, "unknown_choice", "kind"),
        ({"key": "X Y"}, "key_format", "key"),
        ({"key": "x", "limit": "1"}, "unknown_field", "limit"),
    ],
)
def test_bad_features(api: Api, document: Any, code: str, field: str) -> None:
    answer = api.post("/features", document)
    assert answer.status_code in {400, 422}
    assert [(one["code"], one["field"]) for one in answer.json()["errors"]] == [(code, field)]
    assert Feature.objects.count() == 3


@pytest.mark.parametrize(
    ("granted", "code", "field"),
    [
        ([{"feature": "nothing"}], "feature_unknown", "features[0].feature"),
        ([{"feature": "sso", "limit": "1"}], "only_for_limits", "features[0].limit"),
        ([{"feature": "sso"}, {"feature": "sso"}], "duplicate", "features[1].feature"),
        ([{"feature": "seats", "limit": "-1"}], "quantity_negative", "features[0].limit"),
        ([{"limit": "1"}], "required", "features[0].feature"),
        ("all", "invalid_type", "features"),
    ],
)
def test_bad_grants(api: Api, granted: Any, code: str, field: str) -> None:
    plan = {**CATALOG["plans"][1], "key": "bad", "features": granted}
    answer = api.post("/plans", plan)
    assert answer.status_code in {400, 422}
    assert [(one["code"], one["field"]) for one in answer.json()["errors"]] == [(code, field)]


def test_another_tenant_s_features_and_customers_are_not_there(api: Api) -> None:
    stranger = Api(make_key(make_tenant(slug="other")))
    customer = Customer.objects.get(external_id="acme")
    assert stranger.get(f"/customers/{customer.public_id}/entitlements").status_code == 404
    assert stranger.get("/features/sso").status_code == 404
