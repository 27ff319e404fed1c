"""Amending events from the desk: asked, told in money, done once."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.metering.models import EventAmendment
from apps.tenants.domain import Role
from apps.tenants.models import Membership, Tenant
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import AT, make_operator, make_tenant

pytestmark = pytest.mark.django_db(transaction=True)
CALLS = {
    "meter": "calls",
    "key": "calls",
    "name": "Calls",
    "pricing": {"model": "per_unit", "unit_price": "0.10"},
}


@pytest.fixture
def tenant() -> Tenant:
    """Return a tenant whose customer Acme has used 100 calls, and then 50, at 0.10 each."""
    made = make_tenant(slug="desk")
    make_meter(made, key="calls")
    customer = make_customer(made, external_id="acme", name="Acme")
    make_subscription(customer, make_plan(made, [CALLS]))
    events = [
        {
            "idempotency_key": key,
            "meter": "calls",
            "customer": "acme",
            "timestamp": AT.isoformat(),
            "value": value,
        }
        for key, value in (("a", 100), ("b", 50))
    ]
    assert [one.status for one in send(made, events, at=AT)] == ["accepted"] * 2
    count_all()
    return made


def client_of(tenant: Tenant, role: Role = Role.OWNER) -> Client:
    operator = make_operator()
    with tenant_scope(tenant.id):
        Membership.objects.create(tenant=tenant, operator=operator, role=role)
    client = Client()
    client.force_login(operator)
    return client


def ask(client: Client, step: str = "preview", **given: Any) -> Any:
    page = reverse("admin:metering_eventamendment_amend")
    body = {"step": step, "action": "void", "reason": "counted twice", **given}
    return client.post(page, body)


def errors(answer: Any) -> list[str]:
    found = re.findall(r'<strong class="desk-error">(.*?)</strong>', answer.content.decode())
    return [re.sub("&#x27;", "'", one) for one in found]


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        ({"keys": "b"}, "-5.00 USD"),
        ({"keys": " a \nb\n"}, "-15.00 USD"),
        (
            {"start": "2026-05-01T00:00", "end": "2026-05-02T00:00", "customer": "acme"},
            "-15.00 USD",
        ),
        ({"action": "replace", "keys": "b", "value": "150"}, "10.00 USD"),
        ({"action": "replace", "keys": "a\nb", "factor": "2"}, "15.00 USD"),
        (
            {
                "action": "backfill",
                "events": '[{"idempotency_key": "c", "meter": "calls", "customer": "acme",'
                ' "timestamp": "2026-05-01T13:00:00Z", "value": 7.5}]',
            },
            "0.75 USD",
        ),
    ],
)
def test_it_is_told_in_money_and_then_done_once(
    tenant: Tenant, given: dict[str, str], difference: str
) -> None:
    client = client_of(tenant)

    told = ask(client, **given)

    assert (told.status_code, errors(told)) == (200, [])
    assert f"<td>{difference}</td>" in told.content.decode()
    assert "Acme" in told.content.decode()
    with tenant_scope(tenant.id):
        assert not EventAmendment.objects.exists()
    effect = str(new_id())
    for _ in range(2):
        done = ask(client, "apply", effect=effect, **given)
        assert done.status_code == 302
    with tenant_scope(tenant.id):
        (made,) = EventAmendment.objects.all()
        assert (str(made.pk), made.reason) == (effect, "counted twice")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Give keys, or a stretch of time."),
        ({"keys": "a", "start": "2026-05-01T00:00"}, "Give keys, or a stretch of time."),
        ({"start": "2026-05-02T00:00", "end": "2026-05-01T00:00"}, "Give both, the end after"),
        ({"start": "2026-05-01T00:00", "end": "2026-05-02T00:00", "customer": "no"}, "no such cus"),
        (
            {"start": "2026-05-01T00:00", "end": "2026-05-02T00:00", "filters": '[{"op": "eq"}]'},
            "filters",
        ),
        ({"action": "replace", "keys": "a"}, "Say what is different."),
        ({"action": "replace", "keys": "a", "value": "1", "factor": "2"}, "not both"),
        ({"action": "backfill", "events": "{"}, "This is no JSON"),
        ({"keys": "nothing"}, "nothing"),
        ({"keys": "a", "reason": ""}, "required"),
    ],
)
def test_what_makes_no_sense_is_said(tenant: Tenant, given: dict[str, str], said: str) -> None:
    answer = ask(client_of(tenant), "apply", **given)

    assert answer.status_code == 200
    assert any(said in one for one in errors(answer)), errors(answer)
    with tenant_scope(tenant.id):
        assert not EventAmendment.objects.exists()


@pytest.mark.parametrize(("role", "code"), [(Role.SUPPORT, 200), (Role.FINANCE, 403)])
def test_who_may(tenant: Tenant, role: Role, code: int) -> None:
    page = reverse("admin:metering_eventamendment_amend")
    client = client_of(tenant, role)

    assert client.get(page).status_code == code
    listed = client.get(reverse("admin:metering_eventamendment_changelist"))
    assert (page in listed.content.decode()) is (code == 200)
