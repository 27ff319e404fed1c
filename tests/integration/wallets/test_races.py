"""Many at one wallet, on real connections: exactly the right number win, and the books hold."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial

import pytest
from django.db import connection

from apps.core.errors import BillingError
from apps.tenants.models import Tenant
from apps.wallets.domain import TopOffKind
from apps.wallets.models import CreditGrant, CreditHold, CreditTransaction
from apps.wallets.operations.due import apply_due, refresh_wallet
from apps.wallets.operations.purchasing import settle_purchase
from apps.wallets.operations.spending import capture_hold, expire_hold
from apps.wallets.operations.wallets import TopOff
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import (
    DAY,
    broken_rules,
    fresh_grant,
    fresh_wallet,
    hold,
    make_grant,
    make_paid,
    make_pending,
    make_wallet,
    spend,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


def at_once(*works: Callable[[], object]) -> Counter[str]:
    """Run each on a connection of its own, all at once; count how they ended."""
    gate = threading.Barrier(len(works))
    ended: list[str] = []

    def run(work: Callable[[], object]) -> None:
        try:
            gate.wait()
            work()
            ended.append("done")
        except BillingError as error:
            ended.append(error.reason)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(ended)


@pytest.mark.holds("W2", "F44")
def test_of_fifty_spenders_as_many_win_as_there_is_credit_for(tenant: Tenant) -> None:
    wallet = make_wallet(make_customer(tenant))
    make_paid(wallet, "6.00")
    make_grant(wallet, "4.00", expires_at=AT + DAY)
    ended = at_once(*[lambda: spend(wallet, "0.50")] * 50)
    assert ended == {"done": 20, "insufficient_credits": 30}
    assert fresh_wallet(wallet).balance == 0
    assert broken_rules() == []


@pytest.mark.holds("F38")
def test_spending_against_expiry(tenant: Tenant) -> None:
    wallet = make_wallet(make_customer(tenant))
    grant = make_grant(wallet, "10.00", expires_at=AT + DAY)
    before = AT + DAY - timedelta(microseconds=1)
    ended = at_once(
        *[lambda: spend(wallet, "1.00", at=before)] * 8,
        *[lambda: apply_due(AT + DAY, tenant_id=tenant.id)] * 4,
    )
    used = -sum(
        CreditTransaction.objects.filter(kind="consume").values_list("amount", flat=True)
    ) or Decimal(0)
    gone = CreditTransaction.objects.filter(kind="expire").values_list("amount", flat=True)
    assert used == ended["done"] - 4
    assert [-one for one in gone] == ([10 - used] if used < 10 else [])
    assert (fresh_grant(grant).status, fresh_wallet(wallet).balance) == ("expired", 0)
    assert broken_rules() == []


@pytest.mark.holds("F37")
def test_spending_against_the_settling_of_a_purchase(tenant: Tenant) -> None:
    wallet = make_wallet(make_customer(tenant))
    make_grant(wallet, "5.00")
    invoice_id = make_pending(wallet, "10.00").invoice_id
    assert invoice_id is not None
    at_once(
        *[lambda: settle_purchase(invoice_id, actor=ACTOR, at=AT)] * 10,
        *[lambda: spend(wallet, "1.00")] * 20,
    )
    given = CreditTransaction.objects.filter(kind="grant").count()
    used = CreditTransaction.objects.filter(kind="consume").count()
    assert (given, fresh_wallet(wallet).balance >= 0) == (2, True)
    assert used >= 5
    assert broken_rules() == []


@pytest.mark.holds("W7", "F39")
def test_of_twenty_triggers_one_tops_off(tenant: Tenant) -> None:
    rule = TopOff(kind=TopOffKind.FIXED, amount=Decimal(50), low_watermark=Decimal(100))
    wallet = make_wallet(make_customer(tenant), top_off=rule)
    make_grant(wallet, "20.00")
    at_once(
        *[lambda: spend(wallet, "0.10")] * 10,
        *[
            lambda: refresh_wallet(wallet.id, tenant_id=tenant.id, actor=ACTOR, at=AT),
        ]
        * 10,
    )
    assert CreditGrant.objects.filter(source="top_off").count() == 1
    assert broken_rules() == []


def capture(held: CreditHold) -> None:
    capture_hold(held.id, tenant_id=held.tenant_id, amount=Decimal("0.40"), actor=ACTOR, at=AT)


def expire(held: CreditHold) -> None:
    expire_hold(held.id, tenant_id=held.tenant_id, actor=ACTOR, at=held.expires_at)


@pytest.mark.holds("W8")
def test_capture_against_the_expiry_of_a_hold(tenant: Tenant) -> None:
    wallet = make_wallet(make_customer(tenant))
    make_paid(wallet, "10.00")
    for _ in range(3):
        held = hold(wallet, "1.00")
        at_once(*[partial(capture, held)] * 5, *[partial(expire, held)] * 5)
        ended = CreditHold.objects.get(pk=held.pk)
        assert (ended.status, ended.captured) in {
            ("captured", Decimal("0.40")),
            ("expired", Decimal(0)),
        }
    taken = sum(CreditHold.objects.values_list("captured", flat=True))
    assert fresh_wallet(wallet).balance == 10 - taken
    assert fresh_wallet(wallet).held == 0
    assert broken_rules() == []
