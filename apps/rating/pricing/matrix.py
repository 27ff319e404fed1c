"""A price for each combination of the dimensions by which usage is grouped. Pure."""

from dataclasses import dataclass, field
from decimal import Decimal

from apps.rating.documents import Fields
from apps.rating.pricing.measured import ZERO, GroupKey, Measured, Step, group_order, usage_step


@dataclass(frozen=True, slots=True)
class MatrixPrice:
    """The unit price of one combination; None stands for usage without that property."""

    values: GroupKey
    unit_price: Decimal


@dataclass(frozen=True, slots=True)
class Matrix:
    """Each combination has its unit price; one that is not listed has the default.

    Without a default, what is not listed costs nothing, and the steps say so.
    """

    dimensions: tuple[str, ...]
    prices: tuple[MatrixPrice, ...]
    default_unit_price: Decimal | None = None
    _by_values: dict[GroupKey, Decimal] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_values = {price.values: price.unit_price for price in self.prices}
        object.__setattr__(self, "_by_values", by_values)

    def unit_price(self, values: GroupKey) -> Decimal | None:
        """Return the price of a combination, or None where it has none."""
        return self._by_values.get(values, self.default_unit_price)


def read_matrix(fields: Fields, _currency: str) -> Matrix:
    """Read ``{"dimensions", "prices": [{"values", "unit_price"}], "default_unit_price"}``."""
    dimensions = _read_dimensions(fields)
    prices = []
    seen: dict[GroupKey, int] = {}
    for index, row in enumerate(fields.rows("prices")):
        values = _read_values(row, len(dimensions))
        if values is not None and values in seen:
            row.note("values", "duplicate", f"prices[{seen[values]}] is for the same values")
        elif values is not None:
            seen[values] = index
        prices.append(MatrixPrice(values or (), row.price("unit_price")))
        row.close()
    return Matrix(tuple(dimensions), tuple(prices), fields.optional_price("default_unit_price"))


def _read_dimensions(fields: Fields) -> list[str]:
    dimensions: list[str] = []
    for index, name in enumerate(fields.listed("dimensions")):
        path = f"dimensions[{index}]"
        if not isinstance(name, str) or not name.strip():
            fields.note(path, "invalid_type", "a dimension is the name of a property")
            dimensions.append("")
        else:
            if name in dimensions:
                fields.note(path, "duplicate", f"{name!r} is a dimension already")
            dimensions.append(name)
    return dimensions


def _read_values(row: Fields, expected: int) -> GroupKey | None:
    listed = row.listed("values")
    values = [value for value in listed if value is None or isinstance(value, str)]
    if not listed:
        return None
    if len(values) < len(listed):
        row.note("values", "invalid_type", "a value is a string, or null for usage without one")
        return None
    if expected and len(values) != expected:
        row.note("values", "wrong_length", f"{expected} values are needed, one per dimension")
        return None
    return tuple(values)


def matrix_document(model: Matrix) -> dict[str, object]:
    """Return the JSON form of the model."""
    default = model.default_unit_price
    return {
        "model": "matrix",
        "dimensions": list(model.dimensions),
        "prices": [
            {"values": list(price.values), "unit_price": f"{price.unit_price:f}"}
            for price in model.prices
        ],
        "default_unit_price": None if default is None else f"{default:f}",
    }


def matrix_steps(model: Matrix, measured: Measured) -> list[Step]:
    """Price each group by its combination; a group below zero costs nothing."""
    steps = []
    for values, quantity in sorted(measured.groups, key=lambda group: group_order(group[0])):
        if quantity <= 0:
            continue
        label = " / ".join("(none)" if value is None else value for value in values)
        price = model.unit_price(values)
        if price is None:
            steps.append(Step(f"{label}: no price", quantity, None, ZERO, ZERO))
        else:
            steps.append(usage_step(label, quantity, price))
    return steps
