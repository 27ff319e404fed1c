"""Events in the caller's own words: streams, and usages of a subscription."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from apps.core.clock import now
from apps.core.ids import encode
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter, make_subject
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db


class Shop:
    """A tenant with a subscription that the caller knows as acct_123456."""

    def __init__(self) -> None:
        self.tenant = make_tenant()
        self.api = Api(make_key(self.tenant))
        make_meter(self.tenant, key="clicks", event_name="ad.clicked")
        self.customer = make_customer(self.tenant)
        self.subject = make_subject(
            self.customer, external_id="acct_123456", opens_at=now() - timedelta(days=90)
        )

    def stream(self, **paths: str) -> None:
        body = {
            "handle": "ads",
            "event_name": "ad.clicked",
            "subject_path": "account_id",
            "value_path": "clicks",
            **paths,
        }
        assert self.api.post("/streams", body).status_code == 201


@pytest.fixture
def shop() -> Shop:
    return Shop()


def stored() -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT subscription_id, value, properties::text, key FROM metering_usageevent"
            " ORDER BY seq"
        )
        return list(cursor.fetchall())


def test_a_stream_takes_the_callers_json(shop: Shop) -> None:
    shop.stream()
    body = {"account_id": "acct_123456", "clicks": 100, "other": "other-thing"}
    answer = shop.api.post("/streams/ads/events", body)
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    ((subscription_id, value, properties, key),) = stored()
    assert (subscription_id, value) == (shop.subject.pk, 100)
    assert properties == '{"other": "other-thing", "clicks": 100, "account_id": "acct_123456"}'
    assert key.startswith("ads:")
    again = shop.api.post("/streams/ads/events", dict(reversed(body.items())))
    assert (again.status_code, again.json()["duplicate"]) == (200, True)


def test_a_stream_is_told_where_things_lie(shop: Shop) -> None:
    shop.stream(
        subject_path="chargify.subscription_id",
        timestamp_path="chargify.timestamp",
        value_path="messages[1]",
        key_path="id",
    )
    at = now() - timedelta(days=3)
    body = {
        "id": 7,
        "chargify": {
            "subscription_id": encode("sub", shop.subject.pk),
            "timestamp": at.isoformat(),
        },
        "messages": [1, "150.5"],
    }
    assert shop.api.post("/streams/ads/events", body).status_code == 202
    ((subscription_id, value, _, key),) = stored()
    assert (subscription_id, str(value), key) == (shop.subject.pk, "150.5", "7")
    conflict = shop.api.post("/streams/ads/events", {**body, "messages": [1, 2]})
    assert (conflict.status_code, conflict.json()["reason"]) == (409, "event_conflict")


def test_what_is_wrong_is_said_in_the_callers_words(shop: Shop) -> None:
    shop.stream(value_path="data.clicks")
    body = {"account_id": "acct_123456", "data": {"clicks": "many"}}
    answer = shop.api.post("/streams/ads/events", body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "data.clicks"
    missing = shop.api.post("/streams/ads/events", {"data": {"clicks": 1}})
    assert missing.json()["errors"][0]["field"] == "account_id"


def test_a_stream_takes_a_thousand_at_once(shop: Shop) -> None:
    shop.stream()
    items: list[Any] = [{"account_id": "acct_123456", "clicks": n, "n": n} for n in range(999)]
    answer = shop.api.post("/streams/ads/events/bulk", [*items, "no event"])
    assert answer.status_code == 202
    told = answer.json()
    assert (told["accepted"], told["rejected"]) == (999, 1)
    assert len(stored()) == 999
    assert shop.api.post("/streams/ads/events/bulk", items * 2).status_code == 413
    assert shop.api.post("/streams/ads/events/bulk", {"events": items}).status_code == 400


def test_a_stream_that_is_not_there_takes_nothing(shop: Shop) -> None:
    assert shop.api.post("/streams/ads/events", {}).status_code == 404
    shop.stream()
    shop.api.post("/streams/ads/archive")
    assert shop.api.post("/streams/ads/events", {}).status_code == 404


def test_usages_have_a_quantity_a_price_point_and_a_memo(shop: Shop) -> None:
    body = {"meter": "clicks", "quantity": 1000, "price_point": "wholesale", "memo": "My memo"}
    answer = shop.api.post("/subscriptions/acct_123456/usages", body, key="u1")
    assert (answer.status_code, answer.json()["idempotency_key"]) == (202, "u1")
    assert stored() == [
        (shop.subject.pk, 1000, '{"memo": "My memo", "price_point": "wholesale"}', "u1")
    ]
    path = f"/subscriptions/{encode('sub', shop.subject.pk)}/usages"
    assert shop.api.post(path, {**body, "idempotency_key": "u2"}, key="other").status_code == 202
    assert [row[3] for row in stored()] == ["u1", "u2"]


def test_a_usage_that_cannot_be_is_refused(shop: Shop) -> None:
    path = "/subscriptions/acct_123456/usages"
    body: dict[str, Any] = {"meter": "clicks", "quantity": 1}
    assert shop.api.post(path, body, key=None).json()["errors"][0]["code"] == (
        "idempotency_key_required"
    )
    refusals: list[tuple[dict[str, Any], int, str]] = [
        ({"quantity": None}, 400, "quantity"),
        ({"quantity": "lots"}, 400, "quantity"),
        ({"price_point": 149416}, 400, "price_point"),
        ({"quantty": 1}, 400, "quantty"),
    ]
    for change, status, field in refusals:
        answer = shop.api.post(path, {**body, **change})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
    assert shop.api.post(path, {**body, "meter": "nothing"}).status_code == 404
    assert shop.api.post("/subscriptions/nothing/usages", body).status_code == 404
    assert stored() == []
