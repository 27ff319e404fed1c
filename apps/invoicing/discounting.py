"""What coupons take off the slices that are due. Pure.

Each coupon in turn takes off what those before it have left, and never more. A percentage is of each
slice by itself. An amount is taken off once per period of its rhythm: by what is due first, and
of what is due together in proportion, by largest remainder.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from apps.catalog.domain import Timing
from apps.core.money import ARITHMETIC, allocate, round_money
from apps.invoicing.slicing import Reach, Slice
from apps.subscriptions.domain import DiscountTerms, SubscriptionTerms

_ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)


class Reduction(Struct, frozen=True):
    """What a coupon takes off a slice, and how that came about; amounts in its currency."""

    redemption: str
    code: str
    percentage: Decimal | None
    amount: Decimal | None  # of the whole period of its rhythm
    used: Decimal  # of it, by what was due before
    after: tuple[str, ...]  # the redemptions that took off the slice before it
    base: Decimal  # what they left of the slice
    weights: tuple[Decimal, ...]  # what they left of each slice that is due together with it
    place: int  # of the slice among those
    exact: Decimal  # before the rounding
    off: Decimal


class Turn(NamedTuple):
    """Where an amount is taken off once: a period, by number, of a redemption's rhythm."""

    redemption_id: UUID
    number: int
    currency: str


@dataclass(frozen=True, slots=True)
class Discounts:
    """The coupons of a customer in the order of taking off.

    ``used`` is what was taken off billing periods that are not looked at now. With ``bounds_first``
    they are taken off what minimums and maximums of usage charges leave, instead of the other way.
    """

    redeemed: Sequence[DiscountTerms]
    used: Mapping[Turn, Decimal]
    bounds_first: bool = False


class _Taking:
    """What is left of each slice while coupons are taken off one after the other."""

    def __init__(self, slices: Sequence[Slice], amounts: Mapping[int, Decimal]) -> None:
        self.slices = slices
        self.left = {index: max(amount, _ZERO) for index, amount in amounts.items()}
        self.taken: MutableMapping[int, list[Reduction]] = defaultdict(list)

    def take(self, index: int, reduction: Reduction) -> None:
        self.taken[index].append(reduction)
        self.left[index] -= reduction.off

    def after(self, index: int) -> tuple[str, ...]:
        return tuple(one.redemption for one in self.taken.get(index, ()))


def reductions(
    slices: Sequence[Slice], amounts: Mapping[int, Decimal], discounts: Discounts
) -> Mapping[int, Sequence[Reduction]]:
    """Return what coupons take off each slice, by its index; ``amounts`` is what each comes to."""
    taking = _Taking(slices, amounts)
    for one in discounts.redeemed:
        found = [
            index
            for index, piece in enumerate(slices)
            if one.holds(piece.subscription, piece.period.start) and one.coupon.covers(piece.charge)
        ]
        if one.coupon.percentage is not None:
            for index in found:
                _take_percentage(taking, index, one, one.coupon.percentage)
        else:
            _take_amounts(taking, found, one, discounts.used)
    return taking.taken


def further_back(
    customer: Sequence[SubscriptionTerms],
    slices: Iterable[Slice],
    redeemed: Sequence[DiscountTerms],
    reaches: Mapping[UUID, Reach],
) -> dict[UUID, Reach]:
    """Return the wider reaches that some of a customer's subscriptions need; often none.

    What was billed and comes to something else now leaves more or less of an amount to all that is
    due in the same period of the coupon's rhythm; and what a coupon takes off bears on those after
    it. ``slices`` are what is due within ``reaches``.
    """
    billed = {one.id: one.billed_until for one in customer if one.billed_until is not None}
    concerned = {one for one, until in billed.items() if reaches[one].window < until}
    if not concerned:
        return {}
    begins = min(reaches[one].window for one in concerned)
    for piece in slices:
        if piece.subscription.id in concerned:
            begins = min(begins, max(piece.period.start, piece.subscription.started_at))
    for one in redeemed:
        if (
            one.coupon.percentage is None
            and (one.subscription_id is None or one.subscription_id in concerned)
            and (one.ends_at is None or begins < one.ends_at)
        ):
            if one.starts_at < begins:
                begins = one.rhythm.boundary(one.rhythm.index_at(begins))
            concerned = set(billed) if one.subscription_id is None else concerned
    return {
        one: replace(reaches[one], window=begins)
        for one in concerned
        if begins < reaches[one].window
    }


def due_at(one: Slice) -> datetime:
    """Return when a slice is billed: in advance when it begins, in arrears when it ends."""
    return one.part.start if one.charge.timing is Timing.ADVANCE else one.part.end


def _take_percentage(
    taking: _Taking, index: int, discount: DiscountTerms, percentage: Decimal
) -> None:
    base = taking.left[index]
    if not base:
        return
    exact = percentage_of(base, percentage)
    reduction = Reduction(
        redemption=discount.public_id,
        code=discount.coupon.key,
        percentage=percentage,
        amount=None,
        used=_ZERO,
        after=taking.after(index),
        base=base,
        weights=(base,),
        place=0,
        exact=exact,
        off=min(round_money(exact, taking.slices[index].subscription.currency), base),
    )
    taking.take(index, reduction)


def percentage_of(base: Decimal, percentage: Decimal) -> Decimal:
    """Return so many per cent of an amount, unrounded."""
    return ARITHMETIC.divide(ARITHMETIC.multiply(base, percentage), _HUNDRED)


def _take_amounts(
    taking: _Taking, found: Sequence[int], discount: DiscountTerms, used: Mapping[Turn, Decimal]
) -> None:
    turns: dict[Turn, dict[datetime, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index in found:
        piece = taking.slices[index]
        if taking.left[index] and piece.subscription.currency in discount.coupon.amounts:
            number = discount.turn(piece.subscription, piece.period.start)
            turn = Turn(discount.id, number, piece.subscription.currency)
            turns[turn][due_at(piece)].append(index)
    for turn, by_due in turns.items():
        whole = discount.coupon.amounts[turn.currency]
        spent = used.get(turn, _ZERO)
        for _, together in sorted(by_due.items()):
            spent += _take_together(taking, together, discount, whole=whole, spent=spent)


def _take_together(
    taking: _Taking,
    together: Sequence[int],
    discount: DiscountTerms,
    *,
    whole: Decimal,
    spent: Decimal,
) -> Decimal:
    """Take what is left of an amount off slices that are due together; return how much."""
    weights = tuple(taking.left[index] for index in together)
    currency = taking.slices[together[0]].subscription.currency
    shares = shared(whole, spent, weights, currency)
    for place, (index, share) in enumerate(zip(together, shares, strict=True)):
        if share:
            reduction = Reduction(
                redemption=discount.public_id,
                code=discount.coupon.key,
                percentage=None,
                amount=whole,
                used=spent,
                after=taking.after(index),
                base=weights[place],
                weights=weights,
                place=place,
                exact=share,
                off=share,
            )
            taking.take(index, reduction)
    return sum(shares, _ZERO)


def shared(
    whole: Decimal, used: Decimal, weights: Sequence[Decimal], currency: str
) -> list[Decimal]:
    """Return how what is left of an amount is taken off several; together at most all of them."""
    total = min(max(whole - used, _ZERO), sum(weights, _ZERO))
    return allocate(total, weights, currency) if total else [_ZERO] * len(weights)
