"""Bringing the catalog to what one document describes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.catalog.documents.drafts import (
    FeatureDraft,
    Known,
    MeterDraft,
    PlanDraft,
    PriceListDraft,
    ProductDraft,
    same_terms,
)
from apps.catalog.documents.features import feature_at
from apps.catalog.documents.offers import OfferDraft, offer_at
from apps.catalog.documents.reading import Reader
from apps.catalog.documents.transitions import TransitionDraft, transition_at
from apps.catalog.domain import PlanVersionStatus
from apps.catalog.models import (
    AddOnOffer,
    Feature,
    Plan,
    PlanTransition,
    PlanVersion,
    PriceList,
    Product,
)
from apps.catalog.operations.features import store_feature
from apps.catalog.operations.lists import create_price_list, create_product
from apps.catalog.operations.offers import offer_like, store_offer
from apps.catalog.operations.plans import publish_version, store_plan, store_version
from apps.catalog.operations.transitions import store_transition, transition_like
from apps.catalog.queries import drafts_of, known_to
from apps.core.errors import FieldError, Invalid
from apps.core.events import record
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.metering.domain import filters_document
from apps.metering.models import Meter, MeterVersion
from apps.metering.operations import create_meter, revise_meter
from apps.rating.documents import Fields
from apps.rating.filters import parse_filters

_SECTIONS: Final = (
    "products",
    "price_lists",
    "meters",
    "features",
    "plans",
    "plan_transitions",
    "add_on_offers",
)
_KEYED: Final = _SECTIONS[:5]
_TAKE_TURNS: Final = "SELECT pg_advisory_xact_lock(hashtextextended('catalog ' || %s, 0))"


class Change(StrEnum):
    """What an upload did to one thing that it describes."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One thing of the document as it is now, with its newest version where it has versions."""

    kind: str
    key: str
    id: UUID
    change: Change
    version: int | None = None


@dataclass(frozen=True, slots=True)
class _By:
    """For whom, by whom and when."""

    tenant_id: UUID
    actor: str
    at: datetime


@transaction.atomic
def upload_catalog(
    tenant_id: UUID, *, document: object, actor: str, at: datetime
) -> tuple[Uploaded, ...]:
    """Make the catalog say what the document says, all of it or nothing; return what became of it.

    What is new is added. A product, a price list or a plan that exists takes the names given; a
    meter or a plan with other terms gets its next version; a rule for the same change of plans, or
    an offer of the same add-on to the same, says what the document says. Nothing is removed. So an upload of the
    same document changes nothing, and two at once take turns. Charges mean the version of a meter
    that the document describes; of others, the newest, or the one they have.

    Raises ``CatalogInvalid`` with every problem.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_TURNS, [str(tenant_id)])
    by = _By(tenant_id, actor, at)
    reader = Reader(known_to(tenant_id))
    root = reader.fields(document)
    sections = {name: _rows(root, name) for name in _SECTIONS}
    root.close()

    products = [reader.product(row) for row in sections["products"]]
    price_lists = [reader.price_list(row) for row in sections["price_lists"]]
    meters = _store_meters(reader, sections["meters"], by)
    known = known_to(tenant_id)
    reader.known = replace(
        known,
        products={**known.products, **{one.key: one.kind for one in products}},
        price_lists=known.price_lists | {one.key for one in price_lists},
        described_meters={one.key: one.version for one in meters if one.version is not None},
        broken_meters=_keys(sections["meters"]) - {one.key for one in meters},
    )
    features = [feature_at(row, reader.known) for row in sections["features"]]
    reader.known = replace(
        reader.known,
        features={**known.features, **{one.key: one for one in features}},
    )
    plans = [_read_plan(reader, row) for row in sections["plans"]]
    reader.known = replace(
        reader.known,
        plans={**known.plans, **{one.key: _product_of(one, known) for one in plans}},
    )
    rules = [transition_at(row, reader.known) for row in sections["plan_transitions"]]
    offers = [offer_at(row, reader.known) for row in sections["add_on_offers"]]
    for name in _KEYED:
        _note_repeats(sections[name])
    _note_same(sections["plan_transitions"], "from", [(one.was, one.to) for one in rules])
    _note_same(sections["add_on_offers"], "base", [(one.base, one.add_on) for one in offers])
    _note_archived(sections["plans"], plans, tenant_id)
    reader.refuse()

    return (
        *(_store_product(one, by) for one in products),
        *(_store_price_list(one, by) for one in price_lists),
        *meters,
        *(_store_feature(one, by) for one in features),
        *(_store_plan(one, by) for one in plans),
        *(_store_rule(one, by) for one in rules),
        *(_store_offer(one, by) for one in offers),
    )


# --- reading ------------------------------------------------------------------------------------


def _rows(root: Fields, name: str) -> list[Fields]:
    if not root.gives(name):
        root.take(name, required=False)
        return []
    return [] if root.take(name) == [] else root.rows(name)


def _read_plan(reader: Reader, row: Fields) -> PlanDraft:
    draft = reader.plan(row)
    row.close()
    return draft


def _keys(rows: Sequence[Fields]) -> frozenset[str]:
    return frozenset(str(row.take("key", required=False)) for row in rows)


def _note_repeats(rows: Sequence[Fields]) -> None:
    seen: set[str] = set()
    for row in rows:
        key = str(row.take("key", required=False))
        if key in seen:
            row.note("key", "duplicate", f"{key[:64]!r} is described above already")
        seen.add(key)


def _note_same(rows: Sequence[Fields], field: str, identities: Sequence[Hashable]) -> None:
    """Note rules that have no key and are about what one above is about."""
    seen: set[Hashable] = set()
    for row, identity in zip(rows, identities, strict=True):
        if identity in seen:
            row.note(field, "duplicate", "the same is described above already")
        seen.add(identity)


def _product_of(plan: PlanDraft, known: Known) -> str:
    return plan.product or known.plans.get(plan.key, plan.key)


def _note_archived(rows: Sequence[Fields], plans: Sequence[PlanDraft], tenant_id: UUID) -> None:
    archived = frozenset(
        Plan.objects.filter(
            tenant_id=tenant_id, key__in=[one.key for one in plans], archived_at__isnull=False
        ).values_list("key", flat=True)
    )
    for row, draft in zip(rows, plans, strict=True):
        if draft.key in archived:
            row.note("key", "plan_archived", f"the plan {draft.key!r} is archived")


# --- meters: stored first, because the operation that creates them judges them ------------------


def _store_meters(reader: Reader, rows: Sequence[Fields], by: _By) -> list[Uploaded]:
    stored = []
    for row in rows:
        before = len(reader.errors)
        draft = reader.meter(row)
        if len(reader.errors) > before:
            continue
        try:
            stored.append(_store_meter(draft, by))
        except Invalid as error:
            reader.errors += [
                FieldError(f"{row.path}.{one.field}", one.code, one.detail) for one in error.errors
            ]
    return stored


def _store_meter(draft: MeterDraft, by: _By) -> Uploaded:
    meter = Meter.objects.filter(tenant_id=by.tenant_id, key=draft.key).first()
    if meter is None:
        meter = create_meter(
            by.tenant_id,
            id=new_id(),
            key=draft.key,
            name=draft.name,
            unit=draft.unit,
            description=draft.description,
            event_name=draft.event_name,
            aggregation=draft.aggregation,
            value_property=draft.value_property,
            percentile=draft.percentile,
            recurring=draft.recurring,
            filters=draft.filters,
            group_by=draft.group_by,
            rounding=draft.rounding,
            rounding_places=draft.rounding_places,
            actor=by.actor,
            at=by.at,
        )
        return Uploaded("meter", draft.key, meter.pk, Change.CREATED, 1)
    newest = MeterVersion.objects.filter(meter=meter).order_by("-number")[:1].get()
    if _says(newest, draft):
        return Uploaded("meter", draft.key, meter.pk, Change.UNCHANGED, newest.number)
    revised = revise_meter(
        meter.pk,
        tenant_id=by.tenant_id,
        id=new_id(),
        event_name=draft.event_name,
        aggregation=draft.aggregation,
        value_property=draft.value_property,
        percentile=draft.percentile,
        recurring=draft.recurring,
        filters=draft.filters,
        group_by=draft.group_by,
        rounding=draft.rounding,
        rounding_places=draft.rounding_places,
        actor=by.actor,
        at=by.at,
    )
    return Uploaded("meter", draft.key, meter.pk, Change.CHANGED, revised.number)


def _says(version: MeterVersion, draft: MeterDraft) -> bool:
    described = (
        draft.event_name,
        draft.aggregation,
        draft.value_property,
        draft.percentile,
        draft.recurring,
        filters_document(parse_filters(draft.filters)),
        list(draft.group_by),
        draft.rounding or "",
        draft.rounding_places,
    )
    return described == (
        version.event_name,
        version.aggregation,
        version.value_property,
        version.percentile,
        version.recurring,
        version.filters,
        version.group_by,
        version.rounding,
        version.rounding_places,
    )


# --- storing ------------------------------------------------------------------------------------


def _store_product(draft: ProductDraft, by: _By) -> Uploaded:
    product = Product.objects.filter(tenant_id=by.tenant_id, key=draft.key).first()
    if product is None:
        product = create_product(
            by.tenant_id,
            id=new_id(),
            key=draft.key,
            name=draft.name,
            kind=draft.kind,
            tax_code=draft.tax_code,
            description=draft.description,
            actor=by.actor,
            at=by.at,
        )
        return Uploaded("product", draft.key, product.pk, Change.CREATED)
    change = _rename(
        product,
        "product.changed",
        by,
        name=draft.name,
        kind=draft.kind.value,
        tax_code=draft.tax_code,
        description=draft.description,
    )
    return Uploaded("product", draft.key, product.pk, change)


def _store_price_list(draft: PriceListDraft, by: _By) -> Uploaded:
    price_list = PriceList.objects.filter(tenant_id=by.tenant_id, key=draft.key).first()
    if price_list is None:
        price_list = create_price_list(
            by.tenant_id, id=new_id(), key=draft.key, name=draft.name, actor=by.actor, at=by.at
        )
        return Uploaded("price_list", draft.key, price_list.pk, Change.CREATED)
    change = _rename(price_list, "price_list.changed", by, name=draft.name)
    return Uploaded("price_list", draft.key, price_list.pk, change)


def _store_feature(draft: FeatureDraft, by: _By) -> Uploaded:
    feature = Feature.objects.filter(tenant_id=by.tenant_id, key=draft.key).first()
    if feature is None:
        feature = store_feature(by.tenant_id, draft, id=new_id(), actor=by.actor, at=by.at)
        return Uploaded("feature", draft.key, feature.pk, Change.CREATED)
    change = _rename(feature, "feature.changed", by, name=draft.name, unit=draft.unit)
    return Uploaded("feature", draft.key, feature.pk, change)


def _store_plan(draft: PlanDraft, by: _By) -> Uploaded:
    found = Plan.objects.filter(tenant_id=by.tenant_id, key=draft.key).first()
    if found is None:
        plan = store_plan(by.tenant_id, draft, id=new_id(), actor=by.actor, at=by.at)
        return Uploaded("plan", draft.key, plan.pk, Change.CREATED, 1)
    plan = lock_row(Plan, found.pk, tenant_id=by.tenant_id)
    named: dict[str, object] = {
        "name": draft.name,
        "description": draft.description,
        "metadata": draft.metadata,
    }
    if draft.product is not None:
        named["product_id"] = Product.objects.get(tenant_id=by.tenant_id, key=draft.product).pk
    change = _rename(plan, "plan.changed", by, **named)
    newest = plan.versions.order_by("-number")[:1].get()
    if not _is_current(newest, draft):
        newest = store_version(
            plan, draft.phases, id=new_id(), publish=draft.publish, actor=by.actor, at=by.at
        )
        change = Change.CHANGED
    elif draft.publish and newest.status == PlanVersionStatus.DRAFT:
        publish_version(newest.pk, actor=by.actor, at=by.at)
        change = Change.CHANGED
    return Uploaded("plan", draft.key, plan.pk, change, newest.number)


def _is_current(newest: PlanVersion, draft: PlanDraft) -> bool:
    return newest.status != PlanVersionStatus.RETIRED and same_terms(
        draft.phases, drafts_of([newest.pk])[newest.pk]
    )


def _store_rule(draft: TransitionDraft, by: _By) -> Uploaded:
    rule, change = transition_like(by.tenant_id, draft), Change.CREATED
    if rule is None:
        rule = store_transition(by.tenant_id, draft, id=new_id(), actor=by.actor, at=by.at)
    else:
        change = _rename(
            rule,
            "plan_transition.changed",
            by,
            allowed=draft.allowed,
            reason=draft.reason,
            effective=draft.effective,
            behaviour=draft.behaviour,
            phase_alignment=draft.phase_alignment,
        )
    return Uploaded("plan_transition", str(rule), rule.pk, change)


def _store_offer(draft: OfferDraft, by: _By) -> Uploaded:
    offer, change = offer_like(by.tenant_id, draft), Change.CREATED
    if offer is None:
        offer = store_offer(by.tenant_id, draft, id=new_id(), actor=by.actor, at=by.at)
    else:
        change = _rename(offer, "add_on_offer.changed", by, least=draft.least, most=draft.most)
    return Uploaded("add_on_offer", str(offer), offer.pk, change)


def _rename(
    row: Product | PriceList | Feature | Plan | PlanTransition | AddOnOffer,
    event: str,
    by: _By,
    **values: object,
) -> Change:
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    if not changed:
        return Change.UNCHANGED
    for name in changed:
        setattr(row, name, values[name])
    row.save(update_fields=changed)
    record(event, row, actor=by.actor, at=by.at, fields=", ".join(sorted(changed)))
    return Change.CHANGED
