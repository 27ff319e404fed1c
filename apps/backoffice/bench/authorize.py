"""Asking whether a spend is covered, before it is made."""

import json
from random import Random
from statistics import quantiles
from typing import Final

from apps.backoffice.bench.report import Findings, Note, Rate, Ratio
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.wallet import make_wallets
from apps.backoffice.bench.web import get, latencies, post, web_server
from apps.backoffice.bench.world import customer_id, make_world, settle
from apps.core.ids import encode
from apps.customers.models import Customer
from apps.rating.periods import Span

_MILLISECONDS: Final = 1_000
_METER: Final = "calls"


def bench_authorize(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure how long POST /authorize takes by a view that does nothing, one after the other."""
    with scratch.copied(scratch.blank):
        note(f"authorize: making {sizes.wallets} wallets")
        world = make_world(sizes.wallets, month)
        make_wallets(world)
        settle()
        chance = Random(1)  # noqa: S311 -- anybody will do
        asked = [
            post("/api/v1/authorize", _body(chance.randrange(1, sizes.wallets + 1)), world.secret)
            for _ in range(sizes.requests)
        ]
        nothing = [get("/health/live")] * sizes.requests
        note(f"authorize: {sizes.requests} requests")
        with web_server() as port:
            for requests in (nothing, asked):  # every thread has its connection
                latencies(port, requests[: len(requests) // 10])
            empty, answered = latencies(port, nothing), latencies(port, asked)
    found = Findings("authorize")
    low = found.rate("an empty view, median", "ms", [quantiles(empty)[1] * _MILLISECONDS])
    median = quantiles(answered)[1] * _MILLISECONDS
    found.rates.append(Rate("authorize, median", "ms", [median]))
    found.ratios += [
        Ratio(
            "99th percentile in ms", [quantiles(answered, n=100)[98] * _MILLISECONDS], at_most=10
        ),
        Ratio("median / empty view", [median / low.value]),
    ]
    return found


def _body(number: int) -> bytes:
    customer = encode(Customer.ID_PREFIX, customer_id(number))
    asked = {"customer": customer, "currency": "USD", "amount": "0.25", "meter": _METER}
    return json.dumps(asked).encode()
