"""Backtests over HTTP: the table of docs/what-if.md, lists, refusals, spreadsheets."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.jobs import run_due
from apps.core.models import Job
from apps.customers.models import Customer
from apps.invoicing.models import Backtest, BacktestCustomer, Invoice
from apps.invoicing.operations.billing import close_due
from apps.tenants.models import Tenant
from tests.make.api import Api
from tests.make.catalog import make_plan, make_version
from tests.make.customers import make_customer
from tests.make.metering import make_meter, send
from tests.make.subscriptions import make_subscription
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

PAGE: Final = Path(__file__).parents[3] / "docs" / "what-if.md"
APRIL: Final = datetime(2026, 4, 1, tzinfo=UTC)
MAY: Final = datetime(2026, 5, 9, 12, tzinfo=UTC)
SPRING: Final = {"plan": "growth", "periods": 1}


def terms(base: str, call: str) -> list[dict[str, Any]]:
    return [
        {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": base}},
        {
            "key": "calls",
            "name": "Calls",
            "meter": "calls",
            "pricing": {"model": "per_unit", "unit_price": call},
        },
    ]


def worked() -> list[dict[str, str]]:
    """Return the rows of the worked table."""
    lines = PAGE.read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("| customer | calls"))
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]
    heads = cells[0]
    rows = []
    for row in cells[2:]:
        if len(row) != len(heads):
            break
        rows.append(dict(zip(heads, row, strict=True)))
    return rows


@pytest.fixture
def tenant() -> Tenant:
    made = make_tenant()
    make_meter(made, key="calls", at=APRIL)
    version = make_plan(made, terms("49.00", "0.001"), key="growth", at=APRIL)
    make_version(version, terms("29.00", "0.0015"), at=APRIL, publish=False)
    for row in worked():
        customer = make_customer(made, external_id=row["customer"], name=row["customer"])
        make_subscription(customer, version, at=APRIL)
        event = {
            "meter": "calls",
            "customer": row["customer"],
            "timestamp": "2026-04-17T00:00:00Z",
            "value": row["calls in April"],
        }
        (receipt,) = send(made, [event], at=MAY)
        assert receipt.status == "accepted"
    return made


@pytest.fixture
def api(tenant: Tenant) -> Iterator[Api]:
    with time_machine.travel(MAY, tick=False):
        yield Api(make_key(tenant))


def work_off(tenant: Tenant) -> None:
    """Run the jobs that wait, as a worker does."""
    assert run_due(tenant_id=tenant.id) > 0
    assert not Job.objects.exclude(state=Job.State.DONE).exists()


def test_the_table_of_the_page(tenant: Tenant, api: Api) -> None:
    begun = api.post("/backtests", SPRING)
    assert begun.status_code == 202, begun.json()
    told = begun.json()
    assert (told["status"], told["done"], told["customers"], told["totals"]) == (
        "running",
        0,
        3,
        [],
    )
    assert (told["plan"], told["plan_version"], told["from_plan"], told["from_version"]) == (
        "growth", 2, "growth", None,
    )  # fmt: skip
    work_off(tenant)

    told = api.get(f"/backtests/{told['id']}").json()
    assert (told["status"], told["done"], told["failed"], told["skipped"]) == ("done", 3, 0, 0)
    assert told["totals"] == [
        {
            "currency": "USD",
            "customers": 3,
            "billed": "392.00",
            "would_be_billed": "454.50",
            "delta": "62.50",
            "winners": 1,
            "losers": 1,
            "unchanged": 1,
        }
    ]
    assert [one["name"] for one in told["top_movers"]] == ["large", "small"]
    found = api.get(f"/backtests/{told['id']}/customers", limit=100).json()["data"]
    assert {
        one["external_id"]: (one["billed"], one["would_be_billed"], one["delta"], one["outcome"])
        for one in found
    } == {
        one["customer"]: (one["billed"], one["would be billed"], one["delta"], one["outcome"])
        for one in worked()
    }
    assert {(one["since"], one["until"]) for one in found} == {
        ("2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z")
    }
    # and that is what they are billed
    close_due(MAY, actor=ACTOR)
    lines = Invoice.objects.filter(customer__external_id="large").values_list("total", flat=True)
    assert sum(lines, Decimal(0)) == Decimal("249.00") + Decimal("49.00")  # and May, in advance


def test_what_is_found_is_listed_by_difference_page_by_page(tenant: Tenant, api: Api) -> None:
    backtest = api.post("/backtests", SPRING).json()["id"]
    work_off(tenant)
    for sort, names in (
        ("delta", ["small", "middle", "large"]),
        ("-delta", ["large", "middle", "small"]),
    ):
        listed: list[str] = []
        page: dict[str, Any] = {"has_more": True, "next_cursor": None}
        while page["has_more"]:
            more = {"cursor": page["next_cursor"]} if listed else {}
            page = api.get(f"/backtests/{backtest}/customers", sort=sort, limit=1, **more).json()
            listed += [one["name"] for one in page["data"]]
        assert listed == names
    winners = api.get(f"/backtests/{backtest}/customers", outcome="winner", currency="USD").json()
    assert [one["name"] for one in winners["data"]] == ["small"]
    first = api.get(f"/backtests/{backtest}/customers", sort="delta", limit=1).json()
    cursor = first["next_cursor"]
    for wrong in ({"sort": "name"}, {"sort": "-delta", "cursor": cursor}, {"cursor": cursor}):
        assert api.get(f"/backtests/{backtest}/customers", **wrong).status_code == 400


@pytest.mark.holds("S32", "B124")
def test_a_table_for_a_spreadsheet_computes_no_names(tenant: Tenant, api: Api) -> None:
    rows: list[dict[str, str]] = []
    for number, name in enumerate(("=1+1", "+1", "-1", "@a", "\ta", " =1")):
        Customer.objects.filter(external_id=worked()[number % 3]["customer"]).update(name=name)
        backtest = api.post("/backtests", SPRING).json()["id"]
        work_off(tenant)
        answer = api.get(f"/backtests/{backtest}/customers.csv")
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(StringIO(answer.content.decode())))
        assert f"'{name}" in [row["name"] for row in rows]
    deltas = [(row["external_id"], row["delta"], row["currency"]) for row in rows]
    assert deltas == [("large", "80", "USD"), ("middle", "0", "USD"), ("small", "-17.5", "USD")]


def test_two_by_name_in_place_of_one_version(tenant: Tenant, api: Api) -> None:
    by_id = Customer.objects.get(external_id="large").public_id
    body = {**SPRING, "plan_version": 2, "from_version": 1, "customers": ["small", by_id, "small"]}
    begun = api.post("/backtests", body).json()
    assert (begun["customers"], begun["from_version"]) == (2, 1)


def test_a_retry_begins_one(tenant: Tenant, api: Api) -> None:
    first, again = (api.post("/backtests", SPRING, key="once") for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert Backtest.objects.count() == 1


def test_it_is_canceled_once(tenant: Tenant, api: Api) -> None:
    backtest = api.post("/backtests", SPRING).json()["id"]
    assert [api.post(f"/backtests/{backtest}/cancel").json()["status"] for _ in range(2)] == [
        "canceled",
        "canceled",
    ]
    work_off(tenant)
    assert {one.outcome for one in BacktestCustomer.objects.all()} == {"pending"}
    listed = api.get("/backtests", status="canceled").json()["data"]
    assert [one["id"] for one in listed] == [backtest]
    assert api.get("/backtests", status="running").json()["data"] == []
    done = api.post("/backtests", SPRING).json()["id"]
    work_off(tenant)
    assert api.post(f"/backtests/{done}/cancel").status_code == 409


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"periods": 0}, 400, "periods"),
        ({"periods": 25}, 400, "periods"),
        ({"periods": "1.5"}, 400, "periods"),
        ({"plan": "nothing"}, 404, None),
        ({"plan_version": 9}, 404, "plan_version"),
        ({"from_version": 9}, 404, "from_version"),
        ({"from_plan": "nothing"}, 404, None),
        ({"from_version": 2}, 422, "from_plan"),
        ({"customers": []}, 400, "customers"),
        ({"customers": ["small", "nobody"]}, 404, "customers"),
        ({"currency": "USD"}, 400, "currency"),
    ],
)
def test_what_cannot_be_is_refused(
    api: Api, change: dict[str, Any], status: int, field: str | None
) -> None:
    answer = api.post("/backtests", {**SPRING, **change})
    assert answer.status_code == status, answer.json()
    if field is not None:
        assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert not Backtest.objects.exists()


def test_queries_do_not_grow(tenant: Tenant, api: Api) -> None:
    backtest = api.post("/backtests", SPRING).json()["id"]
    work_off(tenant)
    counts = {}
    for path in ("", f"/{backtest}", f"/{backtest}/customers", f"/{backtest}/customers.csv"):
        with CaptureQueriesContext(connection) as captured:
            assert api.get(f"/backtests{path}").status_code == 200
        counts[path.replace(backtest, "")] = len(captured)
    assert counts == {"": 2, "/": 5, "//customers": 3, "//customers.csv": 3}
