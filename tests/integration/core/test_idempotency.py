"""One effect per Idempotency-Key: in the table, and over HTTP."""

import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any, Final

import pytest
from django.db import OperationalError, connection

from apps.core import idempotency
from apps.core.clock import now
from apps.core.idempotency import (
    Answer,
    Claim,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    answer,
    claim,
    lapse,
    release,
)
from apps.core.ids import encode, new_id
from apps.core.models import IdempotencyRecord
from apps.core.tenancy import enter_tenant, tenant_scope
from apps.customers.models import Customer
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

AT: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)
TENANT: Final = new_id()


@pytest.fixture(autouse=True)
def _in_scope(_nobodys_scope: None) -> None:
    enter_tenant(TENANT)


def new_tenant() -> Tenant:
    """Return a new tenant, in whose scope the test goes on."""
    enter_tenant(None)
    return make_tenant()


PRINT: Final = hashlib.sha256(b"POST /customers").digest()
BODY: Final = {"name": "Globex"}


def ask(key: str = "k", fingerprint: bytes = PRINT, at: datetime = AT) -> Claim | Answer:
    return claim(TENANT, "api_key:key_x", key, fingerprint, at=at)


def claimed(key: str = "k", at: datetime = AT) -> Claim:
    found = ask(key, at=at)
    assert isinstance(found, Claim)
    return found


@pytest.mark.django_db
def test_an_answer_is_given_again_for_ever() -> None:
    first = claimed()
    answer(first, 201, b'{"id":1}')
    assert ask(at=AT + timedelta(days=400)) == Answer(201, b'{"id":1}')
    # what was answered once stays
    answer(first, 500, b"x")
    release(first)
    lapse(first, at=AT)
    assert ask() == Answer(201, b'{"id":1}')


@pytest.mark.django_db
@pytest.mark.holds("J2", "B30", "B31")
def test_another_request_with_the_key_is_refused_before_and_after_the_answer() -> None:
    first = claimed()
    for _ in range(2):
        with pytest.raises(IdempotencyKeyReused):
            ask(fingerprint=hashlib.sha256(b"another").digest())
        answer(first, 200, b"")
    other = new_id()
    with tenant_scope(other):
        assert isinstance(claim(other, "api_key:key_x", "k", PRINT, at=AT), Claim)
    assert isinstance(claim(TENANT, "api_key:key_y", "k", PRINT, at=AT), Claim)


@pytest.mark.django_db
def test_a_claim_is_taken_over_when_its_lease_is_over_with_the_same_effect() -> None:
    first = claimed()
    with pytest.raises(IdempotencyInProgress):
        ask(at=AT + timedelta(seconds=59))
    second = claimed(at=AT + timedelta(seconds=60))
    assert second == first
    with pytest.raises(IdempotencyInProgress):
        ask(at=AT + timedelta(seconds=61))


@pytest.mark.django_db
def test_a_crash_frees_the_claim_and_keeps_the_effect_a_refusal_forgets_both() -> None:
    first = claimed()
    lapse(first, at=AT)
    assert claimed().effect_id == first.effect_id
    release(first)
    assert claimed().effect_id != first.effect_id


@pytest.mark.django_db(transaction=True)
def test_twenty_claims_at_once_are_one() -> None:
    barrier, outcomes = Barrier(20), []

    def go() -> None:
        barrier.wait()
        try:
            outcomes.append(type(ask()).__name__)
        except IdempotencyInProgress:
            outcomes.append("in progress")
        connection.close()

    threads = [Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"Claim": 1, "in progress": 19}


@pytest.mark.django_db(transaction=True)
def test_claims_survive_that_others_release_at_the_same_time() -> None:
    barrier, failures = Barrier(6), []

    def go() -> None:
        barrier.wait()
        for _ in range(25):
            try:
                found = ask()
            except IdempotencyInProgress:
                continue
            except Exception as error:  # noqa: BLE001 -- a thread has nobody to raise it to
                failures.append(error)
                break
            if isinstance(found, Claim):
                release(found)
        connection.close()

    threads = [Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- over HTTP --------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("J2")
def test_twenty_requests_at_once_have_one_effect_and_then_the_same_answer() -> None:
    api = Api(make_key(new_tenant()))
    barrier, answers = Barrier(20), []

    def go() -> None:
        caller = Api(api.headers["Authorization"].removeprefix("Bearer "))
        barrier.wait()
        answers.append(caller.post("/customers", BODY, key="once"))
        connection.close()

    threads = [Thread(target=go) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Customer.objects.count() == 1
    kinds = {one.status_code for one in answers}
    assert kinds <= {201, 409}
    assert 201 in kinds
    for one in answers:
        if one.status_code == 409:
            assert one.json()["reason"] == "idempotency_in_progress"
            assert one.headers["Retry-After"] == "1"
    replay = api.post("/customers", BODY, key="once")
    assert replay.headers["Idempotent-Replayed"] == "true"
    bodies = {one.content for one in (*answers, replay) if one.status_code == 201}
    assert len(bodies) == 1


@pytest.mark.django_db
def test_a_replay_is_told_by_a_header_and_changes_nothing() -> None:
    api = Api(make_key(new_tenant()))
    first = api.post("/customers", BODY, key="once")
    second = api.post("/customers", BODY, key="once")
    assert "Idempotent-Replayed" not in first.headers
    assert (second.status_code, second.content, second.headers["Content-Type"]) == (
        first.status_code,
        first.content,
        "application/json",
    )
    assert Customer.objects.count() == 1
    assert api.post("/customers", BODY, key=None).status_code == 201
    assert Customer.objects.count() == 2


@pytest.mark.django_db
def test_a_refusal_by_the_state_of_the_books_is_given_again_as_it_was() -> None:
    api = Api(make_key(new_tenant()))
    taken = {**BODY, "external_id": "a"}
    made = api.post("/customers", taken).json()
    first = api.post("/customers", taken, key="once")
    api.patch(f"/customers/{made['id']}", {"external_id": "b"})
    second = api.post("/customers", taken, key="once")
    assert (first.status_code, second.status_code) == (409, 409)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.headers["Content-Type"] == "application/problem+json"
    assert second.content == first.content


@pytest.mark.django_db
def test_values_that_were_wrong_may_be_mended_under_the_same_key() -> None:
    api = Api(make_key(new_tenant()))
    wrong = [
        {**BODY, "currency": "usd"},
        {**BODY, "address": {"country": "XX"}},
        {**BODY, "test_clock": encode("clk", new_id())},
    ]
    statuses = [api.post("/customers", body, key="once").status_code for body in wrong]
    assert statuses == [400, 422, 404]
    assert IdempotencyRecord.objects.count() == 0
    assert api.post("/customers", BODY, key="once").status_code == 201


@pytest.mark.django_db
def test_the_path_the_query_and_the_bytes_are_part_of_the_request() -> None:
    api = Api(make_key(new_tenant()))
    made = api.post("/customers", BODY, key="once").json()
    for path, body in (
        ("/customers", {"name": "Initech"}),
        ("/customers", '{"name":  "Globex"}'),
        ("/members", BODY),
    ):
        refused = api.post(path, body, key="once")
        assert (refused.status_code, refused.json()["reason"]) == (409, "idempotency_key_reused")
    patched = api.patch(f"/customers/{made['id']}", BODY, key="once")
    assert patched.json()["reason"] == "idempotency_key_reused"
    assert Customer.objects.count() == 1


@pytest.mark.django_db
def test_a_crash_after_the_effect_makes_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(make_key(new_tenant()))

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(idempotency, "answer", die)
        with pytest.raises(SystemExit):
            api.post("/customers", BODY, key="once")
    assert Customer.objects.count() == 1
    early = api.post("/customers", BODY, key="once")
    assert (early.status_code, early.json()["reason"]) == (409, "idempotency_in_progress")
    IdempotencyRecord.objects.update(leased_until=now())
    again = api.post("/customers", BODY, key="once")
    assert again.status_code == 201
    assert again.json()["id"] == Customer.objects.get().public_id


@pytest.mark.django_db
def test_a_defect_or_a_busy_database_lets_the_same_request_try_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api(make_key(new_tenant()))
    target = "apps.customers.api.views.create_customer"
    for error, status in ((OperationalError("lock timeout"), 503), (ZeroDivisionError(), 500)):

        def fail(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(target, fail)
            api.client.raise_request_exception = False
            refused = api.post("/customers", BODY, key="once")
        assert (refused.status_code, refused.json()["status"]) == (status, status)
        assert "lock timeout" not in refused.content.decode()
    effect = IdempotencyRecord.objects.get().effect_id
    made = api.post("/customers", BODY, key="once")
    assert (made.status_code, made.json()["id"]) == (201, encode("cus", effect))


@pytest.mark.django_db
@pytest.mark.holds("F16")
def test_a_busy_database_is_told_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OperationalError("canceling statement due to lock timeout")

    monkeypatch.setattr("apps.customers.api.views.create_customer", fail)
    refused = Api(make_key(new_tenant())).post("/customers", BODY)
    body = refused.json()
    assert (refused.status_code, body["code"], body["reason"]) == (503, "INT_002", "unavailable")
    assert refused.headers["Retry-After"] == "1"
