"""What a pricing model is given, and what it gives back. Pure."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from apps.core.money import EXACT, plain

ZERO: Final = Decimal(0)

DEFAULT_BAND: Final = -1
"""Where usage at a time of day outside every band is counted."""

GroupKey: TypeAlias = tuple[str | None, ...]
_Key = TypeVar("_Key")


class Need(StrEnum):
    """Which part of ``Measured`` a pricing model looks at.

    ``quantity``: the quantity alone. ``groups``: one quantity per combination of dimensions.
    ``transactions``: the value of each event, in the order of their arrival. ``priced``: the sum of
    the prices that the events carry. ``bands``: one quantity per band of the day.
    """

    QUANTITY = "quantity"
    GROUPS = "groups"
    TRANSACTIONS = "transactions"
    PRICED = "priced"
    BANDS = "bands"


class Measured(Struct, frozen=True):
    """The usage of a span, as far as its pricing model needs it."""

    quantity: Decimal
    count: int = 0
    groups: tuple[tuple[GroupKey, Decimal], ...] = ()
    transactions: tuple[Decimal, ...] = ()
    priced: Decimal = ZERO
    bands: tuple[tuple[int, Decimal], ...] = ()


class Step(Struct, frozen=True):
    """One stretch of the walk through a price: so many, at so much, and why.

    Where there is a unit price, ``amount`` is ``quantity`` times it plus ``flat_fee``. ``lower``,
    excluded, and ``upper``, included, are the bounds of the tier, in units of usage.
    """

    label: str
    quantity: Decimal
    unit_price: Decimal | None
    flat_fee: Decimal
    amount: Decimal
    lower: Decimal | None = None
    upper: Decimal | None = None


class Rated(Struct, frozen=True):
    """An amount, exact and unrounded, and the steps that add up to it."""

    amount: Decimal
    steps: tuple[Step, ...]


def step_document(step: Step) -> dict[str, str | None]:
    """Return a step for JSON: numbers as strings in plain digits, without zeros at their end."""
    return {
        "label": step.label,
        "quantity": plain(step.quantity),
        "unit_price": _plain_or_none(step.unit_price),
        "flat_fee": plain(step.flat_fee),
        "amount": plain(step.amount),
        "lower": _plain_or_none(step.lower),
        "upper": _plain_or_none(step.upper),
    }


def after_included(measured: Measured, included: Decimal) -> Measured:
    """Return what is left to price when the first ``included`` units cost nothing.

    Of groups the units are taken in the order of their keys, of bands in the order of the price
    (the default last), of transactions in the order given; what is used up is left out. Event
    prices (``priced``) and ``count`` stay as they are. The quantity does not fall below zero.
    """
    if included <= 0:
        return measured
    by_key = sorted(measured.groups, key=lambda group: group_order(group[0]))
    by_band = sorted(measured.bands, key=lambda band: (band[0] == DEFAULT_BAND, band[0]))
    return replace(
        measured,
        quantity=max(EXACT.subtract(measured.quantity, included), ZERO),
        groups=_left(by_key, included),
        bands=_left(by_band, included),
        transactions=tuple(rest for rest in _deduct(measured.transactions, included) if rest > 0),
    )


def group_order(key: GroupKey) -> tuple[tuple[bool, str], ...]:
    """Return what to sort group keys by: their texts, absent ones last."""
    return tuple((part is None, part or "") for part in key)


def usage_step(
    label: str,
    quantity: Decimal,
    unit_price: Decimal,
    lower: Decimal | None = None,
    upper: Decimal | None = None,
) -> Step:
    """Return the step of so many units at a unit price, without a flat fee."""
    return Step(label, quantity, unit_price, ZERO, quantity * unit_price, lower, upper)


def _deduct(quantities: Iterable[Decimal], included: Decimal) -> Iterator[Decimal]:
    """Yield what is left of each quantity when a total is taken from them in order."""
    for quantity in quantities:
        taken = min(max(quantity, ZERO), included)
        included = EXACT.subtract(included, taken)
        yield EXACT.subtract(quantity, taken)


def _left(pairs: list[tuple[_Key, Decimal]], included: Decimal) -> tuple[tuple[_Key, Decimal], ...]:
    rests = _deduct((quantity for _, quantity in pairs), included)
    return tuple((key, rest) for (key, _), rest in zip(pairs, rests, strict=True) if rest > 0)


def _plain_or_none(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
