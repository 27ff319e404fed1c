"""Logging in: a token for the right password, and nothing learnt from a wrong one."""

from datetime import timedelta
from threading import Thread
from typing import Any

import argon2
import pytest
import time_machine
from django.db import connection
from django.test import Client

from apps.core.clock import now
from apps.core.tenancy import tenant_scope
from apps.tenants.models import LoginTries, Operator
from tests.make.api import Api
from tests.make.tenants import PASSWORD, make_member, make_operator, make_tenant

pytestmark = pytest.mark.django_db


def login(email: str, password: str = PASSWORD) -> Any:
    return Api().post("/auth/login", {"email": email, "password": password}, key=None)


def test_the_token_opens_the_tenants_it_names() -> None:
    tenant = make_tenant()
    operator = make_member(tenant).operator
    answer = login(operator.email.upper())
    assert answer.status_code == 200
    body = answer.json()
    assert (body["object"], body["operator"]) == ("token", operator.public_id)
    assert {(one["slug"], one["mode"]) for one in body["tenants"]} == {
        (tenant.slug, "live"),
        (tenant.slug, "test"),
    }
    assert answer.headers["Cache-Control"] == "no-store"
    # he works at one tenant only
    assert Api(body["token"]).get("/tenant").json()["id"] == tenant.public_id
    assert Operator.objects.get(pk=operator.pk).last_login is not None


def test_an_operator_of_two_tenants_has_to_say_which() -> None:
    first, second = make_tenant(), make_tenant()
    operator = make_member(first).operator
    from_other = make_member(second)
    from_other.operator = operator
    with tenant_scope(second.id):
        from_other.save()
    token = login(operator.email).json()["token"]
    assert Api(token).get("/tenant").status_code == 400
    assert Api(token, X_Tenant=second.slug).get("/tenant").json()["id"] == second.public_id


@pytest.mark.holds("S13")
def test_a_wrong_password_and_an_unknown_address_are_answered_alike() -> None:
    operator = make_operator()
    inactive = make_operator()
    Operator.objects.filter(pk=inactive.pk).update(is_active=False)
    unusable = Operator.objects.create_user("nopassword@example.com")
    answers = [
        login(operator.email, "wrong horse battery"),
        login(inactive.email),
        login(unusable.email, "wrong horse battery"),
        login("nobody@example.com"),
    ]
    assert {one.status_code for one in answers} == {401}
    bodies = [{**one.json(), "request_id": ""} for one in answers]
    assert bodies[0]["reason"] == "login_failed"
    assert bodies[1:] == bodies[:1] * 3


@pytest.mark.holds("S13")
def test_an_unknown_address_takes_as_much_work_as_a_wrong_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def counted(work: Any) -> Any:
        def count(*given: Any, **named: Any) -> Any:
            done.append("work")
            return work(*given, **named)

        return count

    for owner, name in ((argon2.low_level, "hash_secret"), (argon2.PasswordHasher, "verify")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    operator = make_operator()
    unusable = Operator.objects.create_user("nopassword@example.com")
    done.clear()
    work_for = {}
    for email in (operator.email, unusable.email, "nobody@example.com"):
        login(email, "wrong horse battery")
        work_for[email] = len(done)
        done.clear()
    assert set(work_for.values()) == {1}


@pytest.mark.parametrize("email", ["known", "unknown"])
@pytest.mark.holds("S12")
def test_the_sixth_try_is_refused_even_with_the_right_password(email: str) -> None:
    address = make_operator().email if email == "known" else "nobody@example.com"
    begun = now()
    with time_machine.travel(begun, tick=False):
        reasons = [login(address, "wrong horse battery").json()["reason"] for _ in range(5)]
        assert reasons == ["login_failed"] * 5
        assert login(address).json()["reason"] == "login_locked"
    expected = "login_locked"
    with time_machine.travel(begun + timedelta(minutes=15, seconds=-1), tick=False):
        assert login(address).json()["reason"] == expected
    with time_machine.travel(begun + timedelta(minutes=15), tick=False):
        after = login(address)
    assert after.status_code == (200 if email == "known" else 401)


def test_the_right_password_clears_the_count() -> None:
    operator = make_operator()
    for _ in range(2):
        login(operator.email, "wrong horse battery")
    assert LoginTries.objects.get().tries == 2
    assert login(operator.email).status_code == 200
    assert LoginTries.objects.count() == 0


def test_old_counts_are_swept() -> None:
    login("nobody@example.com")
    with time_machine.travel(now() + timedelta(minutes=16), tick=False):
        login("somebody@example.com")
    assert LoginTries.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"email": "ada@example.com"}, "password", "required"),
        ({"email": "ada", "password": "x"}, "email", "invalid"),
        ({"email": "ada@example.com", "password": 7}, "password", "string_expected"),
        ({"email": "ada@example.com", "password": "x" * 129}, "password", "max_length"),
        ({"email": "a@example.com", "password": "x", "otp": "1"}, "otp", "unknown_field"),
    ],
)
def test_wrong_logins(body: dict[str, Any], field: str, code: str) -> None:
    answer = Api().post("/auth/login", body, key=None)
    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert LoginTries.objects.count() == 0


def test_the_admin_site_counts_the_same_tries() -> None:
    operator = make_operator(is_superuser=True)
    client = Client()
    for _ in range(5):
        assert not client.login(username=operator.email, password="wrong horse battery")  # noqa: S106 -- a wrong one
    assert not client.login(username=operator.email, password=PASSWORD)
    assert login(operator.email).json()["reason"] == "login_locked"


@pytest.mark.django_db(transaction=True)
def test_tries_at_the_same_moment_all_count() -> None:
    operator = make_operator()
    reasons: list[str] = []

    def guess() -> None:
        reasons.append(login(operator.email, "wrong horse battery").json()["reason"])
        connection.close()

    threads = [Thread(target=guess) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reasons) == ["login_failed"] * 5 + ["login_locked"] * 5
