"""Which prepaid credit pays: the order in which credits are used up. Pure.

By priority (1 first), then what expires soonest, promotional before paid, the oldest, and last the
id, so that the order is the same whoever asks. See ``docs/credit.md``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from apps.core.money import EXACT

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_ZERO: Final = Decimal(0)


class Because(StrEnum):
    """What puts one credit before the next."""

    ONLY = "only_credit"
    PRIORITY = "priority"
    EXPIRY = "expires_sooner"
    PROMOTIONAL = "promotional_first"
    AGE = "older"
    ID = "id"


@dataclass(frozen=True, slots=True)
class Credit:
    """What can be used of a grant: ``left`` is positive; ``expires_at`` is exclusive, None never."""

    id: UUID
    left: Decimal
    priority: int
    expires_at: datetime | None
    promotional: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """What one credit pays, its place in the order (from 1) of ``of``, and why it came there."""

    credit_id: UUID
    amount: Decimal
    place: int
    of: int
    because: Because


@dataclass(frozen=True, slots=True)
class Burn:
    """Who pays what; ``short`` is what nobody pays. Both add up to what was asked."""

    parts: tuple[Part, ...]
    short: Decimal


def burn(amount: Decimal, credits_: Iterable[Credit]) -> Burn:
    """Use up credits for a positive ``amount``, in order, the last of them in part."""
    order = sorted(credits_, key=rank)
    parts = []
    for index, one in enumerate(order):
        if amount <= 0:
            break
        taken = min(one.left, amount)
        parts.append(Part(one.id, taken, index + 1, len(order), _because(order, index)))
        amount = EXACT.subtract(amount, taken)
    return Burn(tuple(parts), max(amount, _ZERO))


def rank(one: Credit) -> tuple[int, datetime, bool, datetime, UUID]:
    """Return what credits are sorted by: the lowest is used first."""
    return (one.priority, one.expires_at or _NEVER, not one.promotional, one.since, one.id)


def _because(order: Sequence[Credit], index: int) -> Because:
    """Say what put a credit before the next, or the last one behind the one before it."""
    if len(order) == 1:
        return Because.ONLY
    first = min(index, len(order) - 2)
    reasons = (Because.PRIORITY, Because.EXPIRY, Because.PROMOTIONAL, Because.AGE, Because.ID)
    pairs = zip(reasons, rank(order[first]), rank(order[first + 1]), strict=True)
    return next(why for why, one, other in pairs if one != other)
