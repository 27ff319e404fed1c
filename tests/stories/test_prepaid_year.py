"""Twelve months of prepaid credit, told by date; the books are checked after every step."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import prepaid_year
import pytest
from client import Client

from apps.backoffice.books import breaches
from apps.tenants.domain import Mode
from tests.make.tenants import make_key, make_tenant

# what the wallets had: money, image credits, and how the wallet of money was
HAD = {
    "1 January": ("60", "100", "active"),
    "31 January": ("60", "60", "active"),
    "1 February": ("30", "0", "active"),  # 60 image credits expired; 10 given and 20 paid went
    "1 March": ("50", "150", "active"),  # 20 went, and below 20 it was filled up
    "1 April": ("5", "150", "payment_failed"),  # the card was declined
    "10 April": ("50", "150", "active"),
    "10 April, jobs": ("37", "150", "active"),  # 5 captured, 8 held
    "17 April": ("45", "150", "active"),  # the forgotten hold is over
    "1 May": ("35", "150", "active"),
    "1 May, money back": ("35", "150", "active"),  # 10 were bought, and their money went back
    "1 May, a chargeback": ("35", "150", "active"),  # 8 were bought, and the bank took the money
    "1 May, a present": ("35", "150", "active"),  # it begins in June
    "1 June": ("35", "150", "active"),  # … and has paid the base fee
    "1 July": ("33", "0", "active"),
    "1 July, a refund": ("0", "0", "active"),
    "2026-08": ("5", "0", "active"),
    "2026-12": ("0", "0", "active"),
    "1 January 2027": ("0", "0", "active"),
}
# what the newest document came to: its total, paid by credit, by the balance, and due
ASKED = {
    "1 February": ("51.60", "31.60", "0.00", "0.00"),
    "1 May": ("30.00", "10.00", "0.00", "0.00"),
    "1 June": ("20.00", "15.00", "0.00", "0.00"),
    "1 July": ("28.00", "8.00", "0.00", "0.00"),
    "2026-08": ("20.00", "0.00", "20.00", "0.00"),
    "2026-12": ("20.00", "0.00", "0.00", "0.00"),
}


def checking(tenant_id: UUID, steps: list[int]) -> Callable[[], None]:
    """Return the check of the story's steps, which counts them."""

    def check() -> None:
        assert list(breaches(tenant_id)) == []
        steps.append(1)

    return check


def had(found: dict[str, Any]) -> tuple[str, ...]:
    money, images = found["money"], found["images"]
    return (money["available"], images["available"], money["status"])


def asked(invoice: dict[str, str]) -> tuple[str, ...]:
    names = ("total", "credit_applied", "balance_applied", "amount_due")
    return tuple(invoice[one] for one in names)


@pytest.mark.slow
def test_a_year_of_prepaid_credit(served: str, worker: None) -> None:
    tenant = make_tenant(mode=Mode.TEST)
    steps: list[int] = []
    told = prepaid_year.run(Client(served, make_key(tenant)), checking(tenant.id, steps))
    assert {when: had(told[when]) for when in HAD} == HAD
    assert {when: asked(told[when]["invoice"]) for when in ASKED} == ASKED
    assert told["authorized"] == [True, False]
    assert (told["paid back"]["status"], told["paid back"]["amount"]) == ("succeeded", "10.00")
    assert (told["disputed"]["status"], told["disputed"]["amount"]) == ("lost", "8.00")
    assert len(told["paused"]) == 2
    assert (told["refunded"]["status"], told["refunded"]["remaining"]) == ("refunded", "0")
    assert Counter(one["type"] for one in told["transactions"]) == {
        "grant": 10,
        "consume": 12,
        "hold": 3,
        "release": 3,
        "expire": 2,
        "refund": 2,
        "dispute": 1,
    }
    assert len(steps) == 49
