"""Terms that another follows and ends that are taken back, by date, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.invoicing.models import Invoice
from apps.invoicing.operations.billing import close_due
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations import apply_due_changes
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db


def on(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@contextmanager
def at(instant: datetime) -> Iterator[None]:
    with time_machine.travel(instant, tick=False):
        yield


def shop(**body: Any) -> Api:
    """Return the API of a tenant whose subscription ``s`` costs 31 a month since January."""
    seats = {
        "key": "seats",
        "timing": "advance",
        "pricing": {"model": "per_unit", "unit_price": "31.00"},
    }
    with at(on(1, 1)):
        tenant = make_tenant()
        make_plan(tenant, [seats], key="basic", billing_period="monthly")
        make_customer(tenant, external_id="acme", zone="UTC")
        api = Api(make_key(tenant))
        given = {
            "customer": "acme",
            "plan": "basic",
            "external_id": "s",
            "start_date": "2026-01-01",
        }
        made = api.post("/subscriptions", {**given, **body})
        assert made.status_code == 201, made.json()
    return api


def close(when: datetime) -> Decimal:
    """Do what is due by then, and return what the documents of this run come to."""
    before = set(Invoice.objects.values_list("id", flat=True))
    apply_due_changes(when)
    close_due(when, actor=ACTOR)
    made = Invoice.objects.exclude(id__in=before)
    return sum((one.total.amount for one in made), Decimal(0))


def termed(*, auto_renew: bool = False) -> Api:
    """Return a shop whose subscription has a term of three months, from January on."""
    return shop(term={"unit": "month", "count": 3}, auto_renew=auto_renew)


def renew(api: Api, when: datetime, path: str = "", **body: Any) -> Any:
    with at(when):
        answer = api.post(f"/subscriptions/s/renew{path}", body)
        assert answer.status_code == 200, answer.json()
        return answer.json()


def take_back(api: Api, when: datetime, change_id: str) -> Any:
    with at(when):
        return api.delete(f"/subscriptions/s/scheduled-changes/{change_id}")


def test_a_renewal_waits_for_its_time() -> None:
    api = termed()
    close(on(1, 1))
    asked = {"effective_at": "2026-03-15T00:00:00Z"}

    told = renew(api, on(2, 1), "?preview=true", **asked)
    assert ScheduledChange.objects.count() == 0
    waiting = renew(api, on(2, 1), **asked)
    assert renew(api, on(2, 1), effective_at="2026-03-16T00:00:00Z") == waiting

    (scheduled,) = waiting["scheduled_changes"]
    assert (scheduled["verb"], scheduled["status"]) == ("renew", "pending")
    assert waiting["term_ends_at"] == "2026-04-01T00:00:00Z"
    # February and March come anyway
    assert (told["cutoff"], told["verb"]) == ("2026-04-01T00:00:00Z", "renew")
    assert (told["total"], told["otherwise"], told["difference"]) == ("93.00", "62.00", "31.00")
    assert close(on(4, 1)) == 93  # applied by then
    assert Subscription.objects.get().term_ends_at == on(7, 1)
    assert close(on(7, 1)) == 62
    assert Subscription.objects.get().status == "ended"


def test_a_renewal_that_waits_is_foreseen_by_those_who_bill_before_it_is_applied() -> None:
    api = termed()
    close(on(1, 1))
    renew(api, on(2, 1), effective_at="2026-03-15T00:00:00Z")
    before = set(Invoice.objects.values_list("id", flat=True))

    close_due(on(4, 1), actor=ACTOR)  # no change of the past weeks has been applied

    assert sum(one.total.amount for one in Invoice.objects.exclude(id__in=before)) == 93
    assert close(on(4, 2)) == 0


def test_a_renewal_that_is_withdrawn_lets_the_term_end() -> None:
    api = termed()
    close(on(1, 1))
    (scheduled,) = renew(api, on(2, 1), effective_at="2026-03-15T00:00:00Z")["scheduled_changes"]

    assert take_back(api, on(3, 1), scheduled["id"]).json()["status"] == "withdrawn"

    assert close(on(4, 1)) == 62
    assert Subscription.objects.get().status == "ended"


def test_a_renewal_is_undone_until_its_term_begins() -> None:
    api = termed()
    close(on(1, 1))
    assert renew(api, on(2, 1))["term_ends_at"] == "2026-07-01T00:00:00Z"
    made = ScheduledChange.objects.get().public_id

    undone = take_back(api, on(3, 31), made)
    assert (undone.status_code, undone.json()["status"]) == (200, "undone")
    assert Subscription.objects.get().term_ends_at == on(4, 1)

    assert renew(api, on(3, 31))["term_ends_at"] == "2026-07-01T00:00:00Z"
    assert close(on(4, 1)) == 93
    last = ScheduledChange.objects.get(status="applied").public_id
    refused = take_back(api, on(4, 1), last)
    assert (refused.status_code, refused.json()["reason"]) == (409, "change_refused")
    assert Subscription.objects.get().term_ends_at == on(7, 1)


def test_what_renews_by_itself_costs_nothing_more_when_it_is_renewed() -> None:
    api = termed(auto_renew=True)
    close(on(1, 1))

    told = renew(api, on(2, 1), "?preview=true", effective_at="2026-08-15T00:00:00Z")
    assert (told["difference"], told["cutoff"]) == ("0.00", "2026-08-15T00:00:00Z")
    renew(api, on(2, 1), effective_at="2026-08-15T00:00:00Z")

    close(on(8, 15))
    assert Subscription.objects.get().term_ends_at == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("effective_at", "status", "reason"),
    [
        ("2025-12-31T00:00:00Z", 422, "subscription_invalid"),
        ("2037-01-01T00:00:00Z", 422, "subscription_invalid"),
        ("2026-04-01T00:00:00Z", 409, "change_refused"),  # the term is over then
    ],
)
def test_renewals_that_cannot_be_are_refused(effective_at: str, status: int, reason: str) -> None:
    api = termed()
    for path in ("", "?preview=true"):
        with at(on(2, 1)):
            refused = api.post(f"/subscriptions/s/renew{path}", {"effective_at": effective_at})
        assert (refused.status_code, refused.json()["reason"]) == (status, reason)


def test_a_cancellation_that_is_taken_back_tells_what_follows() -> None:
    api = shop()
    close(on(1, 1))
    with at(on(1, 20)):
        api.post("/subscriptions/s/cancel", {"mode": "period_end"})
        told = api.post("/subscriptions/s/uncancel?preview=true").json()
        assert ScheduledChange.objects.get().status == "pending"
        api.post("/subscriptions/s/uncancel")

    assert (told["verb"], told["cutoff"]) == ("uncancel", "2026-02-01T00:00:00Z")
    assert (told["total"], told["otherwise"], told["difference"]) == ("31.00", "0.00", "31.00")
    assert close(on(2, 1)) == 31
