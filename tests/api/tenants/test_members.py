"""Members: who works at a company, and as what."""

import pytest
from pytest_django import DjangoAssertNumQueries

from apps.core.models import AuditEvent
from apps.tenants.domain import ROLE_SCOPES, Role
from apps.tenants.models import Membership, Operator, Tenant
from tests.make.api import Api
from tests.make.tenants import make_key, make_member, make_tenant

pytestmark = pytest.mark.django_db


def test_a_new_operator_cannot_log_in_yet() -> None:
    api = Api(make_key(make_tenant()))
    answer = api.post("/members", {"email": "Ada@Acme.Example", "name": "Ada", "role": "finance"})
    assert answer.status_code == 201
    body = answer.json()
    assert (body["object"], body["email"], body["name"], body["role"]) == (
        "member",
        "ada@acme.example",
        "Ada",
        "finance",
    )
    operator = Operator.objects.get(email="ada@acme.example")
    assert not operator.has_usable_password()
    login = Api().post("/auth/login", {"email": "ada@acme.example", "password": "anything"})
    assert login.json()["reason"] == "login_failed"


def test_members_are_of_both_modes_and_joined_once() -> None:
    live = make_tenant()
    member = make_member(live)
    twin = Tenant.objects.get(pk=live.twin_id)
    for tenant in (live, twin):
        api = Api(make_key(tenant))
        assert [row["id"] for row in api.get("/members").json()["data"]] == [member.public_id]
        again = api.post("/members", {"email": member.operator.email, "role": "admin"})
        assert (again.status_code, again.json()["reason"]) == (409, "member_exists")
    assert Membership.objects.count() == 1


def test_a_role_changes_and_ends() -> None:
    tenant = make_tenant()
    make_member(tenant)
    member = make_member(tenant, role=Role.SUPPORT)
    api = Api(make_key(tenant))
    path = f"/members/{member.public_id}"
    assert api.patch(path, {"role": "finance"}).json()["role"] == "finance"
    assert api.patch(path, {"role": "finance"}).status_code == 200
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
    assert api.delete(path).status_code == 404
    types = AuditEvent.objects.filter(type__startswith="member.").order_by("id")
    assert [event.type for event in types] == [
        "member.added",
        "member.added",
        "member.changed",
        "member.removed",
    ]


def test_an_owner_is_always_left() -> None:
    tenant = make_tenant()
    first = make_member(tenant)
    api = Api(make_key(tenant))
    path = f"/members/{first.public_id}"
    for answer in (api.delete(path), api.patch(path, {"role": "admin"})):
        assert (answer.status_code, answer.json()["reason"]) == (409, "last_owner")
    make_member(tenant)
    assert api.patch(path, {"role": "admin"}).status_code == 200


def test_nobody_raises_above_himself() -> None:
    tenant = make_tenant()
    owner = make_member(tenant)
    support = make_member(tenant, role=Role.SUPPORT)
    admin = Api(make_key(tenant, scopes=ROLE_SCOPES[Role.ADMIN]))
    refusals = [
        admin.post("/members", {"email": "me@acme.example", "role": "owner"}),
        admin.patch(f"/members/{support.public_id}", {"role": "owner"}),
        admin.patch(f"/members/{owner.public_id}", {"role": "read_only"}),
        admin.delete(f"/members/{owner.public_id}"),
    ]
    assert [(one.status_code, one.json()["reason"]) for one in refusals] == [
        (403, "scope_beyond_own")
    ] * 4
    assert admin.patch(f"/members/{support.public_id}", {"role": "admin"}).status_code == 200


def test_members_of_others_do_not_exist() -> None:
    other = make_member(make_tenant())
    api = Api(make_key(make_tenant()))
    path = f"/members/{other.public_id}"
    assert [one.status_code for one in (api.get(path), api.delete(path))] == [404, 404]
    assert Membership.objects.count() == 1


@pytest.mark.parametrize("rows", [1, 3])
def test_a_list_takes_one_query_and_the_tenant(
    rows: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tenant = make_tenant()
    for _ in range(rows):
        make_member(tenant)
    api = Api(make_key(tenant))
    with django_assert_num_queries(3):  # who asks; whose members; the page
        assert len(api.get("/members").json()["data"]) == rows
