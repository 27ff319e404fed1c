"""Backtests on the desk: started from a plan version, watched while they run, and read."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import pytest
import time_machine
from django.test import Client
from django.urls import reverse

from apps.catalog.models import PlanVersion
from apps.core.jobs import run_due
from apps.invoicing.models import Backtest
from apps.tenants.models import Tenant
from tests.make.catalog import make_plan, make_version
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_operator, make_tenant

pytestmark = pytest.mark.django_db

JANUARY: Final = datetime(2026, 1, 1, tzinfo=UTC)
MAY: Final = datetime(2026, 5, 9, tzinfo=UTC)


def seats(price: str, then: str) -> list[dict[str, Any]]:
    tiers = [{"up_to": "5", "unit_price": price}, {"up_to": None, "unit_price": then}]
    pricing = {"model": "volume", "tiers": tiers}
    return [{"key": "seats", "name": "Seats", "pricing": pricing}]


@pytest.fixture
def tenant() -> Tenant:
    return make_tenant()


@pytest.fixture
def draft(tenant: Tenant) -> PlanVersion:
    """A draft that is dearer for few seats and cheaper for many, and customers with 1 to 9."""
    version = make_plan(tenant, seats("10.00", "10.00"), key="seats", at=JANUARY)
    for quantity in range(1, 10):
        customer = make_customer(tenant, name=f"Seats {quantity}", external_id=f"c{quantity}")
        make_subscription(customer, version, at=JANUARY, quantity=Decimal(quantity))
    return make_version(version, seats("12.00", "9.00"), at=JANUARY, publish=False)


@pytest.fixture
def client(tenant: Tenant) -> Client:
    made = Client()
    made.force_login(make_operator(is_superuser=True))
    return made


def page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def start(client: Client, draft: PlanVersion, **given: str) -> Any:
    path = reverse("admin:catalog_planversion_verb", args=[draft.pk, "backtest"])
    assert "Nobody is billed" in client.get(path).content.decode()
    with time_machine.travel(MAY, tick=False):
        return client.post(
            path, {"periods": "4", "from_plan": "", "customers": "", "effect": uuid4().hex, **given}
        )


def test_it_is_started_from_a_version_watched_and_read(client: Client, draft: PlanVersion) -> None:
    answer = start(client, draft)
    backtest = Backtest.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, page_of(backtest))

    running = client.get(page_of(backtest))
    text = running.content.decode()
    assert (running.headers["Refresh"], "0 of 9" in text) == ("3", True)
    with time_machine.travel(MAY, tick=False):
        run_due(tenant_id=draft.tenant_id)

    ended = client.get(page_of(backtest))
    text = ended.content.decode()
    assert "Refresh" not in ended.headers
    # 12.00 for one to five seats, 9.00 from six on: 2.00 × 15 more and 1.00 × 30 less, four times
    assert "1,800.00 USD" in text
    assert "4 would pay less, 5 more, 0 the same" in text
    assert "0.00 USD (+0.0 %)" in text
    for name in ("Seats 5", "Seats 9", "+40.00 USD", "−36.00 USD"):
        assert name in text
    assert "9 compared" in text
    listed = text.split('<details class="desk-numbers">')[1].split("</details>")[0]
    links = [part.split('"')[0] for part in listed.split('href="')[1:]]
    counts = [client.get(one.replace("&amp;", "&")).content.decode() for one in links]
    shown = [text.count(">Seats ") for text in counts]
    assert sum(shown) == 9


def test_the_table_is_there_to_be_taken_away(client: Client, draft: PlanVersion) -> None:
    start(client, draft, customers="c1, c2\n")
    backtest = Backtest.objects.get()
    assert backtest.customers == 2
    path = reverse("admin:invoicing_backtest_download", args=[backtest.pk, "csv"])
    answer = client.get(path)
    assert answer.headers["Content-Disposition"] == (f'inline; filename="{backtest.public_id}.csv"')
    assert answer.content.decode().count("\r\n") == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"customers": "c1 nobody"}, "There are no such customers: nobody."),
        ({"from_plan": "nothing"}, "There is no plan nothing."),
    ],
)
def test_what_cannot_be_is_said(
    client: Client, draft: PlanVersion, given: dict[str, str], said: str
) -> None:
    answer = start(client, draft, **given)
    assert answer.headers["Location"] == page_of(draft)
    assert said in client.get(page_of(draft)).content.decode()
    assert not Backtest.objects.exists()


def test_it_is_stopped(client: Client, draft: PlanVersion) -> None:
    start(client, draft)
    backtest = Backtest.objects.get()
    client.post(reverse("admin:invoicing_backtest_verb", args=[backtest.pk, "cancel"]))
    backtest.refresh_from_db()
    assert backtest.status == "canceled"
    assert "Nothing to compare" in client.get(page_of(backtest)).content.decode()


def test_an_empty_list_says_what_to_do(client: Client, tenant: Tenant) -> None:
    text = client.get(reverse("admin:invoicing_backtest_changelist")).content.decode()
    assert "Open a version of a plan" in text
