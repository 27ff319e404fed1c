"""All pricing models: reading them, asking what they need, rating with them. Pure."""

from collections.abc import Callable, Mapping
from decimal import localcontext
from typing import Final, TypeAlias, assert_never

from msgspec.structs import replace

from apps.core.money import EXACT, exponent
from apps.rating.documents import Fields
from apps.rating.pricing.blocks import (
    Package,
    TieredBlocks,
    block_document,
    block_steps,
    read_package,
    read_tiered_blocks,
)
from apps.rating.pricing.matrix import Matrix, matrix_document, matrix_steps, read_matrix
from apps.rating.pricing.measured import ZERO, Measured, Need, Rated
from apps.rating.pricing.percentages import (
    GraduatedPercentage,
    Percentage,
    looks_at_transactions,
    percentage_document,
    percentage_steps,
    read_graduated_percentage,
    read_percentage,
)
from apps.rating.pricing.tiers import (
    Capacity,
    Graduated,
    Stairstep,
    Volume,
    read_capacity,
    read_graduated,
    read_stairstep,
    read_volume,
    tier_document,
    tier_steps,
)
from apps.rating.pricing.time_of_day import (
    TimeOfDay,
    read_time_of_day,
    time_of_day_document,
    time_of_day_steps,
)
from apps.rating.pricing.units import (
    Dynamic,
    Flat,
    PerUnit,
    read_dynamic,
    read_flat,
    read_per_unit,
    unit_document,
    unit_steps,
)

PricingModel: TypeAlias = (
    Flat
    | PerUnit
    | Dynamic
    | Graduated
    | Volume
    | Stairstep
    | Capacity
    | Package
    | TieredBlocks
    | Percentage
    | GraduatedPercentage
    | Matrix
    | TimeOfDay
)

_READERS: Final[Mapping[str, Callable[[Fields, str], PricingModel]]] = {
    "flat": read_flat,
    "per_unit": read_per_unit,
    "graduated": read_graduated,
    "volume": read_volume,
    "package": read_package,
    "stairstep": read_stairstep,
    "capacity": read_capacity,
    "percentage": read_percentage,
    "graduated_percentage": read_graduated_percentage,
    "matrix": read_matrix,
    "tiered_blocks": read_tiered_blocks,
    "dynamic": read_dynamic,
    "time_of_day": read_time_of_day,
}

MODEL_NAMES: Final = tuple(_READERS)
"""The words that ``model`` may be."""


def parse_pricing(document: object, *, currency: str, field: str = "pricing") -> PricingModel:
    """Read a pricing model as callers write it, with prices in one currency.

    Numbers are strings in plain digits, or integers. ``field`` is the path of the document in the
    caller's request. Raises ``Invalid`` with every problem at once, each with its path
    (``pricing.tiers[2].up_to``), and ``CurrencyUnknown``.
    """
    exponent(currency)
    fields = Fields(document, field)
    name = fields.choice("model", MODEL_NAMES) if fields.readable else ""
    fields.refuse()
    model = _READERS[name](fields, currency)
    fields.close()
    fields.refuse()
    return model


def pricing_document(model: PricingModel) -> dict[str, object]:
    """Return the JSON form of a model, from which ``parse_pricing`` reads an equal one."""
    match model:
        case Flat() | PerUnit() | Dynamic():
            return unit_document(model)
        case Graduated() | Volume() | Stairstep() | Capacity():
            return tier_document(model)
        case Package() | TieredBlocks():
            return block_document(model)
        case Percentage() | GraduatedPercentage():
            return percentage_document(model)
        case Matrix():
            return matrix_document(model)
        case TimeOfDay():
            return time_of_day_document(model)
        case _:
            assert_never(model)


def needs(model: PricingModel) -> Need:
    """Return which part of the usage a model looks at."""
    match model:
        case Matrix():
            return Need.GROUPS
        case TimeOfDay():
            return Need.BANDS
        case Dynamic():
            return Need.PRICED
        case Percentage() if looks_at_transactions(model):
            return Need.TRANSACTIONS
        case _:
            return Need.QUANTITY


def rate(model: PricingModel, measured: Measured) -> Rated:
    """Price what was measured: an exact amount, not rounded, and the steps that add up to it.

    A quantity below zero, as corrections may leave it, is priced as none: usage never earns money.
    No usage costs nothing, except for a flat fee, the flat fee of a first tier, and a package that
    is charged at least once.
    """
    if measured.quantity < 0:
        measured = replace(measured, quantity=ZERO)
    with localcontext(EXACT):
        match model:
            case Flat() | PerUnit() | Dynamic():
                steps = unit_steps(model, measured)
            case Graduated() | Volume() | Stairstep() | Capacity():
                steps = tier_steps(model, measured.quantity)
            case Package() | TieredBlocks():
                steps = block_steps(model, measured.quantity)
            case Percentage() | GraduatedPercentage():
                steps = percentage_steps(model, measured)
            case Matrix():
                steps = matrix_steps(model, measured)
            case TimeOfDay():
                steps = time_of_day_steps(model, measured)
            case _:
                assert_never(model)
        return Rated(sum((step.amount for step in steps), ZERO), tuple(steps))
