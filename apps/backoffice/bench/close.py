"""Closing a month for everybody: gather, rate, store, number, post."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from time import perf_counter
from typing import Final, NamedTuple
from uuid import UUID

from apps.backoffice.bench.crew import Crew
from apps.backoffice.bench.limit import copy_limit, rows_since, transaction_now
from apps.backoffice.bench.orm import seconds_by_query
from apps.backoffice.bench.report import Findings, Note
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.world import (
    ACTOR,
    World,
    customer_id,
    fill,
    make_world,
    settle,
    subscription_id,
)
from apps.backoffice.books import breaches
from apps.core.tenancy import tenant_scope
from apps.invoicing.operations.billing import close_due
from apps.metering.domain import UsageRequest, UsageSpan
from apps.metering.models import MeterVersion
from apps.metering.operations import roll_up
from apps.metering.queries import measure
from apps.rating.periods import Span

CHUNK: Final = 500  # as the run takes them
# what a run writes, besides moving its subscriptions on
_TABLES: Final = (
    "invoicing_invoice",
    "invoicing_invoiceline",
    "ledger_journalentry",
    "ledger_posting",
    "core_auditevent",
    "core_auditpending",
    "core_job",
)


class NotAllBilled(Exception):
    """A run made not one document for each subscription: what it took says nothing."""


class BooksWrong(Exception):
    """A run left rows that must not exist."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A database in which the base fees of the month are billed and its usage is rolled up."""

    database: str
    world: World
    rolled_up: float  # events/s


class _Round(NamedTuple):
    """Subscriptions per second."""

    by_query: float
    measured: float
    by_one: float
    by_two: float
    stored: float
    stored_by_two: float
    with_many: float


def bench_close(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure a run over everybody by what storing its rows and querying by ORM take."""
    rounds = []
    with ExitStack() as stack:
        note(f"close: making {sizes.subscriptions} subscriptions with {sizes.events} events")
        database = stack.enter_context(scratch.copied(scratch.blank))
        few = _prepare(database, sizes.subscriptions, sizes.events, month)
        note(f"close: making {sizes.many_subscriptions} with {sizes.many_events} events")
        database = stack.enter_context(scratch.copied(scratch.blank))
        many = _prepare(database, sizes.many_subscriptions, sizes.many_events, month)
        for number in range(1, sizes.rounds + 1):
            note(f"close: round {number} of {sizes.rounds}")
            rounds.append(_round(scratch, few, many, sizes.sample))
    return _findings(few, many, sizes, rounds)


def _prepare(database: str, subscriptions: int, events: int, month: Span) -> _Prepared:
    """Make a world in the database in use, in which nothing but the month's end is missing."""
    world = make_world(subscriptions, month)
    settle()
    _close(world, month.start, processes=2)
    fill(world, events)
    began = perf_counter()
    roll_up()
    rolled_up = subscriptions * events / (perf_counter() - began)
    settle()
    return _Prepared(database, world, rolled_up)


def _round(scratch: Scratch, few: _Prepared, many: _Prepared, sample: int) -> _Round:
    count = few.world.subscriptions
    with scratch.copied(few.database):
        numbers = range(1, count + 1, max(1, count // sample))
        by_query = len(numbers) / seconds_by_query(few.world, numbers)
        measured = count / seconds_to_measure(few.world)
        begun = transaction_now()
        by_one = count / _close(few.world, few.world.month.end, processes=1)
        written, chunks = rows_since(begun, _TABLES), -(-count // CHUNK)
        stored = count / copy_limit(written, chunks, connections_used=1)
        stored_by_two = count / copy_limit(written, chunks, connections_used=2)
        _check_books(few.world)
    with scratch.copied(few.database):
        seconds_to_measure(few.world)  # reads what is to be read, as it was for the run above
        by_two = count / _close(few.world, few.world.month.end, processes=2)
    with scratch.copied(many.database):
        seconds_to_measure(many.world)
        seconds = _close(many.world, many.world.month.end, processes=1)
        with_many = many.world.subscriptions / seconds
    return _Round(by_query, measured, by_one, by_two, stored, stored_by_two, with_many)


def _findings(few: _Prepared, many: _Prepared, sizes: Sizes, rounds: Sequence[_Round]) -> Findings:
    found = Findings("close")
    unit = "subs/s"
    found.rate(f"rolling up {sizes.events} each", "events/s", [few.rolled_up])
    found.rate(f"rolling up {sizes.many_events} each", "events/s", [many.rolled_up])
    by_query = found.rate("one ORM query per charge", unit, [one.by_query for one in rounds])
    measured = found.rate("measuring, 500 at once", unit, [one.measured for one in rounds])
    by_one = found.rate("the run, 1 process", unit, [one.by_one for one in rounds])
    by_two = found.rate("the run, 2 processes", unit, [one.by_two for one in rounds])
    stored = found.rate("COPY, 1 connection", unit, [one.stored for one in rounds])
    stored_by_two = found.rate("COPY, 2 connections", unit, [one.stored_by_two for one in rounds])
    with_many = found.rate(
        f"the run, {sizes.many_events} events each", unit, [one.with_many for one in rounds]
    )
    found.ratio("measuring / ORM queries", measured, by_query, at_least=20)
    found.ratio("the run, 1 process / ORM queries", by_one, by_query, at_least=20)
    found.ratio("the run, 2 processes / ORM queries", by_two, by_query, at_least=20)
    found.ratio("1 process / COPY, 1 connection", by_one, stored, at_least=0.3)
    found.ratio("2 processes / COPY, 2 connections", by_two, stored_by_two, at_least=0.3)
    found.ratio("2 processes / COPY, 1 connection", by_two, stored)
    found.ratio(
        f"cost of {sizes.many_events} events / {sizes.events}", by_one, with_many, at_most=1.2
    )
    return found


def _close(world: World, at: datetime, *, processes: int) -> float:
    """Close what is due by ``at``; return the seconds it takes."""
    with Crew(processes) as crew:
        began = perf_counter()
        made = sum(crew.each(_close_due, at))
        seconds = perf_counter() - began
    if made != world.subscriptions:
        raise NotAllBilled(f"{made} documents for {world.subscriptions} subscriptions")
    return seconds


def _check_books(world: World) -> None:
    """Refuse to report on a run that left the books wrong."""
    # the world's events were not ingested: the rules of metering look for what that leaves
    found = (one for one in breaches(world.tenant_id) if not one.rule.startswith("metering."))
    wrong = next(found, None)
    if wrong is not None:
        raise BooksWrong(f"{wrong.rule}: {wrong.detail}")


def _close_due(at: datetime) -> int:
    return close_due(at, actor=ACTOR).documents


def seconds_to_measure(world: World) -> float:
    """Return how long measuring the month takes, as the run does it."""
    with tenant_scope(world.tenant_id):
        versions = list(MeterVersion.objects.values_list("id", flat=True))
        began = perf_counter()
        for first in range(1, world.subscriptions + 1, CHUNK):
            numbers = range(first, min(first + CHUNK, world.subscriptions + 1))
            pairs = list(product(numbers, versions))
            measure([_request(world, place, *pair) for place, pair in enumerate(pairs)])
        return perf_counter() - began


def _request(world: World, place: int, number: int, version_id: UUID) -> UsageRequest:
    return UsageRequest(
        number=place,
        tenant_id=world.tenant_id,
        customer_id=customer_id(number),
        subscription_id=subscription_id(number),
        meter_version_id=version_id,
        spans=(UsageSpan(world.month.start, world.month.end, unassigned=True),),
    )
