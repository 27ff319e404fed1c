"""Beginning, canceling, renewing and ending subscriptions.

Every operation locks the customer and then the subscription, so it never runs beside a billing run
of the same customer. A change that lies before the last run sets ``changed_from``: the next run
bills or credits the difference.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import IntegrityError, connection, transaction

from apps.catalog.domain import ChargeTerms, PhaseKind, PlanVersionStatus
from apps.catalog.models import Phase, PlanVersion, PriceList
from apps.catalog.queries import cadence_of, charges_of
from apps.core.constraints import broken
from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.events import record
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.core.money import CURRENCIES
from apps.core.states import move
from apps.customers.models import Customer
from apps.metering.operations import close_subject, register_subject
from apps.rating.periods import Alignment, Cadence, Schedule, schedule_for
from apps.subscriptions.domain import (
    CHANGE_TRANSITIONS,
    FURTHEST,
    LARGEST_QUANTITY,
    LONGEST_TRIAL_DAYS,
    SUBSCRIPTION_TRANSITIONS,
    BilledMark,
    CancellationPending,
    CancelMode,
    ChangeStatus,
    ChangeVerb,
    ExternalIdTaken,
    NoTerm,
    PhaseLength,
    PlanNotOnSale,
    SegmentTerms,
    Settlement,
    SubscriptionEnded,
    SubscriptionInvalid,
    SubscriptionStatus,
    cut,
    lay_out,
    period_end,
    with_trial,
)
from apps.subscriptions.models import ScheduledChange, Subscription, SubscriptionSegment
from apps.subscriptions.queries import changes_due, terms_of

logger = logging.getLogger(__name__)

_PAGE: Final = 500
_SWEEP: Final = "system:subscriptions.apply_due_changes"


@transaction.atomic
def start_subscription(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- of the row to be
    plan_version_id: UUID,
    started_at: datetime,
    alignment: Alignment = Alignment.ANNIVERSARY,
    anchor_day: int | None = None,
    quantity: Decimal = Decimal(1),
    price_list_id: UUID | None = None,
    external_id: str | None = None,
    term: Cadence | None = None,
    auto_renew: bool = True,
    trial_days: int | None = None,
    currency: str | None = None,
    metadata: Mapping[str, str] | None = None,
    actor: str,
    at: datetime,
) -> Subscription:
    """Put a customer on a published plan version from ``started_at`` on, and return it.

    ``started_at`` may lie in the past (what is due since is billed by the next run) or ahead (it is
    scheduled until then), by ten years at most. All phases are laid down at once, in the customer's
    zone as it is now. Billing periods are counted from the start of the first phase that is no
    trial, moved by ``alignment`` and ``anchor_day`` as ``rating.periods.schedule_for`` says.
    ``trial_days`` replaces the trial's length. A ``term`` is counted from the start; at its end
    another follows if ``auto_renew``, else the subscription ends. ``currency`` is the customer's
    unless given.

    An ``id`` that exists already is returned as it is. Raises ``NotFound``, ``PlanNotOnSale``,
    ``ExternalIdTaken``, and ``SubscriptionInvalid`` with every problem.
    """
    customer = _lock_customer(customer_id)
    known = Subscription.objects.filter(pk=id).first()
    if known is not None:
        return known
    version = _version_on_sale(plan_version_id, customer.tenant_id)
    price_list = _price_list(price_list_id, customer.tenant_id)
    phases = [
        PhaseLength(
            phase.pk, PhaseKind(phase.kind), cadence_of(phase.length_unit, phase.length_count)
        )
        for phase in Phase.objects.filter(version=version).order_by("position")
    ]
    subscription = Subscription(
        id=id,
        tenant_id=customer.tenant_id,
        customer=customer,
        external_id=external_id,
        plan_version=version,
        price_list=price_list,
        currency=currency or customer.currency,
        zone=customer.zone,
        alignment=alignment,
        anchor_day=anchor_day,
        quantity=quantity,
        started_at=started_at,
        term_unit=term.unit if term else None,
        term_count=term.count if term else None,
        auto_renew=auto_renew,
        next_bill_at=started_at,
        metadata=dict(metadata or {}),
        created_at=at,
    )

    _check(subscription, phases, trial_days=trial_days, at=at)
    segments = lay_out(
        phases if trial_days is None else with_trial(phases, trial_days),
        started_at=started_at,
        zone=customer.zone,
        plan_version_id=version.pk,
        quantity=quantity,
    )
    subscription.ends_at = segments[-1].ends_at
    if term is not None:
        subscription.term_ends_at = _terms_of_time(subscription).boundary(1)

    _insert(subscription)
    _store(subscription, segments)
    register_subject(
        subscription.pk,
        tenant_id=subscription.tenant_id,
        customer_id=customer.pk,
        external_id=external_id,
        opens_at=started_at,
        closes_at=subscription.ends_at,
    )
    record(
        "subscription.created",
        subscription,
        actor=actor,
        at=at,
        plan=version.plan.key,
        plan_version=version.number,
        started_at=started_at.isoformat(),
    )
    if started_at <= at:
        _move(subscription, SubscriptionStatus.ACTIVE, actor=actor, at=at)
    return subscription


@transaction.atomic
def cancel_subscription(
    subscription_id: UUID,
    *,
    mode: CancelMode,
    ends_at: datetime | None = None,
    settlement: Settlement = Settlement.PRORATE,
    change_id: UUID | None = None,
    actor: str,
    at: datetime,
) -> Subscription:
    """End a subscription: now, with its current billing period, or at ``ends_at``; return it.

    An end in the future becomes a ``ScheduledChange`` with the id ``change_id``, which can be
    withdrawn until it is applied. An end in the past, down to the start, takes effect at once and
    is billed or credited by the next run; usage at and after the end does not count. One that has
    not begun yet, canceled now, with its period, or at or before its start, never begins.
    ``settlement`` says what becomes of periods that the end cuts short.

    A repeat with the same ``change_id`` changes nothing. Raises ``SubscriptionEnded``,
    ``CancellationPending`` (only where the new end would be scheduled too; an immediate one
    withdraws it), and ``SubscriptionInvalid`` for a date before the start or over ten years ahead.
    """
    subscription = _lock(subscription_id)
    if change_id and subscription.scheduled_changes.filter(pk=change_id).exists():
        return subscription
    _refuse_ended(subscription)
    end = _end_asked_for(subscription, mode, ends_at, at)
    pending = subscription.scheduled_changes.filter(
        status=ChangeStatus.PENDING, verb=ChangeVerb.CANCEL
    ).first()
    if end > max(at, subscription.started_at):
        if pending is not None:
            raise CancellationPending(
                f"This subscription, {subscription.status}, is to end at"
                f" {pending.effective_at.isoformat()}; withdraw {pending.public_id} first."
            )
        change = ScheduledChange.objects.create(
            id=change_id or new_id(),
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            verb=ChangeVerb.CANCEL,
            effective_at=end,
            arguments={"settlement": settlement.value},
            created_at=at,
        )
        record(
            "subscription.cancellation_scheduled",
            subscription,
            actor=actor,
            at=at,
            change=change.public_id,
            ends_at=end.isoformat(),
        )
        return subscription
    if pending is not None:
        _move_change(pending, ChangeStatus.WITHDRAWN, actor=actor, at=at)
    _end(subscription, end, settlement, actor=actor, at=at)
    return subscription


@transaction.atomic
def withdraw_change(change_id: UUID, *, actor: str, at: datetime) -> ScheduledChange:
    """Take back a change that waits for its time, and return it; a repeat changes nothing.

    Raises ``IllegalTransition`` for one that was applied, ``NotFound`` for one that never was.
    """
    found = ScheduledChange.objects.filter(pk=change_id).first()
    if found is None:
        raise NotFound("There is no such scheduled change.")
    subscription = _lock(found.subscription_id)
    change = ScheduledChange.objects.get(pk=change_id)
    if change.status != ChangeStatus.WITHDRAWN:
        _move_change(change, ChangeStatus.WITHDRAWN, actor=actor, at=at)
        _look_again(subscription, change.effective_at, at=at)
    return change


@transaction.atomic
def renew_subscription(subscription_id: UUID, *, actor: str, at: datetime) -> Subscription:
    """Let another term follow the current one, whether or not it renews by itself; return it.

    Terms are counted from the start on the calendar of the subscription's zone. The end of the term
    moves to the end of the one after the term that holds at ``at``; where it is there already, a
    repeat changes nothing. Raises ``NoTerm`` and ``SubscriptionEnded``.
    """
    subscription = _lock(subscription_id)
    _refuse_ended(subscription)
    if subscription.term_ends_at is None:
        raise NoTerm("This subscription runs without a term.")
    terms = _terms_of_time(subscription)
    current = terms.index_at(max(at, subscription.started_at))
    if subscription.term_ends_at < terms.boundary(current + 2):
        _extend(subscription, terms.boundary(current + 2), actor=actor, at=at)
    return subscription


def apply_due_changes(
    at: datetime,
    *,
    clock_id: UUID | None = None,
    tenant_id: UUID | None = None,
    actor: str = _SWEEP,
) -> int:
    """Begin, change, renew and end whatever is due by ``at``; return how many subscriptions moved.

    Those on real time, or those on the test clock. Each has its own transaction and is looked at
    again under its lock, so any number of sweeps at once, or none for a month, come to the same.
    One that fails is logged and stops nobody else.
    """
    applied = 0
    after: UUID | None = None
    while page := changes_due(at, clock_id=clock_id, tenant_id=tenant_id, limit=_PAGE, after=after):
        for subscription_id in page:
            try:
                applied += apply_due_changes_of(subscription_id, actor=actor, at=at)
            except Exception:
                logger.exception("the due changes of subscription %s failed", subscription_id)
        after = page[-1]
    return applied


@transaction.atomic
def apply_due_changes_of(subscription_id: UUID, *, actor: str = _SWEEP, at: datetime) -> bool:
    """Do for one subscription what is due by ``at``, in the order of time; say whether it moved.

    A repeat finds nothing to do.
    """
    subscription = _lock(subscription_id)
    moved = False
    if subscription.status == SubscriptionStatus.SCHEDULED and subscription.started_at <= at:
        _move(subscription, SubscriptionStatus.ACTIVE, actor=actor, at=at)
        moved = True
    pending = subscription.scheduled_changes.filter(
        status=ChangeStatus.PENDING, effective_at__lte=at
    ).first()
    # the term may end, or be renewed, before the cancellation
    if subscription.status == SubscriptionStatus.ACTIVE:
        moved |= _pass_terms(subscription, pending.effective_at if pending else at, actor, at)
    if pending is not None and subscription.status != SubscriptionStatus.ENDED:
        settlement = Settlement(pending.arguments["settlement"])
        _move_change(pending, ChangeStatus.APPLIED, actor=actor, at=at)
        _end(subscription, pending.effective_at, settlement, actor=actor, at=at)
        moved = True
    elif subscription.status == SubscriptionStatus.ACTIVE and _is_over(subscription, at):
        _withdraw_rest(subscription, actor=actor, at=at)
        _move(subscription, SubscriptionStatus.ENDED, actor=actor, at=at)
        moved = True
    return moved


def mark_billed(marks: Sequence[BilledMark]) -> None:
    """Note on each subscription how far it has been billed and when it is due again.

    One statement. Forgets ``changed_from``, which the run has taken into account: the caller has
    held the customers' locks since it read the timelines.
    """
    if not marks:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE subscriptions_subscription s
            SET billed_until = m.billed_until, next_bill_at = m.next_bill_at, changed_from = NULL
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[])
                 AS m(id, billed_until, next_bill_at)
            WHERE s.id = m.id
            """,
            [
                [mark.subscription_id for mark in marks],
                [mark.billed_until for mark in marks],
                [mark.next_bill_at for mark in marks],
            ],
        )


def mark_changed(since: Mapping[UUID, datetime]) -> None:
    """Have the next run of each subscription look again at everything that ends after an instant.

    One statement; an earlier mark stays. When that run comes does not change. The caller holds
    the customers' locks.
    """
    if not since:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE subscriptions_subscription s SET changed_from = LEAST(s.changed_from, m.since)
            FROM unnest(%s::uuid[], %s::timestamptz[]) AS m(id, since) WHERE s.id = m.id
            """,
            [list(since), list(since.values())],
        )


# --- locks and look-ups -------------------------------------------------------------------------


def _lock_customer(customer_id: UUID) -> Customer:
    tenant_id = Customer.objects.filter(pk=customer_id).values_list("tenant", flat=True).first()
    if tenant_id is None:
        raise NotFound("There is no such customer.")
    return lock_row(Customer, customer_id, tenant_id=tenant_id)


def _lock(subscription_id: UUID) -> Subscription:
    found = Subscription.objects.filter(pk=subscription_id).first()
    if found is None:
        raise NotFound("There is no such subscription.")
    _lock_customer(found.customer_id)
    return lock_row(Subscription, subscription_id, tenant_id=found.tenant_id)


def _version_on_sale(plan_version_id: UUID, tenant_id: UUID) -> PlanVersion:
    version = (
        PlanVersion.objects.filter(pk=plan_version_id, tenant=tenant_id)
        .select_related("plan")
        .first()
    )
    if version is None:
        raise NotFound("There is no such plan version.", field="plan_version")
    if version.status != PlanVersionStatus.PUBLISHED:
        raise PlanNotOnSale(f"Version {version.number} of {version.plan.key} is {version.status}.")
    if version.plan.archived_at is not None:
        raise PlanNotOnSale(f"The plan {version.plan.key} is archived.")
    return version


def _price_list(price_list_id: UUID | None, tenant_id: UUID) -> PriceList | None:
    if price_list_id is None:
        return None
    found = PriceList.objects.filter(pk=price_list_id, tenant=tenant_id).first()
    if found is None:
        raise NotFound("There is no such price list.", field="price_list")
    return found


# --- deciding -----------------------------------------------------------------------------------


def _check(
    subscription: Subscription,
    phases: Sequence[PhaseLength],
    *,
    trial_days: int | None,
    at: datetime,
) -> None:
    """Raise with everything that speaks against a subscription at once."""
    charges = [one for found in charges_of(p.id for p in phases).values() for one in found]
    errors = [
        *_trial_errors(phases, trial_days),
        *_currency_errors(subscription, charges),
        *_anchor_errors(subscription, charges),
    ]
    if abs(subscription.started_at - at) > FURTHEST:
        errors.append(
            FieldError("started_at", "start_too_far", "it must start within ten years of now")
        )
    if not 0 < subscription.quantity <= LARGEST_QUANTITY or subscription.quantity % 1:
        errors.append(
            FieldError(
                "quantity",
                "quantity_invalid",
                f"a quantity is a whole number from 1 to {LARGEST_QUANTITY:f}",
            )
        )
    if errors:
        raise SubscriptionInvalid(errors=errors)


def _trial_errors(phases: Sequence[PhaseLength], days: int | None) -> Iterator[FieldError]:
    if days is None:
        return
    if not 0 <= days <= LONGEST_TRIAL_DAYS:
        yield FieldError(
            "trial_days", "trial_too_long", f"a trial has 0 to {LONGEST_TRIAL_DAYS} days"
        )
    elif all(phase.kind is not PhaseKind.TRIAL for phase in phases):
        yield FieldError("trial_days", "no_trial", "this plan version has no trial phase")


def _currency_errors(
    subscription: Subscription, charges: Sequence[ChargeTerms]
) -> Iterator[FieldError]:
    currency = subscription.currency
    if currency not in CURRENCIES:
        yield FieldError("currency", "currency_unknown", f"{currency!r} is no ISO 4217 code")
    elif any(one.price(subscription.price_list_id, currency) is None for one in charges):
        offered = ", ".join(sorted({priced for one in charges for _, priced in one.prices}))
        yield FieldError(
            "currency",
            "currency_not_priced",
            f"the plan has no prices in {currency}, but in {offered}",
        )


def _anchor_errors(
    subscription: Subscription, charges: Sequence[ChargeTerms]
) -> Iterator[FieldError]:
    for cadence in {one.cadence for one in charges if one.cadence is not None}:
        try:
            schedule_for(
                subscription.started_at,
                cadence,
                Alignment(subscription.alignment),
                subscription.zone,
                subscription.anchor_day,
            )
        except Invalid as error:
            yield FieldError("anchor_day", error.reason, error.detail)


def _refuse_ended(subscription: Subscription) -> None:
    if subscription.status == SubscriptionStatus.ENDED and subscription.ends_at is not None:
        raise SubscriptionEnded(
            f"This subscription is {subscription.status}: it ended at"
            f" {subscription.ends_at.isoformat()}."
        )


def _end_asked_for(
    subscription: Subscription, mode: CancelMode, ends_at: datetime | None, at: datetime
) -> datetime:
    if (mode is CancelMode.DATE) != (ends_at is not None):
        raise SubscriptionInvalid(
            'give ends_at with the mode "date", and only with it', field="ends_at"
        )
    if ends_at is None:
        if at < subscription.started_at:
            return subscription.started_at
        if mode is CancelMode.NOW:
            return at
        terms = terms_of(subscription, subscription.segments.order_by("starts_at"))
        end = period_end(terms, charges_of(one.phase_id for one in terms.segments), at)
    else:
        end = ends_at
    if end < subscription.started_at and subscription.status != SubscriptionStatus.SCHEDULED:
        raise SubscriptionInvalid(
            f"it began at {subscription.started_at.isoformat()} and cannot end before",
            field="ends_at",
        )
    if end - at > FURTHEST:
        raise SubscriptionInvalid("an end lies at most ten years ahead", field="ends_at")
    return max(end, subscription.started_at)


def _terms_of_time(subscription: Subscription) -> Schedule:
    term = cadence_of(subscription.term_unit, subscription.term_count)
    assert term is not None  # noqa: S101 -- by constraint, and every caller has looked
    return Schedule(subscription.started_at, term, subscription.zone)


def _is_over(subscription: Subscription, at: datetime) -> bool:
    return subscription.ends_at is not None and subscription.ends_at <= at


# --- storing ------------------------------------------------------------------------------------


def _insert(subscription: Subscription) -> None:
    try:
        with transaction.atomic():
            subscription.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "subscription_external_id_once":
            raise
        raise ExternalIdTaken(
            f"Another subscription has the external id {subscription.external_id!r}.",
            field="external_id",
        ) from error


def _store(subscription: Subscription, segments: Sequence[SegmentTerms]) -> None:
    SubscriptionSegment.objects.bulk_create(
        SubscriptionSegment(
            tenant_id=subscription.tenant_id,
            subscription=subscription,
            starts_at=one.starts_at,
            ends_at=one.ends_at,
            plan_version_id=one.plan_version_id,
            phase_id=one.phase_id,
            quantity=one.quantity,
            anchor_at=one.anchor_at,
            settlement=one.settlement,
        )
        for one in segments
    )


def _end(
    subscription: Subscription,
    ends_at: datetime,
    settlement: Settlement,
    *,
    actor: str,
    at: datetime,
) -> None:
    """Cut the timeline at ``ends_at``, which is not after ``at``, and end the subscription.

    A timeline that ends earlier keeps its own end.
    """
    segments = subscription.segments.order_by("starts_at")
    if subscription.ends_at is None or subscription.ends_at > ends_at:
        kept = cut(terms_of(subscription, segments).segments, ends_at, settlement)
        segments.filter(starts_at__gte=ends_at).delete()
        if kept:
            segments.filter(starts_at=kept[-1].starts_at).update(
                ends_at=kept[-1].ends_at, settlement=kept[-1].settlement
            )
        subscription.ends_at = ends_at
        subscription.changed_from = min(subscription.changed_from or ends_at, ends_at)
        subscription.next_bill_at = min(subscription.next_bill_at or at, at)
        close_subject(subscription.pk, closes_at=ends_at)
    _withdraw_rest(subscription, actor=actor, at=at)
    _move(
        subscription,
        SubscriptionStatus.ENDED,
        actor=actor,
        at=at,
        also=("ends_at", "changed_from", "next_bill_at"),
    )


def _pass_terms(subscription: Subscription, until: datetime, actor: str, at: datetime) -> bool:
    """Renew, or end, at every end of a term up to ``until``; say whether anything was done."""
    if subscription.term_ends_at is None or subscription.term_ends_at > until:
        return False
    if subscription.ends_at is not None and subscription.ends_at <= subscription.term_ends_at:
        return False
    if not subscription.auto_renew:
        _end(subscription, subscription.term_ends_at, Settlement.PRORATE, actor=actor, at=at)
        return True
    terms = _terms_of_time(subscription)
    _extend(subscription, terms.boundary(terms.index_at(until) + 1), actor=actor, at=at)
    return True


def _extend(subscription: Subscription, until: datetime, *, actor: str, at: datetime) -> None:
    was = subscription.term_ends_at
    subscription.term_ends_at = until
    subscription.save(update_fields=["term_ends_at"])
    if was is not None and not subscription.auto_renew:
        _look_again(subscription, was, at=at)
    record(
        "subscription.renewed",
        subscription,
        actor=actor,
        at=at,
        was=was.isoformat() if was else None,
        term_ends_at=until.isoformat(),
    )


def _look_again(subscription: Subscription, since: datetime, *, at: datetime) -> None:
    """Have the next run recompute from an end that was foreseen, billed by, and is none now."""
    if subscription.billed_until is None or subscription.billed_until < since:
        return
    subscription.changed_from = min(subscription.changed_from or since, since)
    subscription.next_bill_at = min(subscription.next_bill_at or at, at)
    subscription.save(update_fields=["changed_from", "next_bill_at"])


def _withdraw_rest(subscription: Subscription, *, actor: str, at: datetime) -> None:
    for change in subscription.scheduled_changes.filter(status=ChangeStatus.PENDING):
        _move_change(change, ChangeStatus.WITHDRAWN, actor=actor, at=at)


def _move(
    subscription: Subscription,
    to: SubscriptionStatus,
    *,
    actor: str,
    at: datetime,
    also: Sequence[str] = (),
) -> None:
    ends_at = subscription.ends_at.isoformat() if subscription.ends_at else None
    move(
        subscription,
        to=to,
        allowed=SUBSCRIPTION_TRANSITIONS,
        actor=actor,
        at=at,
        also=also,
        ends_at=ends_at,
    )


def _move_change(change: ScheduledChange, to: ChangeStatus, *, actor: str, at: datetime) -> None:
    move(change, to=to, allowed=CHANGE_TRANSITIONS, actor=actor, at=at)
