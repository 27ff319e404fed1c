"""When prepaid credit is taxed: on its use, or on its purchase; and that never twice."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from apps.catalog.models import Product
from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.customers.domain import TaxExempt
from apps.customers.models import Customer
from apps.customers.operations import change_customer
from apps.invoicing.explaining import explain
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.closing import cancel_invoice
from apps.ledger.domain import AccountKind
from apps.tenants.domain import CreditTaxed, CreditTaxedFixed, Mode
from apps.tenants.models import Tenant, TestClock
from apps.tenants.operations import change_tenant
from apps.wallets.domain import Scope
from apps.wallets.models import CreditGrant, Wallet
from apps.wallets.operations.granting import refund_grant
from apps.wallets.operations.purchasing import purchase_credit
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.metering import count_all, make_meter, send
from tests.make.payments import make_payer
from tests.make.subscriptions import make_subscription
from tests.make.taxes import BERLIN, make_tax_rate
from tests.make.tenants import ACTOR, AT, make_clock, make_tenant
from tests.make.wallets import booked, fresh_wallet, make_grant, make_wallet

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = Path(__file__).parents[3] / "docs" / "taxes.md"
MONTH = AT.replace(month=AT.month + 1)
ON_USE, ON_PURCHASE = CreditTaxed.ON_USE, CreditTaxed.ON_PURCHASE


def tenant_that(taxed: CreditTaxed) -> Tenant:
    """A company with VAT of 19 % in Germany."""
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=AT, attach=True)
    make_tax_rate(tenant, country="DE")
    return change_tenant(tenant.id, actor=ACTOR, at=AT, credit_taxed=taxed)


def berliner(tenant: Tenant) -> Customer:
    customer = make_payer(tenant=tenant)
    return change_customer(
        customer.id, tenant_id=tenant.id, actor=ACTOR, at=AT, address=BERLIN, external_id="crm-1"
    )


def buy(wallet: Wallet, amount: str, at: datetime = AT) -> Invoice:
    grant = purchase_credit(
        wallet.id,
        id=new_id(),
        tenant_id=wallet.tenant_id,
        amount=Decimal(amount),
        actor=ACTOR,
        at=at,
    )
    run_due()
    return Invoice.objects.get(lines__grant_id=grant.id)


def use(customer: Customer, amount: str, *, base: str = "0.00") -> None:
    """Subscribe him to a meter at a dollar a call, and use so many of it."""
    make_meter(customer.tenant, key="calls")
    calls = {"key": "calls", "name": "Calls", "meter": "calls"}
    calls["pricing"] = {"model": "per_unit", "unit_price": "1.00"}  # type: ignore[assignment]
    fee = {"key": "base", "name": "Base", "timing": "arrears"}
    fee["pricing"] = {"model": "flat", "amount": base}  # type: ignore[assignment]
    make_subscription(customer, make_plan(customer.tenant, [fee, calls]))
    more(customer, amount)


def more(customer: Customer, amount: str) -> None:
    event = {"event_name": "calls", "customer": "crm-1", "value": amount}
    (receipt,) = send(customer.tenant, [{**event, "timestamp": AT.isoformat()}])
    assert receipt.status == "accepted"
    count_all()


def bill(customer: Customer) -> Invoice:
    (made,) = bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=MONTH,
        issue=True,
        actor=ACTOR,
        at=MONTH,
    )
    return made


def figures(document: Invoice) -> tuple[str, ...]:
    row = Invoice.objects.get(pk=document.pk)
    amounts = (row.subtotal, row.tax, row.total, row.amount_due)
    return tuple(f"{one.amount:.2f}" for one in amounts)


def worked() -> Iterator[tuple[str, ...]]:
    heads = "| credit_taxed |"
    inside = False
    for line in PAGE.read_text().splitlines():
        inside = line.startswith((heads, "|")) and (inside or line.startswith(heads))
        if inside and line.startswith("| on_"):
            yield tuple(cell.strip() for cell in line.strip("|").split("|"))


@pytest.mark.parametrize("row", list(worked()))
def test_the_worked_table(row: tuple[str, ...]) -> None:
    taxed, purchase, tax_of_it, used, paid, tax, due = row
    customer = berliner(tenant_that(CreditTaxed(taxed)))
    wallet = make_wallet(customer)
    bought = buy(wallet, purchase)
    assert (f"{bought.tax.amount:.2f}", bought.status) == (tax_of_it, "paid")
    assert fresh_wallet(wallet).balance == Decimal(purchase)
    use(customer, used)
    invoice = bill(customer)
    assert f"{Invoice.objects.get(pk=invoice.pk).credit_applied:.2f}" == paid
    assert figures(invoice)[1::2] == (tax, due)
    assert all_breaches() == []


def test_the_table_is_on_the_page() -> None:
    assert len(list(worked())) == 4


def test_tax_of_a_purchase_is_in_the_books_and_goes_back_with_its_refund() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    wallet = make_wallet(customer)
    bought = buy(wallet, "100.00")
    assert figures(bought)[:3] == ("100.00", "19.00", "119.00")
    kinds = (AccountKind.TAX_PAYABLE, AccountKind.CREDIT_LIABILITY, AccountKind.DEFERRED_REVENUE)
    assert booked(tenant, *kinds) == [-19, -100, 0]
    use(customer, "33.33")
    assert figures(bill(customer)) == ("33.33", "0.00", "33.33", "0.00")
    grant = CreditGrant.objects.get()
    refund_grant(grant.id, tenant_id=tenant.id, reason="leaves", actor=ACTOR, at=MONTH)
    run_due()
    run_due()
    memo = Invoice.objects.get(kind="credit_memo")
    assert figures(memo)[:3] == ("-66.67", "-12.67", "-79.34")
    assert booked(tenant, *kinds) == [Decimal("-6.33"), 0, 0]  # 19 % of 33.33
    assert all_breaches() == []


def test_usage_that_is_taken_back_gives_its_credit_back_untaxed() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    buy(make_wallet(customer), "40.00")
    use(customer, "100")
    assert figures(bill(customer)) == ("100.00", "11.40", "111.40", "71.40")
    more(customer, "-100")
    memo = bill(customer)
    # 40.00 come back as credit, which stays taxed; 60.00 with their tax in money
    assert figures(memo)[:3] == ("-100.00", "-11.40", "-111.40")
    assert Invoice.objects.get(pk=memo.pk).credit_applied == -40
    assert booked(tenant, AccountKind.TAX_PAYABLE) == [Decimal("-7.60")]
    assert all_breaches() == []


def test_a_canceled_invoice_gives_credit_back_and_is_taxed_anew() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    wallet = make_wallet(customer)
    buy(wallet, "40.00")
    use(customer, "100")
    first = bill(customer)
    cancel_invoice(first.id, tenant_id=tenant.id, actor=ACTOR, at=MONTH)
    assert fresh_wallet(wallet).balance == 40
    assert figures(bill(customer)) == ("100.00", "11.40", "111.40", "71.40")
    assert booked(tenant, AccountKind.TAX_PAYABLE) == [Decimal("-19.00")]
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("taxed", "expected"),
    [
        # the base fee is not what credit pays: 10.00 and its tax
        (ON_USE, ("70.00", "13.30", "83.30", "11.90")),
        (ON_PURCHASE, ("70.00", "1.90", "71.90", "11.90")),
    ],
)
def test_what_credit_does_not_pay_is_taxed(taxed: CreditTaxed, expected: tuple[str, ...]) -> None:
    customer = berliner(tenant_that(taxed))
    buy(make_wallet(customer), "100.00")
    use(customer, "60", base="10.00")
    assert figures(bill(customer)) == expected
    assert all_breaches() == []


@pytest.mark.holds("I10")
def test_no_cent_is_left_where_credit_is_enough() -> None:
    tenant = tenant_that(ON_USE)
    customer = berliner(tenant)
    use(customer, "0.50", base="0.50")
    other = {"key": "other", "name": "Other", "timing": "arrears"}
    other["pricing"] = {"model": "flat", "amount": "48.00"}  # type: ignore[assignment]
    make_subscription(customer, make_plan(tenant, [other]))
    wallet = make_wallet(customer, scope=Scope(charges=("base", "other", "calls")))
    buy(wallet, "100.00")
    assert figures(bill(customer)) == ("49.00", "9.31", "58.31", "0.00")
    assert fresh_wallet(wallet).balance == Decimal("41.69")


def test_given_credit_lowers_the_price_where_credit_is_taxed_on_purchase() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    make_grant(make_wallet(customer), "25.00")
    use(customer, "100")
    assert figures(bill(customer)) == ("100.00", "14.25", "114.25", "89.25")
    (tax,) = InvoiceTax.objects.all()
    assert [tax.taxable, tax.covered] == [75, 25]
    line = InvoiceLine.objects.select_related("invoice").get(kind="usage")
    assert explain(line).sentences[-1] == (
        "VAT 19 %, rounded once on the sum of the lines that it applies to, less 25.00 that credit"
        " pays, taxed when bought: 19 % of 75.00 = 14.25 USD."
    )
    assert all_breaches() == []


def test_who_is_exempt_buys_credit_without_tax() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    change_customer(
        customer.id, tenant_id=tenant.id, actor=ACTOR, at=AT, tax_exempt=TaxExempt.EXEMPT
    )
    assert figures(buy(make_wallet(customer), "100.00"))[:3] == ("100.00", "0.00", "100.00")


def test_credit_pays_no_more_than_is_asked_when_tax_is_given_back() -> None:
    tenant = tenant_that(ON_PURCHASE)
    customer = berliner(tenant)
    make_tax_rate(tenant, "7", key="book", country="DE", tax_code="book")
    use(customer, "80")
    bill(customer)
    TestClock.objects.filter(tenant=tenant).update(now=MONTH)
    more(customer, "-50")
    fee = {"key": "fee", "name": "Fee", "timing": "arrears"}
    fee["pricing"] = {"model": "flat", "amount": "100.00"}  # type: ignore[assignment]
    books = make_plan(tenant, [fee])
    Product.objects.filter(plans=books.plan).update(tax_code="book")
    make_subscription(customer, books)
    wallet = make_wallet(customer, scope=Scope(charges=("fee",)))
    buy(wallet, "100.00", MONTH)
    invoice = bill(customer)
    # credit pays 50.00 less the 9.50 of tax that are given back; 7 % are on the other 59.50
    assert figures(invoice) == ("50.00", "-5.33", "44.67", "4.17")
    assert all_breaches() == []


def test_once_credit_is_sold_the_setting_stays() -> None:
    tenant = tenant_that(ON_PURCHASE)
    wallet = make_wallet(berliner(tenant))
    values: dict[str, Any] = {"actor": ACTOR, "at": AT}
    change_tenant(tenant.id, credit_taxed=ON_USE, **values)
    change_tenant(tenant.id, credit_taxed=ON_PURCHASE, **values)
    buy(wallet, "10.00")
    with pytest.raises(CreditTaxedFixed), transaction.atomic():
        change_tenant(tenant.id, credit_taxed=ON_USE, **values)
    assert change_tenant(tenant.id, name="Other", **values).credit_taxed == ON_PURCHASE
