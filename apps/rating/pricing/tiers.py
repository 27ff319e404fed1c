"""Prices that depend on how much is used. Pure.

The bound of a tier belongs to it: with ``up_to`` 100, unit 100 has the price of this tier, and
whatever exceeds 100, be it a fraction, that of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol, TypeVar, assert_never

from apps.rating.documents import Fields
from apps.rating.pricing.measured import ZERO, Step


@dataclass(frozen=True, slots=True)
class Tier:
    """A unit price and a flat fee for what lies above the tier before, up to and with ``up_to``.

    The last tier is open: its ``up_to`` is None.
    """

    up_to: Decimal | None
    unit_price: Decimal
    flat_fee: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Graduated:
    """Each unit has the price of the tier it lies in; each tier entered charges its flat fee.

    Without usage the flat fee of the first tier is charged, unless ``first_flat_fee_at_zero`` is
    false.
    """

    tiers: tuple[Tier, ...]
    first_flat_fee_at_zero: bool = True


@dataclass(frozen=True, slots=True)
class Volume:
    """All units have the price of the tier that the last one lies in, and so has the flat fee.

    Without usage the flat fee of the first tier is charged, unless ``first_flat_fee_at_zero`` is
    false.
    """

    tiers: tuple[Tier, ...]
    first_flat_fee_at_zero: bool = True


@dataclass(frozen=True, slots=True)
class Stair:
    """A price for any quantity above the tier before, up to and with ``up_to``; the last is open."""

    up_to: Decimal | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Stairstep:
    """One price for the whole quantity, that of the tier which it lies in; none without usage."""

    tiers: tuple[Stair, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """One price for the highest tier reached, of a meter that reports a level; none at level 0."""

    tiers: tuple[Stair, ...]


class _Bounded(Protocol):
    @property
    def up_to(self) -> Decimal | None: ...


_Bound = TypeVar("_Bound", bound=_Bounded)


def read_graduated(fields: Fields, currency: str) -> Graduated:
    """Read ``{"tiers": [{"up_to", "unit_price", "flat_fee"}], "first_flat_fee_at_zero"}``."""
    return Graduated(_read_tiers(fields, currency), read_zero_rule(fields))


def read_volume(fields: Fields, currency: str) -> Volume:
    """Read ``{"tiers": [{"up_to", "unit_price", "flat_fee"}], "first_flat_fee_at_zero"}``."""
    return Volume(_read_tiers(fields, currency), read_zero_rule(fields))


def read_stairstep(fields: Fields, currency: str) -> Stairstep:
    """Read ``{"tiers": [{"up_to", "price"}]}``."""
    return Stairstep(_read_stairs(fields, currency))


def read_capacity(fields: Fields, currency: str) -> Capacity:
    """Read ``{"tiers": [{"up_to", "price"}]}``."""
    return Capacity(_read_stairs(fields, currency))


def read_bounds(rows: Sequence[Fields]) -> list[Decimal | None]:
    """Read ``up_to`` of each tier: they rise from above zero, and the last one alone is open.

    A tier may also say where it begins (``from``); then it must begin where the one before ends.
    """
    bounds: list[Decimal | None] = []
    floor: Decimal | None = ZERO
    for index, row in enumerate(rows):
        is_last = index == len(rows) - 1
        _check_from(row, floor)
        bound = _read_bound(row, is_last=is_last)
        if bound is not None and bound <= 0:
            row.note("up_to", "not_positive", f"{bound} is not above zero")
        elif bound is not None and floor is not None and bound == floor:
            row.note("up_to", "tier_duplicate", f"the tier before ends at {floor}, too")
        elif bound is not None and floor is not None and bound < floor:
            row.note("up_to", "tier_descending", f"the tier before ends at {floor}, beyond {bound}")
        bounds.append(bound)
        floor = bound
    return bounds


def _read_bound(row: Fields, *, is_last: bool) -> Decimal | None:
    if row.has("up_to"):
        bound = row.number("up_to")
        if is_last and bound is not None:
            row.note("up_to", "last_tier_not_open", "the last tier is open: its up_to is null")
        return bound
    row.take("up_to")
    if not is_last and row.gives("up_to"):
        row.note("up_to", "tier_open", "only the last tier is open; this one needs an up_to")
    return None


def _check_from(row: Fields, floor: Decimal | None) -> None:
    if not row.has("from"):
        row.take("from", required=False)
        return
    begin = row.number("from")
    if begin is None or floor is None or begin == floor:
        return
    if begin < floor:
        row.note("from", "tier_overlap", f"the tier begins at {begin}, before {floor}")
    else:
        row.note("from", "tier_gap", f"nothing has a price between {floor} and {begin}")


def read_zero_rule(fields: Fields) -> bool:
    """Read whether the first tier charges its flat fee without usage; it does unless told not."""
    return fields.flag("first_flat_fee_at_zero", default=True)


def _read_tiers(fields: Fields, currency: str) -> tuple[Tier, ...]:
    rows = fields.rows("tiers")
    tiers = tuple(
        Tier(up_to, row.price("unit_price"), row.amount("flat_fee", currency, default=ZERO))
        for row, up_to in zip(rows, read_bounds(rows), strict=True)
    )
    for row in rows:
        row.close()
    return tiers


def _read_stairs(fields: Fields, currency: str) -> tuple[Stair, ...]:
    rows = fields.rows("tiers")
    stairs = tuple(
        Stair(up_to, row.amount("price", currency))
        for row, up_to in zip(rows, read_bounds(rows), strict=True)
    )
    for row in rows:
        row.close()
    return stairs


def tier_document(model: Graduated | Volume | Stairstep | Capacity) -> dict[str, object]:
    """Return the JSON form of the model."""
    match model:
        case Graduated() | Volume():
            return {
                "model": "graduated" if isinstance(model, Graduated) else "volume",
                "tiers": [
                    {
                        "up_to": bound_document(tier.up_to),
                        "unit_price": f"{tier.unit_price:f}",
                        "flat_fee": f"{tier.flat_fee:f}",
                    }
                    for tier in model.tiers
                ],
                "first_flat_fee_at_zero": model.first_flat_fee_at_zero,
            }
        case Stairstep() | Capacity():
            return {
                "model": "stairstep" if isinstance(model, Stairstep) else "capacity",
                "tiers": [
                    {"up_to": bound_document(stair.up_to), "price": f"{stair.price:f}"}
                    for stair in model.tiers
                ],
            }
        case _:
            assert_never(model)


def bound_document(bound: Decimal | None) -> str | None:
    """Return the JSON form of a bound; an open one is null."""
    return None if bound is None else f"{bound:f}"


def tier_steps(model: Graduated | Volume | Stairstep | Capacity, quantity: Decimal) -> list[Step]:
    """Price a quantity that is not negative."""
    match model:
        case Graduated():
            if not quantity:
                return at_zero(model.tiers, charged=model.first_flat_fee_at_zero)
            return graduated_steps(model.tiers, quantity)
        case Volume():
            if not quantity:
                return at_zero(model.tiers, charged=model.first_flat_fee_at_zero)
            number, lower, tier = _reached(model.tiers, quantity)
            amount = quantity * tier.unit_price + tier.flat_fee
            return [
                Step(
                    f"Tier {number}",
                    quantity,
                    tier.unit_price,
                    tier.flat_fee,
                    amount,
                    lower,
                    tier.up_to,
                )
            ]
        case Stairstep() | Capacity():
            if not quantity:
                return []
            number, lower, stair = _reached(model.tiers, quantity)
            return [
                Step(f"Tier {number}", quantity, None, stair.price, stair.price, lower, stair.up_to)
            ]
        case _:
            assert_never(model)


def at_zero(tiers: Sequence[Tier], *, charged: bool) -> list[Step]:
    """Return the step of no usage: the flat fee of the first tier, where it is charged."""
    first = tiers[0]
    if not charged or not first.flat_fee:
        return []
    return [
        Step("Tier 1", ZERO, first.unit_price, first.flat_fee, first.flat_fee, ZERO, first.up_to)
    ]


def graduated_steps(tiers: Sequence[Tier], quantity: Decimal) -> list[Step]:
    """Walk a quantity above zero through the tiers, one step for each that it enters."""
    steps = []
    floor = ZERO
    for number, tier in enumerate(tiers, start=1):
        ends_here = tier.up_to is None or quantity <= tier.up_to
        ceiling = quantity if tier.up_to is None or ends_here else tier.up_to
        units = ceiling - floor
        amount = units * tier.unit_price + tier.flat_fee
        steps.append(
            Step(f"Tier {number}", units, tier.unit_price, tier.flat_fee, amount, floor, tier.up_to)
        )
        if ends_here:
            break
        floor = ceiling
    return steps


def _reached(tiers: Sequence[_Bound], quantity: Decimal) -> tuple[int, Decimal, _Bound]:
    """Return the number of the tier that a quantity lies in, its lower bound, and the tier."""
    lower = ZERO
    for number, tier in enumerate(tiers, start=1):
        if tier.up_to is None or quantity <= tier.up_to:
            return number, lower, tier
        lower = tier.up_to
    raise ValueError(f"no tier reaches {quantity}: the last one must be open")
