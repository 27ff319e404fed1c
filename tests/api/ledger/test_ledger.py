"""The books over HTTP."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.ids import encode
from apps.core.tenancy import tenant_scope
from apps.ledger.domain import Amount, FactKind, entry_for
from apps.ledger.models import JournalEntry, LedgerAccount
from apps.ledger.operations import post_all
from tests.make.api import Api
from tests.make.ledger import make_fact
from tests.make.tenants import AT, make_key, make_tenant

pytestmark = pytest.mark.django_db


def test_the_journal_shows_postings_and_whose_they_are() -> None:
    tenant = make_tenant()
    issued = make_fact(tenant, source_key="inv_1")
    paid = make_fact(
        tenant,
        FactKind.PAYMENT_SETTLED,
        source_key="pay_1",
        customer_id=issued.customer_id,
        provider="sandbox",
        amounts={Amount.RECEIVED: "119.00", Amount.ALLOCATED: "119.00"},
    )
    post_all([entry_for(issued)], at=AT)
    post_all([entry_for(paid)], at=AT)
    api = Api(make_key(tenant))

    answer = api.get("/ledger/entries", kind="payment_settled")

    entry = JournalEntry.objects.get(kind="payment_settled")
    accounts = {a.kind: a.public_id for a in LedgerAccount.objects.all()}
    customer = encode("cus", issued.customer_id)
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "list",
        "data": [
            {
                "object": "journal_entry",
                "id": entry.public_id,
                "kind": "payment_settled",
                "source_key": "pay_1",
                "effective_at": "2026-05-01T12:00:00Z",
                "posted_at": entry.posted_at.replace(tzinfo=None).isoformat() + "Z",
                "reverses": None,
                "postings": [
                    {
                        "account": accounts["cash_clearing"],
                        "kind": "cash_clearing",
                        "customer": None,
                        "provider": "sandbox",
                        "amount": "119.00",
                        "currency": "USD",
                    },
                    {
                        "account": accounts["receivable"],
                        "kind": "receivable",
                        "customer": customer,
                        "provider": None,
                        "amount": "-119.00",
                        "currency": "USD",
                    },
                ],
            }
        ],
        "has_more": False,
        "next_cursor": None,
    }
    one = api.get(f"/ledger/entries/{entry.public_id}")
    assert one.json() == answer.json()["data"][0]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["b", "a"]),
        ({"kind": "invoice_issued"}, ["b", "a"]),
        ({"kind": "payment_settled"}, []),
        ({"source_key": "a"}, ["a"]),
        ({"effective_from": "2026-05-02T12:00:00Z"}, ["b"]),
        ({"effective_before": "2026-05-02T12:00:00Z"}, ["a"]),
    ],
)
def test_the_journal_is_filtered(filters: dict[str, str], found: list[str]) -> None:
    tenant = make_tenant()
    later = AT + timedelta(days=1)
    for key, at in (("a", AT), ("b", later)):
        post_all([entry_for(make_fact(tenant, source_key=key, at=at))], at=later)

    answer = Api(make_key(tenant)).get("/ledger/entries", **filters)

    assert [entry["source_key"] for entry in answer.json()["data"]] == found


def test_the_journal_of_one_account_or_customer() -> None:
    tenant = make_tenant()
    one, two = make_fact(tenant, source_key="1"), make_fact(tenant, source_key="2")
    post_all([entry_for(one), entry_for(two)], at=AT)
    api = Api(make_key(tenant))
    account = LedgerAccount.objects.get(customer_id=two.customer_id)

    for filters in (
        {"account": account.public_id},
        {"customer": encode("cus", two.customer_id)},
    ):
        answer = api.get("/ledger/entries", **filters)
        assert [entry["source_key"] for entry in answer.json()["data"]] == ["2"]


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"kind": "gift"}, "invalid"),
        ({"account": "acc_1"}, "id_malformed"),
        ({"effective_from": "yesterday"}, "invalid"),
        ({"knd": "invoice_issued"}, "unknown_parameter"),
    ],
)
def test_filters_that_are_none(filters: dict[str, str], code: str) -> None:
    answer = Api(make_key(make_tenant())).get("/ledger/entries", **filters)

    assert answer.status_code == 400
    assert [(e["field"], e["code"]) for e in answer.json()["errors"]] == [(*filters, code)]


@pytest.mark.parametrize("number", [1, 3])
def test_a_page_of_the_journal_takes_three_queries_more_than_the_key(number: int) -> None:
    tenant = make_tenant()
    post_all([entry_for(make_fact(tenant)) for _ in range(number)], at=AT)
    api = Api(make_key(tenant))

    with CaptureQueriesContext(connection) as queries:
        answer = api.get("/ledger/entries")

    assert len(answer.json()["data"]) == number
    about_the_books = [q["sql"] for q in queries if "ledger_" in q["sql"]]
    assert len(about_the_books) == 3  # entries, their postings, the accounts of those


@pytest.mark.parametrize("number", [1, 3])
def test_accounts_come_with_their_balance_in_one_query(number: int) -> None:
    tenant = make_tenant()
    facts = [make_fact(tenant) for _ in range(number)]
    post_all([entry_for(fact) for fact in facts], at=AT)
    api = Api(make_key(tenant))

    with CaptureQueriesContext(connection) as queries:
        answer = api.get("/ledger/accounts")

    assert len([q for q in queries if "ledger_" in q["sql"]]) == 1
    assert sorted((a["kind"], a["currency"], a["balance"]) for a in answer.json()["data"]) == [
        *[("receivable", "USD", "119.00")] * number,
        ("revenue", "USD", str(Decimal("-100.00") * number)),
        ("tax_payable", "USD", str(Decimal("-19.00") * number)),
    ]


def test_one_account() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant, currency="JPY", amounts={Amount.TOTAL: "119", Amount.NET: "119"})
    post_all([entry_for(fact)], at=AT)
    account = LedgerAccount.objects.get(kind="receivable")
    api = Api(make_key(tenant))

    shown = {
        "object": "ledger_account",
        "id": account.public_id,
        "kind": "receivable",
        "customer": encode("cus", fact.customer_id),
        "provider": None,
        "currency": "JPY",
        "balance": "119",
    }
    assert api.get(f"/ledger/accounts/{account.public_id}").json() == shown
    found = api.get("/ledger/accounts", customer=shown["customer"], kind="receivable")
    assert found.json()["data"] == [shown]


def test_the_trial_balance_adds_up() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant)
    post_all([entry_for(fact)], at=AT)
    api = Api(make_key(tenant))

    answer = api.get("/ledger/trial-balance")

    assert answer.status_code == 200
    assert answer.json()["object"] == "trial_balance"
    assert answer.json()["at"] is None
    assert [
        (a["kind"], a["debit"], a["credit"], a["balance"]) for a in answer.json()["accounts"]
    ] == [
        ("receivable", "119.00", "0.00", "119.00"),
        ("revenue", "0.00", "100.00", "-100.00"),
        ("tax_payable", "0.00", "19.00", "-19.00"),
    ]
    assert answer.json()["totals"] == [{"currency": "USD", "debit": "119.00", "credit": "119.00"}]
    earlier = api.get("/ledger/trial-balance", at="2026-05-01T11:59:59Z").json()
    assert (earlier["at"], earlier["accounts"], earlier["totals"]) == (
        "2026-05-01T11:59:59Z",
        [],
        [],
    )


def test_the_trial_balance_refuses_what_is_no_instant() -> None:
    answer = Api(make_key(make_tenant())).get("/ledger/trial-balance", at="2026-05-01")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "at"


def test_the_books_of_others_are_not_there() -> None:
    tenant, other = make_tenant(), make_tenant()
    with tenant_scope(other.id):
        post_all([entry_for(make_fact(other))], at=AT)
        entry, account = JournalEntry.objects.get(), LedgerAccount.objects.first()
    api = Api(make_key(tenant))

    assert api.get("/ledger/entries").json()["data"] == []
    assert api.get("/ledger/accounts").json()["data"] == []
    assert api.get("/ledger/trial-balance").json()["accounts"] == []
    assert account is not None
    assert api.get(f"/ledger/entries/{entry.public_id}").status_code == 404
    assert api.get(f"/ledger/accounts/{account.public_id}").status_code == 404


def test_the_books_are_read_only_and_need_their_scope() -> None:
    tenant = make_tenant()

    assert Api(make_key(tenant)).post("/ledger/entries", {}).status_code == 405
    refused = Api(make_key(tenant, scopes=["invoices:read"])).get("/ledger/entries")
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
