"""A credential opens its own door and no other, and only as long as it is good."""

import base64
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.contrib.auth.hashers import make_password
from django.test import Client

from apps.core.clock import now
from apps.tenants import operations
from apps.tenants.domain import Role
from apps.tenants.models import ApiKey, Membership, Tenant
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.tenants import ACTOR, PASSWORD, make_key, make_member, make_tenant
from tests.security.routes import API, api_routes, routes
from tests.security.world import filled, places

pytestmark = pytest.mark.django_db

OPEN: Final = {("POST", "auth/login")}
# of the desk, for everybody: to log in
OPEN_PAGES: Final = {"admin/login/", "admin/logout/", "admin/jsi18n/"}


def token_of(member: Membership) -> str:
    """Log in and return the token."""
    known = {"email": member.operator.email, "password": PASSWORD}
    return str(Api().post("/auth/login", known, key=None).json()["token"])


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant(slug="realm")


@pytest.fixture
def member(tenant: Tenant) -> Membership:
    return make_member(tenant, role=Role.OWNER)


@pytest.mark.holds("S7", "B27")
def test_a_session_of_the_desk_opens_no_door_of_the_api(member: Membership) -> None:
    client = Client()
    client.force_login(member.operator)
    wrong = []
    for method, path, _ in api_routes():
        answer: Any = client.generic(
            method, f"/{API}{path}", b"{}", content_type="application/json"
        )
        if (method, path) not in OPEN and (
            answer.status_code != 401 or answer.json()["reason"] != "wrong_realm"
        ):
            wrong.append((method, path, answer.status_code))
    assert wrong == []


@pytest.mark.holds("S7", "B27")
@pytest.mark.parametrize("kind", ["nobody", "key", "token", "key as cookie", "token as cookie"])
def test_no_credential_of_the_api_opens_a_page_of_the_desk(
    kind: str, tenant: Tenant, member: Membership
) -> None:
    credential = make_key(tenant) if "key" in kind else token_of(member)
    client = Client()
    headers = {}
    if "cookie" in kind:
        client.cookies["sessionid"] = credential
    elif kind != "nobody":
        headers = {"Authorization": f"Bearer {credential}", "X-Api-Key": credential}
    wrong = []
    pages = [route.path for route in routes() if route.path.startswith("admin/")]
    for page in pages:
        if page in OPEN_PAGES or "(?P" in page:
            continue
        answer = client.get("/" + filled(page, dict.fromkeys(places(page), "x")), headers=headers)
        if (answer.status_code, answer.headers.get("Location", "")[:13]) != (302, "/admin/login/"):
            wrong.append((page, answer.status_code))
    assert wrong == []
    assert len(pages) > 400


@pytest.mark.holds("S7")
@pytest.mark.parametrize("place", ["X-Api-Key", "Basic"])
def test_a_token_is_taken_only_where_tokens_belong(place: str, member: Membership) -> None:
    token = token_of(member)
    assert Api(token).get("/customers").status_code == 200
    headers = {"X-Api-Key": token}
    if place == "Basic":
        headers = {"Authorization": "Basic " + _basic(token)}
    answer: Any = Client().get(f"/{API}customers", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (401, "api_key_invalid")


def _basic(name: str) -> str:
    return base64.b64encode(f"{name}:".encode()).decode()


@pytest.mark.holds("S7")
def test_a_key_acts_for_its_own_tenant_whichever_is_named(tenant: Tenant) -> None:
    other = make_tenant(slug="other")
    make_customer(other, name="Theirs")
    api = Api(make_key(tenant), X_Tenant="other", X_Mode="test")
    assert api.get("/customers").json()["data"] == []
    assert api.get("/tenant").json()["id"] == tenant.public_id


@pytest.mark.holds("S7")
def test_a_key_creates_no_tenants_and_sees_only_its_own(tenant: Tenant) -> None:
    make_tenant(slug="other")
    api = Api(make_key(tenant))
    body = {"slug": "new", "name": "New", "currency": "USD"}
    assert api.post("/tenants", body).json()["reason"] == "installation_only"
    assert [one["slug"] for one in api.get("/tenants").json()["data"]] == ["realm"]


# --- what is revoked --------------------------------------------------------------------------

EVENT: Final = {"idempotency_key": "e-1", "meter": "calls", "customer": "c", "value": "1"}
DOORS: Final[dict[str, Callable[[Api], Any]]] = {
    "a list": lambda api: api.get("/customers"),
    "a write": lambda api: api.post("/customers", {"name": "New"}),
    "an event": lambda api: api.post("/events", EVENT, key=None),
    "a batch": lambda api: api.post("/events/batch", {"events": [EVENT]}, key=None),
    "a stream": lambda api: api.post("/streams/s/events", {"user": "c", "n": 1}, key=None),
    "a bulk": lambda api: api.post("/streams/s/events/bulk", [{"user": "c", "n": 2}], key=None),
}


def make_busy(tenant: Tenant) -> None:
    """Give the tenant what the doors above ask for."""
    make_customer(tenant, external_id="c")
    make_meter(tenant, key="calls")
    body = {"handle": "s", "event_name": "calls", "subject_path": "user", "value_path": "n"}
    assert Api(make_key(tenant)).post("/streams", body).status_code == 201


@pytest.mark.holds("S8", "S10", "B23")
@pytest.mark.parametrize("door", list(DOORS))
def test_a_key_revoked_is_refused_by_the_next_request(door: str, tenant: Tenant) -> None:
    make_busy(tenant)
    secret = make_key(tenant)
    key = ApiKey.objects.filter(tenant=tenant).latest("id")
    api = Api(secret)
    assert DOORS[door](api).status_code in {200, 201, 202}
    assert DOORS[door](api).status_code in {200, 201, 202}  # what is remembered is remembered
    operations.revoke_api_key(key.id, actor=ACTOR, at=now())
    answer = DOORS[door](api)
    assert (answer.status_code, answer.json()["reason"]) == (401, "api_key_revoked")


@pytest.mark.holds("S8", "S10", "B23")
@pytest.mark.parametrize("door", list(DOORS))
def test_a_key_past_its_end_is_refused_by_the_next_request(door: str, tenant: Tenant) -> None:
    make_busy(tenant)
    secret = make_key(tenant)
    api = Api(secret)
    assert DOORS[door](api).status_code in {200, 201, 202}
    ApiKey.objects.filter(tenant=tenant).update(expires_at=now())
    answer = DOORS[door](api)
    assert (answer.status_code, answer.json()["reason"]) == (401, "api_key_expired")


def _downgrade(member: Membership) -> None:
    operations.change_role(member.id, role=Role.READ_ONLY, actor=ACTOR, at=now())


def _remove(member: Membership) -> None:
    operations.remove_member(member.id, actor=ACTOR, at=now())


def _deactivate(member: Membership) -> None:
    member.operator.is_active = False
    member.operator.save()


def _new_password(member: Membership) -> None:
    member.operator.password = make_password("another long password")
    member.operator.save()


REVOCATIONS: Final = [
    (_downgrade, 403, "scope_missing"),
    (_remove, 403, "not_a_member"),
    (_deactivate, 401, "token_invalid"),
    (_new_password, 401, "token_invalid"),
]


@pytest.mark.holds("S8", "S17")
@pytest.mark.parametrize(("revoke", "status", "reason"), REVOCATIONS)
@pytest.mark.parametrize("door", [door for door in DOORS if door != "a list"])
def test_what_an_operator_may_no_longer_do_is_refused_by_the_next_request(
    door: str,
    revoke: Callable[[Membership], None],
    status: int,
    reason: str,
    member: Membership,
) -> None:
    make_busy(member.tenant)
    make_member(member.tenant)  # another owner stays
    api = Api(token_of(member), X_Tenant="realm")
    assert DOORS[door](api).status_code in {200, 201, 202}
    revoke(member)
    answer = DOORS[door](api)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


@pytest.mark.holds("S8", "S16")
@pytest.mark.parametrize(
    ("revoke", "page", "status"),
    [
        (_downgrade, "/admin/customers/customer/", 200),
        (_remove, "/admin/customers/customer/", 403),
        (_deactivate, "/admin/customers/customer/", 302),
        (_new_password, "/admin/customers/customer/", 302),
    ],
)
def test_the_desk_closes_with_the_next_request(
    revoke: Callable[[Membership], None],
    page: str,
    status: int,
    tenant: Tenant,
    member: Membership,
) -> None:
    make_member(tenant)
    make_key(tenant)
    key = ApiKey.objects.filter(tenant=tenant).latest("id")
    client = Client()
    client.login(username=member.operator.email, password=PASSWORD)
    assert client.get(page).status_code == 200
    revoke(member)
    assert client.get(page).status_code == status
    client.post(f"/admin/tenants/apikey/{key.pk}/verb/revoke/")
    key.refresh_from_db()
    assert key.revoked_at is None
