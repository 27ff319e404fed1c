"""Reading subscriptions and their timelines."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from django.db.models import Prefetch, Q, QuerySet

from apps.catalog.domain import ChargeTerms
from apps.catalog.queries import charges_of
from apps.customers.queries import customer_now, on_clock
from apps.rating.periods import Alignment, Span
from apps.subscriptions.domain import (
    CalendarPeriod,
    ChangeStatus,
    SegmentTerms,
    Settlement,
    SubscriptionStatus,
    SubscriptionTerms,
    calendar,
    current_period,
    cut,
)
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment


class _SubscriptionRow(NamedTuple):
    """The columns of a subscription that billing reads, under their names in the model."""

    pk: UUID
    tenant_id: UUID
    customer_id: UUID
    external_id: str | None
    currency: str
    zone: str
    alignment: str
    anchor_day: int | None
    price_list_id: UUID | None
    started_at: datetime
    billed_until: datetime | None
    changed_from: datetime | None
    status: str
    term_ends_at: datetime | None
    auto_renew: bool


class _SegmentRow(NamedTuple):
    """The same of a segment."""

    starts_at: datetime
    ends_at: datetime | None
    plan_version_id: UUID
    phase_id: UUID
    quantity: Decimal
    anchor_at: datetime
    settlement: str


def timelines(
    customer_ids: Iterable[UUID], *, as_of: Mapping[UUID, datetime] | None = None
) -> dict[UUID, tuple[SubscriptionTerms, ...]]:
    """Return every subscription of each customer, those that ended too, by start and then id.

    Two queries. With ``as_of`` (a third) a customer's timelines are cut as they will be at his
    instant: by the cancellations that wait until then, and by terms that end unrenewed. A customer
    without subscriptions has an empty tuple.
    """
    wanted = list(customer_ids)
    # a run reads hundreds at once: making instances of models would take longer than the queries
    found = Subscription.objects.filter(customer__in=wanted).order_by("started_at", "pk")
    rows = [_SubscriptionRow(*row) for row in found.values_list(*_SubscriptionRow._fields)]
    laid = _segments_of(row.pk for row in rows)
    ends = _pending_ends(rows, as_of) if as_of is not None else {}
    listed: dict[UUID, list[SubscriptionTerms]] = {customer_id: [] for customer_id in wanted}
    for row in rows:
        terms = terms_of(row, laid[row.pk])
        if row.pk in ends:
            terms = replace(terms, segments=cut(terms.segments, *ends[row.pk]))
        listed[row.customer_id].append(terms)
    return {customer_id: tuple(some) for customer_id, some in listed.items()}


def _segments_of(subscription_ids: Iterable[UUID]) -> dict[UUID, list[_SegmentRow]]:
    laid: dict[UUID, list[_SegmentRow]] = defaultdict(list)
    segments = SubscriptionSegment.objects.filter(subscription__in=list(subscription_ids))
    for owner, *segment in segments.order_by("starts_at").values_list(
        "subscription_id", *_SegmentRow._fields
    ):
        laid[owner].append(_SegmentRow(*segment))
    return laid


def _pending_ends(
    rows: Iterable[_SubscriptionRow], as_of: Mapping[UUID, datetime]
) -> dict[UUID, tuple[datetime, Settlement]]:
    """Return when and how each subscription will have ended by then, if it will."""
    until = {
        row.pk: as_of[row.customer_id]
        for row in rows
        if row.status != SubscriptionStatus.ENDED and row.customer_id in as_of
    }
    ends = {
        row.pk: (row.term_ends_at, Settlement.PRORATE)
        for row in rows
        if row.pk in until
        and row.term_ends_at is not None
        and not row.auto_renew
        and row.term_ends_at <= until[row.pk]
    }
    changes = ScheduledChange.objects.filter(
        subscription__in=list(until), status=ChangeStatus.PENDING
    )
    for change in changes:
        if change.effective_at > until[change.subscription_id]:
            continue
        end = (change.effective_at, Settlement(change.arguments["settlement"]))
        known = ends.get(change.subscription_id)
        if known is None or end[0] < known[0]:
            ends[change.subscription_id] = end
    return ends


def terms_of(
    row: Subscription | _SubscriptionRow, segments: Iterable[SubscriptionSegment | _SegmentRow]
) -> SubscriptionTerms:
    """Return what billing must know of a subscription; its segments are given in order."""
    return SubscriptionTerms(
        id=row.pk,
        tenant_id=row.tenant_id,
        customer_id=row.customer_id,
        external_id=row.external_id,
        currency=row.currency,
        zone=row.zone,
        alignment=Alignment(row.alignment),
        anchor_day=row.anchor_day,
        price_list_id=row.price_list_id,
        started_at=row.started_at,
        billed_until=row.billed_until,
        changed_from=row.changed_from,
        segments=tuple(
            SegmentTerms(
                starts_at=segment.starts_at,
                ends_at=segment.ends_at,
                plan_version_id=segment.plan_version_id,
                phase_id=segment.phase_id,
                quantity=segment.quantity,
                anchor_at=segment.anchor_at,
                settlement=Settlement(segment.settlement),
            )
            for segment in segments
        ),
    )


def customers_due(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    limit: int,
    after: UUID | None = None,
) -> list[UUID]:
    """Return customers with something to bill at or before ``at``, by id, at most ``limit``.

    Those on real time, or those on the test clock; ``after`` is the last one of the page before.
    """
    due = Subscription.objects.filter(on_clock(clock_id, "customer__"), next_bill_at__lte=at)
    if tenant_id is not None:
        due = due.filter(tenant=tenant_id)
    if after is not None:
        due = due.filter(customer__gt=after)
    ids = due.order_by("customer").values_list("customer", flat=True).distinct()
    return list(ids[:limit])


def changes_due(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    limit: int,
    after: UUID | None = None,
) -> list[UUID]:
    """Return subscriptions of which something begins, changes, renews or ends by ``at``, by id."""
    rows = Subscription.objects.filter(on_clock(clock_id, "customer__"))
    if tenant_id is not None:
        rows = rows.filter(tenant=tenant_id)
    if after is not None:
        rows = rows.filter(pk__gt=after)
    changing = ScheduledChange.objects.filter(status=ChangeStatus.PENDING, effective_at__lte=at)
    # one part per index
    parts = [
        rows.filter(one).values_list("pk", flat=True)
        for one in (
            Q(status=SubscriptionStatus.SCHEDULED, started_at__lte=at),
            Q(status=SubscriptionStatus.ACTIVE, ends_at__lte=at),
            Q(status=SubscriptionStatus.ACTIVE, term_ends_at__lte=at),
            Q(pk__in=changing.values("subscription")),
        )
    ]
    return list(parts[0].union(*parts[1:]).order_by("id")[:limit])


def subscriptions_for(tenant_id: UUID) -> QuerySet[Subscription]:
    """Return the tenant's subscriptions with all that is shown of one."""
    segments = SubscriptionSegment.objects.select_related("plan_version", "phase")
    pending = ScheduledChange.objects.filter(status=ChangeStatus.PENDING)
    return (
        Subscription.objects.filter(tenant=tenant_id)
        .select_related(
            "plan_version__plan",
            "price_list",
            "customer__test_clock",
            "customer__tenant__test_clock",
        )
        .prefetch_related(
            Prefetch("segments", segments.order_by("starts_at")),
            Prefetch("scheduled_changes", pending, to_attr="pending_changes"),
        )
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """What showing subscriptions needs besides their rows."""

    charges: Mapping[UUID, tuple[ChargeTerms, ...]]
    wall: datetime

    def current_period(self, row: Subscription) -> Span | None:
        """Return the billing period that holds now, on the customer's clock."""
        at = customer_now(row.customer, wall=self.wall)
        return current_period(terms_of(row, row.segments.all()), self.charges, at)


def shown(rows: Iterable[Subscription], *, wall: datetime) -> Shown:
    """Gather what showing rows of ``subscriptions_for`` needs."""
    phases = {segment.phase_id for row in rows for segment in row.segments.all()}
    return Shown(charges_of(phases), wall)


def billing_calendar(row: Subscription, *, after: datetime) -> Iterator[CalendarPeriod]:
    """Yield the billing periods of a subscription that end after an instant, in order."""
    terms = terms_of(row, row.segments.order_by("starts_at"))
    return calendar(terms, charges_of(one.phase_id for one in terms.segments), after=after)
