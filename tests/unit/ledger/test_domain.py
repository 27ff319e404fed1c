"""What facts post, and what the entries refuse to be."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from apps.ledger.domain import (
    POSTING_RULES,
    UNDOES,
    AccountKind,
    AccountRef,
    Amount,
    Fact,
    FactKind,
    Leg,
    NewEntry,
    entry_for,
)

AT = datetime(2026, 5, 1, tzinfo=UTC)
TENANT = UUID(int=1)
CUSTOMER = UUID(int=2)
OWED = AccountRef(AccountKind.RECEIVABLE, "USD", customer_id=CUSTOMER)
BALANCE = AccountRef(AccountKind.CUSTOMER_BALANCE, "USD", customer_id=CUSTOMER)
REVENUE = AccountRef(AccountKind.REVENUE, "USD")
TAX = AccountRef(AccountKind.TAX_PAYABLE, "USD")
BAD_DEBT = AccountRef(AccountKind.BAD_DEBT, "USD")
CASH = AccountRef(AccountKind.CASH_CLEARING, "USD", provider="sandbox")


def fact(kind: FactKind, **amounts: str) -> Fact:
    return Fact(
        kind=kind,
        tenant_id=TENANT,
        source_key="x",
        effective_at=AT,
        currency="USD",
        customer_id=CUSTOMER,
        amounts={Amount(name): Decimal(text) for name, text in amounts.items()},
        provider="sandbox",
    )


@pytest.mark.parametrize(
    ("told", "legs"),
    [
        (
            fact(FactKind.INVOICE_ISSUED, total="119", net="100", tax="19"),
            [(OWED, "119"), (REVENUE, "-100"), (TAX, "-19")],
        ),
        (
            fact(FactKind.INVOICE_ISSUED, total="100", net="100", tax="0"),
            [(OWED, "100"), (REVENUE, "-100")],
        ),
        (
            fact(FactKind.CREDIT_MEMO_ISSUED, total="119", net="100", tax="19"),
            [(REVENUE, "100"), (TAX, "19"), (BALANCE, "-119")],
        ),
        (fact(FactKind.BALANCE_APPLIED, moved="5"), [(BALANCE, "5"), (OWED, "-5")]),
        (fact(FactKind.INVOICE_WRITTEN_OFF, due="7"), [(BAD_DEBT, "7"), (OWED, "-7")]),
        (
            fact(FactKind.PAYMENT_SETTLED, received="10", allocated="8", unapplied="2"),
            [(CASH, "10"), (OWED, "-8"), (BALANCE, "-2")],
        ),
        (fact(FactKind.INVOICE_ISSUED, total="0", net="0"), []),
    ],
)
def test_a_fact_posts_by_the_table(told: Fact, legs: list[tuple[AccountRef, str]]) -> None:
    entry = entry_for(told)

    assert entry.legs == tuple(Leg(account, Decimal(amount)) for account, amount in legs)


def test_every_kind_of_fact_is_posted_by_rules_or_undoes_one_that_is() -> None:
    assert set(POSTING_RULES) | set(UNDOES) == set(FactKind)
    assert set(POSTING_RULES) & set(UNDOES) == set()
    assert set(UNDOES.values()) <= set(POSTING_RULES)


def test_amounts_that_do_not_add_up_are_a_defect() -> None:
    with pytest.raises(ValueError, match="does not balance"):
        entry_for(fact(FactKind.INVOICE_ISSUED, total="119", net="100", tax="18.99"))


def test_an_amount_that_the_rules_do_not_use_is_a_defect() -> None:
    with pytest.raises(ValueError, match="has no tax"):
        entry_for(fact(FactKind.BALANCE_APPLIED, moved="5", tax="1"))


def test_currencies_balance_each_for_itself() -> None:
    euros = AccountRef(AccountKind.REVENUE, "EUR")

    with pytest.raises(ValueError, match="does not balance"):
        NewEntry(
            TENANT,
            FactKind.INVOICE_ISSUED,
            "x",
            AT,
            (Leg(OWED, Decimal(1)), Leg(euros, Decimal(-1))),
        )


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "0"])
def test_a_leg_moves_a_finite_amount(amount: str) -> None:
    with pytest.raises(ValueError, match="a leg of"):
        NewEntry(TENANT, FactKind.INVOICE_ISSUED, "x", AT, (Leg(OWED, Decimal(amount)),))


@pytest.mark.parametrize(
    ("kind", "party"),
    [
        (AccountKind.RECEIVABLE, {}),
        (AccountKind.REVENUE, {"customer_id": CUSTOMER}),
        (AccountKind.CASH_CLEARING, {}),
        (AccountKind.BAD_DEBT, {"provider": "sandbox"}),
        (AccountKind.CASH_CLEARING, {"provider": "sandbox", "customer_id": CUSTOMER}),
    ],
)
def test_an_account_names_its_party_and_no_other(kind: AccountKind, party: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="always"):
        AccountRef(kind, "USD", **party)
