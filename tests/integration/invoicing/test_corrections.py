"""Amended usage becomes money: the table of docs/corrections.md, policies, and nothing by a preview."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from apps.backoffice.books import breaches
from apps.core.ids import new_id
from apps.core.models import AuditEvent
from apps.core.web.fields import instant_text
from apps.invoicing.explaining import verify
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.billing import close_due
from apps.invoicing.operations.correcting import preview_amendment
from apps.metering.domain import (
    AmendmentOrder,
    Backfilling,
    EventChange,
    EventSelection,
    MoneyDelta,
    Replacing,
    Undoing,
    UsageRequest,
    UsageSpan,
    Voiding,
)
from apps.metering.models import EventAmendment, Meter
from apps.metering.operations import amend_events
from apps.metering.queries import latest_version, measure
from apps.tenants.domain import LateUsagePolicy
from tests.make.books import counted_rows
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import count_all, make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)

PAGE: Final = Path(__file__).parents[3] / "docs" / "corrections.md"
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
CALLS = {
    "meter": "calls",
    "name": "Calls",
    "pricing": {
        "model": "graduated",
        "tiers": [
            {"up_to": "100", "unit_price": "0.10"},
            {"up_to": None, "unit_price": "0.05"},
        ],
    },
    "minimum": "5.00",
}


class Company:
    """A customer who calls, and is billed by month since April."""

    def __init__(self) -> None:
        self.customer = make_customer()
        self.tenant = self.customer.tenant
        make_meter(self.tenant, key="calls", at=APRIL)
        self.subscription = make_subscription(
            self.customer, make_plan(self.tenant, [CALLS]), at=APRIL
        )
        self.done: list[EventAmendment] = []

    def use(self, key: str, value: str) -> None:
        (receipt,) = send(self.tenant, [self.event(key, value)], at=APRIL + timedelta(days=9))
        assert receipt.status == "accepted"

    def event(self, key: str, value: str) -> dict[str, Any]:
        return {
            "idempotency_key": key,
            "meter": "calls",
            "customer": self.customer.public_id,
            "timestamp": instant_text(APRIL + timedelta(days=3)),
            "value": value,
        }

    def order(self, words: str) -> AmendmentOrder:
        """Read an amendment as the table writes it."""
        match words.split():
            case ["void", *keys]:
                return Voiding(EventSelection(keys=tuple(keys)))
            case ["value", key, value]:
                return Replacing(EventSelection(keys=(key,)), EventChange(value=Decimal(value)))
            case ["factor", *keys, factor]:
                return Replacing(
                    EventSelection(keys=tuple(keys)), EventChange(factor=Decimal(factor))
                )
            case ["backfill", key, value]:
                return Backfilling([self.event(key, value)])
            case _:
                return Undoing(self.done[-1].pk)

    def amend(self, order: AmendmentOrder, *, at: datetime) -> EventAmendment:
        made = amend_events(self.tenant.pk, order, id=new_id(), reason="worked", actor=ACTOR, at=at)
        self.done.append(made)
        return made

    def preview(self, order: AmendmentOrder, *, at: datetime) -> tuple[MoneyDelta, ...]:
        before = counted_rows()
        told = preview_amendment(self.tenant.pk, order, actor=ACTOR, at=at)
        assert counted_rows() == before
        return told.deltas

    def usage(self) -> Decimal:
        version = latest_version(Meter.objects.get(key="calls", tenant=self.tenant).pk)
        span = UsageSpan(APRIL, MAY, unassigned=True)
        request = UsageRequest(0, self.tenant.pk, self.customer.pk, None, version.pk, (span,))
        (one,) = measure([request]).by_request[0]
        return one.measured.quantity

    def billed(self, period: datetime = APRIL) -> Decimal:
        lines = InvoiceLine.objects.filter(invoice__customer=self.customer, period_start=period)
        return sum((line.amount for line in lines), Decimal(0))

    def documents(self) -> list[tuple[str, str, Decimal]]:
        found = Invoice.objects.filter(customer=self.customer).order_by("id")
        return [(one.kind, one.status, one.total.amount) for one in found]

    def check(self) -> None:
        """Verify every line as of then, and the books."""
        count_all()
        for line in InvoiceLine.objects.filter(invoice__customer=self.customer):
            assert verify(line).verified, line
        assert list(breaches(self.tenant.pk)) == []


def worked() -> list[tuple[str, ...]]:
    """Return the rows of the page's table."""
    lines = PAGE.read_text().split("| events of April |")[1].split("\n\n")[0].splitlines()
    return [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in lines[2:]
        if line.startswith("|")
    ]


@pytest.fixture
def company() -> Company:
    return Company()


def test_there_is_a_table() -> None:
    assert len(worked()) == 10


@pytest.mark.parametrize("row", worked(), ids=lambda row: row[1])
@pytest.mark.parametrize("is_counted", [True, False])
def test_the_worked_table(company: Company, row: tuple[str, ...], *, is_counted: bool) -> None:
    events, amendments, usage, billed, difference = row
    for event in events.split(", "):
        company.use(*event.split("="))
    if is_counted:
        count_all()
    close_due(MAY, actor=ACTOR)
    assert company.billed() == Decimal(billed)
    at = MAY + timedelta(days=3)
    told = Decimal(0)
    for words in amendments.split(", "):
        deltas = company.preview(company.order(words), at=at)
        assert {(one.period_start, one.period_end) for one in deltas} <= {(APRIL, MAY)}
        assert all(one.is_billed for one in deltas)
        told += sum((one.amount for one in deltas), Decimal(0))
        company.amend(company.order(words), at=at)
    assert told == Decimal(difference)
    assert company.usage() == Decimal(usage)
    close_due(JUNE, actor=ACTOR)
    assert company.billed() == Decimal(billed) + Decimal(difference)
    close_due(JUNE, actor=ACTOR)
    assert company.billed(MAY) == Decimal("5.00")
    company.check()
    close_due(JUNE + timedelta(minutes=1), actor=ACTOR)
    assert company.usage() == Decimal(usage)
    assert company.billed() == Decimal(billed) + Decimal(difference)


def test_the_current_period_differs_too_and_is_no_correction(company: Company) -> None:
    company.use("a", "200")
    (delta,) = company.preview(Voiding(EventSelection(keys=("a",))), at=APRIL + timedelta(days=20))
    assert delta == MoneyDelta(
        company.customer.pk,
        company.subscription.pk,
        APRIL,
        MAY,
        "USD",
        Decimal("-10.00"),
        is_billed=False,
    )
    company.amend(Voiding(EventSelection(keys=("a",))), at=APRIL + timedelta(days=20))
    close_due(MAY, actor=ACTOR)
    assert company.documents() == [("invoice", "issued", Decimal("5.00"))]


@pytest.mark.parametrize(
    ("policy", "then"),
    [
        (LateUsagePolicy.NEXT_INVOICE, []),
        (LateUsagePolicy.CREDIT_MEMO, [("credit_memo", "issued", Decimal("-7.50"))]),
    ],
)
def test_the_policy_says_when(company: Company, policy: LateUsagePolicy, then: Any) -> None:
    company.tenant.late_usage = policy
    company.tenant.save()
    company.use("a", "150")
    close_due(MAY, actor=ACTOR)
    at = MAY + timedelta(days=3)
    company.amend(Voiding(EventSelection(keys=("a",))), at=at)
    close_due(at, actor=ACTOR)
    assert company.documents() == [("invoice", "issued", Decimal("12.50")), *then]
    company.check()


def test_an_operator_is_asked(company: Company) -> None:
    company.tenant.late_usage = LateUsagePolicy.ASK
    company.tenant.save()
    company.use("a", "150")
    close_due(MAY, actor=ACTOR)
    company.amend(Voiding(EventSelection(keys=("a",))), at=MAY + timedelta(days=3))
    close_due(JUNE, actor=ACTOR)
    assert company.documents() == [
        ("invoice", "issued", Decimal("12.50")),
        ("credit_memo", "draft", Decimal("-2.50")),
    ]


def test_what_is_told_of_it(company: Company) -> None:
    company.use("a", "150")
    made = company.amend(Voiding(EventSelection(keys=("a",))), at=MAY)
    told = AuditEvent.objects.filter(tenant_id=company.tenant.pk, at=MAY).order_by("id")
    assert list(told.values_list("type", "object_id")) == [
        ("event_amendment.applied", made.public_id),
        ("usage.corrected", company.customer.public_id),
    ]


def test_it_is_marked_with_the_amendment_and_not_by_the_reader(company: Company) -> None:
    company.use("a", "150")
    count_all()
    close_due(MAY, actor=ACTOR)
    company.amend(Voiding(EventSelection(keys=("a",))), at=MAY + timedelta(days=3))
    close_due(JUNE, actor=ACTOR)  # before the reader has come by
    assert company.billed() == Decimal("5.00")
    count_all()
    assert close_due(JUNE, actor=ACTOR).customers == 0
