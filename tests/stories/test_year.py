"""A year told by date: five zones, month-end anchors, a leap day, events in every disorder.

Everything goes through the API on a test clock. After every step each new line is explained and
recomputed to the cent and the books are checked; at the end every customer has been billed what
a plain calculation says.
"""

import calendar
import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from client import JSON, Client

from apps.backoffice.books import breaches
from apps.tenants.domain import Mode
from tests.make.tenants import make_clock, make_key, make_tenant

FIRST = datetime(2024, 1, 20, tzinfo=UTC)
LAST = datetime(2025, 3, 20, tzinfo=UTC)
MONTHLY = {
    "America/New_York": 28,
    "Europe/Berlin": 29,
    "Australia/Sydney": 30,
    "Asia/Kathmandu": 31,
    "Pacific/Kiritimati": 31,
}
LEAP_DAY = date(2024, 2, 29)


@dataclass
class Account:
    """A customer of the story, and what the plain calculation knows of it."""

    name: str
    zone: str
    start: date
    months: int  # between two base fees
    fee: Decimal
    plan: str
    sent: list[tuple[datetime, int]] = field(default_factory=list)

    def boundary(self, months: int) -> datetime:
        """Return the local midnight so many months after the start, on its day or the last."""
        number = self.start.year * 12 + self.start.month - 1 + months
        year, month = divmod(number, 12)
        day = min(self.start.day, calendar.monthrange(year, month + 1)[1])
        return datetime(year, month + 1, day, tzinfo=ZoneInfo(self.zone)).astimezone(UTC)

    def boundaries(self, step: int) -> list[datetime]:
        """Return the boundaries up to the end of the story."""
        found = [self.boundary(step * n) for n in range(20)]
        return [one for one in found if one <= LAST]


def text(at: datetime) -> str:
    """Return an instant as the API reads it."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


@pytest.fixture
def world(served: str, worker: None) -> tuple[Client, str, UUID]:
    """A tenant in test mode that lives on a clock."""
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=FIRST, attach=True)
    return Client(served, make_key(tenant)), clock.public_id, tenant.id


def plans(api: Client) -> None:
    """Sell calls by the month, with a base fee by the month or by the year, ahead."""
    api.post(
        "/meters", {"key": "calls", "name": "Calls", "event_name": "call", "aggregation": "sum"}
    )
    for key, period, fee in (("monthly", "month", "30.00"), ("yearly", "year", "120.00")):
        api.post(
            "/plans",
            {
                "key": key,
                "name": key.title(),
                "currency": "USD",
                "billing_period": "monthly",
                "charges": [
                    {
                        "key": "base",
                        "name": "Base fee",
                        "period": {"unit": period, "count": 1},
                        "timing": "advance",
                        "pricing": {"model": "flat", "amount": fee},
                    },
                    {
                        "key": "calls",
                        "name": "Calls",
                        "meter": "calls",
                        "pricing": {"model": "per_unit", "unit_price": "0.01"},
                    },
                ],
            },
        )


def people() -> list[Account]:
    """Return a monthly and a yearly customer in each zone."""
    found = [
        Account(f"m-{zone}", zone, date(2024, 1, day), 1, Decimal(30), "monthly")
        for zone, day in MONTHLY.items()
    ]
    return found + [
        Account(f"y-{zone}", zone, LEAP_DAY, 12, Decimal(120), "yearly") for zone in MONTHLY
    ]


def enrol(api: Client, accounts: list[Account]) -> None:
    """Make the customers, with cards that work, and their subscriptions, some in the future."""
    for account in accounts:
        customer = api.post(
            "/customers",
            {
                "external_id": account.name,
                "name": account.name,
                "currency": "USD",
                "zone": account.zone,
            },
        )
        api.post(
            f"/customers/{customer['id']}/payment-methods",
            {"provider": "sandbox", "provider_ref": "sandbox_ok", "default": True},
        )
        api.post(
            "/subscriptions",
            {
                "customer": account.name,
                "plan": account.plan,
                "start_date": account.start.isoformat(),
                "external_id": f"sub-{account.name}",
            },
        )


class Traffic:
    """Events that arrive late, twice and out of order."""

    def __init__(self, api: Client, accounts: list[Account]) -> None:
        self.api, self.accounts = api, accounts
        self.dice = random.Random(20240229)  # noqa: S311 -- a story, not a secret
        self.late: list[JSON] = []
        self.number = 0

    def between(self, start: datetime, end: datetime) -> None:
        """Send what happened in the time, a tenth of it only next time and a tenth twice."""
        new: list[JSON] = []
        for account in self.accounts:
            begins = max(start, account.boundary(0))
            for _ in range(6 if begins < end else 0):
                at = begins + timedelta(
                    seconds=self.dice.randrange(int((end - begins).total_seconds()))
                )
                value = self.dice.randrange(1, 50)
                account.sent.append((at, value))
                new.append(self._event(account, at, value))
        held = [event for event in new if self.dice.randrange(10) == 0]
        twice = [event for event in new if self.dice.randrange(10) == 0 and event not in held]
        out = [event for event in new if event not in held] + twice + self.late
        self.dice.shuffle(out)
        self.late = held
        self.send(out)

    def flush(self) -> None:
        """Send what was held back."""
        self.send(self.late)
        self.late = []

    def send(self, events: list[JSON]) -> None:
        """Send events in one batch; none is refused."""
        if not events:
            return
        answer = self.api.post("/events/batch", {"events": events})
        assert (answer["rejected"], answer["conflict"]) == (0, 0)

    def _event(self, account: Account, at: datetime, value: int) -> JSON:
        self.number += 1
        return {
            "idempotency_key": f"event-{self.number}",
            "event_name": "call",
            "customer": account.name,
            "timestamp": text(at),
            "value": value,
        }


def everything(api: Client, path: str) -> list[JSON]:
    """Return all rows of a list."""
    rows: list[JSON] = []
    cursor = ""
    while True:
        page = api.get(f"{path}{'&' if '?' in path else '?'}limit=100{cursor}")
        rows += page["data"]
        if not page["has_more"]:
            return rows
        cursor = f"&cursor={page['next_cursor']}"


def examine(api: Client, tenant_id: UUID, seen: set[str]) -> None:
    """Explain every line of every new document, and check the books."""
    for row in everything(api, "/invoices"):
        if row["id"] in seen:
            continue
        seen.add(row["id"])
        for line in api.get(f"/invoices/{row['id']}")["lines"]:
            path = f"/invoices/{row['id']}/lines/{line['id']}"
            assert api.get(f"{path}/explain")["amount"] == line["amount"]
            verified = api.get(f"{path}/verify")
            assert verified["verified"], verified
    assert list(breaches(tenant_id)) == []


@pytest.mark.slow
def test_a_year_in_five_zones(world: tuple[Client, str, UUID]) -> None:
    api, clock, tenant_id = world
    plans(api)
    accounts = people()
    enrol(api, accounts)
    traffic = Traffic(api, accounts)
    seen: set[str] = set()
    now = FIRST
    while now < LAST - timedelta(days=62):
        step = now + timedelta(days=31)
        api.post(f"/test-clocks/{clock}/advance", {"to": text(step)})
        traffic.between(now, step)
        examine(api, tenant_id, seen)
        now = step
    traffic.flush()
    quiet_from = now
    api.post(f"/test-clocks/{clock}/advance", {"to": text(LAST)})
    examine(api, tenant_id, seen)

    for account in accounts:
        documents = everything(api, f"/invoices?customer={account.name}")
        billed = sum((Decimal(one["total"]) for one in documents), Decimal(0))
        starts = account.boundaries(account.months)
        closed = account.boundaries(1)[-1]
        assert quiet_from < closed
        used = sum(value for at, value in account.sent if at < closed)
        assert billed == account.fee * len(starts) + Decimal(used) / 100, account.name
        base = [
            line
            for one in documents
            for line in api.get(f"/invoices/{one['id']}")["lines"]
            if line["kind"] == "recurring"
        ]
        assert sorted(line["period_start"] for line in base) == [text(one) for one in starts]
        assert {one["status"] for one in documents} == {"paid"}


def test_events_from_before_the_meter_existed(world: tuple[Client, str, UUID]) -> None:
    api, clock, tenant_id = world
    api.post("/customers", {"external_id": "early", "name": "Early", "currency": "USD"})
    answer = api.post(
        "/events",
        {
            "idempotency_key": "before",
            "event_name": "render",
            "customer": "early",
            "timestamp": "2024-01-18T10:00:00Z",
            "value": "12",
        },
    )
    assert (answer["status"], answer["orphan"]) == ("accepted", "unknown_meter")
    (orphan,) = everything(api, "/orphan-events")
    assert orphan["reason"] == "unknown_meter"

    api.post(
        "/meters",
        {"key": "renders", "name": "Renders", "event_name": "render", "aggregation": "sum"},
    )
    api.until("/orphan-events?status=open", lambda page: page["data"] == [])
    api.post(
        "/plans",
        {
            "key": "renders",
            "name": "Renders",
            "currency": "USD",
            "billing_period": "monthly",
            "charges": [
                {
                    "key": "renders",
                    "name": "Renders",
                    "meter": "renders",
                    "pricing": {"model": "per_unit", "unit_price": "0.50"},
                }
            ],
        },
    )
    api.post(
        "/subscriptions",
        {"customer": "early", "plan": "renders", "started_at": "2024-01-10T00:00:00Z"},
    )
    api.post(f"/test-clocks/{clock}/advance", {"to": "2024-02-11T00:00:00Z"})
    (row,) = everything(api, "/invoices?customer=early")
    assert row["total"] == "6.00"
    examine(api, tenant_id, set())
