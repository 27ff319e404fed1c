"""Contracts over HTTP: made, shown, described, ended; what is refused, and that nothing is stored."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction

from apps.subscriptions.models import Contract, ScheduledChange
from tests.make.api import Api
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.contracts import make_contract
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_key, make_tenant

pytestmark = pytest.mark.django_db

NOW: Final = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)
FLAT: Final = {"model": "flat", "amount": "40.00"}
GOOD: Final = {"name": "Initech", "subscription": "main"}
Json = Mapping[str, Any]


@pytest.fixture(autouse=True)
def _the_same_day() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def api() -> Api:
    tenant = make_tenant()
    customer = make_customer(tenant, external_id="acme")
    make_subscription(customer, make_plan(tenant, [BASE_FEE]), at=NOW, external_id="main")
    return Api(make_key(tenant))


def test_a_contract_is_shown_as_it_was_made_and_found(api: Api) -> None:
    documents = [{"name": "Signed", "url": "https://files.example.com/signed.pdf"}]
    body = {
        **GOOD,
        "external_id": "initech-2026",
        "ends_at": "2027-05-04T09:30:00Z",
        "prices": [{"charge": "base", "pricing": FLAT}],
        "quantities": [{"starts_at": "2026-06-04T09:30:00Z", "quantity": "3"}],
        "commitment": {"amount": "500.00", "per": "term", "overage_factor": "1.2"},
        "documents": documents,
    }
    made = api.post("/contracts", body).json()
    assert made == api.get("/contracts/initech-2026").json()
    assert made == api.get(f"/contracts/{made['id']}").json()
    for name, value in (("customer", "acme"), ("external_id", "initech-2026")):
        assert api.get("/contracts", **{name: value}).json()["data"] == [made]
    assert made["starts_at"] == "2026-05-04T09:30:00Z"
    assert made["commitment"] == {
        "amount": "500.00",
        "per": "term",
        "overage_factor": "1.2",
        "true_up": True,
        "charges": [],
    }
    assert [(one["charge"], one["pricing"]["amount"]) for one in made["prices"]] == [
        ("base", "40.00")
    ]
    assert made["documents"] == documents
    assert ScheduledChange.objects.get().arguments["quantity"] == "3"


def test_its_name_and_documents_change_and_it_ends_sooner(api: Api) -> None:
    made = api.post("/contracts", {**GOOD, "external_id": "one"}).json()
    documents = [{"name": "Annex", "url": "https://files.example.com/annex.pdf"}]
    described = api.patch("/contracts/one", {"name": "Initech, first", "documents": documents})
    assert described.json() == {**made, "name": "Initech, first", "documents": documents}
    early = "2026-06-04T09:30:00Z"
    assert api.post("/contracts/one/end", {"ends_at": early}).json()["ends_at"] == early
    later = api.post("/contracts/one/end", {"ends_at": "2027-01-01T00:00:00Z"})
    assert later.json()["ends_at"] == early


def commitment(**values: object) -> Json:
    return {"commitment": {"amount": "500.00", **values}}


BAD: Final[dict[str, tuple[Json, int, str, str]]] = {
    "with nobody": ({"subscription": None}, 400, "one_of_two", "subscription"),
    "with two": ({"customer": "acme"}, 400, "one_of_two", "subscription"),
    "ends before it begins": (
        {"ends_at": "2026-05-01T00:00:00Z"},
        422,
        "end_before_start",
        "ends_at",
    ),
    "ends a second early": ({"ends_at": "2027-04-30T23:59:59Z"}, 400, "end_exclusive", "ends_at"),
    "price of no charge": (
        {"prices": [{"charge": "nothing", "pricing": FLAT}]},
        422,
        "charge_unknown",
        "prices[0].charge",
    ),
    "price below zero": (
        {"prices": [{"charge": "base", "pricing": {"model": "flat", "amount": "-1"}}]},
        422,
        "amount_negative",
        "prices[0].pricing.amount",
    ),
    "price for usage where there is none": (
        {"prices": [{"charge": "base", "pricing": {"model": "dynamic"}}]},
        422,
        "model_needs_usage",
        "prices[0].pricing.model",
    ),
    "maximum below minimum": (
        {"prices": [{"charge": "base", "pricing": FLAT, "minimum": "9", "maximum": "8"}]},
        422,
        "maximum_below_minimum",
        "prices[0].maximum",
    ),
    "committed to nothing": (commitment(amount="0"), 422, "not_positive", "commitment.amount"),
    "committed to half a cent": (
        commitment(amount="0.005"),
        422,
        "currency_precision",
        "commitment.amount",
    ),
    "cheaper above": (
        commitment(overage_factor="0.9"),
        422,
        "factor_below_one",
        "commitment.overage_factor",
    ),
    "a term without end": (commitment(per="term"), 422, "required", "ends_at"),
    "committed to no charge": (
        commitment(charges=["nothing"]),
        422,
        "charge_unknown",
        "commitment.charges[0]",
    ),
    "committed for all that he has": (
        {"subscription": None, "customer": "acme", **commitment()},
        422,
        "needs_subscription",
        "commitment",
    ),
    "a ramp of nothing": (
        {
            "subscription": None,
            "customer": "acme",
            "quantities": [{"starts_at": "2026-06-04T09:30:00Z", "quantity": "3"}],
        },
        422,
        "needs_subscription",
        "quantities",
    ),
    "a ramp of half a seat": (
        {"quantities": [{"starts_at": "2026-06-04T09:30:00Z", "quantity": "0.5"}]},
        400,
        "quantity_invalid",
        "quantities[0].quantity",
    ),
    "a document that is a program": (
        {"documents": [{"name": "Signed", "url": "javascript:alert(1)"}]},
        400,
        "invalid",
        "documents[0].url",
    ),
    "no name": ({"name": None}, 400, "required", "name"),
    "unknown field": ({"price": []}, 400, "unknown_field", "price"),
}


@pytest.mark.parametrize(
    ("patch", "status", "code", "field"), [pytest.param(*row, id=name) for name, row in BAD.items()]
)
@pytest.mark.holds("B72")
def test_what_can_be_no_contract_is_refused(
    api: Api, patch: Json, status: int, code: str, field: str
) -> None:
    body = {name: value for name, value in {**GOOD, **patch}.items() if value is not None}
    answer = api.post("/contracts", body)
    problem = answer.json()
    assert (answer.status_code, [(one["field"], one["code"]) for one in problem["errors"]]) == (
        status,
        [(field, code)],
    )
    assert not Contract.objects.exists()


def test_a_name_of_its_own_is_given_once(api: Api) -> None:
    assert api.post("/contracts", {**GOOD, "external_id": "one"}).status_code == 201
    answer = api.post("/contracts", {**GOOD, "external_id": "one"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "external_id_taken")


@pytest.mark.parametrize("count", [1, 3])
def test_a_page_of_contracts_is_one_query(count: int, django_assert_num_queries: Any) -> None:
    tenant = make_tenant()
    subscription = make_subscription(make_customer(tenant), make_plan(tenant), at=NOW)
    for _ in range(count):
        make_contract(subscription, at=NOW)
    caller = Api(make_key(tenant))
    caller.get("/contracts")
    with django_assert_num_queries(2):  # the key, the page
        assert len(caller.get("/contracts").json()["data"]) == count


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subscriptions_contract SET prices = '[1]'",
        "UPDATE subscriptions_contract SET starts_at = starts_at - interval '1 day'",
        "DELETE FROM subscriptions_contract",
    ],
)
def test_what_a_contract_says_stays(statement: str) -> None:
    tenant = make_tenant()
    make_contract(make_subscription(make_customer(tenant), make_plan(tenant), at=NOW), at=NOW)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
