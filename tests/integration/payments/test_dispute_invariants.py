"""Every rule about disputes finds what it is for, and nothing in right books."""

from decimal import Decimal

import pytest

from apps.core.tenancy import tenant_scope
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.payments.models import Payment
from tests.integration.payments.test_refund_invariants import broken, change
from tests.make.disputes import dispute, lose
from tests.make.refunds import make_paid_invoice, pay_back
from tests.make.tenants import AT

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid() -> Payment:
    return make_paid_invoice("sandbox_ok", "100.00")[1]


def test_right_books_break_no_rule(paid: Payment) -> None:
    pay_back(paid, "30.00")
    lose(dispute(paid, "60.00"))
    assert broken() == {}


@pytest.mark.holds("F58")
def test_more_disputed_than_came_in_is_found(paid: Payment) -> None:
    pay_back(paid, "30.00")
    dispute(paid, "60.00")
    change("payments_dispute", "amount = 71")
    assert broken()["refunds_are_of_received_money"] == [
        (
            f"payment {paid.id} (succeeded) of 100.000000000000 has 30.000000000000 paid back"
            " and 71.000000000000 disputed"
        )
    ]


def test_a_dispute_that_is_booked_otherwise_is_found(paid: Payment) -> None:
    dispute(paid, "60.00")
    change("payments_dispute", "amount = 61")
    assert broken() == {
        "cash_clearing_is_what_came_in": [
            "cash by sandbox is 40.000000000000 USD in the books, but 39.000000000000 came in"
        ],
        "disputes_are_in_the_books": [
            (
                "dispute_opened comes to 60.000000000000 USD in the books, but to 61.000000000000"
                " by the disputes"
            )
        ],
    }


def test_a_dispute_that_was_decided_and_not_booked_is_found(paid: Payment) -> None:
    dispute(paid, "60.00")
    change("payments_dispute", "status = 'lost', decided_at = opened_at")
    assert broken() == {
        "disputes_are_in_the_books": [
            "dispute_lost comes to 0 USD in the books, but to 60.000000000000 by the disputes"
        ]
    }


def test_lost_money_that_the_customer_still_has_is_found(paid: Payment) -> None:
    lose(dispute(paid, "60.00"))
    change("payments_dispute", "from_account = 1")
    assert sorted(broken()) == [
        "customer_balances_are_what_is_left",
        "refunds_are_of_received_money",
    ]


def test_disputed_credit_that_nobody_settled_is_found(paid: Payment) -> None:
    with tenant_scope(paid.tenant_id):
        fact = Fact(
            kind=FactKind.CREDIT_DISPUTED,
            tenant_id=paid.tenant_id,
            source_key="dsp_1 grt_1",
            effective_at=AT,
            currency="USD",
            customer_id=paid.customer_id,
            amounts={Amount.PAID: Decimal(5)},
        )
        post_all([entry_for(fact)], at=AT)
    assert broken()["disputed_credit_is_settled"] == [
        "credit of -5.000000000000 USD stands among disputes, more than is undecided"
    ]
