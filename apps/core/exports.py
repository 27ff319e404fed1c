"""Tables for spreadsheets, which must not compute what somebody called himself."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO
from typing import Final

from apps.core.money import plain

# what spreadsheets take for the beginning of a formula
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[str | int | Decimal | None]]) -> str:
    """Return a table as CSV, its heads first.

    Numbers stay numbers, in plain digits with a sign where they are below zero; a text that looks
    like a formula gets an apostrophe before it; None is an empty cell.
    """
    page = StringIO()
    writer = csv.writer(page)
    writer.writerow(heads)
    writer.writerows([_cell(one) for one in row] for row in rows)
    return page.getvalue()


def _cell(value: str | int | Decimal | None) -> str:
    match value:
        case None:
            return ""
        case Decimal():
            return plain(value)
        case int():
            return str(value)
        case str():
            return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value
