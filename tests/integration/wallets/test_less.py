"""Usage that becomes less: the worked table of docs/credit.md, and what has expired meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from apps.backoffice.books import breaches
from apps.core.ids import new_id
from apps.core.web.fields import instant_text
from apps.invoicing.domain import CreditGivenBack
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.closing import cancel_invoice
from apps.invoicing.queries import open_credit
from apps.ledger.domain import AccountKind
from apps.metering.domain import (
    AmendmentOrder,
    Backfilling,
    EventChange,
    EventSelection,
    Replacing,
    Undoing,
    Voiding,
)
from apps.metering.operations import amend_events
from apps.payments.operations.receiving import record_external_payment
from apps.tenants.domain import LateUsagePolicy
from apps.wallets.domain import Insufficient, Settlement
from apps.wallets.models import CreditTransaction
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR
from tests.make.wallets import (
    booked,
    burn_all,
    fresh_grant,
    fresh_wallet,
    make_grant,
    make_paid,
    make_price,
    make_wallet,
)

pytestmark = pytest.mark.django_db(transaction=True)

PAGE: Final = Path(__file__).parents[3] / "docs" / "credit.md"
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS = {"meter": "calls", "name": "Calls", "pricing": {"model": "per_unit", "unit_price": "1.00"}}
BASE = {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": "20.00"}}


class Payer:
    """A customer who calls since April and pays by credit, 5.00 of which were given."""

    def __init__(
        self,
        settled: str,
        credit: str,
        *,
        policy: LateUsagePolicy = LateUsagePolicy.CREDIT_MEMO,
        expires_at: datetime | None = None,
        **terms: Any,
    ) -> None:
        self.customer = make_customer()
        self.tenant = self.customer.tenant
        self.tenant.late_usage = policy
        self.tenant.save(update_fields=["late_usage"])
        meter = make_meter(self.tenant, key="calls", at=APRIL)
        make_price(meter, "1")
        make_subscription(self.customer, make_plan(self.tenant, [BASE, CALLS]), at=APRIL)
        self.wallet = make_wallet(self.customer, settlement=Settlement(settled), at=APRIL, **terms)
        self.given = make_grant(self.wallet, "5.00", at=APRIL, expires_at=expires_at)
        paid = str(Decimal(credit) - 5)
        self.paid = make_paid(self.wallet, paid, at=APRIL, expires_at=expires_at)
        self.numbers = iter(range(100))

    def event(self, value: str, *, key: str = "") -> dict[str, Any]:
        return {
            "idempotency_key": key or f"{self.customer.id}-{next(self.numbers)}",
            "meter": "calls",
            "customer": self.customer.public_id,
            "timestamp": instant_text(APRIL + 3 * DAY),
            "value": value,
        }

    def use(self, value: str, *, key: str = "") -> None:
        (receipt,) = send(self.tenant, [self.event(value, key=key)], at=APRIL + 9 * DAY)
        assert receipt.status == "accepted"

    def amend(self, order: AmendmentOrder) -> Any:
        at = MAY + 2 * DAY
        return amend_events(self.tenant.pk, order, id=new_id(), reason="worked", actor=ACTOR, at=at)

    def do(self, words: str) -> None:
        """Let happen what a row of the table says."""
        the_first = EventSelection(keys=("first",))
        for word in words.split(", "):
            match word.split():
                case ["–"]:
                    pass
                case ["event", value]:
                    self.use(value)
                case ["void"]:
                    self.voided = self.amend(Voiding(the_first))
                case ["replace", "by", value]:
                    self.amend(Replacing(the_first, EventChange(value=Decimal(value))))
                case ["backfill", value]:
                    self.amend(Backfilling([self.event(value)]))
                case ["undo"]:
                    self.amend(Undoing(self.voided.pk))
                case _:
                    assert word == "cancel"
                    invoice = Invoice.objects.filter(customer=self.customer).latest("id")
                    told: dict[str, Any] = {"tenant_id": self.tenant.pk, "actor": ACTOR}
                    cancel_invoice(invoice.id, at=MAY + DAY, **told)

    def bill(self, at: datetime) -> None:
        count_all()
        close_due(at, actor=ACTOR)

    def usage_asked(self) -> Decimal:
        """Return what documents asked of usage in money: all but the base fee of 20.00 a month."""
        rows = list(Invoice.objects.filter(customer=self.customer).exclude(status="canceled"))
        fees = sum(
            (
                line.amount
                for one in rows
                for line in one.lines.all()
                if line.description.startswith("Base")
            ),
            Decimal(0),
        )
        return sum((one.total.amount - one.credit_applied for one in rows), Decimal(0)) - fees

    def wrong(self) -> list[str]:
        found = breaches(self.tenant.pk)
        return [str(one) for one in found if "credit_is_sold_at_its_price" not in str(one)]


def worked() -> list[tuple[str, ...]]:
    """Return the rows of the page's table."""
    lines = PAGE.read_text().split("| settled | credit |")[1].split("\n\n")[0].splitlines()
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in lines[2:]
        if line.startswith("|")
    ]


def test_there_is_a_table() -> None:
    assert len(worked()) == 20


@pytest.mark.holds("W5")
@pytest.mark.parametrize("row", worked(), ids=" ".join)
@pytest.mark.parametrize("burns_late", [True, False])
def test_the_worked_table(row: tuple[str, ...], *, burns_late: bool) -> None:
    settled, credit, words, left, asked = row
    # the reader comes before or after each document; corrections come by either policy
    policy = LateUsagePolicy.CREDIT_MEMO if burns_late else LateUsagePolicy.NEXT_INVOICE
    payer = Payer(settled, credit, policy=policy)
    payer.use("8", key="first")
    if not burns_late:
        burn_all(MAY)
    payer.bill(MAY)
    burn_all(MAY)
    assert payer.wrong() == []
    payer.do(words)
    if not burns_late:
        burn_all(MAY + 2 * DAY)
    payer.bill(MAY + 3 * DAY if burns_late and words != "cancel" else JUNE)
    burn_all(JUNE)
    told = (f"{fresh_wallet(payer.wallet).balance:.2f}", f"{payer.usage_asked():.2f}")
    assert told == (left, asked)
    assert payer.wrong() == []
    # again is nothing more
    payer.bill(JUNE + timedelta(minutes=1))
    burn_all(JUNE)
    assert f"{fresh_wallet(payer.wallet).balance:.2f}" == left
    assert f"{payer.usage_asked():.2f}" == asked


@pytest.mark.parametrize("settled", ["on_event", "on_invoice"])
def test_the_last_taken_comes_back_first(settled: str) -> None:
    payer = Payer(settled, "15.00")
    payer.use("8", key="first")
    payer.bill(MAY)
    assert [fresh_grant(one).remaining for one in (payer.given, payer.paid)] == [0, 7]
    payer.do("event -4")
    payer.bill(MAY + DAY)
    assert [fresh_grant(one).remaining for one in (payer.given, payer.paid)] == [1, 10]
    assert booked(payer.tenant, AccountKind.CREDIT_LIABILITY) == [-10]
    # nothing of it is money
    memo = Invoice.objects.get(customer=payer.customer, kind="credit_memo")
    assert [memo.total.amount, memo.credit_applied] == [-4, -4]
    assert open_credit([payer.customer.id], tenant_id=payer.tenant.pk) == {}
    assert payer.wrong() == []


def test_an_invoice_on_which_credit_comes_back_takes_all_the_money_it_asks_for() -> None:
    payer = Payer("on_invoice", "15.00", policy=LateUsagePolicy.NEXT_INVOICE)
    payer.use("8", key="first")
    payer.bill(MAY)
    payer.do("void")
    payer.bill(JUNE)
    invoice = Invoice.objects.filter(customer=payer.customer).latest("id")
    figures = [invoice.total.amount, invoice.credit_applied, invoice.open_amount.amount]
    assert figures == [12, -8, 20]
    told: dict[str, Any] = {"tenant_id": payer.tenant.pk, "actor": ACTOR, "at": JUNE + DAY}
    record_external_payment(invoice.id, id=new_id(), **told)
    invoice.refresh_from_db()
    assert (invoice.status, invoice.amount_paid.amount) == ("paid", 20)
    assert payer.wrong() == []


@pytest.mark.parametrize("settled", ["on_event", "on_invoice"])
def test_what_has_expired_meanwhile_expires_at_once(settled: str) -> None:
    payer = Payer(settled, "15.00", expires_at=MAY + DAY)
    payer.use("8", key="first")
    burn_all(APRIL + 9 * DAY)
    payer.bill(MAY)
    payer.do("void")
    burn_all(MAY + 2 * DAY)
    payer.bill(MAY + 2 * DAY)
    assert fresh_wallet(payer.wallet).balance == 0
    assert payer.usage_asked() == 0
    # of what was bought nothing is owed: 10.00 are breakage, 7.00 of which were never used
    kinds = (AccountKind.CREDIT_LIABILITY, AccountKind.BREAKAGE)
    assert booked(payer.tenant, *kinds) == [0, -10]
    assert payer.wrong() == []


def test_what_paid_a_line_and_what_was_lent_for_it_expires_once_when_it_comes_back() -> None:
    terms: dict[str, Any] = {"insufficient": Insufficient.OVERDRAFT, "overdraft_limit": Decimal(10)}
    payer = Payer("on_invoice", "6.00", **terms)
    payer.use("8")
    payer.bill(MAY)
    assert fresh_wallet(payer.wallet).balance == -2
    later = make_grant(payer.wallet, "20.00", at=MAY, expires_at=JUNE + DAY)
    payer.use("3")
    payer.bill(JUNE)
    assert fresh_grant(later).remaining == 15
    payer.use("-5")
    payer.bill(JUNE + 2 * DAY)
    assert fresh_wallet(payer.wallet).balance == 0
    assert payer.usage_asked() == 0
    moved = CreditTransaction.objects.filter(grant=later, kind="expire").order_by("number")
    assert [one.amount for one in moved] == [-15, -5]
    assert payer.wrong() == []


def test_what_is_voided_before_it_burns_burns_nothing() -> None:
    payer = Payer("on_event", "15.00")
    payer.use("8", key="first")
    payer.do("void")
    burn_all(MAY)
    assert not CreditTransaction.objects.filter(kind="consume").exists()
    payer.do("undo")
    burn_all(MAY)
    assert fresh_wallet(payer.wallet).balance == 7
    assert payer.wrong() == []


def test_voided_twice_it_comes_back_once_each_time() -> None:
    payer = Payer("on_event", "15.00")
    payer.use("8", key="first")
    burn_all(MAY)
    payer.do("void, undo, void")
    burn_all(MAY)
    payer.do("undo")
    burn_all(MAY)
    payer.do("void")
    burn_all(MAY)
    moved = CreditTransaction.objects.filter(event_id__isnull=False).order_by("number")
    assert [one.amount for one in moved] == [-5, -3, 3, 5, -5, -3, 3, 5]
    assert fresh_wallet(payer.wallet).balance == 15
    assert payer.wrong() == []


def test_no_more_comes_back_than_was_taken() -> None:
    payer = Payer("on_event", "15.00")
    payer.use("8", key="first")
    payer.use("2")
    burn_all(MAY)
    payer.do("event -9")
    burn_all(MAY)
    assert fresh_wallet(payer.wallet).balance == 14
    payer.do("void")
    burn_all(MAY)
    assert fresh_wallet(payer.wallet).balance == 15
    assert payer.wrong() == []


def test_an_invoice_for_which_credit_came_back_is_not_canceled() -> None:
    payer = Payer("on_invoice", "15.00")
    payer.use("8", key="first")
    payer.bill(MAY)
    payer.do("void")
    payer.bill(MAY + 2 * DAY)
    invoice = Invoice.objects.get(customer=payer.customer, credit_applied__gt=0)
    with pytest.raises(CreditGivenBack):
        cancel_invoice(invoice.id, tenant_id=payer.tenant.pk, actor=ACTOR, at=MAY + 3 * DAY)
    assert payer.wrong() == []
