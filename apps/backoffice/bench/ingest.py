"""Batches of events: in SQL, on several connections, over HTTP, and into a table full of them."""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Any, Final, NamedTuple, ParamSpec

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, transaction
from psycopg import sql

from apps.backoffice.bench.cpu import spent
from apps.backoffice.bench.crew import Crew
from apps.backoffice.bench.events import (
    EVENT_COLUMNS,
    KEY_COLUMNS,
    batches,
    event_rows,
    events,
    key_rows,
)
from apps.backoffice.bench.report import Findings, Note, Ratio
from apps.backoffice.bench.scratch import OWNER, Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.web import post, seconds_to_serve, web_server
from apps.backoffice.bench.world import World, fill, make_world, remember_keys, settle
from apps.core.tenancy import enter_tenant
from apps.metering.domain import ReceiptStatus
from apps.metering.operations import ingest_batch
from apps.metering.queries import sender_of
from apps.rating.periods import Span
from apps.tenants.models import Tenant

P = ParamSpec("P")

_SUBSCRIPTIONS: Final = 10_000
_CALLERS: Final = 4
_OVERLAPPING: Final = 4  # connections
_KEYS: Final = "metering_usageeventkey"
_EVENTS: Final = "metering_usageevent"


class NotAllAccepted(Exception):
    """Events were refused or known already, so how fast they were taken says nothing."""


class _Round(NamedTuple):
    """Events per second, and how much CPU time COPY takes of what one connection takes by SQL."""

    by_sql: float
    by_copy: float
    by_two: float
    by_http: float
    full: float
    by_cpu: float | None


@dataclass(frozen=True, slots=True)
class _Hands:
    """Processes connected to the database with few events, and one to that with many."""

    one: Crew
    two: Crew
    full: Crew
    port: int  # of the web server on the database with few events


def bench_ingest(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure batches by COPY of the same rows into the same tables, and by one another."""
    rounds = []
    with ExitStack() as stack:
        note("ingest: making the tenant")
        empty = stack.enter_context(scratch.copied(scratch.blank))
        world = make_world(min(_SUBSCRIPTIONS, sizes.subscriptions), month)
        settle()
        note(f"ingest: storing {sizes.present} events that are there already")
        stack.enter_context(scratch.copied(empty))
        fill(world, sizes.present // world.subscriptions)
        remember_keys()
        settle()
        full = stack.enter_context(Crew(1))
        stack.enter_context(scratch.using(empty))
        one, two = stack.enter_context(Crew(1)), stack.enter_context(Crew(2))
        hands = _Hands(one, two, full, stack.enter_context(web_server()))
        seconds_to_serve(hands.port, _requests(world, "warm", sizes), callers=_CALLERS)
        for number in range(1, sizes.rounds + 1):
            note(f"ingest: round {number} of {sizes.rounds}")
            rounds.append(_round(world, hands, sizes, number))
        note("ingest: overlapping batches")
        overlapping, deadlocks = _overlap(world, sizes)
    return _findings(sizes, rounds, overlapping, deadlocks)


def _round(world: World, hands: _Hands, sizes: Sizes, number: int) -> _Round:
    count = sizes.batch * sizes.batches
    hands.one.each(_hold_batches, world, f"{number}-sql", sizes)
    sql_seconds, sql_cpu = _counted(hands.one, _ingest_and_count, world)
    hands.one.each(_hold_rows, world, f"{number}-copy", sizes)
    copy_seconds, copy_cpu = _counted(hands.one, _copy_and_count)
    labels = [(world, f"{number}-first", sizes), (world, f"{number}-second", sizes)]
    hands.two.share(_hold_batches, labels)
    by_two = 2 * count / hands.two.timed(_ingest_held, world)
    requests = _requests(world, f"{number}-http", sizes)
    by_http = 2 * count / seconds_to_serve(hands.port, requests, callers=_CALLERS)
    hands.full.each(_hold_batches, world, f"{number}-full", sizes)
    full = count / hands.full.timed(_ingest_held, world)
    by_cpu = None if sql_cpu is None or copy_cpu is None else copy_cpu / sql_cpu
    return _Round(count / sql_seconds, count / copy_seconds, by_two, by_http, full, by_cpu)


def _counted(
    crew: Crew, work: Callable[P, float | None], *args: P.args, **kwargs: P.kwargs
) -> tuple[float, float | None]:
    """Have a crew of one do the work; return the seconds on the clock, and those of CPU time."""
    began = perf_counter()
    (cpu,) = crew.each(work, *args, **kwargs)
    return perf_counter() - began, cpu


def _requests(world: World, label: str, sizes: Sizes) -> list[bytes]:
    """Return requests with as many events as two connections store in a round."""
    found = events(world, label, 2 * sizes.batch * sizes.batches)
    return [
        post("/api/v1/events/batch", json.dumps({"events": one}).encode(), world.secret)
        for one in batches(found, sizes.batch)
    ]


def _findings(
    sizes: Sizes, rounds: Sequence[_Round], overlapping: float, deadlocks: int
) -> Findings:
    found = Findings("ingest")
    unit = "events/s"
    by_sql = found.rate("SQL, 1 connection", unit, [one.by_sql for one in rounds])
    by_copy = found.rate("COPY of the same rows", unit, [one.by_copy for one in rounds])
    by_two = found.rate("SQL, 2 connections", unit, [one.by_two for one in rounds])
    by_http = found.rate("HTTP, 2 workers", unit, [one.by_http for one in rounds])
    full = found.rate(f"SQL, {sizes.present:,} events present", unit, [one.full for one in rounds])
    found.rate("overlapping, 4 connections", unit, [overlapping])
    found.ratio("SQL / COPY", by_sql, by_copy, at_least=0.65)
    by_cpu = [one.by_cpu for one in rounds if one.by_cpu is not None]
    if by_cpu:
        found.ratios.append(Ratio("SQL / COPY, by CPU time", by_cpu, at_least=0.65))
    found.ratio("2 connections / 1", by_two, by_sql, at_least=1.5)
    found.ratio("HTTP / SQL, 2 connections", by_http, by_two, at_least=0.75)
    found.ratio(f"{sizes.present:,} present / empty", full, by_sql, at_least=0.6)
    found.ratios.append(Ratio("deadlocks", [deadlocks], at_most=0))
    return found


# --- what the processes do ----------------------------------------------------------------------

_held: list[Any] = []


def _hold_batches(world: World, label: str, sizes: Sizes) -> None:
    """Have the batches ready, as they come out of the parser."""
    found = events(world, label, sizes.batch * sizes.batches)
    _held[:] = batches(found, sizes.batch)


def _hold_rows(world: World, label: str, sizes: Sizes) -> None:
    """Have the rows ready as bytes, in batches of the same size."""
    found = events(world, label, sizes.batch * sizes.batches)
    _held[:] = [
        (key_rows(world, one), event_rows(world, one)) for one in batches(found, sizes.batch)
    ]


def _ingest_held(world: World) -> None:
    enter_tenant(world.tenant_id)
    sender = sender_of(Tenant.objects.get(pk=world.tenant_id))
    for batch in _held:
        receipts = ingest_batch(sender, batch, at=world.month.end)
        if any(one.status != ReceiptStatus.ACCEPTED or one.orphan for one in receipts):
            raise NotAllAccepted(str(receipts[0]))


def _ingest_and_count(world: World) -> float | None:
    return spent(lambda: _ingest_held(world), DEFAULT_DB_ALIAS)


def _copy_and_count() -> float | None:
    return spent(_copy_held, OWNER)


def _copy_held() -> None:
    into_keys, into_events = _copy_into(_KEYS, KEY_COLUMNS), _copy_into(_EVENTS, EVENT_COLUMNS)
    for key_lines, event_lines in _held:
        with transaction.atomic(OWNER), connections[OWNER].cursor() as cursor:
            with cursor.copy(into_keys) as copy:
                copy.write(key_lines)
            with cursor.copy(into_events) as copy:
                copy.write(event_lines)


def _copy_into(table: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )


# --- batches that have events in common ---------------------------------------------------------


def _overlap(world: World, sizes: Sizes) -> tuple[float, int]:
    """Send the same events from all connections at once, each in an order of its own.

    Returns how many events were sent per second, and how many batches ended in a deadlock.
    """
    before = _stored()
    with Crew(_OVERLAPPING) as crew:
        crew.share(_hold_shuffled, [(world, hand, sizes) for hand in range(_OVERLAPPING)])
        began = perf_counter()
        deadlocks = sum(crew.each(_ingest_overlapping, world))
        seconds = perf_counter() - began
    count = sizes.batch * sizes.batches
    if not deadlocks and _stored() - before != count:
        raise NotAllAccepted(f"{_stored() - before} events are stored of {count}")
    return _OVERLAPPING * count / seconds, deadlocks


def _hold_shuffled(world: World, hand: int, sizes: Sizes) -> None:
    found = events(world, "overlapping", sizes.batch * sizes.batches)
    Random(hand).shuffle(found)  # noqa: S311 -- any order will do
    _held[:] = batches(found, sizes.batch)


def _ingest_overlapping(world: World) -> int:
    enter_tenant(world.tenant_id)
    sender = sender_of(Tenant.objects.get(pk=world.tenant_id))
    failed = 0
    for batch in _held:
        try:
            ingest_batch(sender, batch, at=world.month.end)
        except DatabaseError:
            failed += 1
    return failed


def _stored() -> int:
    with connections[OWNER].cursor() as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(_EVENTS)))
        return int(cursor.fetchone()[0])
