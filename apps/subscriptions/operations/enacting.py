"""Storing a change that was decided on: to wait for its time, or applied at once."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Max

from apps.core.events import record
from apps.core.money import plain
from apps.subscriptions.domain import (
    REFUND_PAID,
    Behaviour,
    Change,
    ChangeStatus,
    ChangeVerb,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.moving import extend_term, move_change
from apps.subscriptions.operations.relaying import relay_timeline
from apps.subscriptions.queries import terms_of_time

_TICK: Final = timedelta(microseconds=1)
_SCHEDULED: Final[Mapping[ChangeVerb, str]] = {
    ChangeVerb.CANCEL: "subscription.cancellation_scheduled"
}


def enact(
    subscription: Subscription,
    change: Change,
    *,
    behaviour: Behaviour = Behaviour.PRORATE,
    change_id: UUID,
    actor: str,
    at: datetime,
) -> ScheduledChange:
    """Store a change of a locked subscription; apply it unless it lies ahead of ``at``.

    One that never began is canceled at once, though its start lies ahead.
    """
    latest = subscription.scheduled_changes.aggregate(at=Max("created_at"))["at"]
    row = ScheduledChange.objects.create(
        id=change_id,
        tenant_id=subscription.tenant_id,
        subscription=subscription,
        verb=change.verb,
        effective_at=change.effective_at,
        arguments=arguments_of(change, behaviour),
        # those asked for at one instant, as on a test clock, are told apart by it
        created_at=at if latest is None or latest < at else latest + _TICK,
    )
    never_begins = (
        change.verb is ChangeVerb.CANCEL and change.effective_at <= subscription.started_at
    )
    if change.effective_at > at and not never_begins:
        when = "ends_at" if change.verb is ChangeVerb.CANCEL else "effective_at"
        record(
            _SCHEDULED.get(change.verb, "subscription.change_scheduled"),
            subscription,
            actor=actor,
            at=at,
            change=row.public_id,
            verb=change.verb,
            **{when: change.effective_at.isoformat()},
        )
    else:
        apply_change(subscription, row, actor=actor, at=at)
    return row


def apply_change(
    subscription: Subscription, row: ScheduledChange, *, actor: str, at: datetime
) -> None:
    """Apply a pending change of a locked subscription, whose time has come."""
    move_change(row, ChangeStatus.APPLIED, actor=actor, at=at)
    if row.verb == ChangeVerb.RENEW:
        _let_term_follow(subscription, row.effective_at, actor=actor, at=at)
        return
    if row.verb != ChangeVerb.CANCEL:
        record(
            "subscription.changed",
            subscription,
            actor=actor,
            at=at,
            change=row.public_id,
            verb=row.verb,
            effective_at=row.effective_at.isoformat(),
        )
    relay_timeline(
        subscription,
        row.effective_at,
        bill_now=row.verb == ChangeVerb.CANCEL
        or row.arguments.get("behaviour") == Behaviour.INVOICE_NOW,
        actor=actor,
        at=at,
    )


def _let_term_follow(
    subscription: Subscription, effective_at: datetime, *, actor: str, at: datetime
) -> None:
    terms = terms_of_time(subscription)
    until = terms.boundary(terms.index_at(effective_at) + 2)
    if subscription.term_ends_at is not None and subscription.term_ends_at < until:
        extend_term(subscription, until, actor=actor, at=at)


def take_back(
    subscription: Subscription,
    row: ScheduledChange,
    *,
    actor: str,
    at: datetime,
) -> None:
    """Undo a change of a locked subscription that was applied: the timeline is as without it."""
    move_change(row, ChangeStatus.UNDONE, actor=actor, at=at)
    relay_timeline(subscription, row.effective_at, bill_now=False, actor=actor, at=at)


def arguments_of(change: Change, behaviour: Behaviour) -> dict[str, str | list[str]]:
    """Return what a change's verb needs, as ``queries.change_of`` reads it."""
    given: dict[str, str | list[str]] = {
        "settlement": change.settlement.value,
        "behaviour": behaviour.value,
    }
    if change.verb is ChangeVerb.CANCEL:
        refund: dict[str, str | list[str]] = {"refund": REFUND_PAID} if change.refund else {}
        return {"settlement": change.settlement.value, **refund}
    if change.quantity is not None:
        given["quantity"] = plain(change.quantity)
    if change.plan_version_id is not None:
        given["plan_version"] = str(change.plan_version_id)
        given["phase_alignment"] = change.phase_alignment.value
    if change.verb in {ChangeVerb.CHANGE_PLAN, ChangeVerb.RESUME}:
        given["anchoring"] = change.anchoring.value
    if change.price_list_id is not None:
        given["price_list"] = str(change.price_list_id)
    if change.trial_ends_at is not None:
        given["trial_ends_at"] = change.trial_ends_at.isoformat()
    if change.add_on_id is not None:
        given["add_on"] = str(change.add_on_id)
    if change.drops:
        given["drops"] = sorted(str(one) for one in change.drops)
    return given
