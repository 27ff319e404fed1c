"""The tax of documents, reckoned in the order in which they were issued and canceled. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.facts import LevyFact, PlaceFact
from apps.backoffice.simulation.oracle.usage import rounded

_ZERO: Final = Fraction(0)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PaperLine:
    """A line of a document: what it bills, without tax, and which line it corrects or is taxed like."""

    id: UUID
    corrects: UUID | None
    starts: datetime
    ends: datetime
    amount: Fraction
    is_free: bool = False  # no tax is on it, wherever it is sold


@dataclass(frozen=True, slots=True)
class Paper:
    """A document as it was issued, with the tax that it shows; orders are among all that happened."""

    id: UUID
    name: str
    places: int  # decimals of its currency
    issued: int
    canceled: int | None
    tax: Fraction
    lines: Sequence[PaperLine]


def levies_at(levies: Iterable[LevyFact], place: PlaceFact, at: datetime) -> list[LevyFact]:
    """Return what is levied on something that is sold there then."""
    here = [
        one
        for one in levies
        if one.country == place.country
        and (not one.region or one.region == place.region)
        and (one.since is None or one.since <= at)
        and (one.until is None or at < one.until)
    ]
    found = []
    for tax in sorted({one.tax for one in here}):
        of_tax = [one for one in here if one.tax == tax]
        regional = [one for one in of_tax if one.region]
        found.append((regional or of_tax)[0])
    return found


class Levying:
    """The taxes of one customer's documents. With ``per_line`` each line is rounded by itself."""

    def __init__(self, levies: Sequence[LevyFact], place: PlaceFact, *, per_line: bool) -> None:
        self.levies, self.place, self.per_line = levies, place, per_line
        self._of_line: dict[UUID, tuple[UUID, list[LevyFact]]] = {}
        # what is rounded together: what stands of it, and its tax
        self._billed: dict[tuple[UUID, str], Fraction] = defaultdict(Fraction)
        self._levied: dict[tuple[UUID, str], Fraction] = defaultdict(Fraction)
        self._taken: dict[UUID, Mapping[tuple[UUID, str], tuple[Fraction, Fraction]]] = {}

    def differences(self, papers: Sequence[Paper]) -> Iterator[str]:
        """Yield the documents that show another tax than they should."""
        happened = [(one.issued, one) for one in papers]
        happened += [(one.canceled, one) for one in papers if one.canceled is not None]
        for number, paper in sorted(happened, key=lambda one: one[0]):
            if number == paper.canceled:
                self._cancel(paper)
                continue
            should = self._issue(paper)
            if should != paper.tax:
                yield f"{paper.name} has a tax of {float(paper.tax)}, should have {float(should)}"

    def _issue(self, paper: Paper) -> Fraction:
        sums: dict[tuple[UUID, str], Fraction] = defaultdict(Fraction)
        rates: dict[str, Fraction] = {}
        for line in paper.lines:
            scope, levies = self._levies_of(line, paper)
            self._of_line[line.id] = scope, levies
            for one in levies:
                sums[scope, one.key] += line.amount
                rates[one.key] = Fraction(one.percentage) / 100
        taken = {}
        for key, amount in sums.items():
            whole = rounded((self._billed[key] + amount) * rates[key[1]], paper.places)
            taken[key] = (amount, whole - self._levied[key])
            self._billed[key] += amount
            self._levied[key] = whole
        self._taken[paper.id] = taken
        return sum((tax for _, tax in taken.values()), _ZERO)

    def _levies_of(self, line: PaperLine, paper: Paper) -> tuple[UUID, list[LevyFact]]:
        if line.is_free:
            return line.id, []
        if line.corrects is not None:
            return self._of_line[line.corrects]
        served = line.ends - _TICK if line.ends > line.starts else line.ends
        scope = line.id if self.per_line else paper.id
        return scope, levies_at(self.levies, self.place, served)

    def _cancel(self, paper: Paper) -> None:
        for key, (amount, tax) in self._taken[paper.id].items():
            self._billed[key] -= amount
            self._levied[key] -= tax
