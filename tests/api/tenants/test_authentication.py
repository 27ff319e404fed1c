"""Which credentials open the API, and for which tenant."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
import time_machine
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from apps.core.clock import now
from apps.core.ids import encode, new_id
from apps.core.models import AuditEvent
from apps.tenants import tokens
from apps.tenants.domain import Mode, Role
from apps.tenants.models import ApiKey, Membership, Operator, Tenant
from apps.tenants.operations import change_role, remove_member, revoke_api_key
from apps.tenants.secrets import hash_of
from tests.make.api import Api
from tests.make.tenants import (
    ACTOR,
    AT,
    make_clock,
    make_key,
    make_member,
    make_operator,
    make_tenant,
)

pytestmark = pytest.mark.django_db

URL = "/api/v1/tenant"


def token_of(operator: Operator, tenant: Tenant | None = None) -> str:
    token = tokens.Token(
        operator.id, tokens.password_stamp(operator.password), tenant.id if tenant else None
    )
    return tokens.sign(token, at=now(), lifetime=timedelta(hours=1))


def asked(**headers: str) -> Any:
    return Client().get(URL, headers=headers)


def refused(answer: Any) -> tuple[int, str, str]:
    body = answer.json()
    return answer.status_code, body["code"], body["reason"]


def test_a_key_opens_as_bearer_header_or_basic_user_name() -> None:
    tenant = make_tenant()
    secret = make_key(tenant)
    basic = base64.b64encode(f"{secret}:".encode()).decode()
    answers = [
        asked(Authorization=f"Bearer {secret}"),
        asked(Authorization=f"bearer {secret}"),
        asked(Authorization=f"Basic {basic}"),
        asked(**{"X-API-Key": secret}),
    ]
    assert [(one.status_code, one.json()["id"]) for one in answers] == [(200, tenant.public_id)] * 4


def test_a_test_key_opens_the_test_twin() -> None:
    live = make_tenant()
    twin = Tenant.objects.get(pk=live.twin_id)
    body = Api(make_key(twin)).get("/tenant").json()
    assert (body["id"], body["mode"], body["twin"]) == (
        twin.public_id,
        "test",
        live.public_id,
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
    ],
)
def test_without_a_credential(headers: dict[str, str]) -> None:
    answer = asked(**headers)
    assert refused(answer) == (401, "AUTH_001", "api_key_missing")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer sk_live_short"},
        {"Authorization": "Bearer sk_live_" + "a" * 43},
        {"Authorization": "Bearer sk_live_" + "ä" * 43},
        {"Authorization": "Digest username=x"},
        {"Authorization": "sk_live_" + "a" * 43},
        {"Authorization": "Basic ///"},
        {"Authorization": "Basic " + base64.b64encode(b"ada:secret").decode()},
        {"X-API-Key": "sk_test_" + "a" * 43},
        {"X-API-Key": "a" * 5000},
    ],
)
def test_what_is_no_key_of_ours(headers: dict[str, str]) -> None:
    assert refused(asked(**headers)) == (401, "AUTH_001", "api_key_invalid")


@pytest.mark.holds("B23", "S8")
def test_revoked_and_expired_keys_are_told_apart_and_end_at_once() -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    assert api.get("/tenant").status_code == 200
    revoke_api_key(ApiKey.objects.get(tenant=tenant).id, actor=ACTOR, at=AT)
    assert refused(api.get("/tenant")) == (401, "AUTH_001", "api_key_revoked")

    other = make_tenant()
    ends = now() + timedelta(minutes=1)
    api = Api(make_key(other, expires_at=ends))
    assert api.get("/tenant").status_code == 200
    with time_machine.travel(ends - timedelta(microseconds=1), tick=False):
        assert api.get("/tenant").status_code == 200
    with time_machine.travel(ends, tick=False):
        assert refused(api.get("/tenant")) == (401, "AUTH_001", "api_key_expired")


def test_two_credentials_are_one_too_many() -> None:
    secret = make_key(make_tenant())
    both = asked(**{"Authorization": f"Bearer {secret}", "X-API-Key": secret})
    twice = asked(Authorization=f"Bearer {secret},Bearer {secret}")
    assert [refused(one) for one in (both, twice)] == [(400, "VAL_001", "header_invalid")] * 2
    assert both.json()["errors"][0]["field"] == "X-API-Key"
    assert twice.json()["errors"][0]["field"] == "Authorization"


@pytest.mark.holds("B24")
def test_a_key_in_the_url_is_refused_and_flagged_once() -> None:
    tenant = make_tenant()
    secret = make_key(tenant)
    for _ in range(2):
        answer = Client().get(URL, {"api_key": secret})
        assert refused(answer) == (401, "AUTH_001", "api_key_in_url")
        assert secret not in answer.content.decode()
    key = ApiKey.objects.get(tenant=tenant)
    assert key.exposed_at is not None
    assert AuditEvent.objects.filter(type="api_key.exposed", object_id=key.public_id).count() == 1
    # also where it does not stand open, and beside a good header
    hidden = Client().get(URL + "?q=sk%5Flive_abc", headers={"Authorization": f"Bearer {secret}"})
    assert refused(hidden) == (401, "AUTH_001", "api_key_in_url")


def test_a_session_of_the_admin_site_is_of_another_realm() -> None:
    client = Client()
    client.force_login(make_operator(is_superuser=True))
    assert refused(client.get(URL)) == (401, "AUTH_001", "wrong_realm")


@pytest.mark.holds("T5", "S10")
def test_only_the_hash_of_a_key_is_kept() -> None:
    tenant = make_tenant()
    secret = make_key(tenant)
    key = ApiKey.objects.get(tenant=tenant)
    assert bytes(key.hash) == hash_of(secret)
    assert key.hint == f"sk_live_…{secret[-4:]}"
    for model in (ApiKey, AuditEvent):
        for row in model.objects.values():
            assert secret not in str(row)


def test_one_lookup_per_request_and_a_write_per_minute_at_most(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    tenant = make_tenant()
    api = Api(make_key(tenant))
    with django_assert_num_queries(2):  # the key; the tenant that is answered
        assert api.get("/tenant").status_code == 200
    before = ApiKey.objects.get(tenant=tenant).last_used_at
    with time_machine.travel(now() + timedelta(seconds=61), tick=False):
        with django_assert_num_queries(3):
            api.get("/tenant")
        with django_assert_num_queries(2):
            api.get("/tenant")
        assert ApiKey.objects.get(tenant=tenant).last_used_at == now() != before


def test_scopes_say_what_a_key_may() -> None:
    api = Api(make_key(make_tenant(), scopes=["customers:read"]))
    assert api.get("/customers").status_code == 200
    answer = api.post("/customers", {"name": "Globex"})
    assert refused(answer) == (403, "AUTH_006", "scope_missing")
    assert "customers:write" in answer.json()["detail"]
    assert refused(api.get("/api-keys")) == (403, "AUTH_006", "scope_missing")


def test_the_time_of_a_request_is_that_of_the_tenants_clock() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=datetime(2024, 2, 29, tzinfo=UTC), attach=True)
    created = Api(make_key(tenant)).post("/customers", {"name": "Globex"}).json()
    assert created["created_at"] == "2024-02-29T00:00:00Z"


# --- operators --------------------------------------------------------------------------------


def test_an_operator_names_his_tenant_and_mode() -> None:
    tenant = make_tenant()
    token = token_of(make_member(tenant, role=Role.READ_ONLY).operator)
    live = tenant.public_id
    test = encode("ten", tenant.twin_id)
    wanted = [
        ({"X_Tenant": tenant.slug}, live),
        ({"X_Tenant": live}, live),
        ({"X_Tenant": test}, test),
        ({"X_Tenant": tenant.slug, "X_Mode": "test"}, test),
        ({"X_Tenant": live, "X_Mode": "test"}, test),
        ({"X_Tenant": test, "X_Mode": "live"}, live),
    ]
    assert [
        (headers, Api(token, **headers).get("/tenant").json()["id"]) for headers, _ in wanted
    ] == wanted
    mode = Api(token, X_Tenant=tenant.slug, X_Mode="both").get("/tenant")
    assert refused(mode) == (400, "VAL_001", "header_invalid")
    assert mode.json()["errors"][0]["code"] == "mode_unknown"


def test_an_operator_of_one_tenant_need_not_name_it() -> None:
    tenant = make_tenant()
    operator = make_member(tenant).operator
    assert Api(token_of(operator, tenant)).get("/tenant").json()["id"] == tenant.public_id
    unnamed = Api(token_of(operator)).get("/tenant")
    assert refused(unnamed) == (400, "VAL_001", "header_invalid")
    assert unnamed.json()["errors"] == [
        {
            "field": "X-Tenant",
            "code": "tenant_required",
            "detail": "Name your tenant by its slug or id.",
        }
    ]


def test_other_peoples_tenants_and_none_look_the_same() -> None:
    other = make_tenant()
    token = token_of(make_member(make_tenant()).operator)
    bodies = []
    for name in (other.slug, other.public_id, "nowhere", encode("ten", new_id())):
        answer = Api(token, X_Tenant=name, X_Request_Id="same").get("/tenant")
        assert refused(answer) == (403, "AUTH_006", "not_a_member")
        bodies.append(answer.content)
    assert len(set(bodies)) == 1


def test_a_role_counts_from_the_next_request_on() -> None:
    tenant = make_tenant()
    make_member(tenant)
    member = make_member(tenant, role=Role.FINANCE)
    api = Api(token_of(member.operator, tenant))
    assert api.post("/customers", {"name": "Globex"}).status_code == 201
    change_role(member.id, role=Role.READ_ONLY, actor=ACTOR, at=AT)
    assert refused(api.post("/customers", {"name": "G"})) == (403, "AUTH_006", "scope_missing")
    remove_member(member.id, actor=ACTOR, at=AT)
    assert refused(api.get("/customers")) == (403, "AUTH_006", "not_a_member")


def test_an_operator_of_the_installation_may_act_everywhere() -> None:
    tenant = make_tenant()
    api = Api(token_of(make_operator(is_superuser=True)), X_Tenant=tenant.slug)
    assert api.post("/customers", {"name": "Globex"}).status_code == 201
    assert AuditEvent.objects.get(type="customer.created").actor.startswith("operator:opr_")


@pytest.mark.parametrize("change", ["password", "inactive", "gone"])
def test_a_token_ends_with_the_password_and_the_account(change: str) -> None:
    tenant = make_tenant()
    operator = make_member(tenant).operator
    api = Api(token_of(operator, tenant))
    assert api.get("/tenant").status_code == 200
    if change == "password":
        operator.set_password("another horse battery")
        operator.save()
    elif change == "inactive":
        Operator.objects.filter(pk=operator.pk).update(is_active=False)
    else:
        Membership.objects.filter(operator=operator).delete()
        operator.delete()
    assert refused(api.get("/tenant")) == (401, "AUTH_001", "token_invalid")


def test_a_token_ends_after_its_time() -> None:
    tenant = make_tenant()
    begun = now()
    api = Api(token_of(make_member(tenant).operator, tenant))
    with time_machine.travel(begun + timedelta(minutes=59), tick=False):
        assert api.get("/tenant").status_code == 200
    with time_machine.travel(begun + timedelta(minutes=61), tick=False):
        assert refused(api.get("/tenant")) == (401, "AUTH_001", "token_expired")


def forged(**changes: Any) -> dict[str, Any]:
    return {
        "iss": tokens.ISSUER,
        "aud": tokens.AUDIENCE,
        "sub": encode("opr", new_id()),
        "iat": int(now().timestamp()),
        "exp": int(now().timestamp()) + 600,
        "stamp": "x",
        **changes,
    }


def test_forged_tokens_do_not_open(settings: Any) -> None:
    tenant = make_tenant()
    operator = make_member(tenant).operator
    real = token_of(operator, tenant)
    own = {"sub": operator.public_id, "stamp": tokens.password_stamp(operator.password)}
    key, header = tokens._key(), {"typ": tokens.TYPE}  # noqa: SLF001 -- to forge what only it can

    def signed(claims: dict[str, Any], **options: Any) -> str:
        return jwt.encode(
            claims, **{"key": key, "algorithm": "HS256", "headers": header, **options}
        )

    assert Api(signed(forged(**own)), X_Tenant=tenant.slug).get("/tenant").status_code == 200
    lacking = forged(**own)
    del lacking["exp"]
    head, payload, signature = real.split(".")
    refusals = {
        "no algorithm": signed(forged(**own), key=None, algorithm="none"),
        "other algorithm": signed(forged(**own), key=key + key, algorithm="HS512"),
        "the secret key itself": signed(forged(**own), key=settings.SECRET_KEY),
        "other type": signed(forged(**own), headers={"typ": "JWT"}),
        "other issuer": signed(forged(**own, iss="someone")),
        "no end": signed(lacking),
        "unknown operator": signed(forged()),
        "other stamp": signed(forged(sub=operator.public_id)),
        "no signature": f"{head}.{payload}.",
        "cut": f"{head}.{payload}.{signature[:-2]}",
        "key by path": signed(forged(**own), key="x" * 32, headers={**header, "kid": "/dev/null"}),
        "no token at all": "a.b.c",
    }
    for name, token in refusals.items():
        answer = Api(token, X_Tenant=tenant.slug).get("/tenant")
        assert (name, *refused(answer)) == (name, 401, "AUTH_001", "token_invalid")
    portal = signed(forged(aud="countinghouse-portal", **own), key="p" * 32)
    assert refused(Api(portal).get("/tenant")) == (401, "AUTH_001", "wrong_realm")
