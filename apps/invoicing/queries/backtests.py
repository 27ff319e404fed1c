"""Reading what backtests have found."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, QuerySet, Sum, Window
from django.db.models.functions import Abs, RowNumber

from apps.core.exports import csv_text
from apps.invoicing.domain import COMPARED, BacktestOutcome
from apps.invoicing.models import Backtest, BacktestCustomer

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class BacktestTotal:
    """What a backtest comes to in one currency: amounts, and customers by what it means to them."""

    currency: str
    customers: int
    billed: Decimal
    would_be_billed: Decimal
    delta: Decimal
    winners: int
    losers: int
    unchanged: int


@dataclass(frozen=True, slots=True)
class BacktestSummary:
    """The totals by currency, and how many customers were compared in none."""

    totals: tuple[BacktestTotal, ...]
    skipped: int
    failed: int


def backtests_for(tenant_id: UUID) -> QuerySet[Backtest]:
    """Return the tenant's backtests, with the plans and versions that they name."""
    return Backtest.objects.filter(tenant_id=tenant_id).select_related(
        "plan_version__plan", "from_plan", "from_version"
    )


def backtest_summary(backtest_id: UUID) -> BacktestSummary:
    """Return what a backtest has found so far; one query."""
    rows = list(
        BacktestCustomer.objects.filter(backtest=backtest_id)
        .order_by("priced_in")
        .values_list("priced_in", "outcome")
        .annotate(Count("id"), Sum("billed"), Sum("would_be_billed"))
    )
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    for currency, outcome, count, billed, would_be in rows:
        counts[currency][outcome] += count
        if outcome in COMPARED:
            sums[currency][0] += billed
            sums[currency][1] += would_be
    return BacktestSummary(
        totals=tuple(
            BacktestTotal(
                currency=currency,
                customers=sum(counts[currency][one] for one in COMPARED),
                billed=billed,
                would_be_billed=would_be,
                delta=would_be - billed,
                winners=counts[currency][BacktestOutcome.WINNER],
                losers=counts[currency][BacktestOutcome.LOSER],
                unchanged=counts[currency][BacktestOutcome.UNCHANGED],
            )
            for currency, (billed, would_be) in sums.items()
        ),
        skipped=sum(one[BacktestOutcome.SKIPPED] for one in counts.values()),
        failed=sum(one[BacktestOutcome.FAILED] for one in counts.values()),
    )


def backtest_movers(backtest_id: UUID, *, count: int) -> list[BacktestCustomer]:
    """Return those whom a version changes most, with their customers; one query.

    Of each currency up to ``count`` who would pay less and as many who would pay more, those who
    would pay most more first.
    """
    rows = BacktestCustomer.objects.filter(
        backtest=backtest_id, outcome__in=[BacktestOutcome.WINNER, BacktestOutcome.LOSER]
    ).annotate(
        place=Window(
            RowNumber(),
            partition_by=[F("priced_in"), F("outcome")],
            order_by=[Abs("delta").desc(), F("id").asc()],
        )
    )
    found = rows.filter(place__lte=count).select_related("customer")
    return sorted(found, key=lambda one: (one.priced_in, -(one.delta or 0), one.id))


def backtest_failures(backtest_id: UUID, *, count: int) -> list[BacktestCustomer]:
    """Return up to ``count`` customers who could not be rated, each with the reason; one query."""
    rows = BacktestCustomer.objects.filter(backtest=backtest_id, outcome=BacktestOutcome.FAILED)
    return list(rows.select_related("customer").order_by("id")[:count])


_HEADS: Final = ("customer", "external_id", "name", "currency", "outcome", "subscriptions", "from",
                 "to_exclusive", "billed", "would_be_billed", "delta", "reason")  # fmt: skip


def backtest_csv(backtest_id: UUID) -> str:
    """Return what a backtest found of each customer as CSV; one query."""
    rows = BacktestCustomer.objects.filter(backtest=backtest_id).select_related("customer")
    return csv_text(
        _HEADS,
        (
            (
                one.customer.public_id,
                one.customer.external_id,
                one.customer.name,
                one.priced_in,
                one.outcome,
                one.subscriptions,
                one.since.isoformat() if one.since else None,
                one.until.isoformat() if one.until else None,
                one.billed,
                one.would_be_billed,
                one.delta,
                one.reason,
            )
            for one in rows.order_by(F("delta").desc(nulls_last=True), "id").iterator(
                chunk_size=2000
            )
        ),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """How many customers a version changes by how much, in one currency.

    ``counts`` gives by place the customers whose difference is more than ``place − 1`` steps and at
    most ``place``, mirrored below zero; at place 0 it is nothing. The outermost places also hold
    whoever lies beyond them.
    """

    currency: str
    step: Decimal
    counts: Mapping[int, int]


_RANGES: Final = """
SELECT priced_in, percentile_disc(0.02) WITHIN GROUP (ORDER BY delta),
       percentile_disc(0.98) WITHIN GROUP (ORDER BY delta)
FROM invoicing_backtestcustomer WHERE backtest_id = %s AND delta IS NOT NULL GROUP BY 1 ORDER BY 1
"""
_PLACES: Final = """
SELECT s.currency,
       greatest(s.least, least(s.most, CASE WHEN c.delta > 0 THEN ceil(c.delta / s.step)
                                            ELSE floor(c.delta / s.step) END))::int,
       count(*)
FROM unnest(%s::text[], %s::numeric[], %s::int[], %s::int[]) AS s(currency, step, least, most)
JOIN invoicing_backtestcustomer c
  ON c.backtest_id = %s AND c.priced_in = s.currency AND c.delta IS NOT NULL
GROUP BY 1, 2
"""


def backtest_spreads(backtest_id: UUID, *, step_of: Callable[[Decimal], Decimal]) -> list[Spread]:
    """Return how the differences that a backtest found are spread, by currency; two queries.

    ``step_of`` chooses the width of a place for the span of nearly all of them.
    """
    with connection.cursor() as cursor:
        cursor.execute(_RANGES, [backtest_id])
        ranges = [
            (currency, step_of(max(most, _ZERO) - min(least, _ZERO)), least, most)
            for currency, least, most in cursor.fetchall()
        ]
        columns = [
            [currency for currency, *_ in ranges],
            [step for _, step, *_ in ranges],
            [int((min(least, _ZERO) / step).to_integral_value(ROUND_FLOOR))
             for _, step, least, _ in ranges],
            [int((max(most, _ZERO) / step).to_integral_value(ROUND_CEILING))
             for _, step, _, most in ranges],
        ]  # fmt: skip
        cursor.execute(_PLACES, [*columns, backtest_id])
        counted: dict[str, dict[int, int]] = defaultdict(dict)
        for currency, place, count in cursor.fetchall():
            counted[currency][place] = count
    return [
        Spread(
            currency,
            step,
            {place: counted[currency].get(place, 0) for place in range(least, most + 1)},
        )
        for currency, step, least, most in zip(*columns, strict=True)
    ]
