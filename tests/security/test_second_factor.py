"""One-time codes: asked for at every door with a password, each good once."""

import base64
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from apps.core.clock import now
from apps.tenants.models import Operator
from tests.make.api import Api
from tests.make.tenants import PASSWORD, make_operator

pytestmark = [pytest.mark.django_db, pytest.mark.holds("S14", "S44")]

START = datetime.fromisoformat("2026-05-04T08:00:00+00:00")


class Phone:
    """An app that was shown the address."""

    def __init__(self, address: str) -> None:
        seed = parse_qs(urlsplit(address).query)["secret"][0]
        padded = seed + "=" * (-len(seed) % 8)
        self.codes = TOTP(base64.b32decode(padded), 6, SHA1(), 30)  # noqa: S303 -- as apps do

    def code(self, later: int = 0) -> str:
        return self.codes.generate(int(now().timestamp()) + later).decode()


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("second_factor", *arguments, stdout=out)
    return out.getvalue().strip()


def make_phone(operator: Operator) -> Phone:
    """Set up a second factor, by a code of half a minute ago, so that the one of now is unused."""
    phone = Phone(command(operator.email))
    command(operator.email, "--confirm", phone.code(-30))
    return phone


def log_in(operator: Operator, password: str = PASSWORD, **code: str) -> Any:
    body = {"email": operator.email, "password": password, **code}
    return Api().post("/auth/login", body, key=None)


def reason(answer: Any) -> Any:
    return answer.status_code, answer.json().get("reason")


@pytest.fixture
def operator() -> Operator:
    return make_operator(is_superuser=True)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def test_without_one_the_password_is_enough(operator: Operator) -> None:
    assert log_in(operator).status_code == 200


def test_one_that_was_begun_and_not_confirmed_is_not_asked_for(operator: Operator) -> None:
    command(operator.email)
    assert log_in(operator).status_code == 200


def test_the_code_is_asked_for_and_works_once(operator: Operator, clock: Any) -> None:
    phone = make_phone(operator)
    assert reason(log_in(operator)) == (401, "second_factor_required")
    assert reason(log_in(operator, code="000000")) == (401, "second_factor_wrong")
    code = phone.code()
    assert log_in(operator, code=code).status_code == 200
    assert reason(log_in(operator, code=code)) == (401, "second_factor_wrong")
    clock.shift(timedelta(seconds=30))
    assert log_in(operator, code=phone.code()).status_code == 200


@pytest.mark.parametrize(
    ("late", "works"), [(-60, False), (-30, False), (0, True), (30, True), (60, False)]
)
def test_a_phone_may_be_half_a_minute_wrong(operator: Operator, late: int, *, works: bool) -> None:
    phone = make_phone(operator)  # uses up the code of half a minute ago
    assert (log_in(operator, code=phone.code(late)).status_code == 200) == works


def test_a_wrong_password_learns_nothing_of_it(operator: Operator) -> None:
    phone = make_phone(operator)
    for code in ("", "000000", phone.code()):
        assert reason(log_in(operator, "wrong", code=code)) == (401, "login_failed")
    assert log_in(operator, code=phone.code()).status_code == 200


def test_guessing_codes_locks_the_account(operator: Operator) -> None:
    phone = make_phone(operator)
    tried = [reason(log_in(operator, code=f"00000{number}"))[1] for number in range(5)]
    assert tried == ["second_factor_wrong"] * 5
    assert reason(log_in(operator, code=phone.code())) == (401, "login_locked")


def test_the_desk_asks_for_it_too(operator: Operator) -> None:
    phone = make_phone(operator)
    form = {"username": operator.email, "password": PASSWORD}
    page = Client().get("/admin/login/").content.decode()
    assert 'name="code"' in page
    for code in ({}, {"code": "000000"}):
        client = Client()
        assert client.post("/admin/login/", {**form, **code}).status_code == 200
        assert client.get("/admin/").status_code == 302
    client = Client()
    assert client.post("/admin/login/", {**form, "code": phone.code()}).status_code == 302
    assert client.get("/admin/").status_code == 200


def test_where_everybody_has_to_have_one(operator: Operator, settings: Any) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    assert reason(log_in(operator)) == (401, "second_factor_missing")
    form = {"username": operator.email, "password": PASSWORD}
    assert Client().post("/admin/login/", form).status_code == 200
    phone = make_phone(operator)
    assert log_in(operator, code=phone.code()).status_code == 200


def test_who_lost_the_phone_is_helped_at_the_server(operator: Operator) -> None:
    make_phone(operator)
    command(operator.email, "--drop")
    assert log_in(operator).status_code == 200


def test_a_new_seed_ends_the_old(operator: Operator) -> None:
    old = make_phone(operator)
    new = make_phone(operator)
    assert reason(log_in(operator, code=old.code())) == (401, "second_factor_wrong")
    assert log_in(operator, code=new.code()).status_code == 200


def test_the_command_refuses_what_it_cannot_do(operator: Operator) -> None:
    with pytest.raises(CommandError, match="no operator"):
        command("nobody@example.com")
    with pytest.raises(CommandError, match="Begin first"):
        command(operator.email, "--confirm", "000000")
    command(operator.email)
    with pytest.raises(CommandError, match="wrong"):
        command(operator.email, "--confirm", "000000")


def test_the_seed_is_nowhere_in_the_table(operator: Operator) -> None:
    address = command(operator.email)
    seed = parse_qs(urlsplit(address).query)["secret"][0]
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    with connection.cursor() as cursor:
        cursor.execute("SELECT o::text FROM tenants_operator o WHERE id = %s", [operator.pk])
        (row,) = cursor.fetchone()
    assert [one for one in (seed, raw.hex()) if one in row] == []
