"""Coupons over HTTP: made, shown, archived; what is refused, and that nothing is stored then."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction

from apps.catalog.models import Coupon
from apps.catalog.operations.lists import create_product
from apps.core.ids import new_id
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.coupons import make_coupon
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

NOW: Final = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
GOOD: Final = {"key": "spring", "name": "Spring", "percentage": "20"}
Json = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _the_same_day() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    create_product(tenant.id, id=new_id(), key="growth-product", name="Growth", actor=ACTOR, at=NOW)
    make_plan(tenant, key="growth", product="growth-product")
    return Api(make_key(tenant))


def usd(amount: object) -> Json:
    return {"percentage": None, "amounts": [{"currency": "USD", "amount": amount}]}


BAD: Final[dict[str, tuple[Json, int, str, str]]] = {
    # B71, percentages
    "percentage of 150": ({"percentage": "150"}, 400, "percentage_range", "percentage"),
    "percentage of -25": ({"percentage": "-25"}, 400, "percentage_range", "percentage"),
    "percentage of 0": ({"percentage": "0"}, 400, "percentage_range", "percentage"),
    "seven decimals": ({"percentage": "33.3333333"}, 400, "too_many_decimals", "percentage"),
    "percentage in words": ({"percentage": "a fifth"}, 400, "number_format", "percentage"),
    "a true percentage": ({"percentage": True}, 400, "number_format", "percentage"),
    # B72, what can be no coupon
    "over before it begins": (
        {"redeem_until": "2026-05-04T09:30:00Z"},
        422,
        "expired_already",
        "redeem_until",
    ),
    "redeemed at most 0 times": ({"max_redemptions": 0}, 422, "not_positive", "max_redemptions"),
    "redeemed at most -1 times": ({"max_redemptions": -1}, 422, "not_positive", "max_redemptions"),
    "redeemed more than anybody counts": (
        {"max_redemptions": 2**31},
        400,
        "max_value",
        "max_redemptions",
    ),
    "amount of 0": (usd("0"), 422, "not_positive", "amounts.USD"),
    "amount below 0": (usd("-5.00"), 422, "not_positive", "amounts.USD"),
    "amount finer than a cent": (usd("5.001"), 422, "currency_precision", "amounts.USD"),
    "both": (
        {"amounts": [{"currency": "USD", "amount": "5"}]},
        422,
        "one_value",
        "percentage",
    ),
    "neither": ({"percentage": None}, 422, "one_value", "percentage"),
    "an amount twice": (
        {"percentage": None, "amounts": [{"currency": "USD", "amount": "5"}] * 2},
        400,
        "duplicate",
        "amounts",
    ),
    "an amount of no currency": (
        {"percentage": None, "amounts": [{"currency": "usd", "amount": "5"}]},
        400,
        "currency_unknown",
        "amounts[0].currency",
    ),
    "no periods": ({"duration": "periods"}, 422, "periods_range", "periods"),
    "0 periods": ({"duration": "periods", "periods": 0}, 422, "periods_range", "periods"),
    "a million periods": (
        {"duration": "periods", "periods": 10**6},
        422,
        "periods_range",
        "periods",
    ),
    "for ever and three": (
        {"duration": "forever", "periods": 3},
        422,
        "periods_unwanted",
        "periods",
    ),
    "unknown duration": ({"duration": "always"}, 400, "invalid_choice", "duration"),
    "unknown product": ({"products": ["nothing"]}, 422, "product_unknown", "products[0]"),
    "unknown charge": ({"charges": ["base", "no"]}, 422, "charge_unknown", "charges[1]"),
    "priority beyond all": ({"priority": 1001}, 400, "max_value", "priority"),
    # B78, codes
    "code with a space": ({"key": "a b"}, 400, "key_format", "key"),
    "code in capitals": ({"key": "SPRING"}, 400, "key_format", "key"),
    "code written backwards": ({"key": "\u202espring"}, 400, "key_format", "key"),
    "code that climbs": ({"key": "../spring"}, 400, "key_format", "key"),
    "unknown field": ({"percent": "20"}, 400, "unknown_field", "percent"),
    "no key": ({"key": None}, 400, "required", "key"),
}


@pytest.mark.parametrize(
    ("patch", "status", "code", "field"), [pytest.param(*row, id=name) for name, row in BAD.items()]
)
@pytest.mark.holds("B71", "B72", "B78")
def test_what_can_be_no_coupon_is_refused(
    api: Api, patch: Json, status: int, code: str, field: str
) -> None:
    body = {name: value for name, value in {**GOOD, **patch}.items() if value is not None}
    answer = api.post("/coupons", body)
    problem = answer.json()
    assert (answer.status_code, [(one["field"], one["code"]) for one in problem["errors"]]) == (
        status,
        [(field, code)],
    )
    assert not Coupon.objects.exists()


@pytest.mark.holds("B78")
def test_a_code_is_given_once(api: Api) -> None:
    assert api.post("/coupons", GOOD).status_code == 201
    answer = api.post("/coupons", GOOD)
    assert (answer.status_code, answer.json()["reason"]) == (409, "key_taken")


def test_a_coupon_is_shown_as_it_was_made_and_archived_once(api: Api) -> None:
    body = {
        "key": "friends",
        "name": "Friends",
        "amounts": [{"currency": "USD", "amount": "10.50"}, {"currency": "EUR", "amount": "9"}],
        "duration": "periods",
        "periods": 3,
        "products": ["growth-product"],
        "charges": ["base"],
        "priority": -1,
        "max_redemptions": 5,
        "redeem_until": "2027-01-01T00:00:00Z",
    }
    made = api.post("/coupons", body).json()
    assert made == api.get("/coupons/friends").json() == api.get(f"/coupons/{made['id']}").json()
    assert {name: made[name] for name in body} == {
        **body,
        "amounts": [{"currency": "EUR", "amount": "9"}, {"currency": "USD", "amount": "10.5"}],
    }
    assert (made["redeemed"], made["archived_at"], made["once_per_customer"]) == (0, None, True)
    archived = api.post("/coupons/friends/archive").json()
    assert archived["archived_at"] == "2026-05-04T09:30:00Z"
    assert api.post("/coupons/friends/archive").json() == archived


@pytest.mark.parametrize("count", [1, 3])
def test_a_page_of_coupons_is_one_query(
    count: int, django_assert_num_queries: Any, api: Api
) -> None:
    tenant = make_tenant()
    for _ in range(count):
        make_coupon(tenant)
    caller = Api(make_key(tenant))
    caller.get("/coupons")
    with django_assert_num_queries(LIST_QUERIES):
        assert len(caller.get("/coupons").json()["data"]) == count


LIST_QUERIES: Final = 2  # the key, the page


@pytest.mark.parametrize(
    "assignment",
    ["percentage = 50", "redeemed = redeemed - 1", "duration = 'forever', periods = NULL"],
)
def test_what_a_coupon_takes_off_never_changes(assignment: str) -> None:
    make_coupon(make_tenant())
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE catalog_coupon SET {assignment}")  # noqa: S608 -- our own
