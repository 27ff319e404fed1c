"""Canceling with a refund: what was paid of time that is not had goes back, once."""

from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import time_machine

from apps.core.ids import new_id
from apps.core.jobs import run_due
from apps.core.models import AuditEvent
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import bill_customer, close_due
from apps.payments.models import Payment, Refund
from apps.payments.operations.unused import refund_unused
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import apply_due_changes, cancel_subscription
from apps.tenants.domain import Mode
from tests.make.api import Api
from tests.make.backoffice import all_breaches
from tests.make.catalog import make_plan
from tests.make.invoicing import credit_of, fresh, make_issued
from tests.make.payments import make_payer
from tests.make.refunds import given_back, receive
from tests.make.subscriptions import make_subscription
from tests.make.taxes import make_tax_rate
from tests.make.tenants import ACTOR, AT, make_clock, make_key, make_tenant

pytestmark = pytest.mark.django_db
START = AT  # the first of May, noon
PAGE = Path(__file__).parents[3] / "docs" / "refunds.md"
HEAD = "| billed | paid by money | paid by a memo | canceled after | credited | paid back | left as credit |"


def after(days: int) -> datetime:
    return START + timedelta(days=days)


def subscriber(method: str | None = None, *, external_id: str = "acme") -> Subscription:
    """Return a subscription at 31.00 a month in advance since the first of May."""
    tenant = make_tenant(mode=Mode.TEST)
    make_clock(tenant, at=START, attach=True)
    customer = make_payer(method, tenant=tenant, external_id=external_id, zone="UTC", at=START)
    charges = [{"key": "base", "pricing": {"model": "flat", "amount": "31.00"}}]
    return make_subscription(customer, make_plan(tenant, charges), START, external_id="s")


def bill(subscription: Subscription, when: datetime) -> list[Invoice]:
    with tenant_scope(subscription.tenant_id):
        return bill_customer(
            subscription.customer_id,
            tenant_id=subscription.tenant_id,
            request_id=new_id(),
            cutoff=when,
            issue=True,
            actor=ACTOR,
            at=when,
        )


def cancel(subscription: Subscription, when: datetime, **more: Any) -> None:
    with tenant_scope(subscription.tenant_id):
        cancel_subscription(
            subscription.id,
            mode=CancelMode.DATE,
            ends_at=when,
            refund=more.pop("refund", True),
            actor=ACTOR,
            at=when,
            **more,
        )


def settle(subscription: Subscription) -> None:
    """Run the jobs, as the worker does."""
    for _ in range(3):
        run_due(tenant_id=subscription.tenant_id)


def refunds(subscription: Subscription) -> list[tuple[str, Decimal]]:
    with tenant_scope(subscription.tenant_id):
        found = Refund.objects.filter(customer=subscription.customer_id).order_by("id")
        return [(one.status, one.amount.amount) for one in found]


def rows() -> list[list[str]]:
    lines = PAGE.read_text().splitlines()
    first = lines.index(HEAD) + 2
    found = []
    for line in lines[first:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


@pytest.mark.parametrize("row", rows())
def test_the_page_says_what_goes_back(row: list[str]) -> None:
    billed, money, memo, days, credited, back, left = row
    subscription = subscriber()
    customer = Customer.objects.get(pk=subscription.customer_id)
    if Decimal(memo):
        make_issued(customer, [f"-{memo}"], at=START)
    (invoice,) = bill(subscription, START)
    assert invoice.total.amount == Decimal(billed)
    if Decimal(money):
        receive(invoice, money, at=START)
    end = after(int(days.partition(" ")[0]))

    cancel(subscription, end)
    memos = bill(subscription, end)
    settle(subscription)

    assert sum((-one.total.amount for one in memos), Decimal(0)) == Decimal(credited)
    assert sum((amount for _, amount in refunds(subscription)), Decimal(0)) == Decimal(back)
    assert credit_of(customer).get("USD", Decimal(0)) == Decimal(left)
    assert all_breaches() == []


def test_it_goes_back_to_the_charge_once_however_often_it_is_tried() -> None:
    subscription = subscriber("sandbox_ok")
    bill(subscription, START)
    settle(subscription)
    cancel(subscription, after(10))
    (memo,) = bill(subscription, after(10))
    settle(subscription)
    payment = Payment.objects.get(customer=subscription.customer_id)

    again = refund_unused(memo.id, tenant_id=memo.tenant_id, actor=ACTOR, at=after(11))

    assert refunds(subscription) == [("succeeded", Decimal("21.00"))]
    assert [one.amount.amount for one in again] == [Decimal("21.00")]
    assert given_back(payment) == 21
    assert fresh(payment.invoice).status == "paid"
    assert AuditEvent.objects.filter(type="invoice.refund_wanted").count() == 1
    assert all_breaches() == []


def test_tax_goes_back_with_it() -> None:
    subscription = subscriber("sandbox_ok")
    make_tax_rate(subscription.tenant, "10")
    bill(subscription, START)
    settle(subscription)

    cancel(subscription, after(10))
    bill(subscription, after(10))
    settle(subscription)

    assert refunds(subscription) == [("succeeded", Decimal("23.10"))]
    assert all_breaches() == []


def test_without_a_refund_it_stays_credit() -> None:
    subscription = subscriber("sandbox_ok")
    bill(subscription, START)
    settle(subscription)

    cancel(subscription, after(10), refund=False)
    bill(subscription, after(10))
    settle(subscription)

    assert refunds(subscription) == []
    assert credit_of(subscription.customer) == {"USD": Decimal("21.00")}


def test_what_settles_nothing_pays_nothing_back() -> None:
    subscription = subscriber("sandbox_ok")
    bill(subscription, START)
    settle(subscription)

    cancel(subscription, after(10), settlement=Settlement.NONE)
    assert bill(subscription, after(10)) == []
    settle(subscription)

    assert refunds(subscription) == []


def test_a_refused_refund_leaves_the_credit_and_is_not_tried_again() -> None:
    subscription = subscriber("sandbox_refund_declined")
    bill(subscription, START)
    settle(subscription)
    cancel(subscription, after(10))
    (memo,) = bill(subscription, after(10))
    settle(subscription)

    refund_unused(memo.id, tenant_id=memo.tenant_id, actor=ACTOR, at=after(11))

    assert refunds(subscription) == [("failed", Decimal("21.00"))]
    assert credit_of(subscription.customer) == {"USD": Decimal("21.00")}
    assert all_breaches() == []


def test_a_later_end_waits_and_what_was_foreseen_comes() -> None:
    subscription = subscriber("sandbox_ok")
    bill(subscription, START)
    settle(subscription)
    api = Api(make_key(subscription.tenant))
    asked = {"mode": "date", "ends_at": "2026-05-11T12:00:00Z", "settlement": "refund"}

    with time_machine.travel(after(5), tick=False):
        foreseen = api.post("/subscriptions/s/cancel?preview=true", asked).json()
        stands = api.get("/subscriptions/s").json()
        made = api.post("/subscriptions/s/cancel", asked).json()

    assert (foreseen["total"], foreseen["difference"], foreseen["refund"]) == (
        "-21.00",
        "-21.00",
        "21.00",
    )
    assert (foreseen["verb"], foreseen["effective_at"]) == ("cancel", "2026-05-11T12:00:00Z")
    assert stands["scheduled_changes"] == []
    assert [one["settlement"] for one in made["scheduled_changes"]] == ["refund"]
    clock = subscription.tenant.test_clock_id
    assert clock is not None
    with tenant_scope(subscription.tenant_id):
        apply_due_changes(after(10), clock_id=clock)
        close_due(after(10), clock_id=clock, actor=ACTOR)
    settle(subscription)
    assert refunds(subscription) == [("succeeded", Decimal("21.00"))]


def test_a_preview_tells_no_refund_where_none_is_asked_for() -> None:
    subscription = subscriber("sandbox_ok")
    bill(subscription, START)
    settle(subscription)
    api = Api(make_key(subscription.tenant))

    for settlement, difference in (
        ("prorate", "-21.00"),
        ("none", "0.00"),
        ("full_credit", "-31.00"),
    ):
        told = api.post(
            "/subscriptions/s/cancel?preview=true",
            {"mode": "date", "ends_at": "2026-05-11T12:00:00Z", "settlement": settlement},
        ).json()
        assert (told["difference"], told["refund"]) == (difference, "0.00")


def test_it_takes_the_right_to_pay_back() -> None:
    subscription = subscriber()
    api = Api(make_key(subscription.tenant, scopes=["subscriptions:write"]))

    refused = api.post("/subscriptions/s/cancel", {"mode": "now", "settlement": "refund"})

    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_missing")
    assert api.post("/subscriptions/s/cancel", {"mode": "now"}).status_code == 200
