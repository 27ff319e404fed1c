"""Usage that an invoice asks for before it has burned: charged once, whoever comes first."""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from apps.core.tenancy import tenant_scope
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.issuing import issue_invoice
from apps.tenants.models import Tenant
from apps.wallets.domain import Settlement
from apps.wallets.models import CreditTransaction, Wallet
from apps.wallets.operations import burning, covering
from apps.wallets.operations.burning import burn_usage
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.neighbours import outlive_neighbours
from tests.make.races import at_once
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import burn_all, fresh_wallet, make_grant, make_price, make_wallet
from tests.servers import as_superuser

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.holds("W5")]

MONTH = AT + timedelta(days=31)
CALLS = {
    "key": "calls",
    "name": "Calls",
    "meter": "calls",
    "pricing": {"model": "per_unit", "unit_price": "0.10"},
}


@pytest.fixture
def tenant() -> Tenant:
    tenant = make_tenant()
    make_price(make_meter(tenant, key="calls"), "0.10")
    return tenant


def make_payer(tenant: Tenant, name: str = "crm-1", credit: str = "10.00") -> Wallet:
    customer = make_customer(tenant, external_id=name)
    make_subscription(customer, make_plan(tenant, [CALLS]))
    wallet = make_wallet(customer, settlement=Settlement.ON_EVENT)
    make_grant(wallet, credit)
    return wallet


def use(tenant: Tenant, value: int, name: str = "crm-1") -> None:
    event = {"event_name": "calls", "customer": name, "timestamp": AT.isoformat(), "value": value}
    (receipt,) = send(tenant, [event])
    assert receipt.status == "accepted"


def close() -> None:
    close_due(MONTH, actor=ACTOR)


def told(wallet: Wallet) -> Any:
    """Return what is left, what documents came to and credit paid of it, and what burned."""
    documents = Invoice.objects.filter(customer=wallet.customer_id).order_by("id")
    burned = CreditTransaction.objects.filter(wallet=wallet, kind="consume").order_by("number")
    return (
        fresh_wallet(wallet).balance,
        [(one.total.amount, one.credit_applied) for one in documents],
        [one.amount for one in burned],
    )


def test_what_is_invoiced_before_it_burns_is_charged_once(tenant: Tenant) -> None:
    wallet = make_payer(tenant)
    use(tenant, 40)
    count_all()
    close()
    once = (Decimal(6), [(Decimal(4), Decimal(4))], [Decimal(-4)])
    assert told(wallet) == once
    burn_all(MONTH)
    close()
    assert told(wallet) == once
    # what comes now is the reader's again, and the next document takes it off
    use(tenant, 5)
    burn_all(MONTH)
    close_due(MONTH + timedelta(days=31), actor=ACTOR)
    assert told(wallet)[0] == Decimal("5.5")
    assert sum(total - paid for total, paid in told(wallet)[1]) == 0
    assert all_breaches() == []


def test_a_draft_is_issued_with_what_burned_since_it_was_measured(tenant: Tenant) -> None:
    tenant.grace_period = timedelta(days=2)
    tenant.save(update_fields=["grace_period"])
    wallet = make_payer(tenant, credit="4.50")
    use(tenant, 40)
    close()
    use(tenant, 10)  # it is on no line yet, and takes what is left
    invoice = Invoice.objects.get(customer=wallet.customer_id)
    issue_invoice(invoice.id, tenant_id=tenant.id, actor=ACTOR, at=MONTH)
    assert told(wallet) == (0, [(4, 4)], [-4, Decimal("-0.5")])
    tenant.grace_period = timedelta()
    tenant.save(update_fields=["grace_period"])
    burn_all(MONTH)
    count_all()
    close_due(MONTH + timedelta(days=31), actor=ACTOR)
    # 5.00 were used: 4.50 were burned, and 0.50 are asked for
    assert sum(total - paid for total, paid in told(wallet)[1]) == Decimal("0.5")
    assert all_breaches() == []


def behind(work: Callable[[], object], tenant: Tenant) -> threading.Thread:
    """Begin something on a connection of its own; return once it waits for a lock, or is done."""

    def run() -> None:
        try:
            with tenant_scope(tenant.id):
                work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
    while thread.is_alive():
        with as_superuser(), connection.cursor() as cursor:
            cursor.execute(waiting)
            if cursor.fetchone() is not None:
                break
        thread.join(0.05)
    return thread


@pytest.mark.parametrize("first", ["invoice", "reader"])
def test_who_comes_second_finds_what_the_first_has_burned(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    wallet = make_payer(tenant)
    use(tenant, 40)
    count_all()
    outlive_neighbours()
    begun: list[threading.Thread] = []

    def at_point(name: str) -> None:
        if not begun and name in {"wallets.cover.after_settle", "wallets.burn.before_commit"}:
            begun.append(threading.Thread())
            begun[0] = behind(second, tenant)

    if first == "invoice":
        monkeypatch.setattr(covering, "failpoint", at_point)

        def second() -> None:
            burn_usage(wall=MONTH)

        close()
    else:
        monkeypatch.setattr(burning, "failpoint", at_point)
        second = close
        burn_usage(wall=MONTH)
    for thread in begun:
        thread.join()
    burn_all(MONTH)
    close()
    assert told(wallet) == (6, [(4, 4)], [-4])
    assert all_breaches() == []


def test_reader_and_invoices_at_once(tenant: Tenant) -> None:
    wallets = [make_payer(tenant, f"crm-{number}") for number in range(6)]
    for number in range(6):
        use(tenant, 40, f"crm-{number}")
    count_all()
    outlive_neighbours()
    at_once(*[close] * 2, *[lambda: burn_usage(wall=MONTH)] * 2)
    burn_all(MONTH)
    close()
    assert [told(one) for one in wallets] == [(6, [(4, 4)], [-4])] * 6
    assert all_breaches() == []
