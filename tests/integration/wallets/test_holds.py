"""Credit that is put aside: captured, released or expired, once; and never lost meanwhile."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.tenants.models import Tenant
from apps.wallets.domain import (
    CaptureExceedsHold,
    ExternalIdTaken,
    HoldEnded,
    InsufficientCredit,
)
from apps.wallets.models import CreditHold, CreditTransaction, Wallet
from apps.wallets.operations.due import apply_due
from apps.wallets.operations.spending import capture_hold, release_hold
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import (
    DAY,
    broken_rules,
    fresh_grant,
    fresh_wallet,
    hold,
    make_grant,
    make_wallet,
    spend,
)


@pytest.fixture
def tenant(db: None) -> Tenant:
    return make_tenant()


@pytest.fixture
def wallet(tenant: Tenant) -> Wallet:
    return make_wallet(make_customer(tenant))


def capture(held: CreditHold, amount: str | None, *, at: datetime = AT) -> CreditHold:
    return capture_hold(
        held.id,
        tenant_id=held.tenant_id,
        amount=None if amount is None else Decimal(amount),
        actor=ACTOR,
        at=at,
    )


def state(wallet: Wallet) -> Any:
    row = fresh_wallet(wallet)
    return row.balance, row.held


def test_what_is_held_cannot_be_spent(wallet: Wallet) -> None:
    make_grant(wallet, "10.00")
    held = hold(wallet, "6.00")
    assert state(wallet) == (4, 6)
    with pytest.raises(InsufficientCredit):
        spend(wallet, "4.01")
    with pytest.raises(InsufficientCredit):
        hold(wallet, "4.01")
    assert [capture(held, "2.50").status for _ in range(3)] == ["captured"] * 3
    assert state(wallet) == (Decimal("7.50"), 0)
    assert broken_rules() == []


def test_no_more_is_captured_than_was_held(wallet: Wallet) -> None:
    make_grant(wallet, "10.00")
    held = hold(wallet, "6.00")
    with pytest.raises(CaptureExceedsHold):
        capture(held, "6.01")
    release_hold(held.id, tenant_id=held.tenant_id, actor=ACTOR, at=AT)
    release_hold(held.id, tenant_id=held.tenant_id, actor=ACTOR, at=AT)
    with pytest.raises(HoldEnded):
        capture(held, "1.00")
    assert state(wallet) == (10, 0)


def test_a_hold_is_over_at_its_end(wallet: Wallet, tenant: Tenant) -> None:
    make_grant(wallet, "10.00")
    held = hold(wallet, "6.00")
    with pytest.raises(HoldEnded):
        capture(held, "1.00", at=AT + DAY)
    assert [apply_due(AT + DAY, tenant_id=tenant.id) for _ in range(2)] == [1, 0]
    assert (CreditHold.objects.get().status, state(wallet)) == ("expired", (10, 0))
    assert broken_rules() == []


def test_what_is_held_does_not_expire(wallet: Wallet, tenant: Tenant) -> None:
    grant = make_grant(wallet, "10.00", expires_at=AT + DAY)
    held = hold(wallet, "6.00", lasts=3 * DAY)
    apply_due(AT + DAY, tenant_id=tenant.id)
    assert (fresh_grant(grant).status, state(wallet)) == ("expired", (0, 6))
    capture(held, "4.00", at=AT + 2 * DAY)
    # the rest comes back to credit whose time is over
    entries = CreditTransaction.objects.filter(wallet=wallet).order_by("number")
    assert [(one.kind, int(one.amount)) for one in entries] == [
        ("grant", 10),
        ("hold", -6),
        ("expire", -4),
        ("release", 6),
        ("consume", -4),
        ("expire", -2),
    ]
    assert state(wallet) == (0, 0)
    assert broken_rules() == []


def test_a_name_is_of_one_hold(wallet: Wallet) -> None:
    make_grant(wallet, "10.00")
    first = hold(wallet, "1.00", external_id="job-1")
    assert hold(wallet, "1.00", external_id="job-1").id == first.id
    with pytest.raises(ExternalIdTaken):
        hold(wallet, "2.00", external_id="job-1")
    key = new_id()
    assert {hold(wallet, "1.00", id=key).id for _ in range(3)} == {key}
    assert state(wallet) == (8, 2)


def test_of_an_expiry_is_reminded_once(tenant: Tenant) -> None:
    wallet = make_wallet(make_customer(tenant), remind_before=timedelta(days=7))
    make_grant(wallet, "1.00", expires_at=AT + 30 * DAY)
    spent = make_grant(wallet, "1.00", expires_at=AT + 29 * DAY)
    spend(wallet, "1.00")
    for days in (22, 23, 24):
        apply_due(AT + days * DAY, tenant_id=tenant.id)
    told = AuditEvent.objects.filter(type="credit_grant.expiring")
    assert [one.data["left"] for one in told] == ["1"]
    assert fresh_grant(spent).remind_at is None
