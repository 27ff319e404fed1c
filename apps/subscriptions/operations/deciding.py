"""What a wish comes to on a subscription's timeline, or why it is refused. Reads only."""

from dataclasses import replace
from datetime import datetime, timedelta

from apps.catalog.domain import PhaseKind, TransitionTiming
from apps.catalog.models import PlanTransition, PlanVersion
from apps.catalog.queries import charges_of, transition_between
from apps.subscriptions.domain import (
    FURTHEST,
    LONGEST_TRIAL_DAYS,
    Anchoring,
    Behaviour,
    Change,
    ChangeRefused,
    ChangeVerb,
    PhaseAlignment,
    SegmentTerms,
    Standing,
    SubscriptionInvalid,
    SubscriptionTerms,
    TransitionRefused,
    Wish,
    leading_cadence,
    period_end,
    segment_at,
    settlement_of,
)
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.adding import decide_add_on, not_offered
from apps.subscriptions.operations.checking import (
    anchor_errors,
    currency_errors,
    price_list_of,
    quantity_errors,
    refuse_add_on,
    version_on_sale,
)
from apps.subscriptions.operations.locking import refuse_ended
from apps.subscriptions.queries import phases_of, replayed, terms_with


def decide(subscription: Subscription, wish: Wish, *, at: datetime) -> tuple[Change, Behaviour]:
    """Return the change that a wish comes to, and how it is to be billed.

    Without an instant it takes effect at ``at``, or when the subscription starts if that comes
    later; with ``next_period`` when the billing period of that instant ends. What a wish for
    another plan leaves open, the rule of the catalog for these plans decides. What waits until then
    is taken into account. Raises as ``change_subscription`` does.
    """
    refuse_ended(subscription)
    effective_at = wish.effective_at or max(at, subscription.started_at)
    terms = _terms_at(subscription, effective_at)
    rule = _rule(subscription, wish, segment_at(terms.segments, effective_at))
    behaviour = wish.behaviour or (Behaviour(rule.behaviour) if rule else Behaviour.PRORATE)
    waits = wish.effective_at is None and rule and rule.effective == TransitionTiming.PERIOD_END
    if waits or behaviour is Behaviour.NEXT_PERIOD:
        charges = charges_of(terms.phase_ids)
        effective_at = period_end(terms, charges, effective_at)
        terms = _terms_at(subscription, effective_at)
    refuse_instant(subscription, effective_at, at)
    held = segment_at(terms.segments, effective_at)
    if held is None:
        raise ChangeRefused(f"The subscription has ended by {effective_at.isoformat()}.")
    change = Change(
        verb=wish.verb,
        effective_at=effective_at,
        settlement=settlement_of(behaviour),
        quantity=wish.quantity,
        plan_version_id=wish.plan_version_id,
        price_list_id=wish.price_list_id,
        trial_ends_at=wish.trial_ends_at,
    )
    match wish.verb:
        case ChangeVerb.CHANGE_QUANTITY:
            _check_quantity(wish, held)
        case ChangeVerb.CHANGE_PRICES:
            _check_prices(subscription, wish, held)
        case ChangeVerb.PAUSE | ChangeVerb.SUSPEND | ChangeVerb.RESUME:
            change = _standing(change, wish, held)
        case ChangeVerb.EXTEND_TRIAL:
            _check_trial(subscription, wish, held, effective_at)
        case ChangeVerb.CHANGE_PLAN:
            change = _plan(subscription, change, wish, held)
        case ChangeVerb.ADD_ADD_ON | ChangeVerb.CHANGE_ADD_ON | ChangeVerb.REMOVE_ADD_ON:
            change = decide_add_on(subscription, change, wish, terms)
        case ChangeVerb.CANCEL | ChangeVerb.RENEW:
            raise ValueError(f"{wish.verb} has an operation of its own")
    return change, behaviour


def _terms_at(subscription: Subscription, at: datetime) -> SubscriptionTerms:
    laid = replayed([subscription], {subscription.pk: at})[subscription.pk]
    return terms_with(subscription, laid)


def refuse_instant(subscription: Subscription, effective_at: datetime, at: datetime) -> None:
    """Raise ``SubscriptionInvalid`` for a change before the start, or too far ahead."""
    if effective_at < subscription.started_at:
        raise SubscriptionInvalid(
            f"it began at {subscription.started_at.isoformat()} and cannot change before",
            field="effective_at",
        )
    if effective_at - at > FURTHEST:
        raise SubscriptionInvalid("a change lies at most ten years ahead", field="effective_at")


def _check_quantity(wish: Wish, held: SegmentTerms) -> None:
    if wish.quantity is None:
        raise SubscriptionInvalid("say how many", field="quantity")
    errors = list(quantity_errors(wish.quantity))
    if errors:
        raise SubscriptionInvalid(errors=errors)
    if wish.quantity == held.quantity:
        raise ChangeRefused(f"The quantity is {held.quantity.normalize():f} already.")


def _check_prices(subscription: Subscription, wish: Wish, held: SegmentTerms) -> None:
    price_list_of(wish.price_list_id, subscription.tenant_id)
    if wish.price_list_id == held.price_list_id:
        raise ChangeRefused("It has these prices already.")


def _standing(change: Change, wish: Wish, held: SegmentTerms) -> Change:
    if wish.verb is ChangeVerb.RESUME:
        if held.standing is Standing.ACTIVE:
            raise ChangeRefused("It is neither paused nor suspended then.")
        anchoring = wish.anchoring or Anchoring.KEEP
        return Change(change.verb, change.effective_at, change.settlement, anchoring=anchoring)
    wanted = Standing.PAUSED if wish.verb is ChangeVerb.PAUSE else Standing.SUSPENDED
    if held.standing is wanted:
        raise ChangeRefused(f"It is {wanted} already.")
    return change


def _check_trial(
    subscription: Subscription, wish: Wish, held: SegmentTerms, effective_at: datetime
) -> None:
    phases = phases_of([held.plan_version_id])[held.plan_version_id]
    kinds = {phase.id: phase.kind for phase in phases}
    if kinds.get(held.phase_id) is not PhaseKind.TRIAL:
        raise ChangeRefused("No trial runs then.")
    ends_at = wish.trial_ends_at
    if ends_at is None or ends_at <= effective_at:
        raise SubscriptionInvalid("a trial ends after now", field="trial_ends_at")
    if ends_at - subscription.started_at > timedelta(days=LONGEST_TRIAL_DAYS):
        raise SubscriptionInvalid(
            f"a trial has at most {LONGEST_TRIAL_DAYS} days", field="trial_ends_at"
        )
    if ends_at == held.ends_at:
        raise ChangeRefused("The trial ends then already.")


def _plan(
    subscription: Subscription,
    change: Change,
    wish: Wish,
    held: SegmentTerms,
) -> Change:
    if wish.plan_version_id is None:
        raise SubscriptionInvalid("say which plan", field="plan")
    version = version_on_sale(wish.plan_version_id, subscription.tenant_id)
    refuse_add_on(version.plan)
    if version.pk == held.plan_version_id and wish.quantity in {None, held.quantity}:
        raise ChangeRefused(f"It has version {version.number} of {version.plan.key} already.")
    rule = _rule(subscription, wish, held)
    if rule is not None and not rule.allowed:
        raise TransitionRefused(
            f"The rule {rule.public_id}, from {rule}, does not allow it."
            + (f" {rule.reason}" if rule.reason else "")
        )
    phases = phases_of([version.pk])[version.pk]
    charges = charges_of(phase.id for phase in phases)
    listed = [one for found in charges.values() for one in found]
    errors = [
        *currency_errors(listed, held.price_list_id, subscription.currency),
        *anchor_errors(subscription, listed, anchor_at=change.effective_at),
        *(quantity_errors(wish.quantity) if wish.quantity is not None else ()),
    ]
    if errors:
        raise SubscriptionInvalid(errors=errors)
    ruled = PhaseAlignment(rule.phase_alignment) if rule else PhaseAlignment.START
    change = replace(
        change,
        quantity=wish.quantity,
        plan_version_id=version.pk,
        phases=phases,
        phase_alignment=wish.phase_alignment or ruled,
    )
    until = {subscription.pk: change.effective_at}
    laid = replayed([subscription], until, more={subscription.pk: change})[subscription.pk]
    coming = segment_at(laid.segments, change.effective_at)
    if coming is None:
        raise ChangeRefused(
            f"Counted from where they began, all phases of {version.plan.key} are over;"
            " align them with the change."
        )
    return replace(
        change,
        anchoring=wish.anchoring or anchoring_for(held, coming),
        drops=not_offered(version.plan),
    )


def _rule(
    subscription: Subscription, wish: Wish, held: SegmentTerms | None
) -> PlanTransition | None:
    """Return the catalog's rule for the change of the plan that is wished for, if there is one."""
    if wish.plan_version_id is None or held is None:
        return None
    versions = {
        one.pk: one
        for one in PlanVersion.objects.filter(
            pk__in=[held.plan_version_id, wish.plan_version_id], tenant=subscription.tenant_id
        ).select_related("plan")
    }
    if wish.plan_version_id not in versions:
        return None
    was, to = versions[held.plan_version_id].plan, versions[wish.plan_version_id].plan
    return None if was == to else transition_between(was, to)


def anchoring_for(held: SegmentTerms, coming: SegmentTerms) -> Anchoring:
    """Return whether periods go on: they do where the new ones are as long as the old."""
    charges = charges_of([held.phase_id, coming.phase_id])
    was = leading_cadence(charges[held.phase_id])
    now = leading_cadence(charges[coming.phase_id])
    same = was is None or now is None or (was.months(), was.days()) == (now.months(), now.days())
    return Anchoring.KEEP if same else Anchoring.RESET
