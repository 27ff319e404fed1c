"""What a quantity costs, tier by tier, from the price as its operator wrote it. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from math import ceil
from typing import Any, Final

from apps.backoffice.simulation.oracle.calendar import shown

_ZERO: Final = Fraction(0)
Price = Mapping[str, Any]


@dataclass(slots=True)
class Used:
    """Usage as far as some price may look at it, before anything is taken off as included."""

    quantity: Fraction
    groups: list[tuple[tuple[str | None, ...], Fraction]] = field(default_factory=list)
    transactions: list[Fraction] = field(default_factory=list)  # in the order of arrival
    by_band: dict[int, Fraction] = field(default_factory=dict)  # the last band is the default's
    own_prices: Fraction = _ZERO


def cost(price: Price, used: Used, included: Fraction) -> Fraction:
    """Return what usage costs, exact, after so many units that are included."""
    left = used.quantity - included if included else used.quantity
    return _COSTS[price["model"]](price, used, max(left, _ZERO), included)


def band_at(price: Price, at: datetime) -> int:
    """Return the number of the band of the day in which an instant lies."""
    clock = shown(at, price["zone"]).strftime("%H:%M")
    for number, band in enumerate(price["bands"]):
        begins, ends = band["from"], band["to"]
        inside = begins <= clock < ends if begins < ends else clock >= begins or clock < ends
        if inside:
            return number
    return len(price["bands"])


def _number(text: object) -> Fraction:
    return Fraction(str(text))


def _graduated(price: Price, quantity: Fraction, rate: str, unit: Fraction) -> Fraction:
    tiers = price["tiers"]
    if not quantity:
        charged = price.get("first_flat_fee_at_zero", True)
        return _number(tiers[0].get("flat_fee", 0)) if charged else _ZERO
    total = _ZERO
    below = _ZERO
    for tier in tiers:
        if quantity <= below:
            break
        bound = quantity if tier["up_to"] is None else min(quantity, _number(tier["up_to"]))
        total += (bound - below) * _number(tier[rate]) * unit + _number(tier.get("flat_fee", 0))
        below = bound
    return total


def _volume(price: Price, quantity: Fraction) -> Fraction:
    if not quantity and not price.get("first_flat_fee_at_zero", True):
        return _ZERO
    tier = _reached(price["tiers"], quantity)
    return quantity * _number(tier["unit_price"]) + _number(tier.get("flat_fee", 0))


def _reached(tiers: Sequence[Price], quantity: Fraction) -> Price:
    return next(
        tier for tier in tiers if tier["up_to"] is None or quantity <= _number(tier["up_to"])
    )


def _stair(price: Price, quantity: Fraction) -> Fraction:
    return _number(_reached(price["tiers"], quantity)["price"]) if quantity else _ZERO


def _package(price: Price, quantity: Fraction) -> Fraction:
    paid = max(quantity - _number(price.get("free_units", 0)), _ZERO)
    packages = ceil(paid / _number(price["size"]))
    if price.get("minimum_one"):
        packages = max(packages, 1)
    return packages * _number(price["price"])


def _blocks(price: Price, quantity: Fraction) -> Fraction:
    total = _ZERO
    rest = quantity
    for tier in price["tiers"]:
        size, most = _number(tier["block_size"]), tier["max_blocks"]
        needed = ceil(rest / size)
        fits = most is None or needed <= most
        if price["policy"] == "top_tier" and fits:
            return ceil(quantity / size) * _number(tier["block_price"])
        total += (needed if fits else most) * _number(tier["block_price"])
        if fits:
            break
        rest -= most * size
    return total


def _percentage(price: Price, used: Used, left: Fraction, included: Fraction) -> Fraction:
    share = _number(price["rate"]) / 100
    fee = _number(price.get("fixed_fee", 0))
    lowest, highest = price.get("minimum"), price.get("maximum")
    looks_closer = fee or price.get("free_count") or lowest or highest is not None
    transactions = _after(used.transactions, included) if looks_closer else [left]
    free_amount = _number(price.get("free_amount", 0))
    free_count = price.get("free_count", 0)
    total = _ZERO
    for amount in transactions:
        if amount <= 0:
            continue
        if free_count:
            free_count -= 1
            continue
        exempt = min(amount, free_amount)
        free_amount -= exempt
        if exempt == amount:
            continue
        one = (amount - exempt) * share + fee
        if lowest is not None:
            one = max(one, _number(lowest))
        if highest is not None:
            one = min(one, _number(highest))
        total += one
    return total


def _after(amounts: Sequence[Fraction], included: Fraction) -> list[Fraction]:
    """Return what is left of amounts when so much is taken from the first of them."""
    rest = []
    for amount in amounts:
        taken = min(max(amount, _ZERO), included)
        included -= taken
        rest.append(amount - taken)
    return rest


def _matrix(price: Price, used: Used, included: Fraction) -> Fraction:
    groups = sorted(
        used.groups, key=lambda group: [(value is None, value or "") for value in group[0]]
    )
    rests = _after([amount for _, amount in groups], included)
    total = _ZERO
    for (values, _), rest in zip(groups, rests, strict=True):
        listed = [one for one in price["prices"] if tuple(one["values"]) == values]
        unit = listed[0]["unit_price"] if listed else price.get("default_unit_price")
        if rest > 0 and unit is not None:
            total += rest * _number(unit)
    return total


def _time_of_day(price: Price, used: Used, included: Fraction) -> Fraction:
    numbers = sorted(used.by_band)
    rests = _after([used.by_band[number] for number in numbers], included)
    total = _ZERO
    for number, rest in zip(numbers, rests, strict=True):
        bands = price["bands"]
        unit = bands[number]["unit_price"] if number < len(bands) else price["default_unit_price"]
        total += max(rest, _ZERO) * _number(unit)
    return total


_Cost = Callable[[Price, Used, Fraction, Fraction], Fraction]
_COSTS: Final[Mapping[str, _Cost]] = {
    "flat": lambda price, _used, _left, _included: _number(price["amount"]),
    "per_unit": lambda price, _used, left, _included: left * _number(price["unit_price"]),
    "graduated": lambda price, _used, left, _included: _graduated(
        price, left, "unit_price", Fraction(1)
    ),
    "graduated_percentage": lambda price, _used, left, _included: _graduated(
        price, left, "rate", Fraction(1, 100)
    ),
    "volume": lambda price, _used, left, _included: _volume(price, left),
    "stairstep": lambda price, _used, left, _included: _stair(price, left),
    "capacity": lambda price, _used, left, _included: _stair(price, left),
    "package": lambda price, _used, left, _included: _package(price, left),
    "tiered_blocks": lambda price, _used, left, _included: _blocks(price, left),
    "percentage": _percentage,
    "matrix": lambda price, used, _left, included: _matrix(price, used, included),
    "time_of_day": lambda price, used, _left, included: _time_of_day(price, used, included),
    "dynamic": lambda _price, used, _left, _included: max(used.own_prices, _ZERO),
}
