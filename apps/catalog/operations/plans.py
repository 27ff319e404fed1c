"""Describing plans and versions of them, publishing, retiring and removing them."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Max, ProtectedError

from apps.catalog.documents.drafts import PhaseDraft, PlanDraft
from apps.catalog.documents.reading import Reader
from apps.catalog.domain import (
    PLAN_VERSION_TRANSITIONS,
    InUse,
    KeyTaken,
    PlanVersionStatus,
    VersionPublished,
)
from apps.catalog.models import (
    Charge,
    ChargePrice,
    Feature,
    Phase,
    PhaseFeature,
    Plan,
    PlanVersion,
    Product,
)
from apps.catalog.operations.lists import create_product
from apps.catalog.queries import known_to, price_list_ids
from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.core.states import move
from apps.rating.pricing import pricing_document


@transaction.atomic
def create_plan(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    document: object,
    actor: str,
    at: datetime,
) -> Plan:
    """Add the plan that a document describes, with its version 1, published unless it says not.

    Without ``product`` in the document a product with the plan's key and name is added, or taken
    if it exists. A repeat with the same ``id`` returns the plan as it is. Raises
    ``CatalogInvalid`` with every problem of the document, and ``KeyTaken``.
    """
    known = Plan.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    reader = Reader(known_to(tenant_id))
    fields = reader.fields(document)
    draft = reader.plan(fields)
    fields.close()
    reader.refuse()
    return store_plan(tenant_id, draft, id=id, actor=actor, at=at)


@transaction.atomic
def add_version(
    plan_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    document: object,
    actor: str,
    at: datetime,
) -> PlanVersion:
    """Add the next version of a plan, published unless the document says not.

    Subscriptions keep the version they have. A repeat with the same ``id`` returns the version as
    it is. Raises ``NotFound`` and ``CatalogInvalid`` with every problem of the document.
    """
    plan = _lock_plan(plan_id)
    known = PlanVersion.objects.filter(pk=id, plan=plan).first()
    if known is not None:
        return known
    phases, publish = _read_version(plan.tenant_id, document)
    return store_version(plan, phases, id=id, publish=publish, actor=actor, at=at)


@transaction.atomic
def replace_draft(version_id: UUID, *, document: object, actor: str, at: datetime) -> PlanVersion:
    """Give a version that is still a draft other terms, and publish it unless told not to.

    A repeat comes to the same. Raises ``VersionPublished``, ``NotFound`` and ``CatalogInvalid``.
    """
    version = _lock_version(version_id)
    _refuse_published(version)
    phases, publish = _read_version(version.tenant_id, document)
    version.phases.all().delete()
    _store_phases(version, phases)
    record("plan_version.changed", version, actor=actor, at=at)
    if publish:
        _publish(version, actor=actor, at=at)
    return version


@transaction.atomic
def publish_version(version_id: UUID, *, actor: str, at: datetime) -> PlanVersion:
    """Put a version on sale and fix its terms for ever. A repeat changes nothing.

    Raises ``IllegalTransition`` for a retired one and ``NotFound``.
    """
    version = _lock_version(version_id)
    if version.status != PlanVersionStatus.PUBLISHED:
        _publish(version, actor=actor, at=at)
    return version


@transaction.atomic
def retire_version(version_id: UUID, *, actor: str, at: datetime) -> PlanVersion:
    """Take a version off sale; subscriptions that have it keep it. A repeat changes nothing.

    Raises ``IllegalTransition`` for a draft and ``NotFound``.
    """
    version = _lock_version(version_id)
    if version.status != PlanVersionStatus.RETIRED:
        move(
            version,
            to=PlanVersionStatus.RETIRED,
            allowed=PLAN_VERSION_TRANSITIONS,
            actor=actor,
            at=at,
        )
    return version


@transaction.atomic
def archive_plan(plan_id: UUID, *, actor: str, at: datetime) -> Plan:
    """Take a whole plan off sale; subscriptions that have it keep it. A repeat changes nothing."""
    plan = _lock_plan(plan_id)
    if plan.archived_at is None:
        plan.archived_at = at
        plan.save(update_fields=["archived_at"])
        record("plan.archived", plan, actor=actor, at=at)
    return plan


@transaction.atomic
def delete_plan(plan_id: UUID, *, actor: str, at: datetime) -> None:
    """Remove a plan that was never published, with its drafts.

    Raises ``InUse``, which says what refers to it, such as subscriptions, ended ones too, or
    backtests, and ``VersionPublished`` if a version was published; such a plan can be archived.
    """
    plan = _lock_plan(plan_id)
    try:
        with transaction.atomic():
            plan.versions.all().delete()
            record("plan.deleted", plan, actor=actor, at=at, key=plan.key)
            plan.delete()
    except ProtectedError as error:
        raise InUse(f"{plan.key} is used by {_users(error)}; archive it instead.") from error
    except IntegrityError as error:
        if broken(error) != "published_is_frozen":
            raise
        raise VersionPublished(f"{plan.key} was published; archive it instead.") from error


def _users(refused: ProtectedError) -> str:
    """Return what refers to the rows that were to be removed, in words."""
    return ", ".join(
        sorted({str(one._meta.verbose_name_plural) for one in refused.protected_objects})
    )


# --- storing ------------------------------------------------------------------------------------


def store_plan(
    tenant_id: UUID,
    draft: PlanDraft,
    *,
    id: UUID,  # noqa: A002 -- as of every create operation
    actor: str,
    at: datetime,
) -> Plan:
    """Insert a plan that was read, its product where it has none, and its version 1."""
    key = draft.product or draft.key
    product = Product.objects.filter(tenant_id=tenant_id, key=key).first() or create_product(
        tenant_id, id=new_id(), key=key, name=draft.name, actor=actor, at=at
    )
    plan = Plan(
        id=id,
        tenant_id=tenant_id,
        product=product,
        key=draft.key,
        name=draft.name,
        description=draft.description,
        metadata=dict(draft.metadata),
        created_at=at,
    )
    try:
        with transaction.atomic():
            plan.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "plan_key_once":
            raise
        raise KeyTaken(f"Another plan has the key {draft.key!r}.", field="key") from error
    record("plan.created", plan, actor=actor, at=at, key=draft.key)
    store_version(plan, draft.phases, id=new_id(), publish=draft.publish, actor=actor, at=at)
    return plan


def store_version(
    plan: Plan,
    phases: Iterable[PhaseDraft],
    *,
    id: UUID,  # noqa: A002 -- as of every create operation
    publish: bool,
    actor: str,
    at: datetime,
) -> PlanVersion:
    """Insert the next version of a plan, which the caller has locked or just inserted."""
    last: int | None = plan.versions.aggregate(last=Max("number"))["last"]
    version = PlanVersion.objects.create(
        id=id,
        tenant_id=plan.tenant_id,
        plan=plan,
        number=(last or 0) + 1,
        created_at=at,
    )
    failpoint("catalog.plan.after_version")
    _store_phases(version, phases)
    record(
        "plan_version.created", version, actor=actor, at=at, plan=plan.key, number=version.number
    )
    if publish:
        _publish(version, actor=actor, at=at)
    return version


def _store_phases(version: PlanVersion, drafts: Iterable[PhaseDraft]) -> None:
    lists = price_list_ids(version.tenant_id)
    features = dict(Feature.objects.filter(tenant_id=version.tenant_id).values_list("key", "pk"))
    phases, charges, prices, grants = [], [], [], []
    for position, draft in enumerate(drafts):
        phase = Phase(
            tenant_id=version.tenant_id,
            version=version,
            position=position,
            kind=draft.kind,
            name=draft.name,
            length_unit=draft.length.unit if draft.length else None,
            length_count=draft.length.count if draft.length else None,
        )
        phases.append(phase)
        grants += [
            PhaseFeature(
                tenant_id=version.tenant_id,
                phase=phase,
                feature_id=features[one.feature],
                limit=one.limit,
            )
            for one in draft.features
        ]
        for place, described in enumerate(draft.charges):
            charge = Charge(
                tenant_id=version.tenant_id,
                phase=phase,
                key=described.key,
                name=described.name,
                kind=described.kind,
                period_unit=described.cadence.unit if described.cadence else None,
                period_count=described.cadence.count if described.cadence else None,
                timing=described.timing,
                prorated=described.prorated,
                proration=described.proration,
                meter_version_id=(
                    described.meter_terms.version_id if described.meter_terms else None
                ),
                included_quantity=described.included_quantity,
                position=place,
            )
            charges.append(charge)
            prices += [
                ChargePrice(
                    tenant_id=version.tenant_id,
                    charge=charge,
                    price_list_id=lists[price.price_list] if price.price_list else None,
                    currency=price.currency,
                    pricing=pricing_document(price.terms.model),
                    minimum=price.terms.minimum,
                    maximum=price.terms.maximum,
                    billing_threshold=price.terms.billing_threshold,
                )
                for price in described.prices
            ]
    Phase.objects.bulk_create(phases)
    Charge.objects.bulk_create(charges)
    ChargePrice.objects.bulk_create(prices)
    PhaseFeature.objects.bulk_create(grants)


def _publish(version: PlanVersion, *, actor: str, at: datetime) -> None:
    version.published_at = at
    move(
        version,
        to=PlanVersionStatus.PUBLISHED,
        allowed=PLAN_VERSION_TRANSITIONS,
        actor=actor,
        at=at,
        also=("published_at",),
    )


def _read_version(tenant_id: UUID, document: object) -> tuple[tuple[PhaseDraft, ...], bool]:
    reader = Reader(known_to(tenant_id))
    fields = reader.fields(document)
    phases = reader.version(fields)
    publish = fields.flag("publish", default=True)
    fields.close()
    reader.refuse()
    return phases, publish


def _refuse_published(version: PlanVersion) -> None:
    if version.status != PlanVersionStatus.DRAFT:
        raise VersionPublished(
            f"Version {version.number} of {version.plan.key} is {version.status}: its terms never"
            " change. Add the next version."
        )


def _lock_plan(plan_id: UUID) -> Plan:
    found = Plan.objects.filter(pk=plan_id).first()
    if found is None:
        raise NotFound("There is no such plan.")
    return lock_row(Plan, plan_id, tenant_id=found.tenant_id)


def _lock_version(version_id: UUID) -> PlanVersion:
    found = PlanVersion.objects.filter(pk=version_id).first()
    if found is None:
        raise NotFound("There is no such plan version.")
    return lock_row(PlanVersion, version_id, tenant_id=found.tenant_id)
