"""The dashboard: every number is right, and leads to the rows that it counts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.backoffice.models import BooksCheck
from apps.backoffice.queries import figures
from apps.core.models import Heartbeat, Job
from apps.invoicing.operations.closing import mark_overdue
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.backoffice import make_world
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.tenants import ACTOR, AT, make_clock, make_operator, make_tenant

# session, operator, rights; heartbeat; tenant; months, receivables, counts, books, steps
QUERIES = 10


@pytest.fixture
def client(db: None) -> Client:
    client = Client()
    client.force_login(make_operator(is_superuser=True))
    return client


@pytest.fixture
def tenant(db: None) -> Tenant:
    return make_tenant(slug="desk", zone="Europe/Berlin")


def test_months_are_those_of_the_zone_and_end_with_the_current_one() -> None:
    at = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)  # February in Berlin
    starts = figures.month_starts(at, "Europe/Berlin", count=2)
    assert [one.isoformat() for one in starts] == [
        "2026-01-01T00:00:00+01:00",
        "2026-02-01T00:00:00+01:00",
        "2026-03-01T00:00:00+01:00",
    ]


def test_what_was_issued_counts_in_its_month_and_currency(tenant: Tenant) -> None:
    customer = make_customer(tenant)
    make_issued(customer, ["100.00"], at=datetime(2026, 3, 31, 21, 59, tzinfo=UTC))
    make_issued(customer, ["40.00"], at=datetime(2026, 3, 31, 22, 0, tzinfo=UTC))
    make_issued(customer, ["-15.00"], at=datetime(2026, 4, 2, tzinfo=UTC))
    make_issued(make_customer(tenant, currency="EUR"), ["7.00"], at=AT)
    starts = figures.month_starts(AT, "Europe/Berlin", count=3)
    found = figures.invoiced_by_month(tenant.id, starts)
    assert {
        currency: [(month.starts_at.month, month.amount, month.count) for month in months]
        for currency, months in found.items()
    } == {
        "EUR": [(3, Decimal(0), 0), (4, Decimal(0), 0), (5, Decimal(7), 1)],
        "USD": [(3, Decimal(100), 1), (4, Decimal(25), 2), (5, Decimal(0), 0)],
    }


def test_what_is_owed_and_what_is_late(tenant: Tenant) -> None:
    customer = make_customer(tenant)
    make_issued(customer, ["100.00"], at=AT - timedelta(days=40))
    make_issued(customer, ["30.00"], at=AT)
    mark_overdue(AT, actor=ACTOR, tenant_id=tenant.id)
    assert figures.owed(tenant.id) == (
        [figures.Sums("USD", Decimal(130), 2)],
        [figures.Sums("USD", Decimal(100), 1)],
    )


def test_counts_are_of_this_tenant_alone(tenant: Tenant) -> None:
    make_world(tenant)
    make_world(make_tenant(slug="other"))
    assert figures.counts(tenant.id) == figures.Counts(
        drafts=1,
        unknown_payments=0,
        orphans=1,
        parked=1,
        dead_jobs=1,
        failing_jobs=0,
        active_subscriptions=2,
        customers=2,
    )


@time_machine.travel(AT, tick=False)
def test_the_page_answers_within_its_queries(client: Client, tenant: Tenant) -> None:
    make_world(tenant)
    client.get("/admin/", {"tenant": tenant.public_id})  # remembers the choice
    with CaptureQueriesContext(connection) as queries:
        page = client.get("/admin/", {"tenant": tenant.public_id})
    assert page.status_code == 200
    assert len(queries) == QUERIES
    text = page.content.decode()
    assert "Invoiced in USD, by month" in text
    assert text.count('<rect class="bar"') == figures.MONTHS


@time_machine.travel(AT, tick=False)
def test_every_number_leads_to_the_rows_it_counts(client: Client, tenant: Tenant) -> None:
    make_world(tenant)
    make_world(make_tenant(slug="other"))
    page = client.get("/admin/", {"tenant": tenant.public_id})
    for card in [*page.context["business"], *page.context["attention"]]:
        listed = client.get(card["href"])
        assert (card["title"], listed.status_code) == (card["title"], 200)
        if listed.context["cl"].model is not Job:  # its pages are not counted
            assert card["lines"] == [str(listed.context["cl"].result_count)]
    for bar in page.context["charts"][0].drawing.shapes:
        listed = client.get(bar.bar.href)
        assert f"on {listed.context['cl'].result_count} documents" in bar.bar.text


def test_a_tenant_without_invoices_is_told_what_to_do_next(client: Client, tenant: Tenant) -> None:
    make_customer(tenant)
    page = client.get("/admin/", {"tenant": tenant.public_id})
    assert [(step["text"].split(":")[0], step["done"]) for step in page.context["steps"]] == [
        ("Make an API key", False),
        ("Say what to measure", False),
        ("Say what it costs", False),
        ("Tell who is billed", True),
        ("Let the customer subscribe", False),
        ("Say how he pays", False),
        ("Send usage, then bill it", False),
    ]


def test_the_tenant_in_use_is_shown_first(client: Client, tenant: Tenant) -> None:
    test_mode = Tenant.objects.get(twin=tenant)
    make_customer(test_mode)
    assert client.get("/admin/").context["tenant"] == test_mode
    make_customer(tenant)
    assert client.get("/admin/").context["tenant"] == test_mode  # it was chosen
    client.get("/admin/", {"tenant": tenant.public_id})
    assert client.get("/admin/").context["tenant"] == tenant


def test_a_tenant_of_others_is_not_shown(tenant: Tenant) -> None:
    stranger = Client()
    stranger.force_login(make_operator())
    page = stranger.get("/admin/", {"tenant": tenant.public_id})
    assert (page.status_code, page.context.get("tenant")) == (200, None)


def test_a_tenant_on_a_clock_is_shown_at_its_time(client: Client) -> None:
    tenant = make_tenant(slug="clocked", mode=Mode.TEST)
    make_clock(tenant, at=datetime(2031, 7, 1, tzinfo=UTC), attach=True)
    page = client.get("/admin/", {"tenant": tenant.public_id})
    assert page.context["tenant_at"] == "2031-07-01 00:00 UTC"


@time_machine.travel(AT, tick=False)
def test_the_heartbeat_tells_its_age(client: Client, tenant: Tenant) -> None:
    assert "No worker has ever reported" in client.get("/admin/").content.decode()
    Heartbeat.objects.create(name="worker", beaten_at=AT - timedelta(seconds=70))
    assert "reported 1 minute ago" in client.get("/admin/").content.decode()
    Heartbeat.objects.update(beaten_at=AT - timedelta(minutes=3))
    assert "work waits until they run" in client.get("/admin/").content.decode()


@time_machine.travel(AT, tick=False)
def test_the_last_check_of_the_books_is_shown(client: Client, tenant: Tenant) -> None:
    first, last = AT - timedelta(hours=26), AT - timedelta(hours=2)
    BooksCheck.objects.create(tenant=tenant, checked_at=first, breaches=3)
    assert client.get("/admin/").context["books"]["breaches"] == 3
    BooksCheck.objects.create(tenant=tenant, checked_at=last, breaches=0)
    page = client.get("/admin/").content.decode()
    assert "they balance" in page
    assert "checked 2 hours ago" in page


def test_a_bar_links_to_a_list_of_the_same_tenant(client: Client, tenant: Tenant) -> None:
    make_issued(make_customer(tenant), at=AT)
    with time_machine.travel(AT, tick=False):
        page = client.get("/admin/", {"tenant": tenant.public_id})
    query = parse_qs(urlsplit(page.context["charts"][0].drawing.shapes[-1].bar.href).query)
    assert query == {
        "tenant": [tenant.public_id],
        "issued_at__gte": ["2026-04-30T22:00:00+00:00"],
        "issued_at__lt": ["2026-05-31T22:00:00+00:00"],
        "currency__exact": ["USD"],
    }
