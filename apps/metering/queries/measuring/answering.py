"""From the rows that were read to what was asked for. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import repeat
from typing import Final

from apps.core.money import EXACT, plain
from apps.metering.domain import Measurement, UsageRequest
from apps.metering.queries.measuring.asking import BEGINNING, Asked, Piece, Row
from apps.rating.aggregation import (
    ROLLED_UP,
    Aggregation,
    Totals,
    Usage,
    aggregate,
    epoch_seconds,
    from_totals,
)
from apps.rating.periods import Span
from apps.rating.pricing import GroupKey, Matrix, Measured, Need, TimeOfDay, band_of

_ZERO: Final = Decimal(0)
_MINUTE: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_Rows = list[tuple[Piece, Row]]


def measurements_of(asked: Asked) -> tuple[Measurement, ...]:
    """Return what was measured at each price point; at none it is always told, be it zero."""
    by_point: dict[str, _Rows] = {"": []}
    for piece, row in asked.rows:
        by_point.setdefault(row.group[0] or "", []).append((piece, row))
    return tuple(
        Measurement(point, _measured(asked, by_point[point])) for point in sorted(by_point)
    )


def _measured(asked: Asked, rows: _Rows) -> Measured:
    within = [row for piece, row in rows if piece.in_span]
    need = asked.request.need
    return Measured(
        quantity=_quantity(asked, rows),
        count=sum(row.totals.count for row in within),
        groups=_groups(asked, rows) if need == Need.GROUPS else (),
        transactions=_transactions(within) if need == Need.TRANSACTIONS else (),
        priced=sum((row.priced for row in within), _ZERO) if need == Need.PRICED else _ZERO,
        bands=_bands(asked, rows) if need == Need.BANDS else (),
    )


def _groups(asked: Asked, rows: _Rows) -> tuple[tuple[GroupKey, Decimal], ...]:
    names = asked.terms.group_by
    model = asked.request.model
    wanted = model.dimensions if isinstance(model, Matrix) else names
    places = [names.index(name) + 1 if name in names else None for name in wanted]
    by_key: dict[GroupKey, _Rows] = defaultdict(list)
    for piece, row in rows:
        key = tuple(None if place is None else row.group[place] for place in places)
        by_key[key].append((piece, row))
    return tuple((key, _quantity(asked, found)) for key, found in by_key.items())


def _transactions(rows: Iterable[Row]) -> tuple[Decimal, ...]:
    in_order = sorted(rows, key=lambda row: int(row.slot or 0))
    return tuple(row.totals.total for row in in_order)


def _bands(asked: Asked, rows: _Rows) -> tuple[tuple[int, Decimal], ...]:
    model = asked.request.model
    if not isinstance(model, TimeOfDay):
        raise TypeError("bands of the day are those of a time-of-day model")
    by_band: dict[int, _Rows] = defaultdict(list)
    for piece, row in rows:
        if piece.in_span:
            at = EPOCH + int(row.slot or 0) * _MINUTE
            by_band[band_of(model, at)].append((piece, row))
    return tuple((band, _quantity(asked, by_band[band])) for band in sorted(by_band))


def _quantity(asked: Asked, rows: _Rows) -> Decimal:
    """Return a quantity without the zeros at its end that rollups are stored with."""
    return Decimal(plain(_aggregated(asked, rows)))


def _aggregated(asked: Asked, rows: _Rows) -> Decimal:
    rule = asked.terms.rule
    span = _joined(asked.request)
    within = [(piece, row) for piece, row in rows if piece.in_span]
    if rule.aggregation not in ROLLED_UP:
        return aggregate(rule, [usage for _, row in within for usage in _usages(row)], span)
    totals, before = Totals(), Totals()
    for piece, row in within:
        totals = totals.merge(_shifted(row.totals, piece.shift))
    carried = _ZERO
    for piece, row in rows:
        if piece.in_span:
            continue
        if piece.lo == BEGINNING:
            before = before.merge(row.totals)
        elif rule.aggregation == Aggregation.LATEST:
            totals = totals.merge(row.totals)
        elif rule.aggregation == Aggregation.WEIGHTED_SUM:
            totals = totals.merge(_at_once(row.totals, piece))
        else:
            carried = EXACT.add(carried, row.totals.total)
    level = before.last_value if rule.aggregation == Aggregation.LATEST else before.total
    return from_totals(rule, totals, span, EXACT.add(carried, level or _ZERO))


def _joined(request: UsageRequest) -> Span:
    """Return the spans put end to end: as long as all of them, beginning with the first."""
    if not request.spans:
        return Span(EPOCH, EPOCH)
    start = request.spans[0].start
    return Span(start, start + sum((one.end - one.start for one in request.spans), timedelta()))


def _shifted(totals: Totals, shift: int) -> Totals:
    """Return totals of events that all happen so many microseconds earlier, for their moment."""
    if not shift:
        return totals
    earlier = EXACT.multiply(totals.total, Decimal(shift).scaleb(-6, EXACT))
    return replace(totals, moment=EXACT.subtract(totals.moment, earlier))


def _at_once(totals: Totals, gap: Piece) -> Totals:
    """Return the changes in a gap as if they came with the start of the span that follows it."""
    start = gap.hi - gap.shift * _MICROSECOND
    return replace(totals, moment=EXACT.multiply(totals.total, epoch_seconds(start)))


def _usages(row: Row) -> Iterable[Usage]:
    totals = row.totals
    at, seq = totals.last_at or EPOCH, totals.last_seq or 0
    return repeat(Usage(at, seq, totals.high or _ZERO, row.item or ""), totals.count)
