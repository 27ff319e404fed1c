"""Reading what a customer has used this month, while there are millions of events."""

from random import Random
from statistics import quantiles
from time import perf_counter
from typing import Final

from apps.backoffice.bench.report import Findings, Note, Rate, Ratio
from apps.backoffice.bench.scratch import Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.backoffice.bench.web import get, latencies, web_server
from apps.backoffice.bench.world import World, customer_id, fill, make_world, settle
from apps.core.ids import encode
from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.metering.operations import roll_up
from apps.metering.queries.usage import Whose, usage_of
from apps.rating.periods import Span

_SUBSCRIPTIONS: Final = 10_000
_MILLISECONDS: Final = 1_000


def bench_read(scratch: Scratch, sizes: Sizes, month: Span, note: Note) -> Findings:
    """Measure how long GET /customers/{id}/usage takes, for one customer after another."""
    with scratch.copied(scratch.blank):
        note("read: making the tenant")
        world = make_world(min(_SUBSCRIPTIONS, sizes.subscriptions), month)
        note(f"read: storing {sizes.present} events")
        fill(world, sizes.present // world.subscriptions)
        began = perf_counter()
        roll_up()
        rolled_up = sizes.present / (perf_counter() - began)
        settle()
        note(f"read: {sizes.requests} requests")
        numbers = [
            Random(turn).randrange(1, world.subscriptions + 1)  # noqa: S311 -- anybody will do
            for turn in range(sizes.requests)
        ]
        query = f"start={month.start:%Y-%m-%d}&end={month.end:%Y-%m-%d}"
        requests = [
            get(f"/api/v1/customers/{_named(number)}/usage?{query}", world.secret)
            for number in numbers
        ]
        with web_server() as port:
            latencies(port, requests[: len(requests) // 10])  # every thread has its connection
            over_http = latencies(port, requests)
        by_query = [_seconds_to_read(world, number) for number in numbers]
    found = Findings("read")
    found.rates.append(Rate("rolling up", "events/s", [rolled_up]))
    for name, seconds in (("HTTP", over_http), ("query function", by_query)):
        percentiles = quantiles(seconds, n=100)
        found.rates.append(Rate(f"{name}, median", "ms", [percentiles[49] * _MILLISECONDS]))
        found.ratios.append(
            Ratio(f"{name}, 99th percentile in ms", [percentiles[98] * _MILLISECONDS], at_most=50)
        )
    return found


def _seconds_to_read(world: World, number: int) -> float:
    began = perf_counter()
    customer = Customer.objects.get(pk=customer_id(number))
    meters = list(Meter.objects.filter(tenant_id=world.tenant_id).prefetch_related("versions"))
    usage_of(Whose(world.tenant_id, customer.pk), meters, world.month, zone=customer.zone)
    return perf_counter() - began


def _named(number: int) -> str:
    return encode(Customer.ID_PREFIX, customer_id(number))
