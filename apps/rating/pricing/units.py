"""Prices without tiers: a flat fee, a price per unit, and prices that the events carry. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

from apps.rating.documents import Fields
from apps.rating.pricing.measured import ZERO, Measured, Step, usage_step


@dataclass(frozen=True, slots=True)
class Flat:
    """An amount that does not depend on usage; it is charged without any, too."""

    amount: Decimal


@dataclass(frozen=True, slots=True)
class PerUnit:
    """Every unit costs the same."""

    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Dynamic:
    """Every event carries its own price."""


def read_flat(fields: Fields, currency: str) -> Flat:
    """Read ``{"amount"}``."""
    return Flat(fields.amount("amount", currency))


def read_per_unit(fields: Fields, _currency: str) -> PerUnit:
    """Read ``{"unit_price"}``."""
    return PerUnit(fields.price("unit_price"))


def read_dynamic(_fields: Fields, _currency: str) -> Dynamic:
    """Read an object without fields of its own."""
    return Dynamic()


def unit_document(model: Flat | PerUnit | Dynamic) -> dict[str, object]:
    """Return the JSON form of the model."""
    match model:
        case Flat():
            return {"model": "flat", "amount": f"{model.amount:f}"}
        case PerUnit():
            return {"model": "per_unit", "unit_price": f"{model.unit_price:f}"}
        case Dynamic():
            return {"model": "dynamic"}
        case _:
            assert_never(model)


def unit_steps(model: Flat | PerUnit | Dynamic, measured: Measured) -> list[Step]:
    """Price the quantity, or what the events say; prices that add up to less than zero are zero."""
    match model:
        case Flat():
            return [Step("Flat fee", Decimal(1), None, model.amount, model.amount)]
        case PerUnit():
            if not measured.quantity:
                return []
            return [usage_step("Units", measured.quantity, model.unit_price)]
        case Dynamic():
            priced = max(measured.priced, ZERO)
            if not measured.quantity and not priced:
                return []
            return [Step("Priced by event", measured.quantity, None, ZERO, priced)]
        case _:
            assert_never(model)
