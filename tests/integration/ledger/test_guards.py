"""What the database refuses to whoever writes the books, and what check_books would say."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from apps.core.constraints import broken
from apps.core.ids import new_id
from apps.ledger.domain import FactKind, entry_for
from apps.ledger.invariants import (
    RULES,
    every_currency_adds_up_to_zero,
    every_entry_balances,
    every_entry_is_whole,
    postings_match_their_accounts,
    reversals_are_exact,
)
from apps.ledger.models import JournalEntry, Posting
from apps.ledger.operations import post_all, reverse_entry
from apps.tenants.models import Tenant
from tests.make.ledger import make_fact
from tests.make.tenants import AT, make_tenant
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

_ENTRY = """
INSERT INTO ledger_journalentry (id, tenant_id, kind, source_key, effective_at, legs, reverses_id)
VALUES (%s, %s, 'invoice_issued', 'by-hand', now(), %s, %s)
"""
_POSTING = """
INSERT INTO ledger_posting (tenant_id, entry_id, number, account_id, amount, currency)
SELECT %s, e.id, %s, a.id, %s::numeric, %s
FROM ledger_journalentry e, ledger_ledgeraccount a
WHERE e.source_key = 'by-hand' AND a.tenant_id = %s AND a.kind = %s AND a.currency = %s
"""


@pytest.fixture
def tenant() -> Tenant:
    """A tenant with one issued invoice in the books."""
    tenant = make_tenant()
    post_all([entry_for(make_fact(tenant))], at=AT)
    return tenant


def execute(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def refused(*statements: tuple[Any, ...]) -> str:
    """Run the statements as one transaction of its own would; return which rule refused them."""
    try:
        with transaction.atomic():
            for statement, *values in statements:
                execute(statement, *values)
            execute("SET CONSTRAINTS ALL IMMEDIATE")
    except IntegrityError as error:
        return broken(error)
    finally:
        execute("SET CONSTRAINTS ALL DEFERRED")
    return ""


def entry(
    tenant: Tenant, *, legs: int = 2, reverses: JournalEntry | None = None
) -> tuple[Any, ...]:
    """The statement that writes an entry; its postings name it by its source key."""
    return (
        _ENTRY,
        new_id(),
        tenant.id,
        legs,
        reverses.id if reverses else None,
    )


def posting(
    tenant: Tenant,
    number: int,
    amount: str,
    *,
    kind: str = "revenue",
    currency: str = "USD",
    account_in: str = "USD",
) -> tuple[Any, ...]:
    return (
        _POSTING,
        tenant.id,
        number,
        amount,
        currency,
        tenant.id,
        kind,
        account_in,
    )


def test_a_balanced_entry_is_accepted(tenant: Tenant) -> None:
    statements = [
        entry(tenant),
        posting(tenant, 1, "5"),
        posting(tenant, 2, "-5", kind="tax_payable"),
    ]

    assert refused(*statements) == ""
    assert JournalEntry.objects.filter(source_key="by-hand").count() == 1


def test_an_entry_without_postings_is_refused(tenant: Tenant) -> None:
    assert refused(entry(tenant)) == "journal_balanced"


@pytest.mark.holds("L1")
def test_an_entry_of_one_leg_is_refused(tenant: Tenant) -> None:
    assert refused(entry(tenant, legs=1), posting(tenant, 1, "5")) == "journal_has_two_sides"
    assert refused(entry(tenant), posting(tenant, 1, "5")) == "journal_balanced"


@pytest.mark.holds("L1", "B108")
def test_an_unbalanced_entry_is_refused(tenant: Tenant) -> None:
    statements = [entry(tenant), posting(tenant, 1, "5"), posting(tenant, 2, "-4.99")]

    assert refused(*statements) == "journal_balanced"


@pytest.mark.holds("L1", "L8")
def test_currencies_do_not_balance_each_other(tenant: Tenant) -> None:
    post_all([entry_for(make_fact(tenant, currency="EUR"))], at=AT)
    five_euros = posting(tenant, 2, "-5", currency="EUR", account_in="EUR")

    assert refused(entry(tenant), posting(tenant, 1, "5"), five_euros) == "journal_balanced"


@pytest.mark.holds("L8")
def test_a_posting_has_the_currency_of_its_account(tenant: Tenant) -> None:
    assert refused(entry(tenant), posting(tenant, 1, "5", currency="EUR")) == "posting_like_account"


def test_a_posting_has_the_tenant_of_its_account(tenant: Tenant) -> None:
    other = make_tenant()
    statement, _, *values = posting(tenant, 1, "5")

    with as_superuser():
        assert refused(entry(other), (statement, other.id, *values)) == "posting_like_account"


def test_a_posting_has_the_tenant_of_its_entry(tenant: Tenant) -> None:
    other = make_tenant()
    with as_superuser():
        assert refused(entry(other), posting(tenant, 1, "5")) == "journal_sealed"


def test_an_account_that_does_not_exist_is_refused(tenant: Tenant) -> None:
    statement = (
        "INSERT INTO ledger_posting (tenant_id, entry_id, number, account_id, amount, currency)"
        " SELECT tenant_id, id, 1, %s, 5, 'USD' FROM ledger_journalentry"
        " WHERE source_key = 'by-hand'"
    )

    assert refused(entry(tenant), (statement, new_id())) == "posting_like_account"


@pytest.mark.holds("M1")
def test_nan_is_no_amount(tenant: Tenant) -> None:
    assert refused(entry(tenant), posting(tenant, 1, "NaN")) == "not_nan_amount"


def test_a_posting_of_nothing_is_refused(tenant: Tenant) -> None:
    assert refused(entry(tenant), posting(tenant, 1, "0")) == "posting_moves_something"


@pytest.mark.parametrize("number", [0, 3])
def test_an_entry_takes_as_many_legs_as_it_says(tenant: Tenant, number: int) -> None:
    balanced = [
        entry(tenant),
        posting(tenant, 1, "5"),
        posting(tenant, 2, "-5", kind="tax_payable"),
    ]
    more = posting(tenant, number, "5")

    assert refused(*balanced, more) == "journal_sealed"
    # also once the deferred check has had its turn
    assert refused(*balanced, ("SET CONSTRAINTS ALL IMMEDIATE",), more) == "journal_sealed"


@pytest.mark.holds("L3")
def test_a_fact_is_posted_once(tenant: Tenant) -> None:
    balanced = [
        entry(tenant),
        posting(tenant, 1, "5"),
        posting(tenant, 2, "-5", kind="tax_payable"),
    ]

    assert refused(*balanced, entry(tenant)) == "journal_fact_posted_once"


@pytest.mark.holds("L5")
def test_a_reversal_that_is_not_the_negation_is_refused(tenant: Tenant) -> None:
    undone = JournalEntry.objects.get()
    half = [posting(tenant, 1, "1"), posting(tenant, 2, "-1", kind="tax_payable")]

    assert refused(entry(tenant, reverses=undone), *half) == "journal_reversal_exact"


@pytest.mark.holds("L5")
def test_an_entry_is_reversed_once(tenant: Tenant) -> None:
    undone = JournalEntry.objects.get()
    reverse_entry(
        FactKind.INVOICE_CANCELED, undone.source_key, tenant_id=tenant.id, effective_at=AT, at=AT
    )

    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        execute(*entry(tenant, reverses=undone))

    assert broken(caught.value) == "ledger_journalentry_reverses_id_key"


@pytest.mark.parametrize("table", ["ledger_posting", "ledger_journalentry", "ledger_ledgeraccount"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}"])
@pytest.mark.holds("L4")
def test_nothing_is_changed_or_deleted(tenant: Tenant, table: str, statement: str) -> None:
    assert refused((statement.format(table),)) == "append_only"


def test_nothing_is_truncated(tenant: Tenant) -> None:
    with as_superuser():  # the program's own role may not even try
        assert refused(("TRUNCATE ledger_posting",)) == "append_only"


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("L4")
def test_a_committed_entry_is_sealed() -> None:
    tenant = make_tenant()
    with transaction.atomic():
        execute(*entry(tenant))
        post_all([entry_for(make_fact(tenant))], at=AT)
        execute(*posting(tenant, 1, "5"))
        execute(*posting(tenant, 2, "-5", kind="tax_payable"))

    both = (
        "INSERT INTO ledger_posting (tenant_id, entry_id, number, account_id, amount, currency)"
        " SELECT tenant_id, entry_id, number + 2, account_id, amount, currency"
        " FROM ledger_posting WHERE entry_id ="
        " (SELECT id FROM ledger_journalentry WHERE source_key = 'by-hand')"
    )
    assert refused((both,)) == "journal_sealed"


@pytest.mark.django_db(transaction=True)
@pytest.mark.holds("L10")
def test_nobody_posts_into_the_past() -> None:
    tenant = make_tenant()
    with transaction.atomic():
        post_all([entry_for(make_fact(tenant))], at=AT)
        execute(
            "INSERT INTO ledger_journalentry"
            " (id, tenant_id, kind, source_key, effective_at, posted_at, legs)"
            " VALUES (%s, %s, 'invoice_issued', 'by-hand', %s, '2001-01-01Z', 2)",
            new_id(),
            tenant.id,
            AT,
        )
        execute(*posting(tenant, 1, "5"))
        execute(*posting(tenant, 2, "-5", kind="tax_payable"))

    honest, backdated = JournalEntry.objects.order_by("posted_at")
    assert backdated.source_key == "by-hand"
    assert abs((backdated.posted_at - honest.posted_at).total_seconds()) < 60


@contextmanager
def unguarded() -> Iterator[None]:
    """Let every write through, as if no rule of the database stood guard."""
    execute("SET CONSTRAINTS ALL IMMEDIATE")  # what was written before has been checked
    execute("SET CONSTRAINTS ALL DEFERRED")
    with as_superuser():
        execute("SET session_replication_role = replica")
        try:
            yield
        finally:
            execute("SET session_replication_role = origin")


def sentences() -> dict[str, int]:
    found = {rule.__name__: len(list(rule(None))) for rule in RULES}
    return {name: number for name, number in found.items() if number}


def test_the_checks_find_nothing_in_good_books(tenant: Tenant) -> None:
    assert sentences() == {}


@pytest.mark.holds("L2")
def test_the_checks_see_an_entry_that_does_not_balance(tenant: Tenant) -> None:
    with unguarded():
        execute("UPDATE ledger_posting SET amount = amount + 1 WHERE number = 2")

    off = JournalEntry.objects.get()
    assert list(every_entry_balances(tenant.id)) == [
        f"journal entry {off.id} is off by 1.000000000000 USD"
    ]
    assert list(every_currency_adds_up_to_zero(tenant.id)) == [
        f"the books of tenant {tenant.id} are off by 1.000000000000 USD"
    ]
    assert list(every_entry_balances(make_tenant().id)) == []


def test_the_checks_see_missing_postings(tenant: Tenant) -> None:
    with unguarded():
        execute("DELETE FROM ledger_posting WHERE number = 3")

    off = JournalEntry.objects.get()
    assert list(every_entry_is_whole(None)) == [f"journal entry {off.id} has 2 of 3 postings"]


def test_the_checks_see_a_posting_on_the_wrong_account(tenant: Tenant) -> None:
    with unguarded():
        execute("UPDATE ledger_posting SET currency = 'EUR' WHERE number = 1")

    assert list(postings_match_their_accounts(tenant.id)) == [
        f"posting {Posting.objects.get(number=1).pk} in EUR is on an account in USD or of others"
    ]


def test_the_checks_see_a_reversal_that_is_none(tenant: Tenant) -> None:
    undone = JournalEntry.objects.get()
    reversal = reverse_entry(
        FactKind.INVOICE_CANCELED, undone.source_key, tenant_id=tenant.id, effective_at=AT, at=AT
    )
    with unguarded():
        execute("UPDATE ledger_posting SET amount = amount * 2 WHERE entry_id = %s", reversal.id)

    assert (
        list(reversals_are_exact(tenant.id))
        == [f"journal entry {reversal.id} does not negate {undone.id}"] * 3
    )
    assert list(every_entry_balances(tenant.id)) == []


def test_replica_mode_ends_with_the_context() -> None:
    with unguarded():
        pass

    with as_superuser(), pytest.raises(DatabaseError), transaction.atomic():
        execute("DELETE FROM ledger_posting; TRUNCATE ledger_posting")
