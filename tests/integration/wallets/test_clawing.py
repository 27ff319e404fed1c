"""Credit is taken back when its money goes back: what is left, what is lent, what is lost."""

from decimal import Decimal
from typing import Any

import pytest

from apps.core.jobs import run_due
from apps.core.models import AuditEvent, Job
from apps.invoicing.models import Invoice
from apps.invoicing.operations.giving_back import claw_back_credit
from apps.invoicing.operations.selling import refund_credit
from apps.ledger.models import JournalEntry
from apps.payments.models import Payment
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from apps.wallets.domain import Insufficient
from apps.wallets.models import CreditGrant, CreditTransaction, Wallet
from apps.wallets.operations.granting import refund_grant
from tests.integration.wallets.test_purchases import buy
from tests.make.backoffice import all_breaches
from tests.make.invoicing import credit_of
from tests.make.payments import make_payer
from tests.make.refunds import books, pay_back, pay_memo_back
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant
from tests.make.wallets import (
    DAY,
    fresh_grant,
    fresh_wallet,
    hold,
    make_grant,
    make_unit,
    make_wallet,
    spend,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.holds("W6")]


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return Tenant.objects.get(pk=tenant.pk)


def bought(
    tenant: Tenant, amount: str = "10.00", **values: Any
) -> tuple[Wallet, CreditGrant, Payment]:
    """Return a wallet with credit that its customer has bought, and the payment."""
    wallet = make_wallet(make_payer(tenant=tenant), **values)
    grant = fresh_grant(buy(wallet, amount))
    return wallet, grant, Payment.objects.get(invoice_id=grant.invoice_id)


def told(kind: str) -> list[Any]:
    return [one.data for one in AuditEvent.objects.filter(type=kind).order_by("id")]


def test_credit_that_nobody_used_goes_back_with_its_money(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)

    refund = pay_back(payment)
    assert refund.status == "succeeded"
    run_due()

    assert (fresh_grant(grant).status, fresh_grant(grant).remaining) == ("refunded", 0)
    assert fresh_wallet(wallet).balance == 0
    entry = CreditTransaction.objects.get(wallet=wallet, kind="refund")
    memo = Invoice.objects.get(credits_id=grant.invoice_id)
    assert (entry.amount, entry.reason) == (
        Decimal(-10),
        f"its money goes back by {memo.public_id}",
    )
    assert (memo.sells_credit, memo.lines.get().grant_id) == (True, grant.id)
    assert books(tenant) == {}
    assert told("wallet.clawback_short") == []
    assert set(Job.objects.values_list("state", flat=True)) <= {"done"}
    assert all_breaches() == []


def test_a_part_of_the_money_takes_the_same_part_of_the_credit(tenant: Tenant) -> None:
    unit = make_unit(tenant)
    wallet, grant, payment = bought(tenant, "3000", unit=unit)  # 30.00

    pay_back(payment, "10.00")
    run_due()
    assert (fresh_grant(grant).status, fresh_grant(grant).remaining) == ("available", 2000)
    pay_back(payment, "5.00")
    run_due()
    assert fresh_grant(grant).remaining == 1500
    spend(wallet, "1000")
    pay_back(payment)  # 15.00, of which 10.00 are used up
    run_due()

    assert (fresh_grant(grant).status, fresh_wallet(wallet).balance) == ("refunded", 0)
    assert [one["amount"] for one in told("wallet.clawback_short")] == ["1000"]
    # what was used was earned; what went back for it lowers that
    assert books(tenant) == {"revenue": "-10.00", "refunds": "10.00"}
    assert all_breaches() == []


def test_credit_that_is_used_up_is_owed_where_the_wallet_may_owe(tenant: Tenant) -> None:
    wallet, grant, payment = bought(
        tenant, insufficient=Insufficient.OVERDRAFT, overdraft_limit=Decimal(4)
    )
    spend(wallet, "7.00")

    pay_back(payment)
    run_due()

    after = fresh_wallet(wallet)
    assert (after.balance, after.overdrawn) == (-4, 4)
    assert [one["amount"] for one in told("wallet.clawback_short")] == ["3"]
    assert books(tenant) == {
        "revenue": "-7.00",
        "refunds": "3.00",
        "credit_liability": "4.00",
    }
    assert all_breaches() == []

    second = buy(wallet, "10.00")  # pays back what is owed
    assert (fresh_grant(second).remaining, fresh_wallet(wallet).overdrawn) == (6, 0)
    assert fresh_grant(grant).status == "refunded"
    assert all_breaches() == []


def test_expired_credit_is_not_owed_again(tenant: Tenant) -> None:
    wallet, grant, payment = bought(
        tenant, insufficient=Insufficient.OVERDRAFT, overdraft_limit=Decimal(100)
    )
    spend(wallet, "2.00")
    held = hold(wallet, "3.00", lasts=400 * DAY)

    pay_back(payment)
    run_due()

    # 5 were left and 2 used; 3 are held, and gone once they are not
    assert (fresh_wallet(wallet).overdrawn, fresh_grant(grant).held) == (2, 3)
    assert fresh_grant(grant).status == "refunded"
    assert held.amount == 3
    assert all_breaches() == []


@pytest.mark.holds("S40")
def test_other_credit_stays_and_promotional_credit_never_becomes_money(tenant: Tenant) -> None:
    wallet, _, payment = bought(tenant)
    gift = make_grant(wallet, "5.00")
    spend(wallet, "8.00")  # 5 of the gift, 3 of what was bought

    pay_back(payment)
    run_due()

    assert (fresh_wallet(wallet).balance, fresh_grant(gift).remaining) == (0, 0)
    assert [one["amount"] for one in told("wallet.clawback_short")] == ["3"]
    assert all_breaches() == []


def test_it_is_taken_back_once_however_often_it_is_told(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    pay_back(payment, "4.00")
    memo = Invoice.objects.get(credits_id=grant.invoice_id)

    for _ in range(3):
        claw_back_credit(memo.id, actor=ACTOR, at=AT)
    run_due()

    assert fresh_wallet(wallet).balance == 6
    assert JournalEntry.objects.filter(kind="credit_clawed_back").count() == 1
    assert all_breaches() == []


def test_credit_that_was_paid_and_not_given_yet_is_given_and_taken_back(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    # the money goes back before anybody has come to give the credit: both jobs wait
    pay_back(payment)
    run_due()
    assert fresh_wallet(wallet).balance == 0
    assert fresh_grant(grant).status == "refunded"


def test_a_memo_for_credit_that_was_taken_back_is_paid_back(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    spend(wallet, "4.00")
    refund_grant(grant.id, tenant_id=tenant.id, reason="leaves", actor=ACTOR, at=AT)
    run_due()
    assert credit_of(wallet.customer) == {"USD": Decimal(6)}

    memo = Invoice.objects.get(credits_id=grant.invoice_id)
    (refund,) = pay_memo_back(memo)
    assert (refund.payment_id, refund.amount.amount) == (payment.id, 6)
    run_due()
    assert books(tenant) == {"revenue": "-4.00", "sandbox": "4.00"}
    assert told("wallet.clawback_short") == []
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("back", "memo"), [("4.00", Decimal("6.00")), ("10.00", None), (None, None)]
)
@pytest.mark.parametrize("first", ["money", "credit"])
def test_no_more_of_a_price_goes_back_than_was_paid(
    tenant: Tenant, first: str, back: str | None, memo: Decimal | None
) -> None:
    wallet, grant, payment = bought(tenant)

    def take_credit() -> None:
        refund_grant(grant.id, tenant_id=tenant.id, reason="leaves", actor=ACTOR, at=AT)

    # both before anybody has come to what follows from either
    if first == "credit":
        take_credit()
    pay_back(payment, back)
    if first == "money":
        take_credit()
    run_due()

    made = Invoice.objects.filter(request_id=grant.id).first()
    assert (-made.total.amount if made else None) == memo
    assert credit_of(wallet.customer) == ({"USD": memo} if memo else {})
    assert (fresh_grant(grant).status, fresh_wallet(wallet).balance) == ("refunded", 0)
    assert books(tenant) == ({"sandbox": "6.00"} if memo else {})
    assert set(Job.objects.values_list("state", flat=True)) <= {"done"}
    assert refund_credit(grant.id, actor=ACTOR, at=AT) == made  # a repeat gives nothing more
    assert all_breaches() == []
