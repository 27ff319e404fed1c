"""Sessions of the desk: how they begin, how long they last, how they end; and who may open it."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.core.clock import now
from apps.tenants.models import Operator
from tests.make.tenants import PASSWORD, make_operator

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S16", "S44")]

START = datetime.fromisoformat("2026-05-04T08:00:00+00:00")
PAGE = "/admin/"


@pytest.fixture
def operator() -> Operator:
    return make_operator(is_superuser=True)


def logged_in(operator: Operator, client: Client | None = None) -> Client:
    client = client or Client()
    form = {"username": operator.email, "password": PASSWORD}
    assert client.post("/admin/login/", form).status_code == 302
    return client


def is_open(client: Client) -> bool:
    return client.get(PAGE).status_code == 200


def test_it_ends_half_an_hour_after_the_last_request(operator: Operator) -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = logged_in(operator)
        for _ in range(3):
            clock.shift(timedelta(minutes=29))
            assert is_open(client)
        clock.shift(timedelta(minutes=30))
        assert not is_open(client)


def test_it_ends_twelve_hours_after_the_login_however_busy(operator: Operator) -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = logged_in(operator)
        while now() < START + timedelta(hours=12) - timedelta(minutes=20):
            clock.shift(timedelta(minutes=20))
            assert is_open(client)
        clock.move_to(START + timedelta(hours=12))
        assert not is_open(client)
        assert is_open(logged_in(operator, client))  # and may begin anew


def test_a_request_within_a_minute_writes_nothing(
    operator: Operator,
) -> None:
    with time_machine.travel(START, tick=False) as clock:
        client = logged_in(operator)
        is_open(client)
        clock.shift(timedelta(seconds=59))
        with CaptureQueriesContext(connection) as within:
            is_open(client)
        clock.shift(timedelta(seconds=2))
        with CaptureQueriesContext(connection) as after:
            is_open(client)
    counts = [
        sum("UPDATE" in query["sql"] for query in asked.captured_queries)
        for asked in (within, after)
    ]
    assert counts == [0, 1]


def test_its_key_is_another_after_login(operator: Operator) -> None:
    client = Client()
    client.get("/admin/login/")
    given = "abcdefghijklmnopqrstuvwxyz012345"
    client.cookies["sessionid"] = given
    logged_in(operator, client)
    assert client.cookies["sessionid"].value != given
    stolen = Client()
    stolen.cookies["sessionid"] = given
    assert not is_open(stolen)


def test_a_stolen_cookie_is_dead_after_logout(operator: Operator) -> None:
    client = logged_in(operator)
    stolen = Client()
    stolen.cookies["sessionid"] = client.cookies["sessionid"].value
    assert is_open(stolen)
    client.post("/admin/logout/")
    assert not is_open(stolen)


def test_all_sessions_are_dead_after_a_new_password(operator: Operator) -> None:
    first, second = logged_in(operator), logged_in(operator)
    new = "a much longer new password"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert first.post("/admin/password_change/", form).status_code == 302
    assert (is_open(first), is_open(second)) == (True, False)


def test_the_cookie_is_kept_from_scripts_and_other_sites(operator: Operator) -> None:
    cookie = logged_in(operator).cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")


@pytest.mark.parametrize(
    ("address", "status"),
    [("192.0.2.7", 302), ("10.9.8.7", 302), ("192.0.2.8", 404), ("", 404), ("nonsense", 404)],
)
def test_the_desk_answers_only_its_networks(address: str, status: int, settings: Any) -> None:
    settings.DESK_NETWORKS = ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/32"]
    answers = [
        Client(REMOTE_ADDR=address).get(path).status_code for path in (PAGE, "/admin/tenants/")
    ]
    assert answers == [status, status]
    assert Client(REMOTE_ADDR=address).get("/api/v1/customers").status_code == 401


def test_a_forged_address_does_not_open_the_desk(settings: Any) -> None:
    settings.DESK_NETWORKS = ["10.0.0.0/8"]
    client = Client(REMOTE_ADDR="192.0.2.1")
    assert client.get(PAGE, headers={"X-Forwarded-For": "10.0.0.1"}).status_code == 404
