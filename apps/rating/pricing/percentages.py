"""Prices that are a share of the money that events report. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, assert_never

from apps.core.money import EXACT, plain
from apps.rating.documents import Fields
from apps.rating.pricing.measured import ZERO, Measured, Step, usage_step
from apps.rating.pricing.tiers import (
    Tier,
    at_zero,
    bound_document,
    graduated_steps,
    read_bounds,
    read_zero_rule,
)

_CENT: Final = -2


@dataclass(frozen=True, slots=True)
class Percentage:
    """A rate, in per cent, of each transaction, plus a fixed fee for it.

    Transactions are taken in the order of their arrival. The first ``free_count`` cost nothing at
    all. Of the others, the first ``free_amount`` in total pays no rate, and one that lies wholly
    within it no fixed fee either. What any other one costs, rate and fixed fee together, is raised
    to ``minimum`` and cut at ``maximum``. One of zero or less costs nothing and uses up nothing.
    """

    rate: Decimal
    fixed_fee: Decimal = ZERO
    free_amount: Decimal = ZERO
    free_count: int = 0
    minimum: Decimal | None = None
    maximum: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PercentageTier:
    """A rate, in per cent, and a flat fee for the money above the tier before, up to ``up_to``."""

    up_to: Decimal | None
    rate: Decimal
    flat_fee: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class GraduatedPercentage:
    """Graduated tiers over the sum of the money, each with a rate instead of a unit price."""

    tiers: tuple[PercentageTier, ...]
    first_flat_fee_at_zero: bool = True


def read_percentage(fields: Fields, _currency: str) -> Percentage:
    """Read ``{"rate", "fixed_fee", "free_amount", "free_count", "minimum", "maximum"}``."""
    model = Percentage(
        rate=fields.rate("rate"),
        fixed_fee=fields.price("fixed_fee", default=ZERO),
        free_amount=fields.quantity("free_amount", default=ZERO),
        free_count=fields.whole("free_count", least=0, default=0),
        minimum=fields.optional_price("minimum"),
        maximum=fields.optional_price("maximum"),
    )
    if model.minimum is not None and model.maximum is not None and model.maximum < model.minimum:
        fields.note("maximum", "maximum_below_minimum", f"the minimum is {model.minimum}")
    return model


def read_graduated_percentage(fields: Fields, currency: str) -> GraduatedPercentage:
    """Read ``{"tiers": [{"up_to", "rate", "flat_fee"}], "first_flat_fee_at_zero"}``."""
    rows = fields.rows("tiers")
    tiers = tuple(
        PercentageTier(up_to, row.rate("rate"), row.amount("flat_fee", currency, default=ZERO))
        for row, up_to in zip(rows, read_bounds(rows), strict=True)
    )
    for row in rows:
        row.close()
    return GraduatedPercentage(tiers, read_zero_rule(fields))


def percentage_document(model: Percentage | GraduatedPercentage) -> dict[str, object]:
    """Return the JSON form of the model."""
    match model:
        case Percentage():
            return {
                "model": "percentage",
                "rate": f"{model.rate:f}",
                "fixed_fee": f"{model.fixed_fee:f}",
                "free_amount": f"{model.free_amount:f}",
                "free_count": model.free_count,
                "minimum": bound_document(model.minimum),
                "maximum": bound_document(model.maximum),
            }
        case GraduatedPercentage():
            return {
                "model": "graduated_percentage",
                "tiers": [
                    {
                        "up_to": bound_document(tier.up_to),
                        "rate": f"{tier.rate:f}",
                        "flat_fee": f"{tier.flat_fee:f}",
                    }
                    for tier in model.tiers
                ],
                "first_flat_fee_at_zero": model.first_flat_fee_at_zero,
            }
        case _:
            assert_never(model)


def looks_at_transactions(model: Percentage) -> bool:
    """Tell whether the sum of the transactions is not enough to price them."""
    return bool(model.fixed_fee or model.free_count or model.minimum or model.maximum is not None)


def percentage_steps(model: Percentage | GraduatedPercentage, measured: Measured) -> list[Step]:
    """Price transactions, or their sum where that is enough."""
    match model:
        case Percentage():
            if looks_at_transactions(model):
                return _transaction_steps(model, measured.transactions)
            return _transaction_steps(model, (measured.quantity,))
        case GraduatedPercentage():
            tiers = [
                Tier(tier.up_to, tier.rate.scaleb(_CENT, EXACT), tier.flat_fee)
                for tier in model.tiers
            ]
            if not measured.quantity:
                return at_zero(tiers, charged=model.first_flat_fee_at_zero)
            return graduated_steps(tiers, measured.quantity)
        case _:
            assert_never(model)


def _transaction_steps(model: Percentage, transactions: Iterable[Decimal]) -> list[Step]:
    share = model.rate.scaleb(_CENT, EXACT)
    free = charged = raised = cut = ZERO
    fees = raises = cuts = 0
    for exempt, part in _exempt_and_charged(model, transactions):
        free += exempt
        if not part:
            continue
        charged += part
        fees += bool(model.fixed_fee)
        cost = part * share + model.fixed_fee
        if model.minimum is not None and cost < model.minimum:
            raises += 1
            raised += model.minimum - cost
        elif model.maximum is not None and cost > model.maximum:
            cuts += 1
            cut += model.maximum - cost
    steps = [
        usage_step("Free", free, ZERO),
        usage_step(f"Rate of {plain(model.rate)} %", charged, share),
        usage_step("Fixed fee per transaction", Decimal(fees), model.fixed_fee),
        Step("Raised to the minimum", Decimal(raises), None, ZERO, raised),
        Step("Cut at the maximum", Decimal(cuts), None, ZERO, cut),
    ]
    return [step for step in steps if step.quantity]


def _exempt_and_charged(
    model: Percentage, transactions: Iterable[Decimal]
) -> Iterator[tuple[Decimal, Decimal]]:
    """Yield which part of each transaction costs nothing, and which does."""
    free_left, count_left = model.free_amount, model.free_count
    for value in transactions:
        if value <= 0:
            continue
        if count_left:
            count_left -= 1
            yield value, ZERO
            continue
        exempt = min(value, free_left)
        free_left -= exempt
        yield exempt, value - exempt
