"""Posting facts: once, in full, in bulk, and taking them back."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import DecimalField, IntegerField
from django.test.utils import CaptureQueriesContext

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.ledger.domain import (
    AccountKind,
    AccountRef,
    Amount,
    Fact,
    FactKind,
    FactPostedDifferently,
    NothingToReverse,
    entry_for,
)
from apps.ledger.invariants import RULES
from apps.ledger.models import JournalEntry, LedgerAccount, Posting
from apps.ledger.operations import post, post_all, reverse_entry
from apps.ledger.queries import account_balance, customer_balances, trial_balance, trial_totals
from tests.make.ledger import make_fact
from tests.make.tenants import AT, make_tenant

REVENUE = AccountRef(AccountKind.REVENUE, "USD")
TAX = AccountRef(AccountKind.TAX_PAYABLE, "USD")


def broken_rules() -> list[str]:
    return [sentence for rule in RULES for sentence in rule(None)]


def owed_by(fact: Fact) -> AccountRef:
    return AccountRef(AccountKind.RECEIVABLE, fact.currency, customer_id=fact.customer_id)


@pytest.mark.django_db
def test_a_fact_is_posted_once_however_often_it_is_told() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant)

    assert post_all([entry_for(fact), entry_for(fact)], at=AT) == 1
    assert post_all([entry_for(fact)], at=AT) == 0

    entry = JournalEntry.objects.get()
    assert (entry.kind, entry.source_key, entry.effective_at, entry.legs) == (
        "invoice_issued",
        fact.source_key,
        AT,
        3,
    )
    assert [(p.number, p.account.kind, p.amount) for p in entry.postings.all()] == [
        (1, "receivable", Decimal(119)),
        (2, "revenue", Decimal(-100)),
        (3, "tax_payable", Decimal(-19)),
    ]
    assert account_balance(tenant.id, owed_by(fact)) == Decimal(119)
    assert broken_rules() == []


@pytest.mark.django_db
def test_new_and_known_facts_go_together() -> None:
    tenant = make_tenant()
    known, new = make_fact(tenant), make_fact(tenant)
    post_all([entry_for(known)], at=AT)

    assert post_all([entry_for(new), entry_for(known)], at=AT) == 1

    assert account_balance(tenant.id, REVENUE) == Decimal(-200)
    assert broken_rules() == []


@pytest.mark.django_db
def test_the_same_key_at_two_tenants_is_two_facts() -> None:
    here, there = make_tenant(), make_tenant()

    for tenant in (here, there):
        with tenant_scope(tenant.id):
            assert post_all([entry_for(make_fact(tenant, source_key="1"))], at=AT) == 1
            assert account_balance(tenant.id, REVENUE) == Decimal(-100)


@pytest.mark.django_db
def test_what_moves_nothing_leaves_no_entry() -> None:
    nothing = entry_for(make_fact(make_tenant(), amounts={Amount.TOTAL: "0", Amount.NET: "0"}))

    assert post_all([nothing], at=AT) == 0
    assert post(nothing, at=AT) is None
    assert not JournalEntry.objects.exists()


@pytest.mark.django_db
def test_a_fact_of_the_future_is_a_defect() -> None:
    fact = make_fact(make_tenant(), at=AT + timedelta(microseconds=1))

    with pytest.raises(ValueError, match="lies in the future"):
        post_all([entry_for(fact)], at=AT)


@pytest.mark.django_db
@pytest.mark.parametrize("number", [1, 300])
def test_any_number_of_entries_takes_the_same_statements(number: int) -> None:
    tenant = make_tenant()
    customers = [new_id() for _ in range(number)]
    post_all([entry_for(make_fact(tenant, customer_id=c)) for c in customers], at=AT)

    again = [entry_for(make_fact(tenant, customer_id=c)) for c in customers]
    with CaptureQueriesContext(connection) as queries:
        assert post_all(again, at=AT) == number

    statements = [q["sql"].split()[0] for q in queries if "SAVEPOINT" not in q["sql"]]
    assert statements == ["SELECT", "INSERT", "INSERT"]
    assert Posting.objects.count() == 2 * 3 * number
    assert LedgerAccount.objects.count() == number + 2
    assert broken_rules() == []


@pytest.mark.django_db
def test_posting_one_answers_its_entry_again_and_again() -> None:
    fact = make_fact(make_tenant())

    first = post(entry_for(fact), at=AT)

    assert post(entry_for(fact), at=AT + timedelta(days=1)) == first
    assert JournalEntry.objects.count() == 1


@pytest.mark.django_db
def test_the_same_fact_with_other_amounts_is_refused() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant, source_key="1")
    post(entry_for(fact), at=AT)
    other = make_fact(
        tenant,
        source_key="1",
        customer_id=fact.customer_id,
        amounts={Amount.TOTAL: "1.00", Amount.NET: "1.00"},
    )

    with pytest.raises(FactPostedDifferently):
        post(entry_for(other), at=AT)


@pytest.mark.django_db
def test_a_reversal_negates_every_leg_once() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant)
    post_all([entry_for(fact)], at=AT)
    later = AT + timedelta(days=3)

    def reverse() -> JournalEntry:
        return reverse_entry(
            FactKind.INVOICE_CANCELED,
            fact.source_key,
            tenant_id=tenant.id,
            effective_at=later,
            at=later,
        )

    entry = reverse()

    assert reverse() == entry
    assert entry.reverses == JournalEntry.objects.get(kind="invoice_issued")
    assert [(p.account.kind, p.amount) for p in entry.postings.all()] == [
        ("receivable", Decimal(-119)),
        ("revenue", Decimal(100)),
        ("tax_payable", Decimal(19)),
    ]
    assert {one.balance for one in trial_balance(tenant.id)} == {Decimal(0)}
    assert broken_rules() == []


@pytest.mark.django_db
def test_what_is_not_in_the_books_cannot_be_reversed() -> None:
    tenant, other = make_tenant(), make_tenant()
    fact = make_fact(other)
    with tenant_scope(other.id):
        post_all([entry_for(fact)], at=AT)

    with pytest.raises(NothingToReverse):
        reverse_entry(
            FactKind.INVOICE_CANCELED,
            fact.source_key,
            tenant_id=tenant.id,
            effective_at=AT,
            at=AT,
        )


@pytest.mark.django_db
@pytest.mark.holds("L10")
def test_the_trial_balance_of_an_instant_has_the_facts_up_to_it() -> None:
    tenant = make_tenant()
    issued = make_fact(tenant)
    paid = make_fact(
        tenant,
        FactKind.PAYMENT_SETTLED,
        customer_id=issued.customer_id,
        provider="sandbox",
        at=AT + timedelta(days=1),
        amounts={Amount.RECEIVED: "120.00", Amount.ALLOCATED: "119.00", Amount.UNAPPLIED: "1.00"},
    )
    post_all([entry_for(issued), entry_for(paid)], at=AT + timedelta(days=2))

    def shown(at: datetime | None = None) -> list[tuple[str, Decimal, Decimal, Decimal]]:
        return [
            (one.account.kind.value, one.debit, one.credit, one.balance)
            for one in trial_balance(tenant.id, at)
        ]

    before = [
        ("receivable", Decimal(119), Decimal(0), Decimal(119)),
        ("revenue", Decimal(0), Decimal(100), Decimal(-100)),
        ("tax_payable", Decimal(0), Decimal(19), Decimal(-19)),
    ]
    assert shown(at=AT - timedelta(microseconds=1)) == []
    assert shown(at=AT) == before
    assert (
        shown()
        == shown(at=AT + timedelta(days=1))
        == [
            ("cash_clearing", Decimal(120), Decimal(0), Decimal(120)),
            ("customer_balance", Decimal(0), Decimal(1), Decimal(-1)),
            ("receivable", Decimal(119), Decimal(119), Decimal(0)),
            *before[1:],
        ]
    )
    total = trial_totals(trial_balance(tenant.id))[0]
    assert (total.currency, total.debit, total.credit) == ("USD", Decimal(239), Decimal(239))


@pytest.mark.holds("L6")
def test_an_account_stores_no_balance_that_could_differ_from_its_postings() -> None:
    numbers = [
        (model.__name__, column.name)
        for model in (LedgerAccount, JournalEntry, Posting)
        for column in model._meta.concrete_fields
        if isinstance(column, DecimalField | IntegerField)
    ]
    of_postings = [("Posting", one) for one in ("id", "number", "amount")]
    assert numbers == [("JournalEntry", "legs"), *of_postings]


@pytest.mark.django_db
def test_balances_by_customer() -> None:
    tenant = make_tenant()
    a, b = make_fact(tenant), make_fact(tenant, currency="EUR")
    post_all([entry_for(a), entry_for(b)], at=AT)

    assert customer_balances(tenant.id, AccountKind.RECEIVABLE) == {
        (a.customer_id, "USD"): Decimal(119),
        (b.customer_id, "EUR"): Decimal(119),
    }
    assert customer_balances(tenant.id, AccountKind.RECEIVABLE, [b.customer_id]) == {
        (b.customer_id, "EUR"): Decimal(119)
    }


def at_once(work: Callable[[], Any], times: int) -> list[Any]:
    """Call ``work`` in threads that begin together; return results and errors."""
    barrier = threading.Barrier(times)
    results: list[Any] = []

    def run() -> None:
        try:
            barrier.wait(timeout=30)
            results.append(work())
        except Exception as error:  # noqa: BLE001 -- handed to the test
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_post_the_same_facts_once() -> None:
    tenant = make_tenant()
    facts = [make_fact(tenant) for _ in range(5)]

    made = at_once(lambda: post_all([entry_for(f) for f in reversed(facts)], at=AT), 20)

    assert sorted(made) == [0] * 19 + [5]
    assert JournalEntry.objects.count() == 5
    assert LedgerAccount.objects.count() == 7
    assert account_balance(tenant.id, REVENUE) == Decimal(-500)
    assert broken_rules() == []


@pytest.mark.django_db(transaction=True)
def test_twenty_threads_reverse_once() -> None:
    tenant = make_tenant()
    fact = make_fact(tenant)
    post_all([entry_for(fact)], at=AT)

    entries = at_once(
        lambda: (
            reverse_entry(
                FactKind.INVOICE_CANCELED,
                fact.source_key,
                tenant_id=tenant.id,
                effective_at=AT,
                at=AT,
            ).pk
        ),
        20,
    )

    assert len(set(entries)) == 1
    assert JournalEntry.objects.count() == 2
    assert account_balance(tenant.id, TAX) == Decimal(0)


@pytest.mark.django_db(transaction=True)
def test_posting_in_a_nested_transaction_is_posted_and_sealed() -> None:
    tenant = make_tenant()
    with transaction.atomic():
        with transaction.atomic():
            post_all([entry_for(make_fact(tenant))], at=AT)
        post_all([entry_for(make_fact(tenant))], at=AT)

    assert JournalEntry.objects.count() == 2
    assert broken_rules() == []
