"""How amounts, quantities, times and steps read on documents and in explanations. Pure."""

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

from apps.core.money import plain, round_money
from apps.invoicing.committing import Spending, dearer, missing
from apps.invoicing.discounting import Reduction
from apps.invoicing.domain import LineKind
from apps.rating.pricing import Step
from apps.rating.proration import Basis

_MONTHS: Final = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_MINUS: Final = "\N{MINUS SIGN}"
_TO: Final = " \N{EN DASH} "
_BY: Final = {
    Basis.SECOND: "the second",
    Basis.DAY: "days",
    Basis.MONTH_30: "months of 30 days",
}
_TIMES: Final = " \N{MULTIPLICATION SIGN} "


def amount_words(amount: Decimal, currency: str) -> str:
    """Return a rounded amount for people: ``1,234.50``, with a real minus sign."""
    return f"{round_money(amount, currency):,f}".replace("-", _MINUS)


def number_words(number: Decimal) -> str:
    """Return a quantity or a rate with all its digits and no more: ``1,200,000``, ``0.0001``."""
    whole, point, decimals = plain(abs(number)).partition(".")
    return f"{_MINUS if number < 0 else ''}{int(whole):,}{point}{decimals}"


def exact_words(amount: Decimal, currency: str) -> str:
    """Return an unrounded amount: with its currency's decimals, and more only where it has them."""
    if round_money(amount, currency) == amount:
        return amount_words(amount, currency)
    return number_words(amount)


def day_words(at: datetime, zone: str) -> str:
    """Return the day of an instant in the zone: ``1 Apr 2026``."""
    local = at.astimezone(ZoneInfo(zone))
    return f"{local.day} {_MONTHS[local.month - 1]} {local.year}"


def instant_words(at: datetime, zone: str) -> str:
    """Return an instant in the zone to the minute, or to the second where it has any."""
    local = at.astimezone(ZoneInfo(zone))
    shown = f"{local:%H:%M:%S}" if local.second or local.microsecond else f"{local:%H:%M}"
    return f"{day_words(at, zone)} {shown}"


def span_words(start: datetime, end: datetime, zone: str) -> str:
    """Return the time from ``start`` to ``end`` (exclusive) for people.

    Whole days of the zone are shown by the first and the last of them; anything else by its two
    instants, and no time at all by its day.
    """
    if start == end:
        return day_words(start, zone)
    rules = ZoneInfo(zone)
    first, after = start.astimezone(rules), end.astimezone(rules)
    if first.time() != time.min or after.time() != time.min:
        return instant_words(start, zone) + _TO + instant_words(end, zone)
    last = after - timedelta(days=1)  # wall-clock arithmetic: the day before, however long
    if first.date() == last.date():
        return day_words(start, zone)
    return f"{day_words(start, zone)}{_TO}{last.day} {_MONTHS[last.month - 1]} {last.year}"


def share_words(share: Fraction, basis: Basis | None = None) -> str:
    """Return which part of a period a share is: ``46.6667 % of the period, by days``."""
    percent = Decimal(share.numerator * 100) / Decimal(share.denominator)
    by = f", by {_BY[basis]}" if basis is not None else ""
    return f"{number_words(percent.quantize(Decimal('0.0001')))} % of the period{by}"


def step_words(step: Step, currency: str) -> str:
    """Return the arithmetic of one step: ``900,000 × 0.0001 = 90.00``."""
    amount = exact_words(step.amount, currency)
    if step.unit_price is None:
        return amount
    product = number_words(step.quantity) + _TIMES + exact_words(step.unit_price, currency)
    fee = f" + {exact_words(step.flat_fee, currency)}" if step.flat_fee else ""
    return f"{product}{fee} = {amount}"


def sum_words(amounts: Iterable[Decimal], currency: str) -> str:
    """Return a sum of unrounded amounts: ``0.00 + 90.00 + 10.00``."""
    return " + ".join(exact_words(amount, currency) for amount in amounts)


def reduction_sentences(reduction: Reduction, currency: str) -> list[str]:
    """Return what a coupon takes off, in words."""
    if reduction.percentage is not None:
        base = amount_words(reduction.base, currency)
        off = exact_words(reduction.exact, currency)
        rate = number_words(reduction.percentage)
        return [f"The coupon {reduction.code} takes {rate} % off {base}: {off} {currency}."]
    whole = amount_words(reduction.amount or Decimal(0), currency)
    said = [f"The coupon {reduction.code} takes {whole} {currency} off a billing period."]
    if reduction.used:
        said.append(f"{amount_words(reduction.used, currency)} of it were taken off before.")
    if len(reduction.weights) > 1:
        parts = ", ".join(amount_words(one, currency) for one in reduction.weights)
        said.append(f"The rest is taken off in proportion to {parts}.")
    base = amount_words(reduction.base, currency)
    said.append(f"Off {base} it takes {amount_words(reduction.off, currency)} {currency}.")
    return said


def spending_sentences(spending: Spending, currency: str, kind: LineKind) -> list[str]:
    """Return what settles a commitment, in words."""
    amount = exact_words(spending.amount, currency)
    counted = amount_words(spending.counted, currency)
    said = [f"Committed to were {amount} {currency}; {counted} were charged."]
    if kind is LineKind.TRUE_UP:
        said.append(f"Missing are {exact_words(missing(spending), currency)} {currency}.")
    else:
        factor = number_words(spending.overage_factor)
        more = exact_words(dearer(spending), currency)
        said.append(f"What exceeds it costs {factor} times as much: {more} {currency} more.")
    return said
