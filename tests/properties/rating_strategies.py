"""What the laws of rating are tried on."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import strategies as st

from apps.rating.aggregation import Usage
from apps.rating.periods import Cadence, Schedule, Span, Unit
from apps.rating.pricing import Graduated, Stair, Tier, Volume

PLACES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
]

zones = st.sampled_from(PLACES)

instants = st.datetimes(datetime(1990, 1, 1), datetime(2045, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis adds the zone

cadences = st.builds(Cadence, st.sampled_from(Unit), st.integers(1, 14))

schedules = st.builds(Schedule, instants, cadences, zones)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """A span with at least one microsecond in it."""
    start = draw(instants)
    length = draw(
        st.timedeltas(timedelta(microseconds=1), timedelta(days=800)) | st.just(timedelta(days=1))
    )
    return Span(start, start + length)


@st.composite
def cut_spans(draw: st.DrawFn) -> tuple[Span, list[Span]]:
    """A span, and the parts that up to six cuts make of it."""
    whole = draw(spans())
    offsets = draw(st.lists(st.integers(0, whole.microseconds()), max_size=6))
    ends = sorted(
        [whole.start, whole.end, *(whole.start + timedelta(microseconds=us) for us in offsets)]
    )
    return whole, [Span(a, b) for a, b in pairwise(ends)]


def numbers(low: int, high: int, places: int = 12) -> st.SearchStrategy[Decimal]:
    """Decimals with up to so many places, often whole."""
    fine = st.integers(low * 10**places, high * 10**places).map(
        lambda units: Decimal(units).scaleb(-places)
    )
    return st.integers(low, high).map(Decimal) | fine


quantities = numbers(0, 5_000)
unit_prices = numbers(0, 20)
amounts = st.integers(0, 100_000).map(lambda cents: Decimal(cents).scaleb(-2))
rates = numbers(0, 100, places=6)


@st.composite
def bounds(draw: st.DrawFn) -> list[Decimal | None]:
    """Rising bounds of one to six tiers, the last one open."""
    closed = draw(st.lists(numbers(1, 4_000, places=3), max_size=5, unique=True))
    return [*sorted(closed), None]


@st.composite
def tiers(draw: st.DrawFn, *, flat_fees: bool = True) -> tuple[Tier, ...]:
    """Tiers with any prices, with or without flat fees."""
    fees = amounts if flat_fees else st.just(Decimal(0))
    return tuple(Tier(up_to, draw(unit_prices), draw(fees)) for up_to in draw(bounds()))


graduated = st.builds(Graduated, tiers(), st.booleans())
volume = st.builds(Volume, tiers(), st.booleans())


@st.composite
def stairs(draw: st.DrawFn) -> tuple[Stair, ...]:
    """Stairs with any prices."""
    return tuple(Stair(up_to, draw(amounts)) for up_to in draw(bounds()))


@st.composite
def usage_in_a_span(draw: st.DrawFn) -> tuple[Span, list[Usage]]:
    """A span and up to forty events in it, some at the same instant, no two with one number."""
    span = draw(spans())
    few_moments = draw(st.lists(st.integers(0, span.microseconds() - 1), min_size=1, max_size=12))
    count = draw(st.integers(0, 40))
    order = draw(st.permutations(range(count)))
    return span, [
        Usage(
            at=span.start + timedelta(microseconds=draw(st.sampled_from(few_moments))),
            seq=seq,
            value=draw(numbers(-1_000, 1_000)),
            item=draw(st.sampled_from("abcdef")),
        )
        for seq in order
    ]
