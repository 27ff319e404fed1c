"""What coupons take off, coupon by coupon and period by period. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from apps.backoffice.simulation.facts import RedemptionFact, SubscriptionFact
from apps.backoffice.simulation.oracle.calendar import (
    days_of,
    first_instant,
    months_of,
    shown,
)
from apps.backoffice.simulation.oracle.timeline import months_on
from apps.backoffice.simulation.oracle.usage import rounded

_ZERO: Final = Fraction(0)


@dataclass(slots=True)
class Owed:
    """What one charge comes to for a part of a period, and what coupons take off it, by name."""

    fact: SubscriptionFact
    charge: str
    period_start: datetime
    due: datetime
    left: Fraction
    places: int  # decimals of the currency
    off: dict[str, Fraction]

    @property
    def begins(self) -> datetime:
        """When the period begins for the subscription."""
        return max(self.period_start, self.fact.started_at)

    def take(self, name: str, amount: Fraction) -> None:
        """Take something off."""
        if amount:
            self.off[name] = amount
            self.left -= amount


def take_off(owed: Sequence[Owed], redeemed: Sequence[RedemptionFact]) -> None:
    """Let every coupon take off what those before it have left."""
    order = sorted(
        redeemed, key=lambda one: (one.coupon.priority, one.coupon.percentage is not None, one.id)
    )
    for one in order:
        held = [piece for piece in owed if piece.left and _is_for(one, piece)]
        if one.coupon.percentage is not None:
            for piece in held:
                exact = piece.left * Fraction(one.coupon.percentage) / 100
                piece.take(one.name, min(rounded(exact, piece.places), piece.left))
        else:
            _take_amounts(one, held)


def _is_for(one: RedemptionFact, piece: Owed) -> bool:
    if piece.fact.id != one.subscription or piece.begins < one.begins:
        return False
    if one.coupon.charges and piece.charge not in one.coupon.charges:
        return False
    if one.ended_at is not None and piece.begins >= max(one.ended_at, one.begins):
        return False
    return one.coupon.periods is None or _turn(one, piece) < one.coupon.periods


def _turn(one: RedemptionFact, piece: Owed) -> int:
    """Return in which period, counted from the redemption, another begins."""
    number = 0
    while _boundary(one, piece.fact.zone, number + 1) <= piece.begins:
        number += 1
    return number


def _boundary(one: RedemptionFact, zone: str, number: int) -> datetime:
    if months_of(one.pace):
        return months_on(one.begins, months_of(one.pace) * number, zone)
    return first_instant(shown(one.begins, zone) + timedelta(days=days_of(one.pace) * number), zone)


def _take_amounts(one: RedemptionFact, held: Sequence[Owed]) -> None:
    turns: dict[int, dict[datetime, list[Owed]]] = defaultdict(lambda: defaultdict(list))
    for piece in held:
        turns[_turn(one, piece)][piece.due].append(piece)
    for by_due in turns.values():
        rest = Fraction(one.coupon.amounts[held[0].fact.currency])
        for _, together in sorted(by_due.items()):
            total = min(rest, sum((piece.left for piece in together), _ZERO))
            rest -= total
            for piece, part in zip(together, _shares(total, together), strict=True):
                piece.take(one.name, part)


def _shares(total: Fraction, together: Sequence[Owed]) -> list[Fraction]:
    """Split a total in proportion; what is left over goes, unit by unit, to who lost most."""
    unit = Fraction(1, 10 ** together[0].places)
    whole = sum((piece.left for piece in together), _ZERO)
    exact = [total * piece.left / whole for piece in together]
    parts = [share // unit * unit for share in exact]
    lost = sorted(range(len(parts)), key=lambda place: parts[place] - exact[place])
    for place in lost[: (total - sum(parts, _ZERO)) // unit]:
        parts[place] += unit
    return parts
