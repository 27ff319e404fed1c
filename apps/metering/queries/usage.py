"""Usage of a customer or a subscription, in buckets of the calendar of a zone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import count
from typing import Final, assert_never
from uuid import UUID
from zoneinfo import ZoneInfo

from apps.core.errors import Invalid
from apps.metering.domain import Measurement, MeterTerms, UsageRequest, UsageSpan
from apps.metering.models import Meter, UsageSubject
from apps.metering.queries.measuring import measure
from apps.metering.queries.meters import terms_of
from apps.rating.periods import Span, instant, zone_info
from apps.rating.pricing import Matrix, Need

MOST_BUCKETS: Final = 5_000
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_MONTHS_PER_YEAR: Final = 12


class UsageRangeTooLong(Invalid):
    reason = "range_too_long"


class DimensionUnknown(Invalid):
    reason = "dimension_unknown"


class Grain(StrEnum):
    """Into what a range is cut; ``total`` leaves it whole."""

    TOTAL = "total"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose usage is read: all of a customer's, or that of one subscription.

    ``open`` is when the subscription takes events; ``unassigned`` says whether events that name
    only the customer are its usage.
    """

    tenant_id: UUID
    customer_id: UUID
    subscription_id: UUID | None = None
    open: Span | None = None
    unassigned: bool = False


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The quantity of one combination of dimensions."""

    values: dict[str, str | None]
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was measured in ``[start, end)`` at one price point."""

    start: datetime
    end: datetime
    price_point: str
    quantity: Decimal
    count: int
    groups: tuple[UsageGroup, ...]


@dataclass(frozen=True, slots=True)
class MeterUsage:
    """What one meter measured, in the order of time."""

    meter: str
    version: int
    unit: str
    aggregation: str
    buckets: tuple[Bucket, ...]


def whose_subscription(tenant_id: UUID, subject: UsageSubject) -> Whose:
    """Return a subscription as that whose usage is read.

    Events that name only the customer are its usage while the customer has no other subscription.
    """
    alone = (
        not UsageSubject.objects.filter(customer_id=subject.customer_id)
        .exclude(pk=subject.pk)
        .exists()
    )
    end = subject.closes_at or datetime.max.replace(tzinfo=UTC)
    return Whose(
        tenant_id,
        subject.customer_id,
        subject.pk,
        open=Span(subject.opens_at, end),
        unassigned=alone,
    )


def usage_of(
    whose: Whose,
    meters: Sequence[Meter],
    span: Span,
    *,
    zone: str,
    grain: Grain = Grain.TOTAL,
    group_by: Sequence[str] = (),
) -> list[MeterUsage]:
    """Return what meters measured in a span, each by its newest version, all at one snapshot.

    Hours, days and months are those of ``zone``; the first and the last may be cut off. The meters
    come with their versions. Raises ``UsageRangeTooLong``, ``ZoneUnknown``, and
    ``DimensionUnknown`` where a meter does not keep usage apart by one of ``group_by``.
    """
    spans = list(_cut(span, grain, zone_info(zone), most=MOST_BUCKETS // max(len(meters), 1)))
    versions = [meter.newest for meter in meters]
    terms = [terms_of(version) for version in versions]
    for meter, one in zip(meters, terms, strict=True):
        _check(meter, one, group_by)
    need, model = Need.QUANTITY, None
    if group_by:
        need, model = Need.GROUPS, Matrix(tuple(group_by), ())
    requests = [
        UsageRequest(
            number=place * len(spans) + index,
            tenant_id=whose.tenant_id,
            customer_id=whose.customer_id,
            subscription_id=whose.subscription_id,
            meter_version_id=version.pk,
            spans=_spans(whose, bucket),
            need=need,
            model=model,
        )
        for place, version in enumerate(versions)
        for index, bucket in enumerate(spans)
    ]
    measured = measure(requests).by_request
    return [
        MeterUsage(
            meter.key,
            version.number,
            meter.unit,
            version.aggregation,
            tuple(
                bucket
                for index, one in enumerate(spans)
                for bucket in _buckets(one, measured[place * len(spans) + index], group_by)
            ),
        )
        for place, (meter, version) in enumerate(zip(meters, versions, strict=True))
    ]


def month_around(at: datetime, zone: str) -> Span:
    """Return the calendar month of ``zone`` in which an instant lies."""
    rules = zone_info(zone)
    local = at.astimezone(rules)
    months = local.year * _MONTHS_PER_YEAR + local.month - 1
    first, following = (
        datetime(number // _MONTHS_PER_YEAR, number % _MONTHS_PER_YEAR + 1, 1)  # noqa: DTZ001 -- local on purpose
        for number in (months, months + 1)
    )
    return Span(instant(first, rules), instant(following, rules))


def _spans(whose: Whose, bucket: Span) -> tuple[UsageSpan, ...]:
    shared = bucket if whose.open is None else bucket.intersect(whose.open)
    if shared is None:
        return ()
    return (UsageSpan(shared.start, shared.end, whose.unassigned),)


def _buckets(
    span: Span, measurements: Sequence[Measurement], dimensions: Sequence[str]
) -> Iterator[Bucket]:
    for one in measurements:
        measured = one.measured
        nothing = not one.price_point and not measured.count and not measured.quantity
        if nothing and len(measurements) > 1:
            continue
        yield Bucket(
            span.start,
            span.end,
            one.price_point,
            measured.quantity,
            measured.count,
            tuple(
                UsageGroup(dict(zip(dimensions, values, strict=True)), quantity)
                for values, quantity in sorted(measured.groups, key=lambda group: str(group[0]))
            ),
        )


def _cut(span: Span, grain: Grain, rules: ZoneInfo, *, most: int) -> Iterator[Span]:
    start, number = span.start, 0
    while start < span.end:
        number += 1
        if number > most:
            raise UsageRangeTooLong(
                f"Ask for fewer {grain}s at once: at most {MOST_BUCKETS} over all meters."
            )
        end = min(_next(start, grain, rules), span.end)
        yield Span(start, end)
        start = end


def _next(at: datetime, grain: Grain, rules: ZoneInfo) -> datetime:
    """Return the first boundary of the zone's calendar after an instant."""
    local = at.astimezone(rules)
    match grain:
        case Grain.TOTAL:
            return datetime.max.replace(tzinfo=UTC)
        case Grain.HOUR:
            minutes, seconds = local.minute, local.second
            into = timedelta(minutes=minutes, seconds=seconds, microseconds=local.microsecond)
            return at + (_HOUR - into)
        case Grain.DAY:
            wall = datetime(local.year, local.month, local.day)  # noqa: DTZ001 -- local on purpose
            # a day that the zone skipped has no instants
            return next(
                found for days in count(1) if (found := instant(wall + days * _DAY, rules)) > at
            )
        case Grain.MONTH:
            return month_around(at, rules.key).end
        case _:
            assert_never(grain)


def _check(meter: Meter, terms: MeterTerms, dimensions: Sequence[str]) -> None:
    for name in dimensions:
        if name not in terms.group_by:
            known = ", ".join(terms.group_by) or "none"
            raise DimensionUnknown(
                f"The meter {meter.key!r} does not keep usage apart by {name[:64]!r}; it does by:"
                f" {known}.",
                field="group_by",
            )
