"""Credit that is bought: by an invoice, given when that is paid, by whatever way."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice
from apps.invoicing.operations.selling import refund_credit
from apps.ledger.domain import AccountKind
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.collecting import retry_collections
from apps.payments.operations.methods import set_default
from apps.payments.operations.receiving import record_external_payment
from apps.payments.operations.resolving import resolve_unknown
from apps.rating.periods import Cadence, Unit
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant, TestClock
from apps.wallets.domain import TopOffKind
from apps.wallets.models import CreditGrant, TopOffRule, Wallet
from apps.wallets.operations.due import apply_due
from apps.wallets.operations.granting import refund_grant
from apps.wallets.operations.purchasing import fail_purchase, purchase_credit, settle_purchase
from apps.wallets.operations.wallets import TopOff
from tests.make.backoffice import all_breaches
from tests.make.customers import make_customer
from tests.make.payments import make_method, make_payer
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant
from tests.make.wallets import DAY, booked, fresh_grant, fresh_wallet, make_wallet, spend

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return Tenant.objects.get(pk=tenant.pk)


def buy(wallet: Wallet, amount: str = "10.00", **values: Any) -> CreditGrant:
    grant = purchase_credit(
        wallet.id,
        id=new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        actor=ACTOR,
        at=AT,
        **values,
    )
    run_due()
    return grant


def invoice_of(grant: CreditGrant) -> Invoice:
    return Invoice.objects.get(pk=fresh_grant(grant).invoice_id)


def state(grant: CreditGrant) -> Any:
    wallet = fresh_wallet(grant.wallet)
    return (fresh_grant(grant).status, wallet.status, wallet.balance)


def test_a_purchase_that_is_collected_gives_the_credit(tenant: Tenant) -> None:
    wallet = make_wallet(make_payer(tenant=tenant))
    grant = buy(wallet, lasts=Cadence(Unit.MONTH, 3))
    invoice = invoice_of(grant)
    assert (invoice.status, invoice.total.amount, invoice.lines.get().kind) == (
        "paid",
        Decimal(10),
        "credit",
    )
    assert state(grant) == ("available", "active", 10)
    assert fresh_grant(grant).expires_at == AT.replace(month=8)
    # nothing is earned; the credit is owed
    assert booked(
        tenant, AccountKind.CREDIT_LIABILITY, AccountKind.DEFERRED_REVENUE, AccountKind.REVENUE
    ) == [-10, 0, 0]
    assert all_breaches() == []


def test_credit_whose_money_is_refused_comes_once_it_is_paid(tenant: Tenant) -> None:
    payer = make_payer("sandbox_declined", tenant=tenant)
    grant = buy(make_wallet(payer))
    assert state(grant) == ("payment_failed", "payment_failed", 0)
    assert all_breaches() == []
    good = make_method(payer, "sandbox_ok")
    invoice = invoice_of(grant)
    for _ in range(2):
        charge_invoice(invoice.id, id=good.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
        run_due()
    assert state(grant) == ("available", "active", 10)
    assert all_breaches() == []


def test_without_a_default_method_the_payment_failed(tenant: Tenant) -> None:
    payer = make_payer(None, tenant=tenant)
    method = make_method(payer, default=False)
    grant = buy(make_wallet(payer))
    assert state(grant) == ("payment_failed", "payment_failed", 0)
    set_default(method.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    charge_invoice(invoice_of(grant).id, id=new_id(), tenant_id=tenant.id, actor=ACTOR, at=AT)
    run_due()
    assert state(grant) == ("available", "active", 10)


def test_money_by_bank_gives_the_credit_too(tenant: Tenant) -> None:
    grant = buy(make_wallet(make_payer(None, tenant=tenant)))
    record_external_payment(
        invoice_of(grant).id, id=new_id(), tenant_id=tenant.id, actor=ACTOR, at=AT
    )
    run_due()
    assert state(grant) == ("available", "active", 10)
    assert all_breaches() == []


def test_money_whose_outcome_comes_late_gives_the_credit(tenant: Tenant) -> None:
    wallet = make_wallet(make_payer("sandbox_delayed", tenant=tenant))
    grant = buy(wallet)
    assert state(grant) == ("pending", "active", 0)
    clock_id = tenant.test_clock_id
    for hours in (1, 3):
        at = AT + timedelta(hours=hours)
        later(tenant, at)
        resolve_unknown(at, clock_id=clock_id, tenant_id=tenant.id)
        run_due()
    assert state(grant) == ("available", "active", 10)
    assert all_breaches() == []


def test_a_retry_by_the_timetable_gives_the_credit(tenant: Tenant) -> None:
    wallet = make_wallet(make_payer("sandbox_declined_once", tenant=tenant))
    grant = buy(wallet)
    assert state(grant) == ("payment_failed", "payment_failed", 0)
    later(tenant, AT + 10 * DAY)
    retry_collections(AT + 10 * DAY, clock_id=tenant.test_clock_id, tenant_id=tenant.id)
    run_due()
    assert state(grant) == ("available", "active", 10)
    assert all_breaches() == []


@pytest.mark.holds("W6")
def test_credit_is_given_once_however_often_it_is_told(tenant: Tenant) -> None:
    grant = buy(make_wallet(make_payer(tenant=tenant)))
    invoice = invoice_of(grant)
    for _ in range(20):
        settle_purchase(invoice.id, actor=ACTOR, at=AT)
        fail_purchase(invoice.id, actor=ACTOR, at=AT)
    assert state(grant) == ("available", "active", 10)
    assert fresh_wallet(grant.wallet).entries == 1


def test_a_canceled_invoice_takes_the_purchase_back(tenant: Tenant) -> None:
    grant = buy(make_wallet(make_payer(None, tenant=tenant)))
    cancel_invoice(invoice_of(grant).id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    run_due()
    assert state(grant) == ("voided", "active", 0)
    assert booked(tenant, AccountKind.DEFERRED_REVENUE, AccountKind.CREDIT_LIABILITY) == [0, 0]
    assert all_breaches() == []


def test_a_refund_becomes_a_credit_memo(tenant: Tenant) -> None:
    wallet = make_wallet(make_payer(tenant=tenant))
    grant = buy(wallet)
    spend(wallet, "3.50")
    refund_grant(grant.id, tenant_id=tenant.id, reason="leaves", actor=ACTOR, at=AT)
    refund_credit(grant.id, actor=ACTOR, at=AT + timedelta(days=3))
    run_due()
    (memo,) = Invoice.objects.filter(kind="credit_memo")
    assert (memo.total.amount, memo.status) == (Decimal("-6.50"), "issued")
    assert booked(
        tenant, AccountKind.CREDIT_LIABILITY, AccountKind.DEFERRED_REVENUE, AccountKind.REVENUE
    ) == [0, 0, Decimal("-3.50")]
    assert all_breaches() == []


# --- topping off --------------------------------------------------------------------------------


def rule(**values: Any) -> TopOff:
    return TopOff(
        **{
            "kind": TopOffKind.TARGET,
            "amount": Decimal(10),
            "low_watermark": Decimal(5),
            **values,
        }
    )


def topped(tenant: Tenant, method: str | None = "sandbox_ok", **values: Any) -> Wallet:
    """Return a wallet with 10.00 and a rule."""
    customer = make_customer(tenant)
    card = make_method(customer)
    wallet = make_wallet(customer, top_off=rule(**values))
    buy(wallet)
    if method != "sandbox_ok":
        replace(customer, method)
    assert fresh_wallet(wallet).balance == 10
    assert card.provider == "sandbox"
    return wallet


def replace(customer: Customer, method: str | None) -> None:
    if method is not None:
        make_method(customer, method)


def later(tenant: Tenant, at: datetime) -> None:
    TestClock.objects.filter(tenant=tenant).update(now=at)


def sources(wallet: Wallet) -> list[Any]:
    rows = CreditGrant.objects.filter(wallet=wallet, source="top_off").order_by("id")
    return list(rows.values_list("status", "amount"))


def test_below_its_watermark_a_wallet_is_filled_up(tenant: Tenant) -> None:
    wallet = topped(tenant, lasts=Cadence(Unit.MONTH, 3))
    spend(wallet, "5.00")
    run_due()
    assert sources(wallet) == []  # exactly the watermark is enough
    spend(wallet, "0.01")
    run_due()
    assert sources(wallet) == [("available", Decimal("5.01"))]
    assert fresh_wallet(wallet).balance == 10
    assert CreditGrant.objects.get(source="top_off").expires_at == AT.replace(month=8)
    assert all_breaches() == []


def test_a_fixed_top_off_buys_always_the_same(tenant: Tenant) -> None:
    wallet = topped(tenant, kind=TopOffKind.FIXED, amount=Decimal(7))
    spend(wallet, "9.00")
    run_due()
    assert (sources(wallet), fresh_wallet(wallet).balance) == ([("available", 7)], 8)


def test_what_is_asked_for_is_not_asked_for_again(tenant: Tenant) -> None:
    wallet = topped(tenant, "sandbox_declined")
    spend(wallet, "6.00")
    run_due()
    for day in range(5):
        apply_due(AT + day * DAY, tenant_id=tenant.id)
        spend(wallet, "0.10", at=AT + day * DAY)
        run_due()
    assert sources(wallet) == [("payment_failed", Decimal("6.00"))]
    assert fresh_wallet(wallet).status == "payment_failed"


@pytest.mark.holds("W7", "S41")
def test_after_a_failure_it_cools_off_and_then_stops(tenant: Tenant) -> None:
    wallet = topped(tenant, "sandbox_declined", attempt_limit=2)
    spend(wallet, "6.00")

    def give_up(at: Any) -> None:
        run_due()
        (waiting,) = CreditGrant.objects.filter(wallet=wallet, status="payment_failed")
        assert waiting.invoice_id is not None
        cancel_invoice(waiting.invoice_id, tenant_id=tenant.id, actor=ACTOR, at=at)
        run_due()

    give_up(AT)
    clock_id = tenant.test_clock_id
    assert apply_due(AT + DAY / 2, clock_id=clock_id, tenant_id=tenant.id) == 0
    assert apply_due(AT + DAY, clock_id=clock_id, tenant_id=tenant.id) == 1
    give_up(AT + DAY)
    assert TopOffRule.objects.get(wallet=wallet).failures == 2
    for day in (2, 30, 300):
        apply_due(AT + day * DAY, clock_id=clock_id, tenant_id=tenant.id)
    assert sources(wallet) == [("voided", Decimal(6))] * 2
    assert all_breaches() == []


def test_a_cap_bounds_what_it_buys_in_a_month(tenant: Tenant) -> None:
    wallet = topped(tenant, cap=Decimal(13))
    for at in (AT, AT + DAY, AT + 2 * DAY):
        later(tenant, at)
        spend(wallet, "6.00", at=at)
        run_due()
    assert sources(wallet) == [("available", Decimal(6)), ("available", Decimal(6))]
    later(tenant, AT + 31 * DAY)
    apply_due(AT + 31 * DAY, clock_id=tenant.test_clock_id, tenant_id=tenant.id)
    run_due()
    assert len(sources(wallet)) == 3


def test_a_failed_first_purchase_is_not_topped_off(tenant: Tenant) -> None:
    wallet = make_wallet(make_payer(None, tenant=tenant), top_off=rule())
    buy(wallet)
    apply_due(AT, clock_id=tenant.test_clock_id, tenant_id=tenant.id)
    run_due()
    assert (sources(wallet), Invoice.objects.count()) == ([], 1)
