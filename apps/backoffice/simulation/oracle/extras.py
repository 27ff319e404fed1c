"""Add-ons: which of them somebody had when, beside what they are added to. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from apps.backoffice.simulation.facts import ChangeFact, SubscriptionFact
from apps.backoffice.simulation.oracle.timeline import (
    Agreed,
    Life,
    Living,
    Stay,
    Walk,
    laid_out,
    life,
    phases_of,
    told_by,
)

_GONE: Final = Agreed(0, None, "gone")

Offers = Collection[tuple[str, str]]  # a plan, and a plan that those on it may have beside it


def lives_of(fact: SubscriptionFact, until: datetime, offers: Offers) -> list[Life]:
    """Return the life of a subscription, and those of its add-ons by when they were first added."""
    if all(one.add_on is None for one in fact.changes):
        return [life(fact, until)]
    return _Together(fact, offers).through(told_by(fact, until))


class _Together:
    """A subscription and all that is added to it, lived through change by change."""

    def __init__(self, fact: SubscriptionFact, offers: Offers) -> None:
        self.base, self.offers = Living(fact), offers
        self.extras: dict[str, _Extra] = {}

    def through(self, changes: Sequence[ChangeFact]) -> list[Life]:
        settlement = "prorate"
        for change in changes:
            for one in (self.base, *self.extras.values()):
                one.pass_to(change.at)
            if not self.base.ahead:
                break
            if change.verb == "cancel":
                settlement, self.base.ahead = change.settlement, []
                for extra in self.extras.values():
                    extra.end(settlement)
                break
            self._make(change)
            for extra in self.extras.values():
                extra.go_along(self.base, change)
        lives = [one.to_its_end(one.settlement) for one in self.extras.values()]
        return [self.base.to_its_end(settlement), *(one for one in lives if one.spells)]

    def _make(self, change: ChangeFact) -> None:
        if change.add_on is not None:
            self._of_add_on(change, change.add_on)
            return
        self.base.make(change)
        if change.verb == "change_plan" and change.plan is not None:
            for key, extra in self.extras.items():
                if (change.plan["key"], key) not in self.offers:
                    extra.remove(change.at)

    def _of_add_on(self, change: ChangeFact, key: str) -> None:
        if change.verb == "add_add_on":
            extra = self.extras.setdefault(key, _Extra(self.base.fact, change.at))
            extra.add(change)
        elif key in self.extras and change.verb == "remove_add_on":
            self.extras[key].remove(change.at)
        elif key in self.extras and self.extras[key].here:
            self.extras[key].count = change.quantity or 0


class _Extra(Walk):
    """An add-on; ``wanted`` are its phases from now on, whatever the subscription does."""

    def __init__(self, fact: SubscriptionFact, began: datetime) -> None:
        super().__init__(fact, _GONE, [])
        self.began, self.wanted, self.count, self.here = began, list[Stay](), 0, False
        self.settlement = "prorate"

    def add(self, change: ChangeFact) -> None:
        """Let it be there, in its phases by the calendar, or in them anew."""
        plan = change.plan or {}
        began = change.at if change.from_change else self.began
        coming = _from(laid_out(plan, phases_of(plan, None), began, self.fact.zone), change.at)
        if not coming:
            return
        if self.past and not self.ahead:
            over, self.agreed = self.past[-1].stay, _GONE
            if over.ends is not None and over.ends < change.at:
                self.remember(replace(over, starts=over.ends, ends=change.at))
        self.wanted, self.began = [replace(one, began=began) for one in coming], began
        self.count, self.here = change.quantity or 0, True

    def remove(self, at: datetime) -> None:
        """Let it be gone for as long as it would have been there."""
        left = _from(self.wanted, at)
        self.wanted = [replace(left[0], ends=left[-1].ends)] if left else []
        self.here = False

    def end(self, settlement: str) -> None:
        """Let it end with the subscription, unless it is over."""
        if self.ahead:
            self.ahead, self.settlement = [], settlement

    def go_along(self, base: Living, change: ChangeFact) -> None:
        """Be what is wanted, with the periods, prices and standing of the subscription."""
        agreed = _GONE
        if self.here:
            agreed = replace(base.agreed, quantity=self.count)
        ahead = self._under(base, change.at)
        if ahead or self.ahead:
            self.follow(agreed, ahead, self.paid_by(change))

    def _under(self, base: Living, at: datetime) -> list[Stay]:
        found: list[Stay] = []
        for one in _from(self.wanted, at):
            for under in base.ahead if self.here else [base.ahead[0]]:
                over = under.ends if self.here else base.ahead[-1].ends
                ends = _sooner(one.ends, over)
                stay = replace(
                    one,
                    starts=max(one.starts, under.starts),
                    ends=ends,
                    anchor=under.anchor if self.here else self.fact.started_at,
                )
                if ends is not None and ends <= stay.starts:
                    continue
                last = found[-1] if found else None
                if last and replace(last, starts=stay.starts, ends=ends) == stay:
                    found[-1] = replace(last, ends=ends)
                else:
                    found.append(stay)
        return found


def _from(stays: Sequence[Stay], at: datetime) -> list[Stay]:
    """Return what of stays is left from an instant on."""
    left = [one for one in stays if one.ends is None or one.ends > at]
    return [replace(one, starts=max(one.starts, at)) for one in left]


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((end for end in (one, other) if end is not None), default=None)
