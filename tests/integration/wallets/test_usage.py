"""Usage that takes credit: as its events come in, or when it is invoiced; never both."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.closing import cancel_invoice
from apps.ledger.domain import AccountKind
from apps.metering.models import Meter
from apps.subscriptions.models import Subscription
from apps.tenants.models import Tenant
from apps.wallets.domain import Insufficient, Scope, Settlement
from apps.wallets.models import CreditTransaction, Wallet
from apps.wallets.operations.burning import burn_usage
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_tenant
from tests.make.wallets import (
    booked,
    burn_all,
    fresh_grant,
    fresh_wallet,
    make_grant,
    make_paid,
    make_price,
    make_unit,
    make_wallet,
)

pytestmark = pytest.mark.django_db(transaction=True)

MONTH = timedelta(days=31)


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def customer(tenant: Tenant) -> Customer:
    return make_customer(tenant, external_id="crm-1")


@pytest.fixture
def meter(tenant: Tenant) -> Meter:
    return make_meter(tenant, key="calls")


def use(tenant: Tenant, *values: int, at: datetime = AT, **named: Any) -> None:
    items = [
        {"event_name": "calls", "customer": "crm-1", "timestamp": at, "value": value, **named}
        for value in values
    ]
    wrong = [one for one in send(tenant, _texts(items), at=at) if one.status != "accepted"]
    assert wrong == []


def _texts(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "timestamp": one["timestamp"].isoformat()} for one in items]


def subscribe(customer: Customer, price: str = "0.10") -> Subscription:
    usage = {
        "key": "calls",
        "name": "Calls",
        "meter": "calls",
        "pricing": {"model": "per_unit", "unit_price": price},
    }
    base = {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": "5.00"}}
    return make_subscription(customer, make_plan(customer.tenant, [base, usage]))


def bill(customer: Customer, at: datetime = AT + MONTH) -> Invoice:
    count_all()
    made = bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=at,
        issue=True,
        actor=ACTOR,
        at=at,
    )
    return made[-1]


def wrong() -> list[str]:
    """Return what is wrong with the books, but that the invoices of paid credit are made up."""
    return [one for one in all_breaches() if "credit_is_sold_at_its_price" not in one]


def figures(invoice: Invoice) -> Any:
    row = Invoice.objects.get(pk=invoice.pk)
    return row.total.amount, row.credit_applied, row.amount_due.amount


def consumed(wallet: Wallet) -> list[Any]:
    rows = CreditTransaction.objects.filter(wallet=wallet, kind="consume").order_by("number")
    return list(rows.values_list("amount", flat=True))


# --- as events come in --------------------------------------------------------------------------


@pytest.mark.holds("W5")
def test_an_event_burns_once_for_ever(tenant: Tenant, customer: Customer, meter: Meter) -> None:
    unit = make_unit(tenant, "credits")
    make_price(meter, "1", unit)
    wallet = make_wallet(customer, unit=unit, settlement=Settlement.ON_EVENT)
    make_grant(wallet, "1000")
    use(tenant, 10)
    for _ in range(3):
        burn_all()
    assert (fresh_wallet(wallet).balance, consumed(wallet)) == (990, [-10])
    entry = CreditTransaction.objects.get(wallet=wallet, kind="consume")
    assert (entry.meter_id, entry.used_at, entry.event_id is not None) == (meter.id, AT, True)
    # a cent each, given away
    expense = AccountKind.PROMOTIONAL_EXPENSE
    assert booked(tenant, expense, AccountKind.REVENUE) == [Decimal("0.1"), Decimal("-0.1")]
    assert wrong() == []


def test_wallets_burn_by_priority_and_scope(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "0.5")
    make_meter(tenant, key="images")
    common: dict[str, Any] = {"settlement": Settlement.ON_EVENT}
    last = make_wallet(customer, priority=90, **common)
    first = make_wallet(customer, priority=10, **common)
    other = make_wallet(customer, priority=1, scope=Scope(meters=("images",)), **common)
    for wallet in (last, first, other):
        make_grant(wallet, "2.00")
    use(tenant, 3, 3)
    burn_all()
    left = [fresh_wallet(one).balance for one in (first, last, other)]
    assert left == [0, 1, 2]
    assert wrong() == []


def test_what_credit_does_not_cover_is_flagged_or_lent(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "1")
    strict = make_wallet(customer, settlement=Settlement.ON_EVENT, insufficient=Insufficient.REFUSE)
    make_grant(strict, "5.00")
    use(tenant, 4, 4)
    burn_all()
    wallet = fresh_wallet(strict)
    assert (wallet.balance, wallet.shortfall, wallet.short_since) == (0, 3, AT)
    make_grant(strict, "1.00")
    assert fresh_wallet(strict).short_since is None
    lender = make_wallet(
        make_customer(tenant, external_id="crm-2"),
        settlement=Settlement.ON_EVENT,
        insufficient=Insufficient.OVERDRAFT,
        overdraft_limit=Decimal(6),
    )
    use(tenant, 4, 4, customer="crm-2")
    burn_all()
    assert (fresh_wallet(lender).balance, fresh_wallet(lender).shortfall) == (-6, 2)
    assert wrong() == []


def test_events_that_take_usage_back_give_credit_back(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "1")
    wallet = make_wallet(customer, settlement=Settlement.ON_EVENT)
    given, paid = make_grant(wallet, "5.00"), make_paid(wallet, "10.00")
    use(tenant, 8)
    burn_all()
    use(tenant, -4)
    burn_all()
    # what was taken last comes back first
    assert [fresh_grant(one).remaining for one in (given, paid)] == [1, 10]
    back = CreditTransaction.objects.filter(wallet=wallet, kind="return").order_by("number")
    assert [(one.amount, one.meter_id) for one in back] == [
        (Decimal(3), meter.id),
        (Decimal(1), meter.id),
    ]
    assert booked(tenant, AccountKind.CREDIT_LIABILITY, AccountKind.REVENUE) == [-10, -4]
    # nothing had been used by then
    use(tenant, -4, at=AT - timedelta(days=1))
    burn_all()
    assert fresh_wallet(wallet).balance == 11
    # more than was used cannot come back; nor in the chunk that burns it
    use(tenant, -9, 6, -2)
    burn_all()
    assert fresh_wallet(wallet).balance == 11
    assert wrong() == []


def test_what_burns_after_usage_that_gave_nothing_back_is_in_the_books(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "1")
    wallet = make_wallet(customer, settlement=Settlement.ON_EVENT)
    make_grant(wallet, "20.00")
    use(tenant, 2)
    use(tenant, -4, at=AT - timedelta(days=1))  # nothing had been used by then
    use(tenant, 6)
    burn_all()
    assert fresh_wallet(wallet).balance == 12
    assert booked(tenant, AccountKind.PROMOTIONAL_EXPENSE, AccountKind.REVENUE) == [8, -8]


def test_of_usage_that_was_lent_less_is_owed(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "1")
    wallet = make_wallet(
        customer,
        settlement=Settlement.ON_EVENT,
        insufficient=Insufficient.OVERDRAFT,
        overdraft_limit=Decimal(9),
    )
    use(tenant, 6, -2)
    burn_all()
    assert (fresh_wallet(wallet).balance, fresh_wallet(wallet).overdrawn) == (-4, 4)
    paid = make_paid(wallet, "5.00")  # it pays the 4 back
    use(tenant, -3)
    burn_all()
    assert (fresh_wallet(wallet).overdrawn, fresh_grant(paid).remaining) == (0, 4)
    assert wrong() == []


def test_two_readers_burn_once(tenant: Tenant, customer: Customer, meter: Meter) -> None:
    make_price(meter, "1")
    wallet = make_wallet(customer, settlement=Settlement.ON_EVENT)
    make_grant(wallet, "100.00")
    use(tenant, *[1] * 50)
    burn_all()
    assert burn_usage(wall=AT) == 0
    assert (fresh_wallet(wallet).balance, len(consumed(wallet))) == (50, 50)


def test_every_tenants_usage_burns_its_own_credit() -> None:
    wallets = []
    for quantity in (1, 2, 3):
        tenant = make_tenant()
        with tenant_scope(tenant.id):
            customer = make_customer(tenant, external_id="crm-1")
            make_price(make_meter(tenant, key="calls"), "1")
            wallets.append(make_wallet(customer, settlement=Settlement.ON_EVENT))
            make_grant(wallets[-1], "10.00")
            use(tenant, quantity)
    with tenant_scope(None):
        burn_all()
    for wallet, left in zip(wallets, (9, 8, 7), strict=True):
        with tenant_scope(wallet.tenant_id):
            assert fresh_wallet(wallet).balance == left
            assert wrong() == []


# --- when it is invoiced ------------------------------------------------------------------------


def test_credit_pays_usage_and_nothing_else(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    subscribe(customer)
    wallet = make_wallet(customer)
    paid = make_paid(wallet, "10.00")
    use(tenant, 40)
    invoice = bill(customer)
    # two base fees, 5.00 each; 4.00 of usage
    assert figures(invoice) == (14, 4, 10)
    assert fresh_grant(paid).remaining == 6
    entry = CreditTransaction.objects.get(wallet=wallet, kind="consume")
    assert (entry.covers, entry.invoice_id) == (Decimal(4), invoice.id)
    assert booked(tenant, AccountKind.CREDIT_LIABILITY) == [-6]
    assert wrong() == []


def test_credit_named_for_a_charge_pays_what_is_no_usage_too(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    subscribe(customer)
    wallet = make_wallet(customer, scope=Scope(charges=("base",)))
    make_grant(wallet, "7.00")
    use(tenant, 40)
    assert figures(bill(customer)) == (14, 7, 7)
    assert wrong() == []


def test_units_pay_whole_cents_and_the_rest_is_asked_for(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    subscribe(customer)
    wallet = make_wallet(customer, unit=make_unit(tenant, rate="0.03"))
    make_paid(wallet, "100", price=Decimal("2.00"))
    use(tenant, 50)
    # 100 units are worth 3.00, for which 2.00 were paid
    assert figures(bill(customer)) == (15, 3, 12)
    assert fresh_wallet(wallet).balance == 0
    assert wrong() == []


def test_a_canceled_invoice_gives_the_credit_back(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    subscribe(customer)
    wallet = make_wallet(customer)
    paid, given = make_paid(wallet, "10.00"), make_grant(wallet, "1.00")
    use(tenant, 40)
    invoice = bill(customer)
    assert [fresh_grant(one).remaining for one in (paid, given)] == [7, 0]
    cancel_invoice(invoice.id, tenant_id=tenant.id, actor=ACTOR, at=AT + MONTH)
    assert [fresh_grant(one).remaining for one in (paid, given)] == [10, 1]
    assert wrong() == []
    assert figures(bill(customer)) == (14, 4, 10)
    assert wrong() == []


def test_usage_that_burned_is_not_charged_again(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "0.10")
    subscribe(customer)
    early = make_wallet(customer, settlement=Settlement.ON_EVENT)
    late = make_wallet(customer)
    make_paid(early, "3.00")
    make_paid(late, "0.50")
    use(tenant, 40)
    burn_all()
    assert fresh_wallet(early).balance == 0
    invoice = bill(customer)
    # of 4.00 of usage 3.00 were paid by the event, 0.50 are paid now
    assert figures(invoice) == (14, Decimal("3.50"), Decimal("10.50"))
    assert booked(tenant, AccountKind.CREDIT_LIABILITY, AccountKind.REVENUE) == [0, -14]
    assert wrong() == []
    # what is taken back after an invoice has asked for it comes back as credit too
    use(tenant, -10)
    burn_all()
    assert fresh_wallet(early).balance == 1
    use(tenant, 10)
    burn_all()
    cancel_invoice(invoice.id, tenant_id=tenant.id, actor=ACTOR, at=AT + MONTH)
    assert (fresh_wallet(early).balance, fresh_wallet(late).balance) == (0, Decimal("0.50"))
    assert wrong() == []
    assert figures(bill(customer)) == (14, Decimal("3.50"), Decimal("10.50"))
    assert wrong() == []


def test_credit_that_names_a_charge_pays_it_out_of_a_wallet_for_everything(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    subscribe(customer)
    wallet = make_wallet(customer)
    fees = make_grant(wallet, "7.00", scope=Scope(charges=("base",)))
    free = make_grant(wallet, "3.00")
    use(tenant, 40)
    # 10.00 of fees and 4.00 of usage
    assert figures(bill(customer)) == (14, 10, 4)
    assert [fresh_grant(one).remaining for one in (fees, free)] == [0, 0]
    assert wrong() == []


def test_usage_of_two_periods_that_burned_is_not_charged_by_one_invoice(
    tenant: Tenant, customer: Customer, meter: Meter
) -> None:
    make_price(meter, "0.10")
    wallet = make_wallet(customer, settlement=Settlement.ON_EVENT)
    make_grant(wallet, "10.00")
    subscribe(customer)
    use(tenant, 30)
    use(tenant, 50, at=AT + MONTH)
    burn_all()
    assert fresh_wallet(wallet).balance == 2
    # three base fees, and 3.00 and 5.00 of usage, all of it paid by the events
    assert figures(bill(customer, AT + 2 * MONTH))[1:] == (8, 15)
    assert wrong() == []


@pytest.mark.parametrize(
    ("scope", "lent"), [(Scope(), 4), (Scope(meters=("calls",)), 4), (Scope(meters=("gb",)), 0)]
)
def test_nothing_is_lent_for_what_the_wallet_is_not_for(
    tenant: Tenant, customer: Customer, meter: Meter, scope: Scope, lent: int
) -> None:
    make_meter(tenant, key="gb")
    subscribe(customer)
    wallet = make_wallet(
        customer,
        scope=scope,
        insufficient=Insufficient.OVERDRAFT,
        overdraft_limit=Decimal(50),
    )
    use(tenant, 40)
    # of 10.00 of fees and 4.00 of usage
    assert figures(bill(customer)) == (14, lent, 14 - lent)
    assert fresh_wallet(wallet).overdrawn == lent
    assert wrong() == []
