"""Wallets, grants, holds and their transactions over HTTP."""

from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.models import Job
from apps.customers.models import Customer
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from apps.wallets.models import CreditGrant, Wallet
from tests.make.api import Api
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.tenants import AT, make_clock, make_key, make_tenant
from tests.make.wallets import DAY, hold, make_grant, make_paid, make_wallet, spend


@pytest.fixture
def tenant(db: None) -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return tenant


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


@pytest.fixture
def customer(tenant: Tenant) -> Customer:
    return make_customer(tenant, external_id="crm-1")


AVIATE: dict[str, Any] = {
    "customer": "crm-1",
    "currency": "USD",
    "initial_credit": {"kind": "paid", "amount": "10.00", "expires_at": "2026-12-31T00:00:00Z"},
    "top_off": {
        "kind": "target",
        "amount": "10.00",
        "low_watermark": "5.00",
        "expires_after": {"unit": "month", "count": 3},
    },
}


def test_a_wallet_with_paid_credit_waits_for_its_money(api: Api, customer: Customer) -> None:
    answer = api.post("/wallets", AVIATE)
    assert answer.status_code == 201
    wallet = answer.json()
    assert {name: wallet[name] for name in ("status", "available", "pending", "held", "unit")} == {
        "status": "active",
        "available": "0",
        "pending": "10",
        "held": "0",
        "unit": None,
    }
    (grant,) = wallet["grants"]
    assert (grant["status"], grant["category"], grant["expires_at"]) == (
        "pending",
        "paid",
        "2026-12-31T00:00:00Z",
    )
    assert wallet["top_off"]["expires_after"] == {"unit": "month", "count": 3}
    jobs = Job.objects.filter(name="invoicing.sell_credit").values_list("arguments", flat=True)
    assert [job["subject"] for job in jobs] == [str(CreditGrant.objects.get().pk)]
    assert api.get(f"/wallets/{wallet['id']}").json() == wallet


def test_a_repeat_opens_no_second_wallet(api: Api, customer: Customer) -> None:
    first = api.post("/wallets", AVIATE, key="once").json()
    assert api.post("/wallets", AVIATE, key="once").json() == first
    assert Wallet.objects.count() == CreditGrant.objects.count() == 1


def test_promotional_credit_opens_a_wallet_where_there_is_none(
    api: Api, customer: Customer, tenant: Tenant
) -> None:
    make_meter(tenant, key="api-calls")
    unit = {"key": "credits", "name": "Credits", "rate": "0.001"}
    assert api.post("/credit-units", unit).status_code == 201
    price = api.post("/credit-prices", {"meter": "api-calls", "unit": "credits", "price": "1"})
    assert (price.status_code, price.json()["price"]) == (201, "1")
    body = {"customer": "crm-1", "unit": "credits", "amount": "1000", "name": "Bonus"}
    grants = [api.post("/credit-grants", body).json() for _ in range(2)]
    assert [(one["status"], one["remaining"], one["price"]) for one in grants] == [
        ("available", "1000", "1")
    ] * 2
    (wallet,) = api.get("/wallets").json()["data"]
    assert (wallet["settlement"], wallet["available"]) == ("on_event", "2000")


def test_spending_holds_and_summary(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00", expires_at=AT + DAY)
    make_paid(wallet, "10.00")
    ask = {"customer": "crm-1", "currency": "USD", "amount": "15.00"}
    assert api.post("/authorize", ask).json() == {
        "object": "authorization",
        "authorized": True,
        "required": "15",
        "available": "15",
        "lendable": "0",
    }
    assert api.post("/authorize", {**ask, "amount": "15.01"}).json()["authorized"] is False
    held = api.post("/holds", {**ask, "amount": "6.00", "ttl": 600, "external_id": "gen-1"})
    assert (held.status_code, held.json()["status"]) == (201, "open")
    captured = api.post("/holds/gen-1/capture", {"amount": "5.50"}).json()
    assert (captured["status"], captured["captured"]) == ("captured", "5.5")
    spent = api.post(f"/wallets/{wallet.public_id}/consume", {"amount": "1.00"}).json()["data"]
    assert [(one["type"], one["amount"], one["balance_after"]) for one in spent] == [
        ("consume", "-1", "8.5")
    ]
    summary = api.get("/customers/crm-1/credit-summary").json()
    assert summary["credits"] == [
        {
            "unit_or_currency": "USD",
            "currency": "USD",
            "available": "8.5",
            "promotional": "0",
            "paid": "8.5",
            "held": "0",
            "pending": "0",
            "overdrawn": "0",
            "next_expiry": None,
        }
    ]


@pytest.mark.holds("B92")
def test_too_little_credit_is_402(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00")
    answer = api.post(f"/wallets/{wallet.public_id}/consume", {"amount": "5.01"})
    assert (answer.status_code, answer.json()["reason"], answer.json()["detail"]) == (
        402,
        "insufficient_credits",
        "5.01 USD is needed, 5 can be spent.",
    )
    ask = {"wallet": wallet.public_id, "amount": "6", "ttl": 60}
    assert api.post("/holds", ask).status_code == 402


def test_authorize_is_one_query_besides_the_key(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00")
    ask = {"customer": customer.public_id, "currency": "USD", "amount": "1"}
    api.post("/authorize", ask, key=None)
    with CaptureQueriesContext(connection) as queries:
        api.post("/authorize", ask, key=None)
    assert [one["sql"][:10] for one in queries if "wallets_" in one["sql"]] == ["\nWITH paye"]


def test_transactions_are_paged_filtered_and_counted(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00")
    for _ in range(3):
        spend(wallet, "1.00")
    first = api.get("/credit-transactions", limit=2).json()
    assert ([one["number"] for one in first["data"]], first["total"]) == ([4, 3], 4)
    rest = api.get("/credit-transactions", limit=2, cursor=first["next_cursor"]).json()
    assert [one["number"] for one in rest["data"]] == [2, 1]
    consumed = api.get("/credit-transactions", type="consume", customer=customer.public_id).json()
    assert consumed["total"] == 3
    assert api.get("/credit-transactions", type="tip").status_code == 400


def test_every_filter_of_transactions_filters(api: Api, customer: Customer) -> None:
    wallet, other = make_wallet(customer), make_wallet(customer)
    make_meter(customer.tenant, key="calls")
    grant = make_grant(wallet, "5.00", at=AT - DAY)
    make_grant(other, "7.00", at=AT - 2 * DAY)
    held = hold(wallet, "1.00")

    def amounts(**filters: str) -> list[str]:
        return [one["amount"] for one in api.get("/credit-transactions", **filters).json()["data"]]

    assert amounts() == ["-1", "7", "5"]
    found = {
        "wallet": amounts(wallet=other.public_id),
        "grant": amounts(grant=grant.public_id),
        "hold": amounts(hold=held.public_id),
        "customer_external_id": amounts(customer_external_id="crm-1"),
        "another customer": amounts(customer_external_id="crm-2"),
        "meter": amounts(meter="calls"),
        "unit": amounts(unit="tokens"),
        "from": amounts(**{"from": (AT - DAY).isoformat()}),
        "before": amounts(before=(AT - DAY).isoformat()),
    }
    assert found == {
        "wallet": ["7"],
        "grant": ["-1", "5"],
        "hold": ["-1"],
        "customer_external_id": ["-1", "7", "5"],
        "another customer": [],
        "meter": [],
        "unit": [],
        "from": ["-1", "5"],
        "before": ["7"],
    }


def test_a_page_of_wallets_costs_the_same_for_one_and_three(
    api: Api, tenant: Tenant, customer: Customer
) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert api.get("/wallets").status_code == 200
        return sum("wallets_" in one["sql"] for one in captured)

    make_grant(make_wallet(customer))
    before = queries()
    for _ in range(2):
        hold(make_paid(make_wallet(make_customer(tenant))).wallet, "1.00")
    assert (before, queries()) == (2, 2)


def test_what_is_taken_back_needs_a_reason(api: Api, customer: Customer) -> None:
    grant = make_grant(make_wallet(customer), "5.00")
    path = f"/credit-grants/{grant.public_id}/void"
    assert api.post(path, {}).status_code == 400
    voided = api.post(path, {"amount": "2.00", "reason": "given twice"}).json()
    assert (voided["remaining"], voided["status"]) == ("3", "available")
    assert api.post(path, {"reason": "all"}).json()["status"] == "voided"
    assert api.post(path, {"reason": "again"}).json()["reason"] == "grant_not_voidable"


@pytest.mark.holds("B90")
def test_money_moves_only_with_a_key(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    paths = [
        (f"/wallets/{wallet.public_id}/consume", {"amount": "1"}),
        (f"/wallets/{wallet.public_id}/purchases", {"amount": "1"}),
        ("/credit-grants", {"wallet": wallet.public_id, "amount": "1"}),
        ("/holds", {"wallet": wallet.public_id, "amount": "1", "ttl": 1}),
    ]
    assert [api.post(path, body, key=None).status_code for path, body in paths] == [400] * 4


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"currency": "XXX"}, 400, "currency_unknown"),
        ({"unit": "nothing"}, 404, "not_found"),
        ({"customer": "nobody"}, 404, "not_found"),
        ({"insufficient": "overdraft"}, 422, "overdraft_unfit"),
        ({"overdraft_limit": "5"}, 422, "overdraft_unfit"),
        ({"scope": {"products": ["x"]}, "settlement": "on_event"}, 422, "scope_unfit"),
        pytest.param(
            {"initial_credit": {"kind": "paid", "amount": "0"}},
            400,
            "number_too_small",
            marks=pytest.mark.holds("B90"),
        ),
        pytest.param(
            {"initial_credit": {"kind": "paid", "amount": "1.001"}},
            422,
            "credit_precision",
            marks=pytest.mark.holds("B90"),
        ),
        pytest.param(
            {
                "initial_credit": {
                    "kind": "paid",
                    "amount": "1",
                    "expires_at": "2026-04-01T00:00:00Z",
                }
            },
            422,
            "expiry_past",
            marks=pytest.mark.holds("B91"),
        ),
        pytest.param(
            {"top_off": {"kind": "target", "amount": "5", "low_watermark": "5"}},
            422,
            "top_off_target_too_low",
            marks=pytest.mark.holds("B93"),
        ),
        pytest.param(
            {"top_off": {"kind": "target", "amount": "0", "low_watermark": "5"}},
            400,
            "number_too_small",
            marks=pytest.mark.holds("B93"),
        ),
        (
            {"top_off": {"kind": "fixed", "amount": "5", "low_watermark": "5", "cap": "4"}},
            422,
            "top_off_cap_too_low",
        ),
        ({"colour": "red"}, 400, "unknown_field"),
    ],
)
def test_wallets_that_cannot_be(
    api: Api, customer: Customer, change: dict[str, Any], status: int, reason: str
) -> None:
    answer = api.post("/wallets", {"customer": "crm-1", **change})
    told = answer.json()
    codes = {told["reason"], *(one["code"] for one in told.get("errors", ()))}
    assert (answer.status_code, reason in codes) == (status, True), told
    assert Wallet.objects.count() == 0


UNKNOWN: dict[str, Any] = {
    "scope": {"products": ["pro"], "meters": ["calls", "x"], "charges": ["seats"]}
}


def test_credit_is_only_for_what_is_there(api: Api, tenant: Tenant, customer: Customer) -> None:
    make_meter(tenant, key="calls")
    wallet = make_wallet(customer)
    answers = [
        api.post("/wallets", {"customer": "crm-1", **UNKNOWN}),
        api.post("/credit-grants", {"wallet": wallet.public_id, "amount": "1", **UNKNOWN}),
        api.post(f"/wallets/{wallet.public_id}/purchases", {"amount": "1", **UNKNOWN}),
    ]
    for answer in answers:
        told = answer.json()
        fields = [one["field"] for one in told["errors"]]
        assert (answer.status_code, told["reason"]) == (422, "scope_unknown")
        assert fields == ["scope.products[0]", "scope.meters[1]", "scope.charges[0]"]
    assert (Wallet.objects.count(), CreditGrant.objects.count()) == (1, 0)
    fine = {"customer": "crm-1", "scope": {"meters": ["calls"]}}
    assert api.post("/wallets", fine).status_code == 201


def test_credit_is_asked_for_only_by_meters_that_are_there(
    api: Api, tenant: Tenant, customer: Customer
) -> None:
    make_meter(tenant, key="calls")
    wallet = make_grant(make_wallet(customer)).wallet.public_id
    paths: list[tuple[str, dict[str, Any]]] = [
        (f"/wallets/{wallet}/consume", {}),
        ("/holds", {"ttl": 60}),
        ("/authorize", {}),
    ]
    done = []
    for path, body in paths:
        named = {} if "consume" in path else {"wallet": wallet}
        asked = {"amount": "1", **body, **named}
        refused = api.post(path, {**asked, "meter": "cals"})
        told = refused.json()
        assert (refused.status_code, told["reason"]) == (422, "meter_unknown")
        assert [one["field"] for one in told["errors"]] == ["meter"]
        done.append(api.post(path, {**asked, "meter": "calls"}).status_code)
    assert done == [200, 201, 200]


def test_who_has_no_credit_in_it_is_not_authorized(api: Api, customer: Customer) -> None:
    make_grant(make_wallet(customer))
    answer = api.post("/authorize", {"customer": "crm-1", "currency": "EUR", "amount": "1"})
    assert (answer.status_code, answer.json()["authorized"]) == (200, False)


def test_other_tenants_see_nothing(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer)
    grant, held = make_grant(wallet), hold(make_paid(wallet).wallet, "1")
    other = Api(make_key(make_tenant()))
    paths = [
        f"/wallets/{wallet.public_id}",
        f"/credit-grants/{grant.public_id}",
        f"/holds/{held.public_id}",
        "/customers/crm-1/credit-summary",
    ]
    assert [other.get(path).status_code for path in paths] == [404] * 4
    ask = {"wallet": wallet.public_id, "amount": "1"}
    assert other.post("/authorize", ask).status_code == 404
    assert other.get("/credit-transactions").json()["total"] == 0


def test_a_forecast_tells_when_it_will_be_empty(api: Api, customer: Customer) -> None:
    wallet = make_wallet(customer, at=AT - 10 * DAY)
    make_grant(wallet, "30.00", at=AT - 10 * DAY)
    spend(wallet, "10.00", at=AT - DAY)
    shown = api.get(f"/wallets/{wallet.public_id}").json()["forecast"]
    assert shown == {"daily_burn": "1", "empty_at": "2026-05-21T12:00:00Z"}
    assert Decimal(shown["daily_burn"]) == 1
