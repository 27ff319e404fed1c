"""One event per request, against a view that does nothing."""

import json
from time import perf_counter
from typing import Final, NamedTuple

from apps.backoffice.bench.cpu import spent_by_all
from apps.backoffice.bench.events import events
from apps.backoffice.bench.report import Findings, Note, Ratio
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.web import get, post, seconds_to_serve, web_server
from apps.backoffice.bench.world import World, make_world, settle
from apps.rating.periods import Span

_SUBSCRIPTIONS: Final = 1_000
_CALLERS: Final = 8


class _Served(NamedTuple):
    per_second: float
    cpu: float | None  # seconds for all of them: callers, web server and database


def bench_single(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure POST /api/v1/events by the view that only says that the process is alive.

    Both go through the same server and all of its middleware; that view reads and stores nothing.
    """
    empty: list[_Served] = []
    stored: list[_Served] = []
    with scratch.copied(scratch.blank):
        note("single: making the tenant")
        world = make_world(_SUBSCRIPTIONS, month)
        settle()
        with web_server() as port:
            nothing = [get("/health/live")] * sizes.requests
            seconds_to_serve(port, nothing + _posts(world, "warm", sizes), callers=_CALLERS)
            for number in range(1, sizes.rounds + 1):
                note(f"single: round {number} of {sizes.rounds}")
                posts = _posts(world, f"single-{number}", sizes)
                empty.append(_serve(port, nothing))
                stored.append(_serve(port, posts))
    found = Findings("single")
    limit = found.rate("an empty view", "requests/s", [one.per_second for one in empty])
    single = found.rate("one event per request", "requests/s", [one.per_second for one in stored])
    found.ratio("one event / empty view", single, limit, at_least=0.35)
    by_cpu = [
        one.cpu / other.cpu
        for one, other in zip(empty, stored, strict=True)
        if one.cpu is not None and other.cpu is not None
    ]
    if by_cpu:
        found.ratios.append(Ratio("one event / empty view, by CPU time", by_cpu, at_least=0.35))
    return found


def _serve(port: int, requests: list[bytes]) -> _Served:
    began = perf_counter()
    cpu = spent_by_all(lambda: seconds_to_serve(port, requests, callers=_CALLERS))
    return _Served(len(requests) / (perf_counter() - began), cpu)


def _posts(world: World, label: str, sizes: Sizes) -> list[bytes]:
    return [
        post("/api/v1/events", json.dumps(one).encode(), world.secret)
        for one in events(world, label, sizes.requests)
    ]
