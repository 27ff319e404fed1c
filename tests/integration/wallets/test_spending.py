"""Credit that is given, used, taken back and written off; and what each does to the books."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.ledger.domain import AccountKind
from apps.tenants.models import Tenant
from apps.wallets.domain import (
    CreditTooFine,
    ExpiryPast,
    GrantNotRefundable,
    GrantNotVoidable,
    Insufficient,
    InsufficientCredit,
    Thing,
)
from apps.wallets.models import CreditTransaction, Wallet
from apps.wallets.operations.due import apply_due
from apps.wallets.operations.granting import refund_grant, void_grant
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import (
    DAY,
    booked,
    broken_rules,
    for_meters,
    fresh_grant,
    fresh_wallet,
    make_grant,
    make_paid,
    make_unit,
    make_wallet,
    spend,
)

LIABILITY, EXPENSE, REVENUE = (
    AccountKind.CREDIT_LIABILITY,
    AccountKind.PROMOTIONAL_EXPENSE,
    AccountKind.REVENUE,
)


@pytest.fixture
def tenant(db: None) -> Tenant:
    return make_tenant()


@pytest.fixture
def customer(tenant: Tenant) -> Customer:
    return make_customer(tenant)


def kinds(wallet: Wallet) -> list[Any]:
    rows = CreditTransaction.objects.filter(wallet=wallet).order_by("number")
    return list(rows.values_list("kind", "amount", "balance_after"))


def test_credit_is_used_in_order_and_the_books_follow(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    paid = make_paid(wallet, "10.00")
    late = make_grant(wallet, "4.00", expires_at=AT + 9 * DAY)
    soon = make_grant(wallet, "3.00", expires_at=AT + 2 * DAY)
    first = make_grant(wallet, "1.00", priority=1)
    assert spend(wallet, "9.00") == [Decimal(1), Decimal(3), Decimal(4), Decimal(1)]
    assert [fresh_grant(one).remaining for one in (paid, late, soon, first)] == [9, 0, 0, 0]
    assert fresh_wallet(wallet).balance == 9
    # 8 given away and used, 1 of what was sold is earned, 9 are still owed
    assert booked(tenant, LIABILITY, EXPENSE, REVENUE) == [-9, 8, -9]
    places = CreditTransaction.objects.filter(wallet=wallet, kind="consume").order_by("number")
    assert list(places.values_list("place", "places", "because")) == [
        (1, 4, "priority"),
        (2, 4, "expires_sooner"),
        (3, 4, "expires_sooner"),
        (4, 4, "expires_sooner"),
    ]
    assert broken_rules() == []


@pytest.mark.holds("W4")
def test_nothing_is_used_at_its_expiry(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00", expires_at=AT + DAY)
    make_grant(wallet, "5.00", expires_at=AT + DAY + timedelta(microseconds=1))
    assert spend(wallet, "5.00", at=AT + DAY) == [Decimal(5)]
    with pytest.raises(InsufficientCredit):
        spend(wallet, "0.01", at=AT + DAY)
    assert kinds(wallet)[2:] == [("expire", -5, 5), ("consume", -5, 0)]
    assert broken_rules() == []


@pytest.mark.holds("W2")
def test_exactly_the_balance_can_be_spent_and_no_more(customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00")
    with pytest.raises(InsufficientCredit):
        spend(wallet, "5.000000000001")
    assert spend(wallet, "5.00") == [Decimal(5)]
    assert fresh_wallet(wallet).balance == 0


@pytest.mark.holds("W5")
def test_a_repeat_spends_nothing(customer: Customer) -> None:
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00")
    key = new_id()
    assert [spend(wallet, "4.00", id=key) for _ in range(3)] == [[Decimal(4)]] * 3
    assert fresh_wallet(wallet).balance == 1


def test_scope_bounds_what_credit_is_for(customer: Customer) -> None:
    for key in ("calls", "tokens"):
        make_meter(customer.tenant, key=key)
    wallet = make_wallet(customer)
    make_grant(wallet, "5.00", scope=for_meters("calls"))
    make_grant(wallet, "2.00")
    with pytest.raises(InsufficientCredit):
        spend(wallet, "3.00", thing=Thing(meter="tokens"))
    assert spend(wallet, "6.00", thing=Thing(meter="calls")) == [Decimal(5), Decimal(1)]


def test_what_begins_later_counts_later(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    later = make_grant(wallet, "5.00", effective_at=AT + DAY)
    assert (fresh_grant(later).status, fresh_wallet(wallet).balance) == ("scheduled", 0)
    assert apply_due(AT + DAY - timedelta(microseconds=1), tenant_id=tenant.id) == 0
    assert apply_due(AT + DAY, tenant_id=tenant.id) == 1
    assert (fresh_grant(later).status, fresh_wallet(wallet).balance) == ("available", 5)
    assert broken_rules() == []


@pytest.mark.django_db
def test_the_sweep_serves_every_tenant_and_only_what_is_due() -> None:
    grants = []
    for days in (1, 1, 2):
        tenant = make_tenant()
        with tenant_scope(tenant.id):
            wallet = make_wallet(make_customer(tenant))
            grants.append(make_grant(wallet, "5.00", effective_at=AT + days * DAY))
    with tenant_scope(None):
        assert apply_due(AT + DAY) == 2
    begun = []
    for grant in grants:
        with tenant_scope(grant.tenant_id):
            begun.append(fresh_grant(grant).status)
    assert begun == ["available", "available", "scheduled"]


@pytest.mark.holds("W4")
def test_expiry_of_paid_credit_is_earned_once(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    paid = make_paid(wallet, "10.00", expires_at=AT + DAY)
    spend(wallet, "4.00")
    assert [apply_due(AT + DAY, tenant_id=tenant.id) for _ in range(3)] == [1, 0, 0]
    assert fresh_grant(paid).status == "expired"
    assert booked(tenant, LIABILITY, AccountKind.BREAKAGE, REVENUE) == [0, -6, -4]
    assert broken_rules() == []


def test_voiding_takes_back_for_a_reason(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    grant = make_grant(wallet, "10.00")
    key = new_id()
    for _ in range(2):
        void_grant(
            grant.id,
            id=key,
            tenant_id=tenant.id,
            amount=Decimal(4),
            reason="given twice",
            actor=ACTOR,
            at=AT,
        )
    assert (fresh_grant(grant).remaining, fresh_grant(grant).status) == (6, "available")
    with pytest.raises(GrantNotVoidable):
        void_grant(
            grant.id,
            id=new_id(),
            tenant_id=tenant.id,
            amount=Decimal(7),
            reason="too much",
            actor=ACTOR,
            at=AT,
        )
    void_grant(grant.id, id=new_id(), tenant_id=tenant.id, reason="a test", actor=ACTOR, at=AT)
    assert (fresh_grant(grant).remaining, fresh_grant(grant).status) == (0, "voided")
    assert broken_rules() == []


def test_what_has_not_begun_is_voided_once(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    grant = make_grant(wallet, "10.00", effective_at=AT + DAY)
    key = new_id()
    for _ in range(2):
        void_grant(grant.id, id=key, tenant_id=tenant.id, reason="a test", actor=ACTOR, at=AT)
    voided = AuditEvent.objects.filter(type="credit_grant.voided")
    assert (fresh_grant(grant).status, voided.count()) == ("voided", 1)
    assert apply_due(AT + DAY, tenant_id=tenant.id) == 0
    assert fresh_wallet(wallet).balance == 0


def test_only_what_is_left_of_paid_credit_is_refunded(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer)
    given, paid = make_grant(wallet, "1.00"), make_paid(wallet, "10.00")
    spend(wallet, "4.995")
    with pytest.raises(GrantNotRefundable):
        refund_grant(given.id, tenant_id=tenant.id, reason="cash", actor=ACTOR, at=AT)
    for _ in range(2):
        refund_grant(paid.id, tenant_id=tenant.id, reason="leaves us", actor=ACTOR, at=AT)
    assert fresh_wallet(wallet).balance == 0
    # 6.005 were left: 6.00 go back, half a cent is earned
    assert booked(tenant, LIABILITY, AccountKind.DEFERRED_REVENUE, AccountKind.BREAKAGE) == [
        0,
        Decimal(4),
        Decimal("-0.005"),
    ]
    assert broken_rules() == []


def test_overdraft_is_paid_back_by_what_comes(tenant: Tenant, customer: Customer) -> None:
    wallet = make_wallet(customer, insufficient=Insufficient.OVERDRAFT, overdraft_limit=Decimal(5))
    make_grant(wallet, "1.00")
    spend(wallet, "4.00")
    assert (fresh_wallet(wallet).balance, fresh_wallet(wallet).overdrawn) == (-3, 3)
    assert broken_rules() == []
    with pytest.raises(InsufficientCredit):
        spend(wallet, "2.01")
    make_grant(wallet, "1.00")
    make_paid(wallet, "10.00")
    assert (fresh_wallet(wallet).balance, fresh_wallet(wallet).overdrawn) == (8, 0)
    # 4 were used: 2 of them given away; 10 were sold, of which 2 are used
    assert booked(tenant, LIABILITY, EXPENSE, REVENUE) == [-8, 2, -4]
    assert broken_rules() == []


def test_units_are_worth_what_was_paid_for_them(tenant: Tenant, customer: Customer) -> None:
    unit = make_unit(tenant)
    wallet = make_wallet(customer, unit=unit)
    make_paid(wallet, "3", price=Decimal("0.10"))
    for left in ("-0.066666666667", "-0.033333333333", "0"):
        spend(wallet, "1")
        assert booked(tenant, LIABILITY) == [Decimal(left)]
        assert broken_rules() == []
    assert booked(tenant, REVENUE) == [Decimal("-0.10")]


@pytest.mark.holds("W9")
def test_what_moves_keeps_every_digit(tenant: Tenant, customer: Customer) -> None:
    unit = make_unit(tenant, precision=12, rate="0.37")
    wallet = make_wallet(customer, unit=unit)
    make_paid(wallet, "100", price=Decimal("37.00"))
    left = Decimal(100)
    for amount in ("14.28444999", "0.000000000001", "17.965", "3.333333333333", "0.1"):
        assert spend(wallet, amount) == [Decimal(amount)]
        left -= Decimal(amount)
        assert fresh_wallet(wallet).balance == left
    last = CreditTransaction.objects.filter(wallet=wallet).order_by("-number")[0]
    assert (last.balance_after, last.grant_after) == (left, left)
    assert broken_rules() == []
    assert spend(wallet, str(left)) == [left]
    assert booked(tenant, LIABILITY, REVENUE) == [0, -37]


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"amount": "0.001"}, CreditTooFine),
        ({"expires_at": AT}, ExpiryPast),
        ({"expires_at": AT - DAY}, ExpiryPast),
    ],
)
def test_what_cannot_be_granted(
    customer: Customer, values: dict[str, object], error: type[Exception]
) -> None:
    wallet = make_wallet(customer)
    with pytest.raises(error):
        make_grant(wallet, **{"amount": "1.00", **values})  # type: ignore[arg-type]  # as given
