"""Redeeming coupons over HTTP."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction

from apps.catalog.domain import CouponTarget
from apps.catalog.models import Coupon
from apps.catalog.operations.coupons import archive_coupon
from apps.core.ids import new_id
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import CouponRedemption
from apps.subscriptions.operations import cancel_subscription
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
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
    customer = make_customer(tenant, external_id="acme")
    version = make_plan(tenant)
    make_subscription(customer, version, at=NOW, external_id="main")
    ended = make_subscription(customer, version, at=NOW, external_id="ended")
    cancel_subscription(ended.pk, mode=CancelMode.NOW, change_id=new_id(), actor=ACTOR, at=NOW)
    make_coupon(tenant, key="spring", at=NOW)
    make_coupon(tenant, key="euros", amounts={"EUR": Decimal(5)}, at=NOW)
    make_coupon(tenant, key="all", target=CouponTarget.CUSTOMER, at=NOW)
    old = make_coupon(tenant, key="old", at=NOW)
    archive_coupon(old.pk, tenant_id=tenant.pk, actor=ACTOR, at=NOW)
    make_coupon(tenant, key="over", at=datetime(2026, 5, 1, tzinfo=UTC), redeem_until=NOW)
    return Api(make_key(tenant))


def test_a_redemption_is_shown_and_found(api: Api) -> None:
    made = api.post("/coupon-redemptions", {"code": "spring", "subscription": "main"}).json()
    assert made == api.get(f"/coupon-redemptions/{made['id']}").json()
    for name, value in (
        ("code", "spring"),
        ("customer", "acme"),
        ("subscription", made["subscription"]),
    ):
        assert api.get("/coupon-redemptions", **{name: value}).json()["data"] == [made]
    assert api.get("/coupon-redemptions", code="all").json()["data"] == []
    assert (made["starts_at"], made["ends_at"]) == ("2026-05-04T09:30:00Z", "2026-06-04T09:30:00Z")
    assert api.get("/coupons/spring").json()["redeemed"] == 1


def test_it_may_end_sooner_and_never_later(api: Api) -> None:
    made = api.post("/coupon-redemptions", {"code": "all", "customer": "acme"}).json()
    path = f"/coupon-redemptions/{made['id']}/end"
    early = "2026-05-20T00:00:00Z"
    assert api.post(path, {"ends_at": early}).json() == {**made, "ends_at": early}
    assert api.post(path, {"ends_at": "2027-01-01T00:00:00Z"}).json()["ends_at"] == early
    assert api.post(path).json()["ends_at"] == "2026-05-04T09:30:00Z"
    answer = api.post(path, {"ends_at": "2026-05-01T00:00:00Z"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "ends_at")


BAD: Final[dict[str, tuple[Json, int, str]]] = {
    "for nothing": ({"subscription": None}, 400, "one_of_two"),
    "for two things": ({"customer": "acme"}, 400, "one_of_two"),
    "code in capitals": ({"code": "SPRING"}, 400, "key_format"),
    "a day, not an instant": ({"starts_at": "2026-05-01"}, 400, "timestamp_format"),
    "unknown field": ({"coupon": "spring"}, 400, "unknown_field"),
    "begins in the last century": (
        {"starts_at": "1999-05-01T00:00:00Z"},
        422,
        "subscription_invalid",
    ),
}


@pytest.mark.parametrize(
    ("patch", "status", "code"), [pytest.param(*row, id=name) for name, row in BAD.items()]
)
def test_what_cannot_be_asked_is_refused(api: Api, patch: Json, status: int, code: str) -> None:
    body = {"code": "spring", "subscription": "main", **patch}
    answer = api.post("/coupon-redemptions", {k: v for k, v in body.items() if v is not None})
    assert (answer.status_code, [one["code"] for one in answer.json()["errors"]]) == (
        status,
        [code],
    )
    assert not CouponRedemption.objects.exists()


@pytest.mark.parametrize(
    ("patch", "status", "reason"),
    [
        ({"code": "nothing"}, 404, "not_found"),
        ({"subscription": "nothing"}, 404, "not_found"),
        ({"subscription": None, "customer": "nobody"}, 404, "not_found"),
        ({"code": "old"}, 409, "coupon_expired"),
        ({"code": "over"}, 409, "coupon_expired"),
        ({"code": "euros"}, 409, "coupon_unfit"),
        ({"code": "all"}, 409, "coupon_unfit"),
        ({"subscription": None, "customer": "acme"}, 409, "coupon_unfit"),
        ({"subscription": "ended"}, 409, "subscription_ended"),
    ],
)
@pytest.mark.holds("B72")
def test_what_cannot_be_redeemed_is_not_and_counts_for_nothing(
    api: Api, patch: Json, status: int, reason: str
) -> None:
    body = {"code": "spring", "subscription": "main", **patch}
    answer = api.post("/coupon-redemptions", {k: v for k, v in body.items() if v is not None})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert not CouponRedemption.objects.exists()
    assert set(Coupon.objects.values_list("redeemed", flat=True)) == {0}


@pytest.mark.holds("I9")
def test_a_coupon_is_redeemed_once_by_a_customer_and_as_often_as_it_may() -> None:
    tenant = make_tenant()
    version = make_plan(tenant)
    first, second = (make_customer(tenant) for _ in range(2))
    coupon = make_coupon(tenant, key="few", max_redemptions=1, at=NOW)
    often = make_coupon(tenant, key="often", once_per_customer=False, at=NOW)
    mine, also_mine = (make_subscription(first, version, at=NOW) for _ in range(2))
    other = make_subscription(second, version, at=NOW)
    caller = Api(make_key(tenant))

    def outcome(code: str, subscription: str) -> str:
        body = {"code": code, "subscription": subscription}
        answer = caller.post("/coupon-redemptions", body)
        return str(answer.json().get("reason", answer.status_code))

    assert outcome("few", mine.public_id) == "201"
    assert outcome("few", other.public_id) == "coupon_spent"
    assert outcome("often", mine.public_id) == "201"
    assert outcome("often", mine.public_id) == "coupon_used"
    assert outcome("often", also_mine.public_id) == "201"
    coupon.refresh_from_db()
    often.refresh_from_db()
    assert (coupon.redeemed, often.redeemed) == (1, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_a_page_of_redemptions_is_one_query(count: int, django_assert_num_queries: Any) -> None:
    tenant = make_tenant()
    subscription = make_subscription(make_customer(tenant), make_plan(tenant), at=NOW)
    for _ in range(count):
        redeem(subscription, make_coupon(tenant, at=NOW), NOW)
    caller = Api(make_key(tenant))
    caller.get("/coupon-redemptions")
    with django_assert_num_queries(2):  # the key, the page
        assert len(caller.get("/coupon-redemptions").json()["data"]) == count


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriptions_couponredemption SET ends_at = ends_at + interval '1 day'",
        "UPDATE subscriptions_couponredemption SET ends_at = NULL",
        "UPDATE subscriptions_couponredemption SET starts_at = starts_at - interval '1 day'",
        "DELETE FROM subscriptions_couponredemption",
    ],
)
def test_a_redemption_stays_as_it_is(statement: str) -> None:
    tenant = make_tenant()
    subscription = make_subscription(make_customer(tenant), make_plan(tenant), at=NOW)
    redeem(subscription, make_coupon(tenant, at=NOW), NOW)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
