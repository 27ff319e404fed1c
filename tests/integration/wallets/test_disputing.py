"""Credit follows the money that is disputed: taken at once, given back if it is won, else gone."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.jobs import run_due
from apps.core.models import AuditEvent
from apps.ledger.domain import AccountKind
from apps.ledger.models import JournalEntry
from apps.payments.models import Dispute, Payment
from apps.payments.operations.disputed_credit import follow_dispute, follow_disputes_of
from apps.rating.periods import Cadence, Unit
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant, TestClock
from apps.wallets.domain import GrantKind, Insufficient, Settlement, TopOffKind
from apps.wallets.models import CreditGrant, CreditTransaction, TopOffRule, Wallet
from apps.wallets.operations.due import apply_due
from apps.wallets.operations.spending import release_hold
from apps.wallets.operations.wallets import TopOff, change_wallet, close_wallet
from tests.integration.wallets.test_purchases import buy, invoice_of
from tests.integration.wallets.test_usage import use
from tests.make.backoffice import all_breaches
from tests.make.disputes import dispute, lose, win
from tests.make.metering import make_meter
from tests.make.payments import make_payer
from tests.make.refunds import books, pay_back, receive
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant
from tests.make.wallets import (
    booked,
    burn_all,
    fresh_grant,
    fresh_wallet,
    hold,
    make_grant,
    make_price,
    make_wallet,
    spend,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.holds("W6")]
LENT: dict[str, Any] = {"insufficient": Insufficient.OVERDRAFT, "overdraft_limit": Decimal(4)}
RULE = TopOff(kind=TopOffKind.TARGET, amount=Decimal(10), low_watermark=Decimal(5))


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return Tenant.objects.get(pk=tenant.pk)


def bought(
    tenant: Tenant, amount: str = "10.00", *, bought: dict[str, Any] | None = None, **values: Any
) -> tuple[Wallet, CreditGrant, Payment]:
    """Return a wallet with credit that its customer has bought, and the payment."""
    wallet = make_wallet(make_payer(tenant=tenant), **values)
    grant = fresh_grant(buy(wallet, amount, **(bought or {})))
    return wallet, grant, Payment.objects.get(invoice_id=grant.invoice_id)


def told(kind: str) -> list[Any]:
    return [one.data for one in AuditEvent.objects.filter(type=kind).order_by("id")]


def standing(wallet: Wallet, grant: CreditGrant) -> Any:
    return fresh_grant(grant).status, fresh_wallet(wallet).balance, fresh_wallet(wallet).overdrawn


def test_disputed_credit_is_taken_and_given_back(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    spend(wallet, "4.00")

    case = dispute(payment)
    run_due()
    assert standing(wallet, grant) == ("available", 0, 0)
    assert [one["amount"] for one in told("wallet.clawback_short")] == ["4"]
    assert books(tenant) == {"revenue": "-4.00", "disputes": "4.00"}
    assert all_breaches() == []

    win(case)
    run_due()
    assert standing(wallet, grant) == ("available", 6, 0)
    entry = CreditTransaction.objects.get(wallet=wallet, kind="reinstate")
    assert (entry.amount, entry.reason) == (Decimal(6), f"{case.public_id} was won")
    assert books(tenant) == {
        "revenue": "-4.00",
        "credit_liability": "-6.00",
        "sandbox": "10.00",
    }
    assert all_breaches() == []


def test_lost_credit_stays_gone_and_what_was_used_is_the_loss(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    spend(wallet, "4.00")

    case = dispute(payment)
    run_due()
    lose(case)
    run_due()

    assert standing(wallet, grant) == ("available", 0, 0)
    assert [one["amount"] for one in told("credit_grant.forfeited")] == ["6"]
    assert books(tenant) == {"revenue": "-4.00", "bad_debt": "4.00"}
    assert all_breaches() == []


def test_used_credit_is_owed_where_the_wallet_may_owe_and_owed_no_more_once_it_is_won(
    tenant: Tenant,
) -> None:
    wallet, grant, payment = bought(tenant, **LENT)
    spend(wallet, "7.00")

    case = dispute(payment)
    run_due()
    assert standing(wallet, grant) == ("available", -4, 4)
    assert [one["amount"] for one in told("wallet.clawback_short")] == ["3"]
    assert all_breaches() == []

    win(case)
    run_due()
    assert standing(wallet, grant) == ("available", 3, 0)
    assert books(tenant) == {
        "revenue": "-7.00",
        "credit_liability": "-3.00",
        "sandbox": "10.00",
    }
    assert all_breaches() == []


def test_what_was_owed_and_paid_back_meanwhile_comes_back_too(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant, **LENT)
    spend(wallet, "7.00")
    case = dispute(payment)
    run_due()
    second = buy(wallet, "10.00")  # pays back 4
    assert fresh_wallet(wallet).balance == 6

    win(case)
    run_due()

    assert (fresh_grant(grant).remaining, fresh_grant(second).remaining) == (7, 6)
    assert standing(wallet, grant) == ("available", 13, 0)
    assert books(tenant) == {
        "revenue": "-7.00",
        "credit_liability": "-13.00",
        "sandbox": "20.00",
    }
    assert all_breaches() == []


@pytest.mark.parametrize("kind", GrantKind)
def test_what_has_no_room_in_its_grant_goes_to_who_paid_back(
    tenant: Tenant, kind: GrantKind
) -> None:
    customer = make_payer(tenant=tenant, external_id="crm-1")
    make_price(make_meter(tenant, key="calls"), "1")
    wallet = make_wallet(
        customer,
        settlement=Settlement.ON_EVENT,
        insufficient=Insufficient.OVERDRAFT,
        overdraft_limit=Decimal(9),
    )
    grant = fresh_grant(buy(wallet, "10.00"))
    use(tenant, 7)
    burn_all()
    case = dispute(Payment.objects.get(invoice_id=grant.invoice_id))
    run_due()
    assert standing(wallet, grant) == ("available", -7, 7)
    second = make_grant(wallet, "8.00") if kind == "promotional" else buy(wallet, "8.00")
    use(tenant, -7)
    burn_all()
    assert fresh_grant(grant).remaining == 7

    win(case)
    run_due()

    # nothing was used, so all is there
    assert (fresh_grant(grant).remaining, fresh_grant(second).remaining) == (10, 8)
    assert standing(wallet, grant) == ("available", 18, 0)
    sold = "-10.00" if kind == "promotional" else "-18.00"
    assert books(tenant) == {"credit_liability": sold, "sandbox": sold[1:]}
    assert booked(tenant, AccountKind.PROMOTIONAL_EXPENSE) == [0]
    assert all_breaches() == []


def test_credit_that_expired_meanwhile_expires_at_once(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant, bought={"lasts": Cadence(Unit.MONTH, 1)})
    case = dispute(payment)
    run_due()
    late = AT + timedelta(days=40)
    TestClock.objects.filter(tenant=tenant).update(now=late)
    clock_id = TestClock.objects.get(tenant=tenant).id
    apply_due(late, clock_id=clock_id, tenant_id=tenant.id)
    assert fresh_grant(grant).status == "expired"

    win(case, at=late)
    run_due()

    assert standing(wallet, grant) == ("expired", 0, 0)
    assert books(tenant) == {"breakage": "-10.00", "sandbox": "10.00"}
    assert all_breaches() == []


def test_a_wallet_that_was_closed_meanwhile_gets_nothing(tenant: Tenant) -> None:
    wallet, _, payment = bought(tenant)
    case = dispute(payment)
    run_due()
    close_wallet(wallet.id, tenant_id=tenant.id, actor=ACTOR, at=AT)

    win(case)
    run_due()

    assert fresh_wallet(wallet).balance == 0
    assert books(tenant) == {"breakage": "-10.00", "sandbox": "10.00"}
    assert all_breaches() == []


def test_held_credit_stays_with_its_hold(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    held = hold(wallet, "3.00")
    case = dispute(payment)
    run_due()
    assert (standing(wallet, grant), fresh_grant(grant).held) == (("available", 0, 0), 3)

    release_hold(held.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    lose(case)
    run_due()

    assert standing(wallet, grant) == ("available", 3, 0)
    assert books(tenant) == {"credit_liability": "-3.00", "bad_debt": "3.00"}
    assert all_breaches() == []


@pytest.mark.holds("F58")
def test_parts_are_refunded_and_disputed(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    pay_back(payment, "2.50")
    run_due()
    first = dispute(payment, "4.50")
    second = dispute(payment, "1.00")
    run_due()
    assert fresh_wallet(wallet).balance == 2
    pay_back(payment)
    run_due()
    assert standing(wallet, grant) == ("available", 0, 0)

    lose(second)
    win(first)
    run_due()

    assert standing(wallet, grant) == ("available", Decimal("4.50"), 0)
    assert books(tenant) == {"credit_liability": "-4.50", "sandbox": "4.50"}
    assert all_breaches() == []


def test_news_in_any_order_and_any_number_of_times_come_to_the_same(tenant: Tenant) -> None:
    wallet, grant, payment = bought(tenant)
    case = dispute(payment)
    win(case)  # nobody has come to take the credit yet
    for _ in range(3):
        follow_dispute(case.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    run_due()
    assert standing(wallet, grant) == ("available", 10, 0)
    assert JournalEntry.objects.filter(kind__startswith="credit_").count() == 1  # activated

    second = dispute(payment)
    lose(second)
    for _ in range(3):
        follow_dispute(second.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    run_due()
    after = Dispute.objects.get(id=second.id)
    assert (after.credit_taken_at, after.credit_settled_at) == (AT, AT)
    assert standing(wallet, grant) == ("available", 0, 0)
    assert books(tenant) == {}
    assert all_breaches() == []


@pytest.mark.parametrize("end", [None, lose, win], ids=["undecided", "lost", "won"])
def test_credit_whose_rest_is_paid_after_a_dispute_comes_without_the_disputed_part(
    tenant: Tenant, end: Callable[[Dispute], Dispute] | None
) -> None:
    wallet = make_wallet(make_payer(method=None, tenant=tenant))
    grant = fresh_grant(buy(wallet))
    invoice = invoice_of(grant)
    case = dispute(receive(invoice, "4.00"))
    run_due()
    assert standing(wallet, grant) == ("payment_failed", 0, 0)
    if end is not None:
        end(case)
        run_due()

    receive(invoice, "6.00")
    run_due()
    assert standing(wallet, grant) == ("available", 10 if end is win else 6, 0)
    run_due()
    follow_disputes_of(invoice.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    assert standing(wallet, grant) == ("available", 10 if end is win else 6, 0)
    assert all_breaches() == []


def test_money_for_other_things_takes_no_credit(tenant: Tenant) -> None:
    wallet, grant, _ = bought(tenant)
    other = bought(tenant)[2]
    dispute(other)
    run_due()
    assert standing(wallet, grant) == ("available", 10, 0)


# --- topping off -----------------------------------------------------------------------------------


def purchases(wallet: Wallet) -> int:
    return CreditGrant.objects.filter(wallet=wallet, source="top_off").count()


def rule(wallet: Wallet) -> TopOffRule:
    return TopOffRule.objects.get(wallet=wallet)


def sweep(tenant: Tenant) -> None:
    clock = TestClock.objects.get(tenant=tenant)
    apply_due(clock.now, clock_id=clock.id, tenant_id=tenant.id)
    run_due()


def test_a_disputed_card_is_not_charged_anew_by_rule_until_it_is_won(tenant: Tenant) -> None:
    wallet, _, payment = bought(tenant, top_off=RULE)
    case = dispute(payment)
    run_due()
    sweep(tenant)
    assert (purchases(wallet), fresh_wallet(wallet).balance) == (0, 0)
    assert (rule(wallet).paused_at, rule(wallet).paused_by) == (AT, [case.public_id])
    assert told("wallet.top_off_paused") == [{"source": case.public_id}]

    win(case)
    run_due()
    spend(wallet, "6.00")
    run_due()
    assert (purchases(wallet), fresh_wallet(wallet).balance) == (1, 10)
    assert (rule(wallet).paused_at, rule(wallet).paused_by) == (None, [])
    assert told("wallet.top_off_resumed") == [{"source": case.public_id}]
    assert all_breaches() == []


def test_after_a_refund_or_a_loss_the_rule_waits_to_be_set_anew(tenant: Tenant) -> None:
    wallet, _, payment = bought(tenant, top_off=RULE)
    pay_back(payment, "2.00")
    run_due()
    case = dispute(payment)
    run_due()
    assert len(rule(wallet).paused_by) == 2
    lose(case)
    run_due()
    sweep(tenant)
    assert (purchases(wallet), fresh_wallet(wallet).balance) == (0, 0)

    change_wallet(wallet.id, top_off=RULE, tenant_id=tenant.id, actor=ACTOR, at=AT)
    run_due()
    assert (purchases(wallet), fresh_wallet(wallet).balance) == (1, 10)
    assert all_breaches() == []


def test_a_rule_that_pauses_for_two_reasons_does_not_go_on_after_one(tenant: Tenant) -> None:
    wallet, _, payment = bought(tenant, top_off=RULE)
    pay_back(payment, "2.00")
    run_due()
    win(dispute(payment))
    run_due()
    second = dispute(payment)
    run_due()
    win(second)
    run_due()
    assert len(rule(wallet).paused_by) == 1
    assert told("wallet.top_off_resumed") == []
    sweep(tenant)
    assert purchases(wallet) == 0
