"""At whose terms, if any, each moment is paid for: asked moment by moment. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from apps.backoffice.simulation.facts import SubscriptionFact
from apps.backoffice.simulation.oracle.calendar import Span
from apps.backoffice.simulation.oracle.timeline import Life, Spell, period_until, periods

_NEVER: Final = datetime.max.replace(tzinfo=UTC)

Place = tuple[str, int]  # a phase: the plan's key, and which of its phases


@dataclass(frozen=True, slots=True)
class Run:
    """A time, from included to excluded, that is paid for at the terms of one spell."""

    spell: Spell
    starts: datetime
    ends: datetime  # ``_NEVER``: it goes on


@dataclass(frozen=True, slots=True)
class Piece:
    """What is due of one billing period at one set of terms."""

    run: Run
    period: Span
    part: Span


def places(life: Life) -> list[Place]:
    """Return the phases that a life comes through."""
    return list(dict.fromkeys(one.stay.place for one in life.spells))


def entries(life: Life, place: Place) -> list[Spell]:
    """Return the spells with which a stay in a phase begins."""
    found: list[Spell] = []
    before = None
    for one in life.spells:
        if one.agreed.standing == "gone":
            continue
        stay = (one.stay.place, one.stay.began)
        if one.stay.place == place and stay != before:
            found.append(one)
        before = stay
    return found


def usage_runs(life: Life, place: Place) -> list[Run]:
    """Return the times in which usage is charged for in a phase; by how many does not matter."""

    def holds(at: datetime) -> Spell | None:
        found = life.at(at)
        return None if found is None or found.agreed.idle else found

    def same(one: Spell) -> object:
        return (one.stay.place, one.stay.anchor, one.agreed.price_list)

    moments = [one.stay.starts for one in life.spells]
    runs = _runs(moments, life.ends or _NEVER, holds, same)
    return [one for one in runs if one.spell.stay.place == place]


def _runs(
    moments: Sequence[datetime],
    over: datetime,
    payer: Callable[[datetime], Spell | None],
    same: Callable[[Spell], object],
) -> list[Run]:
    """Ask at every moment at which it can change who pays, and join what is the same."""
    found: list[Run] = []
    borders = [*sorted({one for one in moments if one < over}), over]
    for starts, ends in pairwise(borders):
        spell = payer(starts)
        if spell is None:
            continue
        before = found[-1] if found else None
        if before and before.ends == starts and same(before.spell) == same(spell):
            found[-1] = replace(before, ends=ends)
        else:
            found.append(Run(spell, starts, ends))
    return found


class Recurring:
    """Who pays for what recurs in a life."""

    def __init__(self, fact: SubscriptionFact, life: Life) -> None:
        self.fact, self.life = fact, life
        self.over = life.ends or _NEVER
        moments = [one.stay.starts for one in life.spells]
        moments += [one.paid_from for one in life.spells]
        self.runs = _runs(moments, self.over, self._payer, _terms)

    def _payer(self, at: datetime) -> Spell | None:
        """Return the last agreed of all terms that are to be paid by then."""
        found = next((one for one in reversed(self.life.spells) if one.paid_from <= at), None)
        if found is None or found.agreed.idle:
            return None
        # where periods are counted anew from the change, none reaches back before it
        anew = found.stay.anchor == found.stay.starts
        return None if anew and at < found.stay.starts else found

    def pieces(self, place: Place, charge: Mapping[str, Any], until: datetime) -> list[Piece]:
        """Return what is due by an instant, or soon after it, of a charge of a phase."""
        runs = [one for one in self.runs if one.spell.stay.place == place]
        runs = self._settled(runs, charge)
        if charge.get("prorated", True):
            return [
                Piece(run, period, (max(period[0], run.starts), min(period[1], run.ends)))
                for run in runs
                for period in self._periods(run, charge, until)
            ]
        return list(self._whole(runs, charge, until))

    def _settled(self, runs: list[Run], charge: Mapping[str, Any]) -> list[Run]:
        """Let the last run end as the end of the subscription settles its period."""
        if self.life.settlement == "prorate" or not runs or runs[-1].ends != self.over:
            return runs
        last = runs[-1]
        start, end = period_until(self.fact, last.spell.stay.anchor, charge["period"], self.over)
        if self.life.settlement == "none":
            # terms that were agreed later would have relieved it
            paying = self._last_payer()
            later = self.life.spells[self.life.spells.index(paying) + 1 :]
            ends = min([end, *(one.paid_from for one in later if one.paid_from >= self.over)])
        else:
            ends = self.over if end == self.over else start
        return [*runs[:-1], *([replace(last, ends=ends)] if ends > last.starts else [])]

    def _last_payer(self) -> Spell:
        return next(one for one in reversed(self.life.spells) if one.paid_from < self.over)

    def _whole(
        self, runs: Sequence[Run], charge: Mapping[str, Any], until: datetime
    ) -> Iterator[Piece]:
        """Yield periods that are paid whole, each by whoever comes first in it."""
        taken: set[tuple[datetime, int]] = set()
        grids = 0
        for number, run in enumerate(runs):
            before = runs[number - 1] if number else None
            if before and before.spell.stay.anchor != run.spell.stay.anchor:
                grids += 1
            after = runs[number + 1] if number + 1 < len(runs) else None
            goes_on = (
                after is not None
                and after.starts == run.ends
                and after.spell.stay.anchor == run.spell.stay.anchor
            )
            begins = None
            for period in self._periods(run, charge, until):
                if (period[0], grids) in taken:
                    continue
                taken.add((period[0], grids))
                starts = max(period[0], run.starts)
                begins = begins or starts
                ends = period[1] if goes_on else min(period[1], run.ends)
                yield Piece(replace(run, starts=begins), period, (starts, ends))

    def _periods(self, run: Run, charge: Mapping[str, Any], until: datetime) -> list[Span]:
        anchor = run.spell.stay.anchor
        last = max(min(run.ends, until), run.starts)
        found = periods(self.fact, anchor, charge["period"], since=run.starts, until=last)
        return [one for one in found if one[0] < run.ends and one[1] > run.starts]


def usage_pieces(
    fact: SubscriptionFact, run: Run, charge: Mapping[str, Any], until: datetime
) -> list[Piece]:
    """Return the parts of billing periods in which usage is counted in a run."""
    last = max(min(run.ends, until), run.starts)
    found = periods(fact, run.spell.stay.anchor, charge["period"], since=run.starts, until=last)
    return [
        Piece(run, one, (max(one[0], run.starts), min(one[1], run.ends)))
        for one in found
        if one[0] < run.ends and one[1] > run.starts
    ]


def _terms(one: Spell) -> object:
    return (one.stay.place, one.stay.anchor, one.agreed.price_list, one.agreed.quantity)
