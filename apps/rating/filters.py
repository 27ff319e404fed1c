"""Which events a meter counts: conditions on their properties. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias, assert_never

from apps.core.errors import FieldError, Invalid
from apps.rating.decimals import parse_decimal
from apps.rating.documents import Fields

Scalar: TypeAlias = str | bool | Decimal


class Operator(StrEnum):
    """How a property is compared. ``in`` is any of several values, ``exists`` asks for presence."""

    EQ = "eq"
    NE = "ne"
    IN = "in"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    EXISTS = "exists"


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition. The value is a tuple for ``in``, a bool for ``exists``, else a scalar."""

    property: str
    op: Operator
    value: Scalar | tuple[Scalar, ...]


def matches(filters: Iterable[Filter], properties: Mapping[str, object]) -> bool:
    """Tell whether an event's properties meet every condition; no conditions are always met.

    Two texts are equal as written, and two truth values as they are. A number and a number, or a
    number and a text in decimal digits, are compared by size: 5, 5.0 and "5" are equal. ``gt``,
    ``gte``, ``lt`` and ``lte`` compare numbers and texts in decimal digits, and are false for
    anything else. A property that is absent or null meets only ``ne`` and ``exists: false``.
    """
    return all(_meets(condition, properties.get(condition.property)) for condition in filters)


def _meets(condition: Filter, found: object) -> bool:
    value = condition.value
    match condition.op:
        case Operator.EXISTS:
            return (found is not None) == value
        case Operator.EQ:
            return _equal(found, value)
        case Operator.NE:
            return not _equal(found, value)
        case Operator.IN:
            return isinstance(value, tuple) and any(_equal(found, one) for one in value)
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return _ordered(condition.op, _number(found), _number(value))
        case _:
            assert_never(condition.op)


def _equal(found: object, value: object) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return found is value
    if isinstance(found, str) and isinstance(value, str):
        return found == value
    left, right = _number(found), _number(value)
    return left is not None and left == right


def _ordered(op: Operator, left: Decimal | None, right: Decimal | None) -> bool:
    if left is None or right is None:
        return False
    if left == right:
        return op in {Operator.GTE, Operator.LTE}
    return (op in {Operator.GT, Operator.GTE}) == (left > right)


def _number(given: object) -> Decimal | None:
    """Read a property as a number; JSON columns give binary floats, read as they are written."""
    match given:
        case float():
            number = Decimal(str(given))
            return number if number.is_finite() else None
        case int() if not isinstance(given, bool):
            return Decimal(given)
        case Decimal():
            return given if given.is_finite() else None
        case _:
            return parse_decimal(given)


def parse_filters(document: object, field: str = "filters") -> list[Filter]:
    """Read conditions as callers write them: ``[{"property": …, "op": …, "value": …}, …]``.

    Numbers are ints or decimals; ``in`` takes a list with at least one scalar, ``exists`` true or
    false, and the comparisons by size a number, as such or as a string. Raises ``Invalid`` with
    every problem at once, each with its path (``filters[1].op``).
    """
    if not isinstance(document, list | tuple):
        raise Invalid(errors=[FieldError(field, "invalid_type", "a list of conditions is needed")])
    errors: list[FieldError] = []
    rows = [Fields(row, f"{field}[{index}]", errors) for index, row in enumerate(document)]
    read = [_read(row) for row in rows if row.readable]
    if errors:
        raise Invalid(errors=errors)
    return [one for one in read if one is not None]


def _read(row: Fields) -> Filter | None:
    name, word = row.text("property"), row.choice("op", Operator)
    if not word:
        row.take("value")
        row.close()
        return None
    value = _read_value(row, Operator(word))
    row.close()
    return None if value is None else Filter(name, Operator(word), value)


def _read_value(row: Fields, op: Operator) -> Scalar | tuple[Scalar, ...] | None:
    match op:
        case Operator.EXISTS:
            given = row.take("value")
            truth = given if isinstance(given, bool) else None
            return _expected(row, truth, "true or false is needed")
        case Operator.IN:
            listed = [_scalar(one) for one in row.listed("value")]
            values = tuple(one for one in listed if one is not None)
            if len(values) < len(listed):
                row.note(
                    "value", "invalid_type", "a list of strings, numbers or booleans is needed"
                )
            return values
        case Operator.GT | Operator.GTE | Operator.LT | Operator.LTE:
            return row.number("value")
        case Operator.EQ | Operator.NE:
            scalar = _scalar(row.take("value"))
            return _expected(row, scalar, "a string, a number or a boolean is needed")
        case _:
            assert_never(op)


def _expected(row: Fields, value: Scalar | None, detail: str) -> Scalar | None:
    """Return a value, and note its type where it is given but of another one."""
    if value is None and row.gives("value"):
        row.note("value", "invalid_type", detail)
    return value


def _scalar(given: object) -> Scalar | None:
    return given if isinstance(given, bool | str) else parse_decimal(given)
