"""Beginning a subscription."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.domain import PhaseKind
from apps.catalog.queries import charges_of
from apps.core.constraints import broken
from apps.core.errors import FieldError
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.metering.operations import register_subject
from apps.rating.periods import Alignment, Cadence
from apps.subscriptions.domain import (
    FURTHEST,
    LONGEST_TRIAL_DAYS,
    ExternalIdTaken,
    PhaseLength,
    SubscriptionInvalid,
    SubscriptionStatus,
    replay,
)
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.checking import (
    anchor_errors,
    currency_errors,
    price_list_of,
    quantity_errors,
    refuse_add_on,
    version_on_sale,
)
from apps.subscriptions.operations.locking import lock_customer
from apps.subscriptions.operations.moving import move_subscription
from apps.subscriptions.operations.relaying import lay_segments
from apps.subscriptions.queries import opening_of, phases_of, terms_of_time


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
    version = version_on_sale(plan_version_id, customer.tenant_id)
    refuse_add_on(version.plan)
    price_list = price_list_of(price_list_id, customer.tenant_id)
    phases = phases_of([version.pk])[version.pk]
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
        first_version=version,
        first_price_list=price_list,
        first_quantity=quantity,
        trial_days=trial_days,
        term_unit=term.unit if term else None,
        term_count=term.count if term else None,
        auto_renew=auto_renew,
        next_bill_at=started_at,
        metadata=dict(metadata or {}),
        created_at=at,
    )

    _check(subscription, phases, trial_days=trial_days, at=at)
    segments = replay(opening_of(subscription, phases), (), {}).segments
    subscription.ends_at = segments[-1].ends_at
    if term is not None:
        subscription.term_ends_at = terms_of_time(subscription).boundary(1)

    _insert(subscription)
    failpoint("subscriptions.start.after_insert")
    lay_segments(subscription, segments)
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
        *currency_errors(charges, subscription.price_list_id, subscription.currency),
        *anchor_errors(subscription, charges, anchor_at=subscription.started_at),
    ]
    if abs(subscription.started_at - at) > FURTHEST:
        errors.append(
            FieldError("started_at", "start_too_far", "it must start within ten years of now")
        )
    errors += quantity_errors(subscription.quantity)
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
