"""What speaks against add-ons, and what a wish for one comes to. Reads only."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from apps.catalog.domain import PhaseAlignment, ProductKind
from apps.catalog.models import AddOnOffer, Plan, PlanVersion
from apps.catalog.queries import charges_of, offer_of
from apps.core.errors import NotFound
from apps.core.money import plain
from apps.subscriptions.domain import (
    AddOnNotOffered,
    AddOnTrack,
    Change,
    ChangeRefused,
    ChangeVerb,
    SegmentTerms,
    SubscriptionInvalid,
    SubscriptionTerms,
    Wish,
    lay_out,
    segment_at,
)
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.checking import (
    anchor_errors,
    currency_errors,
    quantity_errors,
    version_on_sale,
)
from apps.subscriptions.queries import phases_of


def decide_add_on(
    subscription: Subscription, change: Change, wish: Wish, terms: SubscriptionTerms
) -> Change:
    """Return the change of an add-on that a wish comes to, on the timeline as it is by then.

    Raises ``AddOnNotOffered``, ``ChangeRefused``, ``PlanNotOnSale`` and ``SubscriptionInvalid``.
    """
    add_on = _add_on(subscription, wish)
    change = replace(change, add_on_id=add_on.pk)
    track = next((one for one in terms.add_ons if one.plan_id == add_on.pk), None)
    held = segment_at(track.segments, change.effective_at) if track else None
    has = held is not None and not held.absent
    if wish.verb is ChangeVerb.REMOVE_ADD_ON:
        if not has:
            raise ChangeRefused(f"It does not have the add-on {add_on.key} then.")
        return change
    base = segment_at(terms.segments, change.effective_at)
    assert base is not None  # noqa: S101 -- whoever calls has looked
    offer = _offer(base, add_on)
    if wish.verb is ChangeVerb.CHANGE_ADD_ON:
        if held is None or held.absent:
            raise ChangeRefused(f"It does not have the add-on {add_on.key} then.")
        if wish.quantity is None:
            raise SubscriptionInvalid("say how many", field="quantity")
        _check_quantity(wish.quantity, offer, held.quantity)
        return change
    if has:
        raise ChangeRefused(f"It has the add-on {add_on.key} already; change how many.")
    quantity = offer.least if wish.quantity is None else wish.quantity
    _check_quantity(quantity, offer, None)
    return _added(subscription, replace(change, quantity=quantity), wish, base, track)


def not_offered(base: Plan) -> frozenset[UUID]:
    """Return all add-ons that are not offered to those on a plan.

    Not only those that a subscription has by now: one may be added for a time before it changes to
    that plan.
    """
    plans = dict(
        Plan.objects.filter(tenant=base.tenant_id, product__kind=ProductKind.ADD_ON).values_list(
            "pk", "product_id"
        )
    )
    if not plans:
        return frozenset()
    offered = offer_of(base, set(plans.values()))
    return frozenset(pk for pk, product_id in plans.items() if product_id not in offered)


def _add_on(subscription: Subscription, wish: Wish) -> Plan:
    plan = None
    if wish.add_on_id is not None:
        found = Plan.objects.filter(pk=wish.add_on_id, tenant=subscription.tenant_id)
        plan = found.select_related("product").first()
    if plan is None:
        raise NotFound("There is no such plan.", field="add_on")
    if plan.product.kind != ProductKind.ADD_ON:
        raise SubscriptionInvalid(
            f"{plan.key} is no add-on, but a plan of {plan.product.key}, which is"
            f" {plan.product.kind}",
            field="add_on",
        )
    return plan


def _offer(base: SegmentTerms, add_on: Plan) -> AddOnOffer:
    plan = PlanVersion.objects.select_related("plan__product").get(pk=base.plan_version_id).plan
    offer = offer_of(plan, [add_on.product_id]).get(add_on.product_id)
    if offer is None:
        raise AddOnNotOffered(
            f"{add_on.product.key} is not offered to subscriptions on {plan.key}."
        )
    return offer


def _check_quantity(quantity: Decimal, offer: AddOnOffer, held: Decimal | None) -> None:
    errors = list(quantity_errors(quantity))
    if errors:
        raise SubscriptionInvalid(errors=errors)
    if quantity == held:
        raise ChangeRefused(f"The quantity is {plain(quantity)} already.")
    if quantity < offer.least or (offer.most is not None and quantity > offer.most):
        most = "any number" if offer.most is None else plain(offer.most)
        raise SubscriptionInvalid(
            f"{offer.product.key} is offered from {plain(offer.least)} to {most}"
            f" ({offer.public_id})",
            field="quantity",
        )


def _added(
    subscription: Subscription,
    change: Change,
    wish: Wish,
    base: SegmentTerms,
    track: AddOnTrack | None,
) -> Change:
    if wish.plan_version_id is None:
        raise SubscriptionInvalid("say which version", field="plan_version")
    version = version_on_sale(wish.plan_version_id, subscription.tenant_id)
    phases = phases_of([version.pk])[version.pk]
    listed = [one for found in charges_of(phase.id for phase in phases).values() for one in found]
    errors = [
        *currency_errors(listed, base.price_list_id, subscription.currency),
        *anchor_errors(subscription, listed, anchor_at=base.anchor_at),
    ]
    if errors:
        raise SubscriptionInvalid(errors=errors)
    alignment = wish.phase_alignment or PhaseAlignment.START
    since = change.effective_at
    if track is not None and alignment is not PhaseAlignment.CHANGE:
        since = _began(track, since)
    laid = lay_out(
        phases,
        started_at=since,
        zone=subscription.zone,
        plan_version_id=version.pk,
        quantity=Decimal(1),
    )
    if segment_at(laid, change.effective_at) is None:
        raise ChangeRefused(
            f"Counted from when it was added, all phases of {version.plan.key} are over;"
            " align them with the change."
        )
    return replace(
        change,
        plan_version_id=version.pk,
        phases=phases,
        phase_alignment=alignment,
    )


def _began(track: AddOnTrack, at: datetime) -> datetime:
    """Return from when the phases are counted that an add-on is in, or was, at an instant."""
    before = [one for one in track.segments if one.starts_at <= at]
    anew = [one for one in before if one.anew]
    return (anew[-1:] or before[:1])[0].starts_at if before else at
