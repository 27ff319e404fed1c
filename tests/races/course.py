"""What a race is: who runs, and what must be true when all are in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.make.races import Work


@dataclass(frozen=True, slots=True)
class Race:
    """Works that begin together, and a judge who gets what they returned, in their order."""

    runners: Sequence[Work]
    judge: Callable[[list[Any]], None]


Course = Callable[[], Race]
"""Lays out the rows that are raced for."""
