"""Beginning a subscription."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.domain import ChargeTerms, PhaseKind, PlanVersionStatus
from apps.catalog.models import Phase, PlanVersion, PriceList
from apps.catalog.queries import cadence_of, charges_of
from apps.core.constraints import broken
from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.money import CURRENCIES
from apps.metering.operations import register_subject
from apps.rating.periods import Alignment, Cadence, schedule_for
from apps.subscriptions.domain import (
    FURTHEST,
    LARGEST_QUANTITY,
    LONGEST_TRIAL_DAYS,
    ExternalIdTaken,
    PhaseLength,
    PlanNotOnSale,
    SegmentTerms,
    SubscriptionInvalid,
    SubscriptionStatus,
    lay_out,
    with_trial,
)
from apps.subscriptions.models import Subscription, SubscriptionSegment
from apps.subscriptions.operations.locking import lock_customer
from apps.subscriptions.operations.moving import move_subscription, terms_of_time


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
    customer = lock_customer(customer_id)
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
        subscription.term_ends_at = terms_of_time(subscription).boundary(1)

    _insert(subscription)
    failpoint("subscriptions.start.after_insert")
    _store(subscription, segments)
    register_subject(
        subscription.pk,
        tenant_id=subscription.tenant_id,
        customer_id=customer.pk,
        external_id=external_id,
        opens_at=started_at,
        closes_at=subscription.ends_at,
    )
    failpoint("subscriptions.start.after_subject")
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
        move_subscription(subscription, SubscriptionStatus.ACTIVE, actor=actor, at=at)
    return subscription


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
