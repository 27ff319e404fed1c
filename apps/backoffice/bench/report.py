"""What a bench found: rates, ratios, and whether the ratios reach what is aimed at."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, TypeAlias

from django.db import connection

# where a bench says what it is doing
Note: TypeAlias = Callable[[str], None]

_SETTINGS: Final = (
    "server_version",
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "max_wal_size",
)
_WHOLE_FROM: Final = 100


@dataclass(frozen=True, slots=True)
class Rate:
    """How much of ``unit`` there was, in each round."""

    name: str
    unit: str
    rounds: Sequence[float]

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)


@dataclass(frozen=True, slots=True)
class Ratio:
    """What counts, in each round, and where it should be: at least or at most there."""

    name: str
    rounds: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return median(self.rounds)

    @property
    def target(self) -> str:
        """Where it should be, in print."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return f"≤ {self.at_most:g}" if self.at_most is not None else ""

    @property
    def met(self) -> bool | None:
        """Whether it is there; None where no target is set."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return self.value <= self.at_most if self.at_most is not None else None


@dataclass(slots=True)
class Findings:
    """All that one bench measured."""

    bench: str
    rates: list[Rate] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)

    def rate(self, name: str, unit: str, rounds: Sequence[float]) -> Rate:
        """Note a rate and return it."""
        self.rates.append(Rate(name, unit, rounds))
        return self.rates[-1]

    def ratio(
        self,
        name: str,
        above: Rate,
        below: Rate,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Note the ratio of two rates that were measured in turns, round by round."""
        rounds = [one / other for one, other in zip(above.rounds, below.rounds, strict=True)]
        self.ratios.append(Ratio(name, rounds, at_least=at_least, at_most=at_most))


def server_settings() -> dict[str, str]:
    """Return what of the database server the figures depend on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        )
        return dict(cursor.fetchall())


def as_document(findings: Findings) -> dict[str, Any]:
    """Return the findings for JSON."""
    return {
        "bench": findings.bench,
        "rates": [
            {"name": one.name, "unit": one.unit, "value": one.value, "rounds": list(one.rounds)}
            for one in findings.rates
        ],
        "ratios": [
            {
                "name": one.name,
                "value": one.value,
                "rounds": list(one.rounds),
                "at_least": one.at_least,
                "at_most": one.at_most,
                "met": one.met,
            }
            for one in findings.ratios
        ],
    }


def as_table(findings: Findings) -> Iterator[str]:
    """Yield the lines of a table for people."""
    names = [one.name for one in findings.rates] + [one.name for one in findings.ratios]
    width = max(map(len, names), default=0)
    yield findings.bench
    for rate in findings.rates:
        line = f"  {rate.name:<{width}}  {_number(rate.value):>10} {rate.unit:<10}"
        yield f"{line} {_spread(rate.rounds)}".rstrip()
    for ratio in findings.ratios:
        verdict = {True: "met", False: "missed", None: ""}[ratio.met]
        line = f"  {ratio.name:<{width}}  {_number(ratio.value):>10} {ratio.target:<6} {verdict:<6}"
        yield f"{line} {_spread(ratio.rounds)}".rstrip()


def _spread(rounds: Sequence[float]) -> str:
    if len(rounds) == 1:
        return ""
    return f"{len(rounds)} rounds, {_number(min(rounds))} to {_number(max(rounds))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _WHOLE_FROM else f"{value:,.2f}"
