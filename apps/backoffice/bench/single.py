"""One event per request, against a view that does nothing."""

import json
from typing import Final

from apps.backoffice.bench.events import events
from apps.backoffice.bench.report import Findings, Note
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.web import get, post, seconds_to_serve, web_server
from apps.backoffice.bench.world import World, make_world, settle
from apps.rating.periods import Span

_SUBSCRIPTIONS: Final = 1_000
_CALLERS: Final = 8


def bench_single(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure POST /api/v1/events by the view that only says that the process is alive."""
    empty, stored = [], []
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
                empty.append(len(nothing) / seconds_to_serve(port, nothing, callers=_CALLERS))
                stored.append(len(posts) / seconds_to_serve(port, posts, callers=_CALLERS))
    found = Findings("single")
    limit = found.rate("an empty view", "requests/s", empty)
    single = found.rate("one event per request", "requests/s", stored)
    found.ratio("one event / empty view", single, limit, at_least=0.35)
    return found


def _posts(world: World, label: str, sizes: Sizes) -> list[bytes]:
    return [
        post("/api/v1/events", json.dumps(one).encode(), world.secret)
        for one in events(world, label, sizes.requests)
    ]
