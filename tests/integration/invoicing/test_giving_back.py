"""Giving money of an invoice back: what of it is tax, and what the next run makes of it."""

from datetime import timedelta
from decimal import Decimal

import pytest

from apps.core.errors import BillingError
from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import bill_customer
from apps.invoicing.operations.giving_back import credit_invoices
from apps.subscriptions.domain import CancelMode
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import cancel_subscription
from apps.tenants.domain import TaxRounding
from tests.integration.invoicing.test_taxes import APRIL, JUNE, MAY, VAT, berliner, bill, charge
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.subscriptions import make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import ACTOR

pytestmark = [pytest.mark.django_db, pytest.mark.holds("I2", "I8")]


def billed(
    *amounts: str, rate: str = "19", rounding: TaxRounding = TaxRounding.PER_RATE
) -> Invoice:
    """Return the invoice of April over charges of these amounts, with tax."""
    customer = berliner()
    customer.tenant.tax_rounding = rounding
    customer.tenant.save()
    make_tax_rate(customer.tenant, rate, **VAT)
    charges = [charge(f"c{number}", amount) for number, amount in enumerate(amounts)]
    make_subscription(customer, make_plan(customer.tenant, charges), at=APRIL)
    return bill(customer)


def give(invoice: Invoice, amount: str) -> Invoice:
    (memo,) = credit_invoices(
        {invoice.id: Decimal(amount)},
        request_id=new_id(),
        reason="It was down.",
        tenant_id=invoice.tenant_id,
        actor=ACTOR,
        at=MAY,
    )
    return memo


def figures(memo: Invoice) -> tuple[str, str, str]:
    return (
        f"{memo.subtotal.amount:.2f}",
        f"{memo.tax.amount:.2f}",
        f"{memo.total.amount:.2f}",
    )


@pytest.mark.holds("B104")
def test_a_part_takes_its_part_of_the_tax_and_the_last_one_leaves_none() -> None:
    invoice = billed("100.00")  # 119.00
    assert figures(give(invoice, "59.50")) == ("-50.00", "-9.50", "-59.50")
    assert figures(give(invoice, "11.90")) == ("-10.00", "-1.90", "-11.90")
    assert figures(give(invoice, "47.60")) == ("-40.00", "-7.60", "-47.60")
    memos = Invoice.objects.filter(credits=invoice)
    assert sum(one.tax.amount for one in memos) == -19
    with pytest.raises(BillingError) as refused:
        give(invoice, "0.01")
    assert refused.value.reason == "credit_exceeds_invoice"
    assert all_breaches() == []


def test_all_of_it_leaves_no_tax_of_several_rates() -> None:
    customer = berliner()
    for number, rate in enumerate(("5", "9.975")):
        make_tax_rate(customer.tenant, rate, **{**VAT, "key": f"r{number}", "tax": f"t{number}"})
    charges = [charge("a", "1.04"), charge("b", "10.01")]
    make_subscription(customer, make_plan(customer.tenant, charges), at=APRIL)
    invoice = bill(customer)
    given = give(invoice, str(invoice.total.amount.normalize()))
    assert (given.subtotal, given.tax) == (-invoice.subtotal, -invoice.tax)
    assert all_breaches() == []


@pytest.mark.parametrize("rounding", list(TaxRounding))
@pytest.mark.parametrize("rate", ["19", "7.7", "100", "0.5"])
def test_any_part_is_given_to_the_cent(rate: str, rounding: TaxRounding) -> None:
    invoice = billed("33.33", "66.67", "0.01", rate=rate, rounding=rounding)
    left = invoice.total.amount
    for part in ("0.01", "0.02", "0.97", "1.00", "10.01"):
        memo = give(invoice, part)
        assert memo.total.amount == -Decimal(part)
        left -= Decimal(part)
    assert give(invoice, str(left)).total.amount == -left
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("part", "expected"),
    [("35.70", ("-30.00", "-5.70", "-35.70")), ("11.90", ("-10.00", "-1.90", "-11.90"))],
)
def test_an_invoice_that_also_corrects_another_is_given_back_with_its_tax(
    part: str, expected: tuple[str, str, str]
) -> None:
    before = billed("100.00")
    customer = before.customer
    other = make_plan(customer.tenant, [charge("other", "80.00")], key="other")
    first = Subscription.objects.get(customer=customer)
    cancel_subscription(
        first.pk, mode=CancelMode.DATE, ends_at=APRIL + timedelta(days=15), actor=ACTOR, at=MAY
    )
    make_subscription(customer, other, at=MAY)
    invoice = bill(customer, JUNE)
    assert figures(invoice) == ("30.00", "5.70", "35.70")  # 80.00 less half of April
    assert figures(give(invoice, part)) == expected
    assert all_breaches() == []


def test_what_is_given_back_is_not_billed_again() -> None:
    invoice = billed("100.00")
    give(invoice, "119.00")
    again = bill_customer(
        invoice.customer_id,
        tenant_id=invoice.tenant_id,
        request_id=new_id(),
        cutoff=MAY,
        issue=True,
        actor=ACTOR,
        at=MAY,
    )
    assert again == []
    following = bill(invoice.customer, JUNE)
    assert (following.total.amount, following.balance_applied.amount) == (119, 119)
    assert all_breaches() == []
