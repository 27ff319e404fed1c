"""Adding and removing rules for changes from plan to plan."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.documents.reading import Reader
from apps.catalog.documents.transitions import SideDraft, TransitionDraft, transition_at
from apps.catalog.domain import TransitionTaken
from apps.catalog.models import Plan, PlanTransition, Product
from apps.catalog.queries import known_to
from apps.core.constraints import broken
from apps.core.events import record


@transaction.atomic
def create_transition(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    document: object,
    actor: str,
    at: datetime,
) -> PlanTransition:
    """Add the rule that a document describes; it holds for changes that are asked for from now on.

    A repeat with the same ``id`` returns it as it is. Raises ``CatalogInvalid`` with every problem
    of the document, and ``TransitionTaken`` where a rule about the same change exists.
    """
    known = PlanTransition.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    reader = Reader(known_to(tenant_id))
    draft = transition_at(reader.fields(document), reader.known)
    reader.refuse()
    return store_transition(tenant_id, draft, id=id, actor=actor, at=at)


@transaction.atomic
def delete_transition(rule_id: UUID, *, actor: str, at: datetime) -> None:
    """Remove a rule. What was changed or scheduled while it held stays; a repeat does nothing."""
    rule = PlanTransition.objects.select_for_update().filter(pk=rule_id).first()
    if rule is not None:
        record("plan_transition.deleted", rule, actor=actor, at=at, rule=str(rule))
        rule.delete()


def store_transition(
    tenant_id: UUID,
    draft: TransitionDraft,
    *,
    id: UUID,  # noqa: A002 -- as of every create operation
    actor: str,
    at: datetime,
) -> PlanTransition:
    """Insert a rule that was read; ``TransitionTaken`` where one about the same change exists."""
    rule = PlanTransition(
        id=id,
        tenant_id=tenant_id,
        **_sides(tenant_id, draft),
        allowed=draft.allowed,
        reason=draft.reason,
        effective=draft.effective,
        behaviour=draft.behaviour,
        phase_alignment=draft.phase_alignment,
        created_at=at,
    )
    try:
        with transaction.atomic():
            rule.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "transition_once":
            raise
        raise TransitionTaken(f"There is a rule from {rule} already; remove it first.") from error
    record("plan_transition.created", rule, actor=actor, at=at, rule=str(rule))
    return rule


def transition_like(tenant_id: UUID, draft: TransitionDraft) -> PlanTransition | None:
    """Return the rule about the same change, whatever it says."""
    sides = _sides(tenant_id, draft)
    return PlanTransition.objects.filter(tenant_id=tenant_id, **sides).first()


def _sides(tenant_id: UUID, draft: TransitionDraft) -> dict[str, Any]:
    from_plan, from_product = plan_or_product(tenant_id, draft.was)
    to_plan, to_product = plan_or_product(tenant_id, draft.to)
    return {
        "from_plan": from_plan,
        "from_product": from_product,
        "to_plan": to_plan,
        "to_product": to_product,
    }


def plan_or_product(tenant_id: UUID, side: SideDraft) -> tuple[Plan | None, Product | None]:
    """Return what a side of a rule names, which exists."""
    plan = product = None
    if side.plan is not None:
        plan = Plan.objects.get(tenant_id=tenant_id, key=side.plan)
    if side.product is not None:
        product = Product.objects.get(tenant_id=tenant_id, key=side.product)
    return plan, product
