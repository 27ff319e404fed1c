"""Every rule about credit finds what it is for, and nothing in right books; triggers refuse it before."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.constraints import broken as constraint
from apps.core.ids import new_id
from apps.wallets.invariants import RULES
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.spending import capture_hold
from tests.make.books import unguarded
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import DAY, hold, make_grant, make_paid, make_pending, make_wallet, spend
from tests.servers import as_superuser

pytestmark = pytest.mark.django_db

TABLES = (
    "wallets_wallet",
    "wallets_creditgrant",
    "wallets_credithold",
    "wallets_credittransaction",
)


def run(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def broken() -> set[str]:
    return {rule.__name__ for rule in RULES if list(rule(None))}


@pytest.fixture
def wallet(db: None) -> Wallet:
    """A wallet to which everything has happened."""
    wallet = make_wallet(make_customer(make_tenant()))
    make_paid(wallet, "10.00")
    make_grant(wallet, "2.00", expires_at=AT + DAY)
    spend(wallet, "1.00")
    captured = hold(wallet, "3.00")
    capture_hold(captured.id, tenant_id=wallet.tenant_id, amount=Decimal(1), actor=ACTOR, at=AT)
    hold(wallet, "1.00")
    return wallet


def test_right_books_break_no_rule(wallet: Wallet) -> None:
    assert broken() == set()


def _drop(table: str, *names: str) -> None:
    with as_superuser():
        for name in names:
            run(f"ALTER TABLE {table} DROP CONSTRAINT {name}")


def _twins(wallet: Wallet) -> None:
    with as_superuser():
        run("DROP INDEX one_top_off_in_flight")
    for _ in range(2):
        grant = make_pending(wallet, "1.00")
        run("UPDATE wallets_creditgrant SET source = 'top_off' WHERE id = %s", grant.id)


def _stranger(wallet: Wallet) -> None:
    other = make_grant(make_wallet(make_customer(wallet.tenant)), "1.00")
    _drop("wallets_credittransaction", "credit_entry_grant_of_wallet")
    run(
        "UPDATE wallets_credittransaction SET grant_id = %s WHERE wallet_id = %s AND number = 1",
        other.id,
        wallet.id,
    )


@pytest.mark.holds("W1")
@pytest.mark.parametrize(
    ("rule", "breaking"),
    [
        (
            "balances_are_what_moved",
            lambda it: run("UPDATE wallets_wallet SET balance = balance + 1 WHERE id = %s", it.id),
        ),
        (
            "grants_have_what_moved",
            lambda it: run(
                "UPDATE wallets_creditgrant SET remaining = remaining - 1"
                " WHERE wallet_id = %s AND kind = 'paid'",
                it.id,
            ),
        ),
        (
            "transactions_follow_each_other",
            lambda it: run(
                "UPDATE wallets_credittransaction SET balance_after = balance_after + 1"
                " WHERE wallet_id = %s AND number = 2",
                it.id,
            ),
        ),
        (
            "holds_are_put_aside",
            lambda it: run("UPDATE wallets_wallet SET held = held + 1 WHERE id = %s", it.id),
        ),
        (
            "holds_end_once",
            lambda it: run(
                "UPDATE wallets_credithold SET captured = 2 WHERE wallet_id = %s"
                " AND status = 'captured'",
                it.id,
            ),
        ),
        (
            "credit_is_used_in_its_time",
            lambda it: run(
                "UPDATE wallets_credittransaction SET at = %s WHERE wallet_id = %s"
                " AND kind = 'consume' AND hold_id IS NULL",
                AT + DAY,
                it.id,
            ),
        ),
        (
            "liability_is_what_was_sold",
            lambda it: run(
                "UPDATE wallets_creditgrant SET value_left = 1 WHERE wallet_id = %s"
                " AND kind = 'paid'",
                it.id,
            ),
        ),
        ("one_top_off_is_in_flight", _twins),
        ("transactions_are_of_their_wallet", _stranger),
    ],
)
def test_a_rule_finds_what_it_is_for(
    wallet: Wallet, rule: str, breaking: Callable[[Wallet], None]
) -> None:
    with unguarded(*TABLES):
        breaking(wallet)
        assert rule in broken()


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("UPDATE wallets_wallet SET balance = balance + 1", "wallet_adds_up"),
        ("UPDATE wallets_wallet SET balance = -0.01", "wallet_not_overspent"),
        pytest.param(
            "UPDATE wallets_wallet SET currency = 'EUR'",
            "wallet_stays",
            marks=pytest.mark.holds("W10"),
        ),
        ("DELETE FROM wallets_wallet", "wallet_stays"),
        ("UPDATE wallets_creditgrant SET amount = amount + 1", "grant_stays"),
        ("UPDATE wallets_creditgrant SET remaining = -1", "grant_within_its_amount"),
        ("UPDATE wallets_creditgrant SET remaining = remaining / 2", "grant_adds_up"),
        ("UPDATE wallets_credithold SET amount = amount + 1", "hold_stays"),
        ("UPDATE wallets_credittransaction SET amount = amount + 1", "append_only"),
        ("DELETE FROM wallets_credittransaction", "append_only"),
    ],
)
def test_the_database_refuses_it(wallet: Wallet, sql: str, name: str) -> None:
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("SET CONSTRAINTS ALL DEFERRED")
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        run(f"{sql}; SET CONSTRAINTS ALL IMMEDIATE")
    assert constraint(raised.value) == name


def test_a_movement_goes_on_from_the_last(wallet: Wallet) -> None:
    last = CreditTransaction.objects.filter(wallet=wallet).order_by("-number")[0]
    grant = CreditGrant.objects.filter(wallet=wallet, kind="paid").get()
    for number, balance in ((last.number, last.balance_after), (last.number + 1, Decimal(99))):
        with pytest.raises(IntegrityError), transaction.atomic():
            CreditTransaction.objects.create(
                id=new_id(),
                tenant_id=wallet.tenant_id,
                wallet=wallet,
                number=number,
                kind="consume",
                grant=grant,
                amount=Decimal(-1),
                balance_after=balance,
                grant_after=grant.remaining - 1,
                value=Decimal(-1),
                source_key="by hand",
                actor=ACTOR,
                at=AT,
            )
