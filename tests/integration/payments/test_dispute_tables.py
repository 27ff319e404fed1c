"""The worked table of docs/disputes.md, executed row by row."""

import re
from pathlib import Path
from typing import Any

import pytest

from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.ledger.domain import AccountKind, AccountRef
from apps.ledger.queries import account_balance
from tests.make.backoffice import all_breaches
from tests.make.disputes import dispute, lose, win
from tests.make.invoicing import make_issued
from tests.make.payments import make_payer, usd
from tests.make.refunds import pay_back, receive

pytestmark = pytest.mark.django_db
PAGE = Path(__file__).parents[3] / "docs" / "disputes.md"
HEAD = "| what happens | owed to the customer | cash | disputes | bad debt | refunds | fees |"


def rows() -> list[list[str]]:
    lines = PAGE.read_text().splitlines()
    first = lines.index(HEAD) + 2
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def standing(customer: Customer) -> list[str]:
    refs = (
        AccountRef(AccountKind.CUSTOMER_BALANCE, "USD", customer_id=customer.id),
        AccountRef(AccountKind.CASH_CLEARING, "USD", provider="external"),
        AccountRef(AccountKind.DISPUTES, "USD"),
        AccountRef(AccountKind.BAD_DEBT, "USD"),
        AccountRef(AccountKind.REFUNDS, "USD"),
        AccountRef(AccountKind.PROVIDER_FEES, "USD"),
    )
    with tenant_scope(customer.tenant_id):
        return [f"{account_balance(customer.tenant_id, ref):.2f}" for ref in refs]


@pytest.mark.holds("F58")
def test_the_books_say_what_the_page_says() -> None:
    customer = make_payer(None)
    documents: list[Any] = []
    payments: list[Any] = []
    cases: list[Any] = []
    deeds: dict[str, Any] = {
        r"an invoice of ([0-9.]+) is issued": lambda a: documents.append(
            make_issued(customer, [a])
        ),
        r"([0-9.]+) come in for it": lambda a: payments.append(receive(documents[0], a)),
        r"([0-9.]+) are disputed, at a fee of 15.00": lambda a: cases.append(
            dispute(payments[0], a, fee=usd("15.00"))
        ),
        r"([0-9.]+) are disputed": lambda a: cases.append(dispute(payments[0], a)),
        r"that dispute is (won)": lambda _: win(cases[-1]),
        r"that dispute is (lost)": lambda _: lose(cases[-1]),
        r"([0-9.]+) are paid back": lambda a: pay_back(payments[0], a),
    }
    for happens, *wanted in rows():
        ((found, deed),) = [
            (match, deed) for way, deed in deeds.items() if (match := re.fullmatch(way, happens))
        ]
        deed(found[1])
        assert standing(customer) == wanted, happens
    assert all_breaches() == []
