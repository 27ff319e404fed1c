"""What a catalog document would change, and for whom, before it is applied."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.catalog.models import PlanVersion
from apps.catalog.operations.upload_catalog import Change, Uploaded, upload_catalog
from apps.core.errors import BillingError
from apps.invoicing.operations.previewing import preview_change
from apps.subscriptions.domain import Behaviour, ChangeVerb, Wish
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations.foreseeing import foresee_change

MOST_PREVIEWED: Final = 200  # subscriptions of a plan


@dataclass(frozen=True, slots=True)
class Touched:
    """The subscriptions that have another version of a plan than its new one, and keep it.

    ``differences``: by currency, how much more they would be billed at the end of their current
    periods, were each moved to the new version now, in proportion to time. ``previewed`` says of
    how many that is the sum; the others cannot be moved, or are more than are looked at.
    """

    subscriptions: int = 0
    previewed: int = 0
    differences: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planned:
    """What would become of one thing of the document."""

    item: Uploaded
    touched: Touched = Touched()


def plan_catalog(
    tenant_id: UUID, *, document: object, actor: str, at: datetime
) -> tuple[Planned, ...]:
    """Return what ``upload_catalog`` would do, whom it touches and what moving them would cost.

    It is done in a transaction that is then undone: nothing is stored. Raises ``CatalogInvalid``.
    """
    with transaction.atomic():
        made = upload_catalog(tenant_id, document=document, actor=actor, at=at)
        planned = tuple(
            Planned(one, _touched(one.id, one.version, at=at) if _is_new(one) else Touched())
            for one in made
        )
        transaction.set_rollback(True)
    return planned


def _is_new(one: Uploaded) -> bool:
    return one.kind == "plan" and one.change is Change.CHANGED


def _touched(plan_id: UUID, number: int | None, *, at: datetime) -> Touched:
    version = PlanVersion.objects.filter(plan_id=plan_id, number=number or 0).first()
    if version is None:
        return Touched()
    concerned = (
        Subscription.objects.filter(plan_version__plan_id=plan_id, next_bill_at__isnull=False)
        .exclude(plan_version=version)
        .select_related("customer", "plan_version__plan")
        .order_by("id")
    )
    differences: dict[str, Decimal] = defaultdict(Decimal)
    previewed = 0
    for subscription in concerned[:MOST_PREVIEWED]:
        wish = Wish(
            verb=ChangeVerb.CHANGE_PLAN,
            effective_at=at,
            behaviour=Behaviour.PRORATE,
            plan_version_id=version.pk,
        )
        try:
            with transaction.atomic():
                terms = foresee_change(subscription, wish, at=at).terms
                cutoff = max(at, subscription.next_bill_at or at)
                told = preview_change(terms, cutoff=cutoff)
        except BillingError:
            continue
        previewed += 1
        differences[told.currency] += told.difference
    return Touched(concerned.count(), previewed, dict(sorted(differences.items())))
