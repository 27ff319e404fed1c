"""How often somebody may ask: counted in Redis, per caller, and per address at the login."""

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis
from django.http import HttpRequest

from apps.core.web import limits
from apps.core.web.addresses import client_address
from apps.core.web.limits import RateLimited, client_of, limit_login
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.metering import make_meter
from tests.make.tenants import PASSWORD, make_key, make_operator, make_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.holds("B62", "S38")]

EVENT = {"idempotency_key": "e", "meter": "calls", "customer": "c", "value": "1"}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what this process has taken ahead, and whom it talks to."""
    monkeypatch.setattr(limits, "_ahead", {})
    monkeypatch.setattr(limits, "_silent_until", 0.0)
    monkeypatch.setattr(limits, "_client", None)


@pytest.fixture
def tenant(settings: Any) -> Tenant:
    """A tenant whose callers may send five requests, and then one in a thousand seconds."""
    settings.RATE_LIMIT_PER_SECOND = 0.001
    settings.RATE_LIMIT_BURST = 5
    return make_tenant()


def test_the_sixth_request_is_refused_with_the_time_to_wait(tenant: Tenant) -> None:
    api = Api(make_key(tenant))
    assert [api.get("/customers").status_code for _ in range(6)] == [200] * 5 + [429]
    answer = api.get("/customers")
    body = answer.json()
    assert (body["status"], body["code"], body["reason"]) == (429, "REQ_005", "rate_limited")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert 900 < int(answer.headers["Retry-After"]) <= 1000
    assert body["detail"] == f"Too many requests; retry in {answer.headers['Retry-After']} s."


def test_each_key_has_its_own(tenant: Tenant) -> None:
    busy, other = Api(make_key(tenant)), Api(make_key(tenant))
    assert [busy.get("/customers").status_code for _ in range(6)][-1] == 429
    assert other.get("/customers").status_code == 200


def test_reads_writes_and_events_count_together(tenant: Tenant) -> None:
    make_meter(tenant, key="calls")
    api = Api(make_key(tenant))
    sent = [
        api.get("/customers"),
        api.post("/customers", {"name": "New"}),
        api.post("/events", EVENT, key=None),
        api.post("/events/batch", {"events": [EVENT]}, key=None),
        api.get("/catalog"),
        api.post("/events", EVENT, key=None),
        api.get("/invoices"),
    ]
    assert [answer.status_code for answer in sent] == [200, 201, 202, 202, 200, 429, 429]


def test_what_is_refused_has_no_effect_and_leaves_its_key_free(tenant: Tenant) -> None:
    api = Api(make_key(tenant))
    for _ in range(5):
        api.get("/customers")
    assert api.post("/customers", {"name": "New"}, key="k").status_code == 429
    again = Api(make_key(tenant))
    assert again.get("/customers").json()["data"] == []


def test_tokens_come_back_with_time(tenant: Tenant, redis_client: redis.Redis) -> None:
    api = Api(make_key(tenant))
    assert [api.get("/customers").status_code for _ in range(6)][-1] == 429
    (bucket,) = redis_client.keys("limit:caller:*")
    redis_client.hincrbyfloat(bucket, "at", -2000.0)  # two thousand seconds pass
    assert [api.get("/customers").status_code for _ in range(3)] == [200, 200, 429]
    assert redis_client.ttl(bucket) > 0


def test_a_burst_at_the_same_moment_is_counted_whole(tenant: Tenant) -> None:
    def one(_: int) -> str:
        try:
            limits.take("limit:caller:burst", 0.001, 20, 1)
        except RateLimited:
            return "refused"
        return "let through"

    with ThreadPoolExecutor(16) as crowd:
        assert Counter(crowd.map(one, range(100))) == {"let through": 20, "refused": 80}


def test_many_requests_cost_few_round_trips(
    settings: Any, tenant: Tenant, redis_client: redis.Redis
) -> None:
    settings.RATE_LIMIT_BURST = 5000
    api = Api(make_key(tenant))
    for _ in range(10):
        assert api.get("/customers").status_code == 200
    (bucket,) = redis_client.keys("limit:caller:*")
    assert float(redis_client.hget(bucket, "tokens") or 0) <= 4950  # fifty at once


def test_without_redis_everybody_is_let_through_and_it_is_logged(
    tenant: Tenant, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CELERY_BROKER_URL = "redis+socket:///nowhere/at.all"
    api = Api(make_key(tenant))
    with caplog.at_level(logging.WARNING, "apps.core.web.limits"):
        assert [api.get("/customers").status_code for _ in range(8)] == [200] * 8
    said = [one.message for one in caplog.records if one.name == "apps.core.web.limits"]
    assert said == ["requests are not limited: Redis does not answer (ConnectionError)"]


def test_no_limit_asks_nobody(settings: Any, tenant: Tenant, redis_client: redis.Redis) -> None:
    settings.RATE_LIMIT_PER_SECOND = 0
    api = Api(make_key(tenant))
    assert [api.get("/customers").status_code for _ in range(8)] == [200] * 8
    assert redis_client.keys("limit:*") == []


# --- logging in -------------------------------------------------------------------------------


@pytest.mark.holds("S12")
def test_an_address_has_so_many_tries_whoever_it_names(settings: Any) -> None:
    settings.LOGIN_TRIES_PER_MINUTE = 3
    operator = make_operator()
    answers = [
        Api(X_Forwarded_For=f"10.0.0.{number}").post(
            "/auth/login", {"email": f"{number}@example.com", "password": "x"}, key=None
        )
        for number in range(4)
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 20
    right = {"email": operator.email, "password": PASSWORD}
    assert Api().post("/auth/login", right, key=None).status_code == 429


@pytest.mark.holds("S12")
def test_the_desk_counts_with_the_api(settings: Any, client: Any) -> None:
    settings.LOGIN_TRIES_PER_MINUTE = 2
    operator = make_operator()
    for _ in range(2):
        Api().post("/auth/login", {"email": "a@example.com", "password": "x"}, key=None)
    form = {"username": operator.email, "password": PASSWORD}
    assert client.post("/admin/login/", form).status_code == 200  # the form again
    settings.LOGIN_TRIES_PER_MINUTE = 0
    assert client.post("/admin/login/", form).status_code == 302


@pytest.mark.holds("S12")
def test_addresses_are_counted_apart(settings: Any) -> None:
    settings.LOGIN_TRIES_PER_MINUTE = 1
    limit_login("10.0.0.1")
    limit_login("10.0.0.2")
    with pytest.raises(RateLimited):
        limit_login("10.0.0.1")


@pytest.mark.holds("S12", "S49")
@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, None, "192.0.2.1"),
        (0, "10.0.0.1", "192.0.2.1"),
        (1, None, "192.0.2.1"),
        (1, "10.0.0.1", "10.0.0.1"),
        (1, "1.1.1.1, 10.0.0.1", "10.0.0.1"),
        (2, "1.1.1.1, 10.0.0.1, 10.0.0.2", "10.0.0.1"),
        (2, "10.0.0.2", "192.0.2.1"),
    ],
)
def test_only_what_our_proxies_say_is_believed(
    proxies: int, forwarded: str | None, address: str, settings: Any
) -> None:
    settings.TRUSTED_PROXIES = proxies
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = "192.0.2.1"
    if forwarded is not None:
        request.META["HTTP_X_FORWARDED_FOR"] = forwarded
    assert client_address(request) == address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host:6379/2", {"host": "host", "port": 6379, "db": 2}),
        ("redis+socket:///run/v.sock", {"path": "/run/v.sock", "db": 0}),
        ("redis+socket:///run/v.sock?virtual_host=3", {"path": "/run/v.sock", "db": 3}),
    ],
)
def test_every_way_to_write_the_url_of_redis(url: str, expected: dict[str, Any]) -> None:
    found = client_of(url).connection_pool.connection_kwargs
    assert {name: found[name] for name in expected} == expected
