"""Every bench runs and reports what it promises; how fast is for ``manage.py bench`` to say."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from apps.backoffice.bench.benches import BENCHES
from apps.backoffice.bench.report import Findings, Ratio, as_table
from apps.backoffice.bench.scratch import PREFIX, Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.web import UnexpectedAnswer, get, latencies, web_server
from apps.metering.queries.usage import month_around
from apps.rating.periods import Span
from apps.tenants.models import Tenant

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "owner"]),
    pytest.mark.slow,
]

_BY_CPU = "by CPU time"
TINY = Sizes(
    rounds=1,
    subscriptions=12,
    events=9,
    many_subscriptions=6,
    many_events=18,
    sample=3,
    backtested=5,
    batch=10,
    batches=2,
    present=120,
    wallets=7,
    spenders=2,
    spends=5,
    requests=10,
)


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch(os.environ["BILLING_TEST_TEMPLATE"]) as made:
        yield made


@pytest.fixture
def month() -> Span:
    now = datetime.now(UTC)  # noqa: TID251 -- the web server in the bench lives in real time
    return month_around(
        datetime(now.year - (now.month == 1), (now.month - 2) % 12 + 1, 1, tzinfo=UTC), "UTC"
    )


def databases() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)",
            [f"{PREFIX}_{os.getpid()}_"],
        )
        return [name for (name,) in cursor.fetchall()]


def run(name: str, scratch: Scratch, month: Span) -> Findings:
    said: list[str] = []
    found = BENCHES[name](scratch, TINY, month, said.append)
    assert said
    assert all(value > 0 for rate in found.rates for value in rate.rounds)
    return found


def ratios(found: Findings) -> dict[str, int]:
    """The ratios by name, each with the number of its rounds; those by the CPU where it is told."""
    return {one.name: len(one.rounds) for one in found.ratios if _BY_CPU not in one.name}


def test_ingest(scratch: Scratch, month: Span) -> None:
    found = run("ingest", scratch, month)
    assert ratios(found) == {
        "SQL / COPY": 1,
        "2 connections / 1": 1,
        "HTTP / SQL, 2 connections": 1,
        "120 present / empty": 1,
        "deadlocks": 1,
    }
    assert found.ratios[-1].value == 0


def test_single(scratch: Scratch, month: Span) -> None:
    assert ratios(run("single", scratch, month)) == {"one event / empty view": 1}


def test_close(scratch: Scratch, month: Span) -> None:
    assert ratios(run("close", scratch, month)) == {
        "measuring / ORM queries": 1,
        "the run, 1 process / ORM queries": 1,
        "the run, 2 processes / ORM queries": 1,
        "1 process / COPY, 1 connection": 1,
        "2 processes / COPY, 2 connections": 1,
        "2 processes / COPY, 1 connection": 1,
        "cost of 18 events / 9": 1,
    }


def test_authorize(scratch: Scratch, month: Span) -> None:
    found = run("authorize", scratch, month)
    assert ratios(found) == {"99th percentile in ms": 1, "median / empty view": 1}


def test_backtest(scratch: Scratch, month: Span) -> None:
    assert ratios(run("backtest", scratch, month)) == {
        "the backtest / measuring, rolled up": 1,
        "the backtest / measuring, not rolled up": 1,
        "the backtest / measuring, no statistics": 1,
    }


def test_read(scratch: Scratch, month: Span) -> None:
    assert ratios(run("read", scratch, month)) == {
        "HTTP, 99th percentile in ms": 1,
        "query function, 99th percentile in ms": 1,
    }


def test_wallet(scratch: Scratch, month: Span) -> None:
    assert ratios(run("wallet", scratch, month)) == {
        "hot wallet, 1 spender / SQL": 1,
        "hot wallet, 2 spenders / SQL": 1,
        "events in batches, 7 wallets / SQL": 1,
    }


def test_the_command_leaves_nothing_behind_and_touches_nothing() -> None:
    answer = StringIO()
    home = connection.settings_dict["NAME"]
    environment = dict(os.environ)
    call_command(
        "bench", "single", "--json", "--rounds=1", "--requests=5", stdout=answer, stderr=StringIO()
    )
    document = json.loads(answer.getvalue())
    (bench,) = document["benches"]
    assert [one["name"] for one in bench["rates"]] == ["an empty view", "one event per request"]
    assert bench["ratios"][0]["name"] == "one event / empty view"
    assert document["server"]["fsync"] in {"on", "off"}
    assert (connection.settings_dict["NAME"], dict(os.environ)) == (home, environment)
    assert databases() == []
    assert Tenant.objects.count() == 0


def test_an_interrupted_bench_drops_its_databases(month: Span) -> None:
    def interrupt(said: str) -> None:
        if "round 1" in said:
            raise KeyboardInterrupt

    def run_until_interrupted() -> None:
        with Scratch(os.environ["BILLING_TEST_TEMPLATE"]) as scratch:
            assert len(databases()) == 1
            BENCHES["single"](scratch, TINY, month, interrupt)

    with pytest.raises(KeyboardInterrupt):
        run_until_interrupted()
    assert databases() == []


def test_who_may_not_make_databases_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["owner"].settings_dict, "USER", "billing")
    with pytest.raises(CommandError, match="may not make databases"):
        call_command("bench", "read", stdout=StringIO(), stderr=StringIO())


def test_an_answer_that_is_no_success_ends_the_bench(scratch: Scratch) -> None:
    with web_server() as port, pytest.raises(UnexpectedAnswer, match="404"):
        latencies(port, [get("/there/is/nothing")])


def test_a_table_says_what_is_missed_and_by_how_much_it_varied() -> None:
    found = Findings("close")
    run_ = found.rate("the run", "subs/s", [900.0, 1_100.0, 1_000.0])
    limit = found.rate("COPY", "subs/s", [4_000.0, 4_000.0, 5_000.0])
    found.ratio("the run / COPY", run_, limit, at_least=0.3)
    found.ratio("COPY / the run", limit, run_, at_most=6)
    found.ratios.append(Ratio("of no account", [1.0]))
    assert list(as_table(found)) == [
        "close",
        "  the run              1,000 subs/s     3 rounds, 900 to 1,100",
        "  COPY                 4,000 subs/s     3 rounds, 4,000 to 5,000",
        "  the run / COPY        0.23 ≥ 0.3  missed 3 rounds, 0.20 to 0.28",
        "  COPY / the run        4.44 ≤ 6    met    3 rounds, 3.64 to 5.00",
        "  of no account         1.00",
    ]
