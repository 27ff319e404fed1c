"""Reading usage back over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apps.core.ids import encode
from apps.rating.aggregation import Aggregation
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject, send
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

MAY = datetime(2026, 5, 1, tzinfo=UTC)


class Shop:
    """A customer in Berlin with one subscription, and a meter of calls by region."""

    def __init__(self) -> None:
        self.tenant = make_tenant()
        self.api = Api(make_key(self.tenant))
        make_meter(self.tenant, key="calls", group_by=["region", "tier"], unit="calls")
        self.customer = make_customer(self.tenant, external_id="acme", zone="Europe/Berlin")
        self.subject = make_subject(self.customer, external_id="s1", opens_at=MAY)

    def call(self, at: datetime, value: str, **more: Any) -> None:
        item = {"event_name": "calls", "timestamp": at.isoformat(), "value": value, **more}
        (receipt,) = send(self.tenant, [{"customer": "acme", **item}], at=MAY + timedelta(days=40))
        assert receipt.status == "accepted"

    def usage(self, path: str = "/customers/acme/usage", **query: str) -> Any:
        answer = self.api.get(path, **query)
        assert answer.status_code == 200, answer.json()
        return answer.json()


@pytest.fixture
def shop() -> Shop:
    return Shop()


def rows(told: Any, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(one[name] for name in names) for one in told["meters"][0]["buckets"]]


def test_a_month_by_dates_is_that_of_the_customers_zone(shop: Shop) -> None:
    shop.call(MAY - timedelta(hours=2), "5")  # 00:00 on 1 May in Berlin
    shop.call(MAY + timedelta(days=31, hours=-2), "7")  # 00:00 on 1 June there
    told = shop.usage(meter="calls", start="2026-05-01", end="2026-06-01")
    assert told == {
        "object": "usage",
        "customer": shop.customer.public_id,
        "subscription": None,
        "start": "2026-04-30T22:00:00Z",
        "end": "2026-05-31T22:00:00Z",
        "zone": "Europe/Berlin",
        "grain": "total",
        "meters": [
            {
                "meter": "calls",
                "version": 1,
                "unit": "calls",
                "aggregation": "sum",
                "buckets": [
                    {
                        "start": "2026-04-30T22:00:00Z",
                        "end": "2026-05-31T22:00:00Z",
                        "price_point": "",
                        "quantity": "5",
                        "count": 1,
                        "groups": [],
                    }
                ],
            }
        ],
    }


def test_days_and_hours_follow_the_zone(shop: Shop) -> None:
    shop.call(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), "1")  # 01:30, before the clocks go forward
    shop.call(datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "2")  # 03:30, after
    shop.call(datetime(2026, 3, 29, 22, 0, tzinfo=UTC), "4")  # the next day
    days = shop.usage(grain="day", start="2026-03-28", end="2026-03-31")
    assert rows(days, "start", "quantity") == [
        ("2026-03-27T23:00:00Z", "0"),
        ("2026-03-28T23:00:00Z", "3"),
        ("2026-03-29T22:00:00Z", "4"),
    ]
    hours = shop.usage(grain="hour", start="2026-03-29", end="2026-03-30")
    assert len(hours["meters"][0]["buckets"]) == 23
    half = shop.usage(grain="hour", zone="Asia/Kolkata", start="2026-03-29T06:00:00+05:30",
                      end="2026-03-29T07:15:00+05:30")  # fmt: skip
    assert rows(half, "start", "end", "quantity") == [
        ("2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "1"),
        ("2026-03-29T01:30:00Z", "2026-03-29T01:45:00Z", "2"),
    ]
    months = shop.usage(grain="month", start="2026-02-15", end="2026-04-02")
    assert rows(months, "start", "quantity") == [
        ("2026-02-14T23:00:00Z", "0"),
        ("2026-02-28T23:00:00Z", "7"),
        ("2026-03-31T22:00:00Z", "0"),
    ]


def test_usage_is_grouped_and_kept_apart_by_price_point(shop: Shop) -> None:
    at = MAY + timedelta(days=1)
    shop.call(at, "1", properties={"region": "eu", "tier": "a"})
    shop.call(at, "2", properties={"region": "eu", "tier": "b"})
    shop.call(at, "4", properties={"tier": "a"})
    shop.call(at, "8", properties={"region": "us", "price_point": "vip"})
    told = shop.usage(group_by="region", start="2026-05-01", end="2026-06-01")
    assert rows(told, "price_point", "quantity", "groups") == [
        (
            "",
            "7",
            [
                {"values": {"region": "eu"}, "quantity": "3"},
                {"values": {"region": None}, "quantity": "4"},
            ],
        ),
        ("vip", "8", [{"values": {"region": "us"}, "quantity": "8"}]),
    ]


def test_a_subscription_has_the_customers_usage_while_it_is_the_only_one(shop: Shop) -> None:
    at = MAY + timedelta(days=1)
    shop.call(at, "1")
    shop.call(MAY - timedelta(days=1), "2")  # before it was opened
    send(shop.tenant, [{"event_name": "calls", "subscription": "s1", "value": 4,
                        "timestamp": at.isoformat()}], at=at)  # fmt: skip
    span = {"start": "2026-04-01", "end": "2026-06-01"}
    assert rows(shop.usage("/subscriptions/s1/usage", **span), "quantity") == [("5",)]
    path = f"/subscriptions/{encode('sub', shop.subject.pk)}/usage"
    make_subject(shop.customer, opens_at=MAY)
    assert rows(shop.usage(path, **span), "quantity") == [("4",)]
    assert rows(shop.usage(**span), "quantity") == [("7",)]


def test_every_meter_in_use_is_shown_unless_one_is_named(shop: Shop) -> None:
    make_meter(shop.tenant, key="a-count", event_name="calls", aggregation=Aggregation.COUNT)
    shop.call(MAY, "9")
    told = shop.usage(start="2026-05-01", end="2026-06-01")
    assert [(one["meter"], one["buckets"][0]["quantity"]) for one in told["meters"]] == [
        ("a-count", "1"),
        ("calls", "9"),
    ]


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"end": "2026-05-31T23:59:59Z"}, "end", "end_exclusive"),
        ({"start": "2026-02-30"}, "start", "timestamp_format"),
        ({"start": "yesterday"}, "start", "timestamp_format"),
        ({"start": "2026-05-01T00:00:00"}, "start", "timestamp_zone_required"),
        ({"start": "2026-05-02", "end": "2026-05-01"}, "end", "range_backwards"),
        ({"grain": "week"}, "grain", "parameter_invalid"),
        ({"grain": "hour", "start": "2020-01-01", "end": "2026-01-01"}, "grain", "range_too_long"),
        ({"zone": "Mars/Olympus"}, "zone", "zone_unknown"),
        ({"group_by": "colour"}, "group_by", "dimension_unknown"),
        ({"from": "2026-05-01"}, "from", "unknown_parameter"),
    ],
)
@pytest.mark.holds("B129")
def test_a_question_that_makes_no_sense_is_refused(
    shop: Shop, query: dict[str, str], field: str, code: str
) -> None:
    answer = shop.api.get("/customers/acme/usage", **query)
    assert answer.status_code == 400
    assert [(one["field"], one["code"]) for one in answer.json()["errors"]] == [(field, code)]


def test_what_is_not_there_is_not_found(shop: Shop) -> None:
    other = make_customer()
    for path in (
        "/customers/nobody/usage",
        f"/customers/{other.public_id}/usage",
        "/subscriptions/nothing/usage",
        f"/subscriptions/{encode('sub', make_subject(other).pk)}/usage",
    ):
        assert shop.api.get(path).status_code == 404
    assert shop.api.get("/customers/acme/usage", meter="nothing").status_code == 404


@pytest.mark.parametrize("days", [1, 3])
def test_any_number_of_buckets_takes_the_same_queries(
    shop: Shop, days: int, django_assert_num_queries: Any
) -> None:
    shop.usage(meter="calls")  # what a process remembers is read once
    with django_assert_num_queries(6):  # key, customer, meter, versions, frontier, usage
        told = shop.usage(
            meter="calls", grain="day", start="2026-05-01", end=f"2026-05-0{1 + days}"
        )
    assert len(told["meters"][0]["buckets"]) == days
