"""Usage that credit does not cover: flagged on the wallet, and on the subscriptions it is of."""

from datetime import timedelta

import pytest

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.core.models import AuditEvent
from apps.customers.models import Customer
from apps.invoicing.operations.billing import bill_customer
from apps.subscriptions.models import Subscription
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from apps.wallets.domain import Insufficient, Settlement
from apps.wallets.models import Wallet
from apps.wallets.operations.flagging import flag_subscriptions
from tests.make.api import Api
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_tenant
from tests.make.wallets import burn_all, fresh_wallet, make_grant, make_price, make_wallet

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = timedelta(days=31)


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    return Tenant.objects.get(pk=tenant.pk)


@pytest.fixture
def customer(tenant: Tenant) -> Customer:
    return make_customer(tenant, external_id="crm-1")


@pytest.fixture
def subscriptions(customer: Customer) -> list[Subscription]:
    meter = make_meter(customer.tenant, key="calls")
    make_price(meter, "1")
    price = {"model": "per_unit", "unit_price": "1.00"}
    plan = make_plan(
        customer.tenant, [{"key": "calls", "name": "Calls", "meter": "calls", "pricing": price}]
    )
    return [make_subscription(customer, plan, external_id=one) for one in ("sub-1", "sub-2")]


def strict(customer: Customer, settlement: Settlement = Settlement.ON_EVENT) -> Wallet:
    return make_wallet(customer, settlement=settlement, insufficient=Insufficient.REFUSE)


def use(tenant: Tenant, value: int, **named: str) -> None:
    event = {"event_name": "calls", "timestamp": AT.isoformat(), "value": value}
    (sent,) = send(tenant, [{**event, **(named or {"customer": "crm-1"})}], at=AT)
    assert sent.status == "accepted"
    burn_all()
    run_due()


def flagged() -> list[str]:
    rows = Subscription.objects.filter(uncovered_since=AT).order_by("external_id")
    return [str(one) for one in rows]


def told(*types: str) -> list[str]:
    rows = AuditEvent.objects.filter(type__in=types).order_by("id")
    return list(rows.values_list("type", flat=True))


SHORT, UNCOVERED, COVERED = "wallet.short", "subscription.uncovered", "subscription.covered"


@pytest.mark.usefixtures("subscriptions")
def test_the_subscription_is_flagged_until_credit_comes(tenant: Tenant, customer: Customer) -> None:
    wallet = strict(customer)
    make_grant(wallet, "5.00")
    use(tenant, 5, subscription="sub-1")
    assert (flagged(), told(SHORT, UNCOVERED)) == ([], [])
    for _ in range(2):
        use(tenant, 2, subscription="sub-1")
    row = fresh_wallet(wallet)
    assert (flagged(), row.shortfall, row.balance) == (["sub-1"], 4, 0)
    # each time it is said once; another subscription is news
    assert told(SHORT, UNCOVERED) == [SHORT, UNCOVERED]
    use(tenant, 1, subscription="sub-2")
    assert (flagged(), told(UNCOVERED, COVERED)) == (["sub-1", "sub-2"], [UNCOVERED] * 2)
    make_grant(wallet, "1.00")
    run_due()
    assert (flagged(), told(UNCOVERED, COVERED)) == ([], [UNCOVERED] * 2 + [COVERED] * 2)
    assert fresh_wallet(wallet).short_subscriptions == []
    assert all_breaches() == []


@pytest.mark.usefixtures("subscriptions")
def test_usage_of_no_subscription_flags_all_of_the_customer(
    tenant: Tenant, customer: Customer
) -> None:
    strict(customer)
    use(tenant, 1)
    assert flagged() == ["sub-1", "sub-2"]


@pytest.mark.usefixtures("subscriptions")
def test_the_flag_is_lifted_when_no_wallet_is_short(tenant: Tenant, customer: Customer) -> None:
    wallets = [strict(customer) for _ in range(2)]
    use(tenant, 1, subscription="sub-1")
    late = fresh_wallet(wallets[1])
    assert [fresh_wallet(one).shortfall for one in wallets] == [0, 1]
    make_grant(wallets[0], "1.00")
    for wallet in wallets:
        flag_subscriptions(wallet.id, tenant_id=tenant.id, actor=ACTOR, at=AT)
    assert flagged() == ["sub-1"]
    make_grant(late, "1.00")
    run_due()
    assert flagged() == []


@pytest.mark.usefixtures("subscriptions")
def test_what_an_invoice_asks_in_money_flags_too(tenant: Tenant, customer: Customer) -> None:
    wallet = strict(customer, Settlement.ON_INVOICE)
    make_grant(wallet, "5.00")
    use(tenant, 8, subscription="sub-1")
    assert flagged() == []
    count_all()
    bill_customer(
        customer.id,
        tenant_id=tenant.id,
        request_id=new_id(),
        cutoff=AT + MONTH,
        issue=True,
        actor=ACTOR,
        at=AT + MONTH,
    )
    run_due()
    row = fresh_wallet(wallet)
    assert (row.balance, row.shortfall) == (0, 3)
    assert [str(one) for one in Subscription.objects.exclude(uncovered_since=None)] == ["sub-1"]


@pytest.mark.usefixtures("subscriptions")
def test_callers_see_the_flag(tenant: Tenant, customer: Customer) -> None:
    wallet = strict(customer)
    api = Api(make_key(tenant))
    assert api.get("/subscriptions/sub-1").json()["uncovered_since"] is None
    use(tenant, 1, subscription="sub-1")
    shown = api.get("/subscriptions/sub-1").json()
    assert shown["uncovered_since"] == "2026-05-01T12:00:00Z"
    assert api.get(f"/wallets/{wallet.public_id}").json()["short_subscriptions"] == [shown["id"]]
