"""Reading subscriptions and their timelines."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Count, F, Prefetch, Q, QuerySet

from apps.catalog.domain import ChargeTerms, PhaseKind, PlanVersionStatus
from apps.catalog.models import Phase
from apps.catalog.queries import cadence_of, charges_of
from apps.customers.queries import customer_now, on_clock
from apps.rating.periods import Alignment, Schedule, Span
from apps.subscriptions.domain import (
    HOLDING,
    REFUND_PAID,
    AddOnTrack,
    Anchoring,
    CalendarPeriod,
    Change,
    ChangeStatus,
    ChangeVerb,
    Laid,
    MemberOutcome,
    Opening,
    PhaseAlignment,
    PhaseLength,
    SegmentTerms,
    Settlement,
    Standing,
    SubscriptionStatus,
    SubscriptionTerms,
    calendar,
    current_period,
    renewed_until,
    replay,
    with_trial,
)
from apps.subscriptions.models import (
    Contract,
    PlanMigration,
    ScheduledChange,
    Subscription,
    SubscriptionSegment,
)

_MOST_CACHED: Final = 20_000


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
    started_at: datetime
    billed_until: datetime | None
    changed_from: datetime | None
    status: str
    term_ends_at: datetime | None
    auto_renew: bool
    term_unit: str | None
    term_count: int | None
    first_version_id: UUID
    first_price_list_id: UUID | None
    first_quantity: Decimal
    trial_days: int | None


class _SegmentRow(NamedTuple):
    """The same of a segment."""

    starts_at: datetime
    ends_at: datetime | None
    plan_version_id: UUID
    phase_id: UUID
    quantity: Decimal
    anchor_at: datetime
    settlement: str
    standing: str
    price_list_id: UUID | None
    paid_from: datetime | None
    absent: bool
    anew: bool
    add_on_id: UUID | None


def timelines(
    customer_ids: Iterable[UUID], *, as_of: Mapping[UUID, datetime] | None = None
) -> dict[UUID, tuple[SubscriptionTerms, ...]]:
    """Return every subscription of each customer, those that ended too, by start and then id.

    Two queries. With ``as_of`` (a third, and a few more where there are any) a customer's timelines
    are as they will be at his instant: with the changes that wait until then, and the terms that
    end unrenewed. A customer without subscriptions has an empty tuple.
    """
    wanted = list(customer_ids)
    # a run reads hundreds at once: making instances of models would take longer than the queries
    found = Subscription.objects.filter(customer__in=wanted).order_by("started_at", "pk")
    rows = [_SubscriptionRow(*row) for row in found.values_list(*_SubscriptionRow._fields)]
    laid = _segments_of(row.pk for row in rows)
    foreseen = _foreseen(rows, as_of) if as_of is not None else {}
    listed: dict[UUID, list[SubscriptionTerms]] = {customer_id: [] for customer_id in wanted}
    for row in rows:
        terms = terms_of(row, laid[row.pk])
        if row.pk in foreseen:
            laid_then = foreseen[row.pk]
            terms = replace(terms, segments=laid_then.segments, add_ons=laid_then.add_ons)
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


def _foreseen(rows: Sequence[_SubscriptionRow], as_of: Mapping[UUID, datetime]) -> dict[UUID, Laid]:
    """Return the timelines that changes which still wait, or ends of terms, make others by then.

    Never less far than a subscription was billed: what was foreseen then still is.
    """
    until = {
        row.pk: max(as_of[row.customer_id], row.billed_until or as_of[row.customer_id])
        for row in rows
        if row.status != SubscriptionStatus.ENDED and row.customer_id in as_of
    }
    waiting = ScheduledChange.objects.filter(
        subscription__in=list(until), status=ChangeStatus.PENDING
    ).values_list("subscription_id", "effective_at", "verb")
    touched: set[UUID] = set()
    renewals: dict[UUID, list[datetime]] = defaultdict(list)
    for found, effective_at, verb in waiting:
        if verb == ChangeVerb.RENEW:
            renewals[found].append(effective_at)
        elif effective_at <= until[found]:
            touched.add(found)
    ended = {
        row.pk: Change(ChangeVerb.CANCEL, end)
        for row in rows
        if row.pk in until
        and (end := _unrenewed(row, renewals[row.pk])) is not None
        and end <= until[row.pk]
    }
    return replayed([row for row in rows if row.pk in touched | ended.keys()], until, more=ended)


def _unrenewed(
    row: Subscription | _SubscriptionRow, renewals: Iterable[datetime]
) -> datetime | None:
    if row.auto_renew or row.term_ends_at is None:
        return None
    return renewed_until(terms_of_time(row), row.term_ends_at, renewals, goes_on=False)


def unrenewed_end(row: Subscription) -> datetime | None:
    """Return when the last term ends after which none follows, with the renewals that wait.

    One query. None where terms follow each other by themselves, or there are none.
    """
    return _unrenewed(row, renewals_waiting(row))


def renewals_waiting(row: Subscription) -> list[datetime]:
    """Return when the term is to be renewed, by the changes that wait; one query."""
    waiting = ScheduledChange.objects.filter(
        subscription=row.pk, status=ChangeStatus.PENDING, verb=ChangeVerb.RENEW
    )
    return list(waiting.values_list("effective_at", flat=True))


def terms_of_time(row: Subscription | _SubscriptionRow) -> Schedule:
    """Return the grid of the terms of a subscription that has them, counted from its start."""
    term = cadence_of(row.term_unit, row.term_count)
    assert term is not None  # noqa: S101 -- by constraint, and every caller has looked
    return Schedule(row.started_at, term, row.zone)


def replayed(
    rows: Sequence[Subscription | _SubscriptionRow],
    until: Mapping[UUID, datetime] = MappingProxyType({}),
    *,
    more: Mapping[UUID, Change] | None = None,
    without: Collection[UUID] = (),
) -> dict[UUID, Laid]:
    """Return the timelines that changes make of subscriptions.

    Those that were applied; those that wait and take effect by the instant in ``until``, if it has
    one; and one ``more``, as the last that was asked for. Not those ``without``. At most seven queries, none for no rows.
    """
    if not rows:
        return {}
    told: dict[UUID, list[ScheduledChange]] = {row.pk: [] for row in rows}
    changes = ScheduledChange.objects.filter(
        subscription__in=list(told), status__in=[ChangeStatus.APPLIED, ChangeStatus.PENDING]
    ).exclude(pk__in=without)
    for change in changes.order_by("effective_at", "created_at", "id"):
        if change.status == ChangeStatus.APPLIED or (
            change.subscription_id in until and change.effective_at <= until[change.subscription_id]
        ):
            told[change.subscription_id].append(change)
    versions = {row.first_version_id for row in rows}
    versions |= {found for listed in told.values() for one in listed if (found := version_of(one))}
    extra = more or {}
    phases = phases_of(versions)
    charges = charges_of(
        phase.id
        for version_id in {*versions, *(one.plan_version_id for one in extra.values())}
        if version_id is not None
        for phase in phases.get(version_id, ())
    )
    charges |= charges_of(phase.id for one in extra.values() for phase in one.phases)
    return {
        row.pk: replay(
            opening_of(row, phases[row.first_version_id]),
            [
                *(change_of(one, phases) for one in told[row.pk]),
                *([extra[row.pk]] if row.pk in extra else []),
            ],
            charges,
        )
        for row in rows
    }


# Phases of published versions never change, so what was read once holds.
_phases: Final[dict[UUID, tuple[PhaseLength, ...]]] = {}


def phases_of(version_ids: Iterable[UUID]) -> dict[UUID, tuple[PhaseLength, ...]]:
    """Return the phases of plan versions in order; one query, none for what was read before."""
    wanted = set(version_ids)
    found: dict[UUID, list[PhaseLength]] = {one: [] for one in wanted - _phases.keys()}
    published = set()
    if found:
        rows = Phase.objects.filter(version__in=list(found)).select_related("version")
        for phase in rows.order_by("position"):
            length = cadence_of(phase.length_unit, phase.length_count)
            found[phase.version_id].append(PhaseLength(phase.pk, PhaseKind(phase.kind), length))
            if phase.version.status != PlanVersionStatus.DRAFT:
                published.add(phase.version_id)
    read = {version_id: tuple(listed) for version_id, listed in found.items()}
    if len(_phases) > _MOST_CACHED:
        _phases.clear()
    _phases.update({version_id: read[version_id] for version_id in published})
    return {one: read[one] if one in read else _phases[one] for one in wanted}


def opening_of(row: Subscription | _SubscriptionRow, phases: tuple[PhaseLength, ...]) -> Opening:
    """Return the terms that a subscription began with; ``phases`` are its first version's."""
    return Opening(
        started_at=row.started_at,
        zone=row.zone,
        alignment=Alignment(row.alignment),
        anchor_day=row.anchor_day,
        plan_version_id=row.first_version_id,
        phases=phases if row.trial_days is None else with_trial(phases, row.trial_days),
        quantity=row.first_quantity,
        price_list_id=row.first_price_list_id,
    )


def version_of(row: ScheduledChange) -> UUID | None:
    """Return the plan version that a change changes to, if it is one of the plan."""
    named = row.arguments.get("plan_version")
    return UUID(named) if named else None


def change_of(row: ScheduledChange, phases: Mapping[UUID, tuple[PhaseLength, ...]]) -> Change:
    """Return a stored change; ``phases`` has those of the version that it changes to."""
    given = row.arguments
    version_id = version_of(row)
    return Change(
        verb=ChangeVerb(row.verb),
        effective_at=row.effective_at,
        settlement=Settlement(given.get("settlement", Settlement.PRORATE)),
        quantity=Decimal(given["quantity"]) if given.get("quantity") else None,
        plan_version_id=version_id,
        phases=phases[version_id] if version_id else (),
        phase_alignment=PhaseAlignment(given.get("phase_alignment", PhaseAlignment.START)),
        anchoring=Anchoring(given.get("anchoring", Anchoring.KEEP)),
        price_list_id=UUID(given["price_list"]) if given.get("price_list") else None,
        trial_ends_at=(
            datetime.fromisoformat(given["trial_ends_at"]) if given.get("trial_ends_at") else None
        ),
        add_on_id=UUID(given["add_on"]) if given.get("add_on") else None,
        drops=frozenset(UUID(one) for one in given.get("drops", ())),
        refund=given.get("refund") == REFUND_PAID,
    )


def terms_of(
    row: Subscription | _SubscriptionRow, segments: Iterable[SubscriptionSegment | _SegmentRow]
) -> SubscriptionTerms:
    """Return what billing must know of a subscription; its segments are given in order."""
    return terms_with(row, _laid(segments))


def _laid(segments: Iterable[SubscriptionSegment | _SegmentRow]) -> Laid:
    own: list[SegmentTerms] = []
    add_ons: dict[UUID, list[SegmentTerms]] = {}
    for one in segments:
        kept = own if one.add_on_id is None else add_ons.setdefault(one.add_on_id, [])
        kept.append(_segment(one))
    return Laid(
        tuple(own), tuple(AddOnTrack(plan_id, tuple(found)) for plan_id, found in add_ons.items())
    )


def _segment(segment: SubscriptionSegment | _SegmentRow) -> SegmentTerms:
    return SegmentTerms(
        starts_at=segment.starts_at,
        ends_at=segment.ends_at,
        plan_version_id=segment.plan_version_id,
        phase_id=segment.phase_id,
        quantity=segment.quantity,
        anchor_at=segment.anchor_at,
        settlement=Settlement(segment.settlement),
        standing=Standing(segment.standing),
        price_list_id=segment.price_list_id,
        paid_from=segment.paid_from,
        absent=segment.absent,
        anew=segment.anew,
    )


def segments_of(subscription_ids: Iterable[UUID]) -> dict[UUID, Laid]:
    """Return the stored timelines of subscriptions; one query."""
    wanted = list(subscription_ids)
    laid = _segments_of(wanted)
    return {one: _laid(laid[one]) for one in wanted}


def terms_with(row: Subscription | _SubscriptionRow, laid: Laid) -> SubscriptionTerms:
    """Return what billing must know of a subscription if its timeline were this one."""
    return SubscriptionTerms(
        id=row.pk,
        tenant_id=row.tenant_id,
        customer_id=row.customer_id,
        external_id=row.external_id,
        currency=row.currency,
        zone=row.zone,
        alignment=Alignment(row.alignment),
        anchor_day=row.anchor_day,
        started_at=row.started_at,
        billed_until=row.billed_until,
        changed_from=row.changed_from,
        segments=laid.segments,
        add_ons=laid.add_ons,
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
            Q(status__in=HOLDING, ends_at__lte=at),
            Q(status__in=HOLDING, term_ends_at__lte=at),
            Q(pk__in=changing.values("subscription")),
        )
    ]
    return list(parts[0].union(*parts[1:]).order_by("id")[:limit])


def subscriptions_for(tenant_id: UUID) -> QuerySet[Subscription]:
    """Return the tenant's subscriptions with all that is shown of one."""
    segments = SubscriptionSegment.objects.select_related("plan_version", "phase", "add_on")
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
    return calendar(terms, charges_of(terms.phase_ids), after=after)


def refunded_ends(subscription_ids: Iterable[UUID]) -> dict[UUID, datetime]:
    """Return of these subscriptions those canceled with a refund, each with its end; one query.

    Also those whose cancellation still waits to be applied at that instant.
    """
    rows = ScheduledChange.objects.filter(
        subscription__in=list(subscription_ids),
        verb=ChangeVerb.CANCEL,
        status__in=[ChangeStatus.APPLIED, ChangeStatus.PENDING],
        arguments__refund=REFUND_PAID,
    )
    return dict(rows.order_by("effective_at").values_list("subscription_id", "effective_at"))


def held_by(customer_ids: Iterable[UUID]) -> dict[UUID, list[UUID]]:
    """Return the ids of the subscriptions that customers have now, oldest first."""
    found: dict[UUID, list[UUID]] = defaultdict(list)
    rows = Subscription.objects.filter(customer__in=customer_ids, status__in=HOLDING)
    for owner, subscription_id in rows.order_by("id").values_list("customer_id", "id"):
        found[owner].append(subscription_id)
    return dict(found)


def migrations_for(tenant_id: UUID) -> QuerySet[PlanMigration]:
    """Return the tenant's migrations with how many of their members stand where; one query."""
    counts = {
        outcome.value: Count("members", filter=Q(members__outcome=outcome))
        for outcome in MemberOutcome
    }
    return (
        PlanMigration.objects.filter(tenant=tenant_id)
        .select_related("from_version__plan", "to_version")
        .annotate(**counts)
    )


def contracts_granting(customer_id: UUID, at: datetime) -> QuerySet[Contract]:
    """Return the customer's contracts that grant features at an instant, those of all he has last."""
    return (
        Contract.objects.filter(customer=customer_id, starts_at__lte=at)
        .filter(Q(ends_at=None) | Q(ends_at__gt=at))
        .exclude(features=[])
        .order_by(F("subscription").asc(nulls_last=True), "starts_at", "id")
    )
