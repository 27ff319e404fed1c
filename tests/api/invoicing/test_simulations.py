"""Invoices that might be: what the engine would bill, and that nothing of it is kept."""

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.catalog.models import PlanVersion
from apps.core.ids import new_id
from apps.invoicing.models import InvoiceLine
from apps.invoicing.operations.billing import bill_customer
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.books import counted_rows
from tests.make.catalog import make_plan, make_version
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
BASE = {
    "key": "base",
    "name": "Base",
    "timing": "arrears",
    "pricing": {"model": "flat", "amount": "49.00"},
}
CALLS = {
    "key": "calls",
    "name": "Calls",
    "meter": "calls",
    "pricing": {
        "model": "graduated",
        "tiers": [
            {"up_to": "100000", "unit_price": "0"},
            {"up_to": "1000000", "unit_price": "0.0001"},
            {"up_to": None, "unit_price": "0.00005"},
        ],
    },
}
APRILS: dict[str, Any] = {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"}


@pytest.fixture
def tenant() -> Tenant:
    made = make_tenant()
    make_meter(made, key="calls", at=APRIL)
    make_plan(made, [BASE, CALLS], key="growth")
    return made


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


def simulate(api: Api, **body: Any) -> Any:
    before = counted_rows()
    answer = api.post("/simulations/invoice", {**APRILS, "plan": "growth", **body}, key=None)
    assert counted_rows() == before
    return answer


def amounts(answer: Any) -> list[tuple[str, str]]:
    return [
        (line["description"], line["amount"])
        for document in answer.json()["documents"]
        for line in document["lines"]
    ]


def test_a_company_that_does_not_exist(api: Api) -> None:
    events = [
        {"meter": "calls", "value": "700000"},
        {"meter": "calls", "value": "500000", "timestamp": "2026-04-30T23:59:59Z"},
    ]
    answer = simulate(api, currency="USD", events=events)
    assert answer.status_code == 200, answer.json()
    assert amounts(answer) == [("Base", "49.00"), ("Calls", "100.00")]
    (document,) = answer.json()["documents"]
    assert (document["total"], document["currency"], document["kind"]) == (
        "149.00",
        "USD",
        "invoice",
    )
    steps = document["lines"][1]["derivation"]["rated"]["steps"]
    assert [step["amount"] for step in steps] == ["0", "90.0000", "10.00000"]


def test_it_is_what_would_be_billed(tenant: Tenant, api: Api) -> None:
    customer = make_customer(tenant, external_id="acme", zone="Asia/Kathmandu", at=APRIL)
    make_subscription(
        customer, PlanVersion.objects.get(plan__key="growth", tenant=tenant), at=APRIL
    )
    events = [{"meter": "calls", "value": str(value)} for value in (250_001, 3, 1_000_000)]
    sent = [{**one, "customer": "acme", "timestamp": "2026-04-01T00:00:00Z"} for one in events]
    send(tenant, sent, at=APRIL)
    answer = simulate(api, customer="acme", events=events)
    bill_customer(
        customer.id,
        tenant_id=tenant.id,
        request_id=new_id(),
        cutoff=MAY,
        issue=True,
        actor=ACTOR,
        at=MAY,
    )
    lines = InvoiceLine.objects.filter(invoice__customer=customer).order_by("position")
    assert amounts(answer) == [(line.description, f"{line.amount:.2f}") for line in lines]


def test_a_draft_stays_a_draft(tenant: Tenant, api: Api) -> None:
    version = PlanVersion.objects.get(plan__key="growth", tenant=tenant)
    dearer = {**BASE, "pricing": {"model": "flat", "amount": "59.00"}}
    draft = make_version(version, [dearer], publish=False)
    assert amounts(simulate(api, currency="USD", plan_version=2)) == [("Base", "59.00")]
    assert PlanVersion.objects.get(pk=draft.pk).status == "draft"
    assert amounts(simulate(api, currency="USD", plan_version=1)) == [("Base", "49.00")]


def test_periods_one_after_the_other(api: Api) -> None:
    answer = simulate(api, currency="USD", end="2026-07-01T00:00:00Z")
    assert amounts(answer) == [("Base", "49.00")] * 3


@pytest.mark.parametrize(
    ("change", "status", "place"),
    [
        ({}, 400, "customer"),
        ({"currency": "USD", "customer": "acme"}, 400, "customer"),
        ({"customer": "nobody"}, 404, None),
        ({"currency": "USD", "plan": "nothing"}, 404, None),
        ({"currency": "USD", "plan_version": 9}, 404, None),
        ({"currency": "XXX"}, 400, "currency"),
        ({"currency": "USD", "end": "2026-04-01T00:00:00Z"}, 400, "end"),
        ({"currency": "USD", "end": "2036-04-01T00:00:00Z"}, 422, "end"),
        ({"currency": "USD", "events": [{"meter": "calls"}]}, 422, "events[0].value"),
        ({"currency": "USD", "events": [{"meter": "none", "value": 1}]}, 422, "events[0]"),
        ({"currency": "USD", "events": [{"customer": "acme"}]}, 400, None),
        (
            {
                "currency": "USD",
                "events": [{"meter": "calls", "value": 1, "timestamp": "2026-05-01T00:00:01Z"}],
            },
            422,
            "events[0].timestamp",
        ),
        ({"currency": "USD", "events": [{"meter": "calls", "value": 1}] * 1001}, 400, None),
        ({"currency": "USD", "save": True}, 400, "save"),
    ],
)
def test_what_cannot_be_is_refused(
    api: Api, change: dict[str, Any], status: int, place: str | None
) -> None:
    answer = simulate(api, **change)
    assert answer.status_code == status, answer.json()
    if place is not None:
        assert [one["field"] for one in answer.json()["errors"]] == [place]
