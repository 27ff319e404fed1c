"""Keys: created, shown once, rotated, revoked."""

from datetime import timedelta

import pytest
import time_machine
from pytest_django import DjangoAssertNumQueries

from apps.core.clock import now
from apps.core.models import AuditEvent, IdempotencyRecord
from apps.core.web.fields import instant_text
from apps.tenants.models import ApiKey
from tests.make.api import Api
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

BODY = {"name": "ingest", "scopes": ["events:write", "usage:read"]}


def test_a_secret_is_shown_once_and_kept_nowhere() -> None:
    api = Api(make_key(make_tenant()))
    first = api.post("/api-keys", BODY, key="once").json()
    secret = first["secret"]
    assert secret.startswith("sk_live_")
    assert first["scopes"] == ["events:write", "usage:read"]
    again = api.post("/api-keys", BODY, key="once")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == {**first, "secret": None}
    shown = api.get(f"/api-keys/{first['id']}").json()
    assert shown == {name: value for name, value in first.items() if name != "secret"}
    for model in (ApiKey, AuditEvent, IdempotencyRecord):
        for row in model.objects.values():
            kept = [bytes(one) if isinstance(one, memoryview) else one for one in row.values()]
            assert secret not in str(kept)
    assert Api(secret).get("/customers").json()["reason"] == "scope_missing"


def test_a_retry_after_a_crash_creates_no_second_key() -> None:
    api = Api(make_key(make_tenant()))
    first = api.post("/api-keys", BODY, key="once").json()
    # the process died before it could remember its answer, and the lease is over
    IdempotencyRecord.objects.update(status=None, body=None, leased_until=now())
    again = api.post("/api-keys", BODY, key="once")
    assert again.status_code == 201
    assert again.json() == {**first, "secret": None}
    assert ApiKey.objects.filter(name="ingest").count() == 1


@pytest.mark.parametrize(
    ("change", "status", "field", "code"),
    [
        ({"scopes": []}, 400, "scopes", "empty"),
        ({"scopes": ["events:delete"]}, 400, "scopes[0]", "invalid_choice"),
        ({"scopes": "events:write"}, 400, "scopes", "not_a_list"),
        ({"name": ""}, 400, "name", "blank"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 422, "expires_at", "expiry_past"),
        ({"expires_at": "2030-01-01"}, 400, "expires_at", "timestamp_format"),
        ({"hash": "x"}, 400, "hash", "unknown_field"),
    ],
)
def test_wrong_keys(change: dict[str, object], status: int, field: str, code: str) -> None:
    api = Api(make_key(make_tenant()))
    answer = api.post("/api-keys", {**BODY, **change})
    assert answer.status_code == status
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(field, code)]
    assert ApiKey.objects.count() == 1


def test_nobody_gives_away_more_than_he_has() -> None:
    tenant = make_tenant()
    strong = Api(make_key(tenant)).post("/api-keys", {"name": "all", "scopes": ["*:write"]}).json()
    weak = Api(make_key(tenant, scopes=["api_keys:write", "events:write"]))
    allowed = weak.post("/api-keys", {"name": "x", "scopes": ["events:read", "events:write"]})
    assert allowed.status_code == 201
    more = weak.post("/api-keys", {"name": "x", "scopes": ["events:write", "invoices:read"]})
    assert (more.status_code, more.json()["reason"]) == (403, "scope_beyond_own")
    assert "invoices:read" in more.json()["detail"]
    every = weak.post("/api-keys", {"name": "x", "scopes": ["*:read"]})
    rotated = weak.post(f"/api-keys/{strong['id']}/rotate", {})
    assert [one.json()["reason"] for one in (every, rotated)] == ["scope_beyond_own"] * 2
    assert weak.post(f"/api-keys/{strong['id']}/revoke").status_code == 200


def test_rotation_lets_both_keys_work_for_a_while() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    old = api.post("/api-keys", {"name": "app", "scopes": ["customers:read"]}).json()
    begun = now()
    with time_machine.travel(begun, tick=False):
        answer = api.post(f"/api-keys/{old['id']}/rotate", {"overlap_hours": 2})
    assert answer.status_code == 201
    new = answer.json()
    assert (new["name"], new["scopes"], new["expires_at"]) == ("app", ["customers:read"], None)
    kept = api.get(f"/api-keys/{old['id']}").json()
    assert kept["replaced_by"] == new["id"]
    assert kept["expires_at"] == instant_text(begun + timedelta(hours=2))
    assert [Api(one["secret"]).get("/customers").status_code for one in (old, new)] == [200, 200]
    with time_machine.travel(begun + timedelta(hours=2), tick=False):
        assert Api(old["secret"]).get("/customers").json()["reason"] == "api_key_expired"
        assert Api(new["secret"]).get("/customers").status_code == 200
    again = api.post(f"/api-keys/{old['id']}/rotate", {"overlap_hours": 2})
    assert (again.status_code, again.json()["reason"]) == (409, "api_key_not_active")


def test_a_rotated_key_keeps_its_lifetime_and_its_sooner_end() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    begun = now()
    with time_machine.travel(begun, tick=False):
        body = {**BODY, "expires_at": instant_text(begun + timedelta(days=30))}
        old = api.post("/api-keys", body).json()
    row = ApiKey.objects.get(name="ingest")
    lifetime = begun + timedelta(days=30) - row.created_at
    with time_machine.travel(begun + timedelta(days=29, hours=12), tick=False):
        new = api.post(f"/api-keys/{old['id']}/rotate", {}).json()
    assert new["expires_at"] == instant_text(begun + timedelta(days=29, hours=12) + lifetime)
    assert api.get(f"/api-keys/{old['id']}").json()["expires_at"] == body["expires_at"]


def test_revoking_ends_a_key_at_once_and_once() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    made = api.post("/api-keys", BODY).json()
    first = api.post(f"/api-keys/{made['id']}/revoke").json()
    assert first["revoked_at"] is not None
    assert Api(made["secret"]).get("/customers").json()["reason"] == "api_key_revoked"
    assert api.post(f"/api-keys/{made['id']}/revoke").json() == first
    assert AuditEvent.objects.filter(type="api_key.revoked").count() == 1


def test_keys_of_others_do_not_exist() -> None:
    other = Api(make_key(make_tenant())).post("/api-keys", BODY).json()
    api = Api(make_key(make_tenant()))
    for answer in (
        api.get(f"/api-keys/{other['id']}"),
        api.post(f"/api-keys/{other['id']}/revoke"),
        api.post(f"/api-keys/{other['id']}/rotate", {}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
    assert other["id"] not in str(api.get("/api-keys").json())


@pytest.mark.parametrize("rows", [1, 3])
def test_a_list_takes_one_query(
    rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    for _ in range(rows - 1):
        make_key(tenant)
    with django_assert_num_queries(2):  # who asks; the page
        page = api.get("/api-keys").json()
    assert len(page["data"]) == rows
    assert not any("secret" in row for row in page["data"])
