"""Every line that should exist, by what identifies it. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any, Final, NamedTuple
from uuid import UUID

from apps.backoffice.simulation.facts import (
    ContractFact,
    EventFact,
    Facts,
    MeterFact,
    RedemptionFact,
    SubscriptionFact,
)
from apps.backoffice.simulation.oracle.calendar import Span, share
from apps.backoffice.simulation.oracle.extras import lives_of
from apps.backoffice.simulation.oracle.pacts import Spent, agreed_price, settlements
from apps.backoffice.simulation.oracle.paying import (
    Piece,
    Place,
    Recurring,
    Run,
    entries,
    places,
    usage_pieces,
    usage_runs,
)
from apps.backoffice.simulation.oracle.prices import Price, Used, band_at, cost
from apps.backoffice.simulation.oracle.rebates import Owed, take_off
from apps.backoffice.simulation.oracle.timeline import Life
from apps.backoffice.simulation.oracle.usage import (
    Counted,
    counted,
    points,
    quantity,
    rounded,
)

DECIMALS: Final[Mapping[str, int]] = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3}
_ONE: Final = Fraction(1)
_ZERO: Final = Fraction(0)
_LEVELS: Final = {"sum", "latest", "weighted_sum"}  # that a recurring meter carries on


class Key(NamedTuple):
    """What identifies a line: whose it is, for what, and for which time."""

    subscription: UUID
    plan: str
    phase: int
    charge: str
    kind: str
    period_start: datetime
    stretch_start: datetime
    point: str


@dataclass(frozen=True, slots=True)
class _Slice:
    fact: SubscriptionFact
    run: Run
    charge: Mapping[str, Any]
    period: Span
    part: Span
    share: Fraction
    agreed: Price | None = None  # by contract

    @property
    def begins(self) -> datetime:
        """When its period begins for the subscription."""
        return max(self.period[0], self.fact.started_at)

    @property
    def price_list(self) -> str | None:
        """The list that the terms name."""
        return self.run.spell.agreed.price_list


def lines_of(facts: Facts, until: datetime) -> dict[Key, Fraction]:
    """Return what every line that was due by ``until`` should amount to, in its currency."""
    events: dict[UUID, list[EventFact]] = defaultdict(list)
    for event in facts.counting():
        events[event.customer].append(event)
    by_customer: dict[UUID, list[SubscriptionFact]] = defaultdict(list)
    for fact in facts.subscriptions:
        by_customer[fact.customer].append(fact)
    found: dict[Key, Fraction] = {}
    for customer, subscriptions in by_customer.items():
        household = _Household(facts, subscriptions, events[customer], until)
        mine = {fact.id for fact in subscriptions}
        redeemed = [one for one in facts.redemptions if one.subscription in mine]
        contracts = [one for one in facts.contracts if one.customer == customer]
        found |= _reduced(household, redeemed, contracts)
    return found


def _reduced(
    household: "_Household",
    redeemed: Sequence[RedemptionFact],
    contracts: Sequence[ContractFact],
) -> dict[Key, Fraction]:
    """Return all lines of a household.

    Charges, what coupons take off them, bounds of the rest, and what commitments come to then.
    """
    slices = [
        replace(one, agreed=agreed_price(contracts, one.fact, one.charge["key"], one.begins))
        for one in household.slices()
    ]
    charged = [household.charged(one) for one in slices]
    owed = [
        _owed(one, sum(lines.values(), _ZERO)) for one, lines in zip(slices, charged, strict=True)
    ]
    take_off(owed, redeemed)
    found: dict[Key, Fraction] = {}
    spent: list[Spent] = []
    for one, lines, piece in zip(slices, charged, owed, strict=True):
        found |= lines
        found |= {_key(one, "discount", name): -off for name, off in piece.off.items()}
        total = sum(lines.values(), _ZERO) - sum(piece.off.values(), _ZERO)
        bounds = household.bounds(one, total)
        found |= bounds
        total += sum(bounds.values(), _ZERO)
        spent.append(Spent(one.fact, one.charge["key"], one.begins, total))
    found |= household.settled(contracts, spent)
    return found


def _owed(one: "_Slice", amount: Fraction) -> Owed:
    ahead = "meter" not in one.charge and one.charge.get("timing", "advance") == "advance"
    return Owed(
        fact=one.fact,
        charge=one.charge["key"],
        period_start=one.period[0],
        due=one.part[0] if ahead else one.part[1],
        left=amount,
        places=DECIMALS[one.fact.currency],
        off={},
    )


class _Household:
    """One customer: his subscriptions, and the usage that they share."""

    def __init__(
        self,
        facts: Facts,
        subscriptions: Sequence[SubscriptionFact],
        events: Sequence[EventFact],
        until: datetime,
    ) -> None:
        self.meters, self.subscriptions, self.until = facts.meters, subscriptions, until
        self.lives = [
            (fact, one) for fact in subscriptions for one in lives_of(fact, until, facts.offers)
        ]
        self.counted = {key: counted(meter, events) for key, meter in self.meters.items()}
        self.using: dict[UUID, list[tuple[Run, set[str]]]] = defaultdict(list)
        for fact, found in self.lives:
            self.using[fact.id] += [
                (run, {one["meter"] for one in _charges(found, place) if "meter" in one})
                for place in places(found)
                for run in usage_runs(found, place)
            ]

    def slices(self) -> Iterator[_Slice]:
        """Yield every part of every period in which some charge is due."""
        for fact, found in self.lives:
            if not found.spells:
                continue
            recurring = Recurring(fact, found)
            for place in places(found):
                for charge in _charges(found, place):
                    if charge.get("kind") == "fixed":
                        yield from self._fixed(fact, found, place, charge)
                    else:
                        pieces = (
                            self._usage(fact, place, charge)
                            if "meter" in charge
                            else recurring.pieces(place, charge, self.until)
                        )
                        yield from self._due(fact, found, charge, pieces)

    def _fixed(
        self, fact: SubscriptionFact, found: Life, place: Place, charge: Mapping[str, Any]
    ) -> Iterator[_Slice]:
        for spell in entries(found, place):
            if spell.stay.starts <= self.until:
                instant = (spell.stay.starts, spell.stay.starts)
                yield _Slice(fact, Run(spell, *instant), charge, instant, instant, _ONE)

    def _usage(
        self, fact: SubscriptionFact, place: Place, charge: Mapping[str, Any]
    ) -> list[Piece]:
        return [
            piece
            for run, _ in self.using[fact.id]
            if run.spell.stay.place == place
            for piece in usage_pieces(fact, run, charge, self.until)
        ]

    def _due(
        self,
        fact: SubscriptionFact,
        found: Life,
        charge: Mapping[str, Any],
        pieces: Sequence[Piece],
    ) -> Iterator[_Slice]:
        advance = "meter" not in charge and charge.get("timing", "advance") == "advance"
        for one in pieces:
            end = one.part[1] if found.ends is None else min(one.part[1], found.ends)
            if (one.part[0] if advance else end) <= self.until:
                portion = _share(fact, charge, one.period, one.part)
                yield _Slice(fact, one.run, charge, one.period, one.part, portion)

    def charged(self, one: _Slice) -> dict[Key, Fraction]:
        """Return what a slice is charged, rounded as it is, before coupons and bounds."""
        meter = self.meters.get(one.charge.get("meter", ""))
        included = _number(one.charge.get("included_quantity", 0))
        standard = _price(one)
        if meter is None:
            exact = cost(
                standard["pricing"], Used(Fraction(one.run.spell.agreed.quantity)), included
            )
            kind = "fixed" if one.charge.get("kind") == "fixed" else "recurring"
            return {_key(one, kind, ""): _charged(one, exact * one.share)}
        included = rounded(included * one.share, 12)
        carries = meter.recurring and meter.aggregation in _LEVELS
        mine = [
            event
            for event in self.counted[meter.key]
            if event.event.at < one.part[1] and (carries or event.event.at >= one.part[0])
            if self._is_for(one, meter, event)
        ]
        within = [event for event in mine if event.event.at >= one.part[0]]
        before = [event for event in mine if event.event.at < one.part[0]]
        found: dict[Key, Fraction] = {}
        for point in sorted(points([*within, *before])):
            price = standard if not point else _price(one, point)
            used = _used(
                meter,
                price["pricing"],
                [event for event in within if _point(event) == point],
                [event for event in before if _point(event) == point],
                one.part,
            )
            exact = cost(price["pricing"], used, _ZERO if point else included)
            found[_key(one, "usage", point)] = _charged(one, exact)
        return found

    def bounds(self, one: _Slice, total: Fraction) -> dict[Key, Fraction]:
        """Return what is missing to the minimum of a usage charge, or exceeds its maximum."""
        found: dict[Key, Fraction] = {}
        if "meter" not in one.charge:
            return found
        standard = _price(one)
        if standard.get("minimum") is not None:
            missing = max(_number(standard["minimum"]) * one.share - total, _ZERO)
            found[_key(one, "minimum", "")] = _charged(one, missing)
        if standard.get("maximum") is not None:
            beyond = min(_number(standard["maximum"]) * one.share - total, _ZERO)
            found[_key(one, "maximum", "")] = _charged(one, beyond)
        return found

    def settled(
        self, contracts: Sequence[ContractFact], spent: Sequence[Spent]
    ) -> dict[Key, Fraction]:
        """Return what is missing to commitments, or dearer because it exceeds them."""
        found: dict[Key, Fraction] = {}
        lives = {fact.id: (fact, life) for fact, life in reversed(self.lives)}
        for contract in contracts:
            if contract.amount is None or contract.subscription is None:
                continue
            fact, own = lives[contract.subscription]
            for one in settlements(contract, fact, own, spent, self.until) if own.spells else ():
                key = Key(fact.id, "", 0, "", one.kind, one.begins, one.begins, one.contract)
                found[key] = rounded(one.amount, DECIMALS[fact.currency])
        return found

    def _is_for(self, one: _Slice, meter: MeterFact, seen: Counted) -> bool:
        """Say whether an event counts for the subscription of the slice."""
        event, fact = seen.event, one.fact
        if event.subscription is not None:
            return event.subscription == fact.id and not event.misplaced
        if event.at < one.part[0]:
            return True  # a level is carried into a household of one subscription only
        return self._owner(meter, event.at) == fact.id

    def _owner(self, meter: MeterFact, at: datetime) -> UUID | None:
        """Return the subscription that began first of those that charge for a meter then."""
        wanting = [
            (fact.started_at, fact.id)
            for fact in self.subscriptions
            for run, keys in self.using[fact.id]
            if run.starts <= at < run.ends and meter.key in keys
        ]
        return min(wanting)[1] if wanting else None


def _charges(found: Life, place: Place) -> Sequence[Mapping[str, Any]]:
    stay = next(one.stay for one in found.spells if one.stay.place == place)
    charges: Sequence[Mapping[str, Any]] = stay.phase.get("charges", [])
    return charges


def _share(fact: SubscriptionFact, charge: Mapping[str, Any], period: Span, part: Span) -> Fraction:
    if not charge.get("prorated", True) or part == period:
        return _ONE
    return share(part, period, fact.basis, fact.zone)


def _price(one: _Slice, point: str = "") -> Price:
    """Return the price on a list that usage names; else what was agreed on, or that of the terms."""
    prices: dict[str | None, Price] = {
        price.get("price_list"): price
        for price in one.charge["prices"]
        if price["currency"] == one.fact.currency
    }
    if point and point in prices:
        return prices[point]
    if one.agreed is not None:
        return one.agreed
    # a charge has a standard price in every currency of its plan
    return prices.get(one.price_list) or prices[None]


def _used(
    meter: MeterFact,
    pricing: Price,
    within: Sequence[Counted],
    before: Sequence[Counted],
    part: Span,
) -> Used:
    used = Used(quantity(meter, within, before, part))
    match pricing["model"]:
        case "matrix":
            groups: dict[tuple[str | None, ...], tuple[list[Counted], list[Counted]]] = {}
            for place, events in enumerate((within, before)):
                for event in events:
                    values = tuple(
                        event.event.properties.get(name) for name in pricing["dimensions"]
                    )
                    groups.setdefault(values, ([], []))[place].append(event)
            used.groups = [
                (values, quantity(meter, inside, earlier, part))
                for values, (inside, earlier) in groups.items()
            ]
        case "percentage":
            used.transactions = [event.value for event in within]
        case "time_of_day":
            bands: dict[int, list[Counted]] = defaultdict(list)
            for event in within:
                bands[band_at(pricing, event.event.at)].append(event)
            used.by_band = {
                band: quantity(meter, events, [], part) for band, events in bands.items()
            }
        case "dynamic":
            used.own_prices = sum(
                (_number(event.event.properties.get("price", 0)) for event in within), _ZERO
            )
        case _:
            pass
    return used


def _key(one: _Slice, kind: str, point: str) -> Key:
    return Key(
        one.fact.id,
        *one.run.spell.stay.place,
        one.charge["key"],
        kind,
        one.period[0],
        one.run.starts,
        point,
    )


def _charged(one: _Slice, exact: Fraction) -> Fraction:
    return rounded(exact, DECIMALS[one.fact.currency])


def _point(event: Counted) -> str:
    return event.event.properties.get("price_point", "")


def _number(text: object) -> Fraction:
    return Fraction(str(text))
