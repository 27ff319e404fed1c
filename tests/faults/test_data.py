"""F61–F67: data that poisons, is too much, too late, or lies about time."""

import importlib.resources
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from apps.core.clock import now
from apps.core.web.fields import instant_text
from apps.customers.models import Customer
from apps.invoicing import tasks
from apps.invoicing.models import Invoice, InvoiceLine, ParkedCustomer
from apps.invoicing.operations.billing import close_due
from apps.rating.periods import Cadence, Schedule, Unit
from apps.subscriptions.models import Subscription
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.books import unguarded
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, AT, make_key, make_tenant

MONTH = timedelta(days=31)
FEE = {**BASE_FEE, "timing": "arrears"}


def event(key: str, at: datetime, **other: object) -> dict[str, object]:
    named = {"event_name": "calls", "customer": "globex", "timestamp": instant_text(at)}
    return {"idempotency_key": key, "value": 1, **named, **other}


def events_stored() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM metering_usageevent")
        (count,) = cursor.fetchone()
    return int(count)


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    made = make_tenant()
    make_meter(made, key="calls")
    make_customer(made, external_id="globex")
    return made


@pytest.fixture
def api(tenant: Tenant) -> Api:
    return Api(make_key(tenant))


@pytest.mark.holds("F61")
@pytest.mark.django_db(transaction=True)
def test_f61_one_customer_of_many_cannot_be_rated() -> None:
    """He is parked with the reason, the others are billed; mended, he is billed once."""
    tenant = make_tenant()
    version = make_plan(tenant, [FEE])
    customers = [make_customer(tenant) for _ in range(10)]
    subscriptions = [make_subscription(one, version, at=AT) for one in customers]
    with unguarded("subscriptions_subscription"):
        Subscription.objects.filter(pk=subscriptions[5].pk).update(currency="JPY")

    summary = close_due(AT + MONTH, actor=ACTOR)

    assert (summary.documents, summary.parked) == (9, 1)
    parked = ParkedCustomer.objects.get()
    assert parked.customer == customers[5]
    assert parked.reason == "price_missing: The charge base has no price in JPY."
    with unguarded("subscriptions_subscription"):
        Subscription.objects.filter(pk=subscriptions[5].pk).update(currency="USD")
    assert close_due(AT + MONTH + timedelta(hours=2), actor=ACTOR).documents == 1
    assert [Invoice.objects.filter(customer=one).count() for one in customers] == [1] * 10


@pytest.mark.holds("F62")
def test_f62_a_bad_item_in_the_middle_of_a_batch(api: Api) -> None:
    """Every item has its own result, and what is said to be stored is stored."""
    items = [event(f"e-{number}", now()) for number in range(1000)]
    items[500]["value"] = "many"
    answer = api.post("/events/batch", {"events": items})
    assert answer.status_code == 202
    body = answer.json()
    assert (body["accepted"], body["rejected"]) == (999, 1)
    assert events_stored() == 999
    again = api.post("/events/batch", {"events": items}).json()
    assert (again["duplicate"], again["rejected"]) == (999, 1)
    assert events_stored() == 999


@pytest.mark.holds("F63")
def test_f63_a_body_that_is_too_large(api: Api) -> None:
    """It is refused by its length, before any of it is looked at."""
    answer = api.send("POST", "/events/batch", b"[" * (5 * 1_048_576 + 1))
    assert (answer.status_code, answer.json()["reason"]) == (413, "body_too_large")
    too_many = [event(f"e-{number}", now()) for number in range(1001)]
    answer = api.post("/events/batch", {"events": too_many})
    assert answer.status_code == 413
    assert events_stored() == 0


@pytest.mark.holds("F64")
def test_f64_events_of_another_time(api: Api, tenant: Tenant) -> None:
    """The future and the distant past are refused, what is merely late is taken."""
    year = timedelta(days=365)
    times = {
        "soon": now() + timedelta(minutes=5),
        "in-two-hours": now() + timedelta(hours=2),
        "in-ten-years": now() + 10 * year,
        "late": now() - timedelta(days=20),
        "long-ago": now() - 10 * year,
    }
    sent = [event(name, at) for name, at in times.items()]
    results = api.post("/events/batch", {"events": sent}).json()["results"]
    assert [(one["status"], one.get("reason")) for one in results] == [
        ("accepted", None),
        ("rejected", "timestamp_future"),
        ("rejected", "timestamp_future"),
        ("accepted", None),
        ("rejected", "timestamp_too_old"),
    ]


@pytest.mark.holds("F65")
@pytest.mark.django_db
def test_f65_a_worker_whose_clock_is_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes nothing before the database, too, says that it is time."""
    real = now
    monkeypatch.setattr("apps.core.clock.now", lambda: real() + timedelta(minutes=5))
    customer = make_customer(make_tenant())
    make_subscription(customer, make_plan(customer.tenant, [FEE]), at=AT)
    with unguarded("subscriptions_subscription"), connection.cursor() as cursor:
        set_due = "UPDATE subscriptions_subscription SET next_bill_at = clock_timestamp() "
        cursor.execute(set_due + "+ interval '3 minutes'")
        assert tasks.close_periods() == 0
        assert Subscription.objects.get().billed_until is None
        cursor.execute(set_due)
    assert tasks.close_periods() > 0


@pytest.mark.holds("F66")
def test_f66_days_that_are_shorter_longer_or_missing(api: Api) -> None:
    """Periods tile through all of them; a second that is none is refused."""
    tick = timedelta(microseconds=1)
    cases = {
        "Europe/Berlin": (datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin")), Unit.MONTH),
        "America/New_York": (datetime(2024, 1, 31, tzinfo=ZoneInfo("America/New_York")), Unit.DAY),
        "Pacific/Apia": (datetime(2011, 12, 20, tzinfo=ZoneInfo("Pacific/Apia")), Unit.DAY),
        "UTC": (datetime(2024, 2, 29, tzinfo=UTC), Unit.YEAR),
        "Asia/Kolkata": (datetime(2037, 12, 31, tzinfo=ZoneInfo("Asia/Kolkata")), Unit.MONTH),
    }
    for zone, (start, unit) in cases.items():
        schedule = Schedule(start, Cadence(unit), zone)
        boundaries = [schedule.boundary(number) for number in range(24)]
        assert boundaries == sorted(boundaries), zone
        # of the day that Samoa left out there is nothing
        missing = len(boundaries) - len(set(boundaries))
        assert missing == (1 if zone == "Pacific/Apia" else 0)
        for boundary in boundaries[1:]:
            here, before = (schedule.index_at(boundary - part) for part in (0 * tick, tick))
            assert boundaries[here] == boundary, zone
            assert boundaries[before] < boundary == boundaries[before + 1], zone
    leap_second = {**event("leap", now()), "timestamp": "2016-12-31T23:59:60Z"}
    assert api.post("/events", leap_second).status_code == 400


@pytest.fixture
def berlin_without_summer(tmp_path: Path) -> Iterator[None]:
    """A later edition of the time zones, in which Berlin has no summer time any more."""
    winter = importlib.resources.files("tzdata.zoneinfo.Etc").joinpath("GMT-1").read_bytes()
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes(winter)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(before)
    ZoneInfo.clear_cache()


@pytest.mark.holds("F67")
@pytest.mark.django_db(transaction=True)
def test_f67_the_rules_of_a_zone_change(request: pytest.FixtureRequest) -> None:
    """Periods go on where the last one that was billed has ended: no gap, and nothing twice."""
    berlin = make_customer(make_tenant(), zone="Europe/Berlin")
    start = datetime(2026, 3, 1, tzinfo=ZoneInfo("Europe/Berlin"))
    version = make_plan(berlin.tenant, [FEE], at=start)
    make_subscription(berlin, version, at=start)
    assert len(billed(berlin, start + timedelta(days=32))) == 1

    request.getfixturevalue("berlin_without_summer")
    found = billed(berlin, start + timedelta(days=130))

    assert len(found) == 4
    assert [one[2] for one in found] == [Decimal(49)] * 4
    for earlier, later in pairwise(found):
        assert earlier[1] == later[0]


def billed(customer: Customer, at: datetime) -> list[tuple[datetime, datetime, Decimal]]:
    close_due(at, actor=ACTOR)
    lines = InvoiceLine.objects.filter(invoice__customer=customer).order_by("period_start")
    return [(one.service_start, one.service_end, one.amount) for one in lines]
