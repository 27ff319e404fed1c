"""Tax on documents: billed, corrected, canceled, written off, and in the books."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection

from apps.backoffice.books import breaches
from apps.catalog.models import Product
from apps.core.constraints import broken
from apps.core.ids import new_id
from apps.customers.domain import TaxExempt
from apps.customers.models import Customer
from apps.customers.operations import change_customer
from apps.invoicing.documents.page import issued_html_of, page_of
from apps.invoicing.explaining import explain
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceTax
from apps.invoicing.operations.billing import bill_customer, close_due, preview_customer
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.ledger.domain import AccountKind
from apps.metering.models import Meter
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.operations import cancel_subscription
from apps.taxes.operations import archive_tax_rate, end_tax_rate
from apps.tenants.domain import LateUsagePolicy, Mode, TaxRounding
from tests.make.api import Api
from tests.make.backoffice import all_breaches
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.taxes import BERLIN, make_tax_rate
from tests.make.tenants import ACTOR, make_clock, make_key, make_tenant
from tests.make.wallets import booked

pytestmark = pytest.mark.django_db
counted = pytest.mark.django_db(transaction=True)  # the reader looks beyond transactions

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ARREARS = {**BASE_FEE, "timing": "arrears"}
VAT = {"country": "DE", "key": "de", "name": "VAT 19 %"}


def charge(key: str, amount: str, **values: Any) -> dict[str, Any]:
    pricing = {"model": "flat", "amount": amount}
    return {"key": key, "name": key, "pricing": pricing, "timing": "arrears", **values}


def berliner(**values: Any) -> Customer:
    return make_customer(**{"address": BERLIN, **values})


def bill(customer: Customer, at: datetime = MAY) -> Invoice:
    (made,) = bill_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        request_id=new_id(),
        cutoff=at,
        issue=True,
        actor=ACTOR,
        at=at,
    )
    return made


def figures(document: Invoice) -> tuple[str, ...]:
    row = Invoice.objects.get(pk=document.pk)
    return tuple(f"{one.amount:.2f}" for one in (row.subtotal, row.tax, row.total))


def shown(document: Invoice) -> list[tuple[str, str, str]]:
    found = Invoice.objects.get(pk=document.pk).taxes_shown
    return [(one.name, f"{one.taxable:.2f}", f"{one.amount:.2f}") for one in found]


def all_tax() -> Decimal:
    rows = Invoice.objects.exclude(status__in=["draft", "canceled"])
    return sum((one.tax.amount for one in rows), Decimal(0))


@pytest.mark.holds("I2", "L7")
def test_tax_is_on_the_sum_of_the_lines_and_in_the_books() -> None:
    customer = berliner()
    make_tax_rate(customer.tenant, **VAT)
    charges = [charge("a", "0.50"), charge("b", "0.50"), charge("c", "48.00")]
    make_subscription(customer, make_plan(customer.tenant, charges), at=APRIL)
    (foreseen,) = preview_customer(customer.id, tenant_id=customer.tenant_id, cutoff=MAY)
    assert [(one.name, one.taxable, one.amount) for one in foreseen.taxes] == [
        ("VAT 19 %", Decimal("49.00"), Decimal("9.31"))
    ]
    assert (foreseen.subtotal, foreseen.tax, foreseen.total) == (
        Decimal("49.00"),
        Decimal("9.31"),
        Decimal("58.31"),
    )
    invoice = bill(customer)
    assert figures(invoice) == ("49.00", "9.31", "58.31")  # 0.10 + 0.10 + 9.12 by lines
    assert shown(invoice) == [("VAT 19 %", "49.00", "9.31")]
    assert booked(customer.tenant, AccountKind.REVENUE, AccountKind.TAX_PAYABLE) == [
        -49,
        Decimal("-9.31"),
    ]
    page = page_of(Invoice.objects.get(), now=True)
    assert [(one.label, one.amount) for one in page["totals"]] == [
        ("Subtotal", "49.00"),
        ("VAT 19 % on 49.00", "9.31"),
        ("Total", "58.31"),
        ("Amount due", "58.31"),
    ]
    sentences = explain(InvoiceLine.objects.filter(invoice=invoice)[0]).sentences
    assert sentences[-1] == (
        "VAT 19 %, rounded once on the sum of the lines that it applies to:"
        " 19 % of 49.00 = 9.31 USD."
    )
    assert all_breaches() == []


def test_tax_may_be_rounded_by_lines() -> None:
    customer = berliner()
    customer.tenant.tax_rounding = TaxRounding.PER_LINE
    customer.tenant.save()
    make_tax_rate(customer.tenant, **VAT)
    charges = [charge("a", "0.50"), charge("b", "0.50"), charge("c", "48.00")]
    make_subscription(customer, make_plan(customer.tenant, charges), at=APRIL)
    invoice = bill(customer)
    assert figures(invoice) == ("49.00", "9.32", "58.32")
    assert shown(invoice) == [("VAT 19 %", "49.00", "9.32")]
    assert InvoiceTax.objects.filter(rounding="per_line").count() == 3
    assert all_breaches() == []


def test_products_have_rates_of_their_own_and_taxes_add_up() -> None:
    customer = make_customer(address={"country": "CA", "state": "Quebec"})
    tenant = customer.tenant
    make_tax_rate(tenant, "5", key="gst", tax="gst", name="GST", country="CA")
    make_tax_rate(tenant, "9.975", key="qst", tax="qst", name="QST", country="CA", region="Quebec")
    book = {"tax": "qst", "name": "QST books", "tax_code": "book"}
    make_tax_rate(tenant, "0", key="books", country="CA", region="Quebec", **book)
    plain, books = (make_plan(tenant, [charge("fee", "10.30")]) for _ in range(2))
    Product.objects.filter(plans=books.plan).update(tax_code="book")
    for version in (plain, books):
        make_subscription(customer, version, at=APRIL)
    invoice = bill(customer)
    assert shown(invoice) == [
        ("GST", "20.60", "1.03"),
        ("QST", "10.30", "1.03"),
        ("QST books", "10.30", "0.00"),
    ]
    assert figures(invoice) == ("20.60", "2.06", "22.66")
    assert all_breaches() == []


@pytest.mark.parametrize(
    ("values", "remark"),
    [
        ({"tax_exempt": "exempt", "tax_exempt_reason": "embassy"}, "Exempt from tax: embassy"),
        (
            {"tax_exempt": "reverse_charge", "tax_ids": [("eu_vat", "DE136695976")]},
            "Reverse charge: the recipient owes the tax",
        ),
    ],
)
def test_who_is_exempt_pays_none_and_is_told_why(values: dict[str, Any], remark: str) -> None:
    customer = berliner(**{**values, "tax_exempt": TaxExempt(values["tax_exempt"])})
    make_tax_rate(customer.tenant, **VAT)
    make_subscription(customer, make_plan(customer.tenant, [ARREARS]), at=APRIL)
    invoice = bill(customer)
    assert figures(invoice) == ("49.00", "0.00", "49.00")
    assert remark in issued_html_of(Invoice.objects.get())
    change_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        actor=ACTOR,
        at=MAY,
        tax_exempt=TaxExempt.NONE,
    )
    assert Customer.objects.get().tax_exempt_reason == ""
    assert remark in issued_html_of(Invoice.objects.get())
    assert figures(bill(customer, JUNE)) == ("49.00", "9.31", "58.31")


def test_the_rate_is_that_of_the_last_instant_of_service() -> None:
    customer = berliner()
    old = make_tax_rate(customer.tenant, **VAT)
    end_tax_rate(old.id, tenant_id=old.tenant_id, valid_until=MAY, actor=ACTOR, at=APRIL)
    make_tax_rate(customer.tenant, "20", key="new", name="VAT 20 %", country="DE", valid_from=MAY)
    make_subscription(customer, make_plan(customer.tenant, [ARREARS]), at=APRIL)
    assert close_due(JUNE, actor=ACTOR).documents == 2
    first, second = Invoice.objects.order_by("number")
    assert shown(first) == [("VAT 19 %", "49.00", "9.31")]
    assert shown(second) == [("VAT 20 %", "49.00", "9.80")]


# --- corrections --------------------------------------------------------------------------------


@pytest.fixture
def meter() -> Meter:
    return make_meter(make_tenant(), key="calls", at=APRIL)


def user(meter: Meter, price: str = "0.01") -> Customer:
    customer = berliner(tenant=meter.tenant, external_id="crm-1")
    tenant = customer.tenant
    tenant.late_usage = LateUsagePolicy.CREDIT_MEMO
    tenant.save()
    pricing = {"model": "per_unit", "unit_price": price}
    usage = {"meter": "calls", "name": "Calls", "key": "calls", "pricing": pricing}
    make_subscription(customer, make_plan(tenant, [usage]), at=APRIL)
    return customer


def use(customer: Customer, value: str, at: datetime) -> None:
    event = {"event_name": "calls", "customer": "crm-1", "value": value}
    event["timestamp"] = (APRIL + 3 * DAY).isoformat()
    (receipt,) = send(customer.tenant, [event], at=at)
    assert receipt.status == "accepted"
    count_all()


@pytest.mark.holds("I2", "L7")
@counted
def test_what_is_taken_back_takes_its_part_of_the_tax(meter: Meter) -> None:
    customer = user(meter)
    rate = make_tax_rate(customer.tenant, **VAT)
    use(customer, "50", MAY - DAY)
    first = bill(customer)
    assert figures(first) == ("0.50", "0.10", "0.60")  # 0.095
    archive_tax_rate(rate.id, tenant_id=rate.tenant_id, actor=ACTOR, at=MAY)
    make_tax_rate(customer.tenant, "50", key="dearer", country="DE")
    steps = [
        ("-5", ("-0.05", "-0.01", "-0.06")),  # 0.0855: 0.09
        ("-3", ("-0.03", "-0.01", "-0.04")),  # 0.0798: 0.08
        ("1", ("0.01", "0.00", "0.01")),  # 0.0817
        ("-43", ("-0.43", "-0.08", "-0.51")),
    ]
    for day, (value, expected) in enumerate(steps, 1):
        use(customer, value, MAY + day * DAY)
        close_due(MAY + day * DAY, actor=ACTOR)
        document = Invoice.objects.order_by("-id").first()
        assert document is not None
        assert figures(document) == expected
        assert all_breaches() == []
    assert all_tax() == 0
    assert booked(customer.tenant, AccountKind.TAX_PAYABLE, AccountKind.REVENUE) == [0, 0]
    (_, second, *_, last) = InvoiceLine.objects.order_by("id")
    assert explain(second).sentences[-1] == (
        "VAT 19 %, with what is corrected: 19 % of 0.45 = 0.09, less 0.10 before = \N{MINUS SIGN}0.01 USD."
    )
    assert last.taxed_by == [rate.id]


@counted
def test_what_was_not_taxed_is_corrected_without_tax(meter: Meter) -> None:
    customer = user(meter)
    use(customer, "500", MAY - DAY)
    assert figures(bill(customer)) == ("5.00", "0.00", "5.00")
    make_tax_rate(customer.tenant, **VAT)
    use(customer, "-100", MAY + DAY)
    close_due(MAY + DAY, actor=ACTOR)
    assert all_tax() == 0
    assert InvoiceTax.objects.count() == 0


@counted
def test_a_document_may_give_back_more_tax_than_it_bills(meter: Meter) -> None:
    customer = user(meter, "1.00")
    make_tax_rate(customer.tenant, **VAT)
    use(customer, "100", MAY - DAY)
    bill(customer)
    make_subscription(customer, make_plan(customer.tenant, [charge("fee", "85.00")]), at=MAY)
    customer.tenant.late_usage = LateUsagePolicy.NEXT_INVOICE
    customer.tenant.save()
    change_customer(
        customer.id,
        tenant_id=customer.tenant_id,
        actor=ACTOR,
        at=MAY,
        tax_exempt=TaxExempt.EXEMPT,
    )
    use(customer, "-80", MAY + DAY)
    memo = bill(customer, JUNE)
    assert memo.kind == "credit_memo"
    assert figures(memo) == ("5.00", "-15.20", "-10.20")
    assert booked(customer.tenant, AccountKind.TAX_PAYABLE) == [Decimal("-3.80")]
    assert all_breaches() == []


@counted
def test_a_canceled_invoice_is_billed_again_with_its_tax(meter: Meter) -> None:
    customer = user(meter)
    make_tax_rate(customer.tenant, **VAT)
    use(customer, "5000", MAY - DAY)
    first = bill(customer)
    use(customer, "-1000", MAY + DAY)
    close_due(MAY + DAY, actor=ACTOR)
    cancel_invoice(first.id, tenant_id=customer.tenant_id, actor=ACTOR, at=MAY + 2 * DAY)
    assert booked(customer.tenant, AccountKind.TAX_PAYABLE) == [Decimal("1.90")]
    assert all_breaches() == []
    again = bill(customer, MAY + 3 * DAY)
    assert figures(again) == ("50.00", "9.50", "59.50")  # 40.00 in all, beside the memo
    assert all_tax() == Decimal("7.60")
    assert all_breaches() == []


def test_a_change_is_previewed_with_its_tax() -> None:
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=APRIL + 10 * DAY, attach=True)
    customer = berliner(tenant=tenant)
    make_tax_rate(tenant, **VAT)
    pricing = {"model": "per_unit", "unit_price": "30.00"}
    seats = {"key": "seats", "name": "Seats", "timing": "advance", "pricing": pricing}
    subscription = make_subscription(customer, make_plan(tenant, [seats]), at=APRIL)
    bill(customer, APRIL)
    wish = {"verb": "change_quantity", "quantity": "3", "behaviour": "prorate"}
    path = f"/subscriptions/{subscription.public_id}/changes?preview=true"
    told = Api(make_key(tenant)).post(path, wish).json()
    names = ("total", "tax", "otherwise", "otherwise_tax", "difference")
    assert [told[name] for name in names] == ["40.00", "7.60", "0.00", "0.00", "40.00"]


def test_a_cancellation_with_proration_gives_tax_back() -> None:
    customer = berliner()
    make_tax_rate(customer.tenant, **VAT)
    advance = [charge("fee", "30.00", timing="advance")]
    subscription = make_subscription(customer, make_plan(customer.tenant, advance), at=APRIL)
    assert figures(bill(customer, APRIL)) == ("30.00", "5.70", "35.70")
    cancel_subscription(
        subscription.id,
        mode=CancelMode.NOW,
        settlement=Settlement.PRORATE,
        actor=ACTOR,
        at=APRIL + 10 * DAY,
    )
    memo = bill(customer, APRIL + 10 * DAY)
    assert memo.kind == "credit_memo"
    assert figures(memo) == ("-20.00", "-3.80", "-23.80")
    assert all_breaches() == []


def test_tax_goes_back_in_every_currency_at_once() -> None:
    customer = berliner()
    make_tax_rate(customer.tenant, **VAT)
    subscriptions = [
        make_subscription(
            customer,
            make_plan(customer.tenant, currency=currency),
            at=APRIL,
            currency=currency,
        )
        for currency in ("USD", "EUR")
    ]
    close_due(APRIL, actor=ACTOR)
    for one in subscriptions:
        cancel_subscription(
            one.id,
            mode=CancelMode.DATE,
            ends_at=APRIL,
            settlement=Settlement.PRORATE,
            change_id=new_id(),
            actor=ACTOR,
            at=APRIL + DAY,
        )
    close_due(APRIL + DAY, actor=ACTOR)
    assert sorted(figures(one) for one in Invoice.objects.all()) == [
        ("-49.00", "-9.31", "-58.31"),
        ("-49.00", "-9.31", "-58.31"),
        ("49.00", "9.31", "58.31"),
        ("49.00", "9.31", "58.31"),
    ]
    assert all_breaches() == []


def test_a_write_off_leaves_the_tax_payable() -> None:
    customer = berliner()
    make_tax_rate(customer.tenant, **VAT)
    make_subscription(customer, make_plan(customer.tenant, [ARREARS]), at=APRIL)
    invoice = bill(customer)
    write_off_invoice(invoice.id, tenant_id=customer.tenant_id, actor=ACTOR, at=MAY)
    assert booked(customer.tenant, AccountKind.BAD_DEBT, AccountKind.TAX_PAYABLE) == [
        Decimal("58.31"),
        Decimal("-9.31"),
    ]
    assert all_breaches() == []


def test_a_draft_has_the_rates_there_are_when_it_is_computed_again() -> None:
    customer = berliner()
    customer.tenant.grace_period = 3 * DAY
    customer.tenant.save()
    make_subscription(customer, make_plan(customer.tenant, [ARREARS]), at=APRIL)
    draft = bill(customer)
    assert figures(draft) == ("49.00", "0.00", "49.00")
    rate = make_tax_rate(customer.tenant, **VAT)
    for _ in range(2):
        again = bill(customer)
        assert (again.id, *figures(again)) == (draft.id, "49.00", "9.31", "58.31")
    assert InvoiceTax.objects.count() == 1
    archive_tax_rate(rate.id, tenant_id=rate.tenant_id, actor=ACTOR, at=MAY)
    assert figures(bill(customer)) == ("49.00", "0.00", "49.00")
    assert InvoiceTax.objects.count() == 0


def test_the_number_of_queries_does_not_grow_with_taxed_customers(
    django_assert_num_queries: Any,
) -> None:
    first = berliner()
    make_tax_rate(first.tenant, **VAT)
    version = make_plan(first.tenant, [ARREARS])
    make_subscription(first, version, at=APRIL)
    counts = []
    for extra in (0, 4):
        for _ in range(extra):
            make_subscription(berliner(tenant=first.tenant), version, at=APRIL)
        with django_assert_num_queries(1000, exact=False) as found:
            assert close_due(MAY, actor=ACTOR).documents == (extra or 1)
        counts.append(len(found))
    assert counts[0] == counts[1]
    assert InvoiceTax.objects.count() == 5


# --- what must not be ---------------------------------------------------------------------------


def taxed_invoice() -> Invoice:
    customer = berliner()
    make_tax_rate(customer.tenant, **VAT)
    make_subscription(customer, make_plan(customer.tenant, [ARREARS]), at=APRIL)
    return bill(customer)


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE invoicing_invoicetax SET name = 'MwSt'", "line_frozen"),
        ("DELETE FROM invoicing_invoicetax", "line_frozen"),
        ("UPDATE invoicing_invoiceline SET tax_scope_id = NULL, tax_rates = NULL", "line_frozen"),
        ("UPDATE invoicing_invoicetax SET amount = amount + 0.01", "tax_of_the_difference"),
        ("UPDATE invoicing_invoicetax SET taxable = 'NaN'", "not_nan_taxable"),
        ("UPDATE invoicing_invoiceline SET tax_scope_id = NULL", "line_taxed_in_a_scope"),
    ],
)
@pytest.mark.holds("I2", "I3")
def test_issued_tax_never_changes(statement: str, constraint: str) -> None:
    taxed_invoice()
    with pytest.raises(IntegrityError) as raised, connection.cursor() as cursor:
        cursor.execute(statement)
    assert broken(raised.value) == constraint


@pytest.mark.holds("I2")
def test_a_document_without_the_rows_of_its_tax_is_not_issued() -> None:
    with pytest.raises(IntegrityError) as raised:
        make_issued(make_customer(), ["100.00"], tax=19, total=119)
    assert broken(raised.value) == "tax_adds_up"


@pytest.mark.parametrize(
    ("table", "change", "rules"),
    [
        (
            "invoicing_invoice",
            "tax = tax + 1, total = total + 1",
            [
                "tax_adds_up",
                "tax_payable_is_what_documents_show",
                "documents_are_in_the_books",
                "receivables_are_the_open_invoices",
            ],
        ),
        (
            "invoicing_invoicetax",
            "scope_id = gen_random_uuid()",
            ["taxes_are_like_their_lines"],
        ),
        (
            "invoicing_invoicetax",
            "taxable_before = 1, amount_before = 0.19",
            [],
        ),
        (
            "invoicing_invoicetax",
            "amount = 9.50, amount_before = -9.50, taxable_before = -49",
            ["tax_adds_up", "tax_is_that_of_what_is_billed"],
        ),
    ],
)
def test_the_checks_see_tax_that_is_wrong(table: str, change: str, rules: list[str]) -> None:
    taxed_invoice()
    assert all_breaches() == []
    with unguarded(table), connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {change}")  # noqa: S608 -- rows above
    assert sorted({one.rule.partition(".")[2] for one in breaches(None)}) == sorted(rules)


def test_the_checks_see_tax_that_is_not_in_the_books() -> None:
    taxed_invoice()
    with unguarded("ledger_posting"), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE ledger_posting p SET account_id = (SELECT id FROM ledger_ledgeraccount"
            " WHERE kind = 'revenue') FROM ledger_ledgeraccount a"
            " WHERE a.id = p.account_id AND a.kind = 'tax_payable'"
        )
    (found,) = (one for one in all_breaches() if "tax_payable" in one)
    assert "0 USD of tax are in the books, 9.310000000000 on documents" in found
