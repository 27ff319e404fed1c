"""The whole catalog as one document."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

from apps.catalog.documents.drafts import PhaseDraft
from apps.catalog.documents.writing import phases_document
from apps.catalog.domain import PlanVersionStatus
from apps.catalog.models import (
    AddOnOffer,
    Plan,
    PlanTransition,
    PlanVersion,
    PriceList,
    Product,
)
from apps.catalog.queries import drafts_of, features_of, offers_for, transitions_for
from apps.core.money import plain
from apps.metering.models import MeterVersion
from apps.metering.queries.meters import terms_of
from apps.rating.filters import Scalar


def catalog_document(tenant_id: UUID) -> dict[str, object]:
    """Return the tenant's catalog as the document whose upload changes nothing.

    It holds the products, the price lists, the newest version of each meter, of each plan that
    is not archived the newest version that is on sale, the rules for changes, and the offers.
    """
    products = Product.objects.filter(tenant_id=tenant_id).order_by("key")
    lists = PriceList.objects.filter(tenant_id=tenant_id).order_by("key")
    meters = list(
        MeterVersion.objects.filter(tenant_id=tenant_id, meter__archived_at=None)
        .select_related("meter")
        .order_by("meter__key", "-number")
        .distinct("meter__key")
    )
    versions = list(
        PlanVersion.objects.filter(
            tenant_id=tenant_id, status=PlanVersionStatus.PUBLISHED, plan__archived_at=None
        )
        .select_related("plan__product")
        .order_by("plan__key", "-number")
        .distinct("plan__key")
    )
    phases = drafts_of([version.pk for version in versions])
    newest = {version.meter.key: version.number for version in meters}
    return {
        "products": [
            {
                "key": product.key,
                "name": product.name,
                "kind": product.kind,
                "tax_code": product.tax_code,
                "description": product.description,
            }
            for product in products
        ],
        "price_lists": [{"key": one.key, "name": one.name} for one in lists],
        "meters": [_meter_document(version) for version in meters],
        "features": [
            {
                "key": one.key,
                "name": one.name,
                "kind": one.kind,
                "meter": one.meter.key if one.meter else None,
                "unit": one.unit,
            }
            for one in features_of(tenant_id)
        ],
        "plans": [
            {
                "key": version.plan.key,
                "name": version.plan.name,
                "description": version.plan.description,
                "metadata": version.plan.metadata,
                "product": version.plan.product.key,
                "phases": phases_document(_unpinned(phases[version.pk], newest)),
            }
            for version in versions
        ],
        "plan_transitions": [
            _transition_document(one) for one in transitions_for(tenant_id).order_by("id")
        ],
        "add_on_offers": [_offer_document(one) for one in offers_for(tenant_id).order_by("id")],
    }


def _unpinned(phases: Iterable[PhaseDraft], newest: Mapping[str, int]) -> list[PhaseDraft]:
    """Leave out the versions of meters that a reader of the document takes anyway."""
    return [
        replace(
            phase,
            charges=tuple(
                replace(one, meter_version=None)
                if one.meter is not None and newest.get(one.meter) == one.meter_version
                else one
                for one in phase.charges
            ),
        )
        for phase in phases
    ]


def _meter_document(version: MeterVersion) -> dict[str, object]:
    return {
        "key": version.meter.key,
        "name": version.meter.name,
        "unit": version.meter.unit,
        "description": version.meter.description,
        "event_name": version.event_name,
        "aggregation": version.aggregation,
        "value_property": version.value_property,
        "percentile": None if version.percentile is None else plain(version.percentile),
        "recurring": version.recurring,
        "filters": [
            {"property": one.property, "op": one.op.value, "value": _filter_value(one.value)}
            for one in terms_of(version).filters
        ],
        "group_by": version.group_by,
        "rounding": version.rounding or None,
        "rounding_places": version.rounding_places,
    }


def _transition_document(rule: PlanTransition) -> dict[str, object]:
    return {
        "from": _side_document(rule.from_plan, rule.from_product),
        "to": _side_document(rule.to_plan, rule.to_product),
        "allowed": rule.allowed,
        "reason": rule.reason,
        "effective": rule.effective,
        "behaviour": rule.behaviour,
        "phase_alignment": rule.phase_alignment,
    }


def _offer_document(offer: AddOnOffer) -> dict[str, object]:
    return {
        "base": _side_document(offer.base_plan, offer.base_product),
        "add_on": offer.product.key,
        "least": plain(offer.least),
        "most": None if offer.most is None else plain(offer.most),
    }


def _side_document(plan: Plan | None, product: Product | None) -> dict[str, str] | None:
    if plan is not None:
        return {"plan": plan.key}
    return None if product is None else {"product": product.key}


def _filter_value(value: Scalar | tuple[Scalar, ...]) -> object:
    """Return a filter's value for JSON, where a number must be one: a string means itself."""
    match value:
        case tuple():
            return [_filter_value(one) for one in value]
        case Decimal():
            return float(value) if value % 1 else int(value)
        case _:
            return value
