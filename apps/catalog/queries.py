"""Reading the catalog."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.catalog.documents.drafts import (
    ChargeDraft,
    FeatureDraft,
    GrantDraft,
    Known,
    PhaseDraft,
    PriceDraft,
)
from apps.catalog.domain import (
    ChargeKind,
    ChargeTerms,
    CouponTerms,
    FeatureKind,
    GrantTerms,
    MeterTerms,
    PhaseKind,
    PlanVersionStatus,
    PriceTerms,
    ProductKind,
    Timing,
)
from apps.catalog.models import (
    AddOnOffer,
    Charge,
    ChargePrice,
    Coupon,
    Feature,
    Phase,
    PhaseFeature,
    Plan,
    PlanTransition,
    PlanVersion,
    PriceList,
    Product,
)
from apps.metering.models import MeterVersion
from apps.metering.queries.meters import terms_of
from apps.rating.periods import Cadence, Unit
from apps.rating.pricing import parse_pricing
from apps.rating.proration import Basis

_MOST_CACHED: Final = 20_000
# Published phases never change, so what was read once holds for the life of the process.
_published: dict[UUID, tuple[ChargeTerms, ...]] = {}


def charges_of(phase_ids: Iterable[UUID]) -> dict[UUID, tuple[ChargeTerms, ...]]:
    """Return the charges of each phase, in their order; of an unknown phase none.

    At most three queries, and none for published phases that this process has read before: their
    terms never change. They hold the name and unit of meters, which no operation changes either.
    """
    wanted = set(phase_ids)
    missing = wanted - _published.keys()
    read = _read_charges(missing) if missing else {}
    return {
        phase_id: read[phase_id] if phase_id in read else _published.get(phase_id, ())
        for phase_id in wanted
    }


def features_of(tenant_id: UUID, key: str | None = None) -> list[Feature]:
    """Return the tenant's features by key, or the one that has the key; two queries.

    Their meters are loaded with their versions.
    """
    found = Feature.objects.filter(tenant_id=tenant_id).select_related("meter").order_by("key")
    if key is not None:
        found = found.filter(key=key)
    return list(found.prefetch_related("meter__versions"))


def feature_draft(feature: Feature) -> FeatureDraft:
    """Return a stored feature as a document would describe it, its meter being loaded."""
    return FeatureDraft(
        key=feature.key,
        name=feature.name,
        kind=FeatureKind(feature.kind),
        meter=feature.meter.key if feature.meter else None,
        unit=feature.unit,
    )


def grants_of(phase_ids: Iterable[UUID]) -> dict[UUID, tuple[GrantTerms, ...]]:
    """Return what each phase grants; one query, and an empty tuple for a phase that grants nothing."""
    found: dict[UUID, list[GrantTerms]] = {phase_id: [] for phase_id in phase_ids}
    rows = PhaseFeature.objects.filter(phase__in=list(found)).order_by("pk")
    for phase_id, feature_id, limit in rows.values_list("phase_id", "feature_id", "limit"):
        found[phase_id].append(GrantTerms(feature_id, limit))
    return {phase_id: tuple(listed) for phase_id, listed in found.items()}


def _read_charges(phase_ids: set[UUID]) -> dict[UUID, tuple[ChargeTerms, ...]]:
    phases = {}
    products = {}
    for pk, status, product in Phase.objects.filter(pk__in=phase_ids).values_list(
        "pk", "version__status", "version__plan__product__key"
    ):
        phases[pk], products[pk] = status, product
    charges = list(
        Charge.objects.filter(phase__in=phases)
        .select_related("meter_version__meter")
        .order_by("phase_id", "position")
    )
    prices: dict[UUID, dict[tuple[UUID | None, str], PriceTerms]] = defaultdict(dict)
    for price in ChargePrice.objects.filter(charge__in=[charge.pk for charge in charges]):
        prices[price.charge_id][price.price_list_id, price.currency] = price_terms(price)
    found: dict[UUID, list[ChargeTerms]] = {phase_id: [] for phase_id in phase_ids}
    for charge in charges:
        terms_of_charge = _charge_terms(charge, prices[charge.pk], products[charge.phase_id])
        found[charge.phase_id].append(terms_of_charge)
    terms = {phase_id: tuple(listed) for phase_id, listed in found.items()}
    if len(_published) + len(terms) > _MOST_CACHED:
        _published.clear()
    for phase_id, status in phases.items():
        if status != PlanVersionStatus.DRAFT:
            _published[phase_id] = terms[phase_id]
    return terms


def price_terms(price: ChargePrice) -> PriceTerms:
    """Return the terms of a stored price."""
    return PriceTerms(
        parse_pricing(price.pricing, currency=price.currency),
        price.minimum,
        price.maximum,
        price.billing_threshold,
    )


def _charge_terms(
    charge: Charge, prices: dict[tuple[UUID | None, str], PriceTerms], product: str
) -> ChargeTerms:
    return ChargeTerms(
        id=charge.pk,
        key=charge.key,
        name=charge.name,
        kind=ChargeKind(charge.kind),
        cadence=cadence_of(charge.period_unit, charge.period_count),
        timing=Timing(charge.timing),
        prorated=charge.prorated,
        proration=Basis(charge.proration) if charge.proration else None,
        meter=meter_terms(charge.meter_version) if charge.meter_version else None,
        included_quantity=charge.included_quantity,
        prices=MappingProxyType(prices),
        product=product,
    )


def cadence_of(unit: str | None, count: int | None) -> Cadence | None:
    """Return the cadence in two columns, or None where they hold none."""
    return None if unit is None or count is None else Cadence(Unit(unit), count)


def meter_terms(version: MeterVersion) -> MeterTerms:
    """Return what a charge must know of a meter's version, its ``meter`` being loaded."""
    measured = terms_of(version)
    return MeterTerms(
        version_id=version.pk,
        key=version.meter.key,
        name=version.meter.name,
        unit=version.meter.unit,
        rule=measured.rule,
        group_by=measured.group_by,
    )


def known_to(tenant_id: UUID) -> Known:
    """Return what documents of the tenant may refer to."""
    newest: dict[str, MeterTerms] = {}
    numbered: dict[tuple[str, int], MeterTerms] = {}
    versions = MeterVersion.objects.filter(tenant_id=tenant_id, meter__archived_at=None)
    for version in versions.select_related("meter").order_by("number"):
        terms = meter_terms(version)
        newest[terms.key] = numbered[terms.key, version.number] = terms
    return Known(
        meters=newest,
        meter_versions=numbered,
        products={
            key: ProductKind(kind)
            for key, kind in Product.objects.filter(tenant_id=tenant_id).values_list("key", "kind")
        },
        plans=dict(Plan.objects.filter(tenant_id=tenant_id).values_list("key", "product__key")),
        price_lists=frozenset(price_list_ids(tenant_id)),
        features={one.key: feature_draft(one) for one in features_of(tenant_id)},
    )


def drafts_of(version_ids: Iterable[UUID]) -> dict[UUID, tuple[PhaseDraft, ...]]:
    """Return what is stored of plan versions as a document would describe it; five queries."""
    phases = list(Phase.objects.filter(version__in=list(version_ids)).order_by("position"))
    granted: dict[UUID, list[GrantDraft]] = defaultdict(list)
    for one in PhaseFeature.objects.filter(phase__in=phases).select_related("feature"):
        granted[one.phase_id].append(GrantDraft(one.feature.key, one.limit))
    charges: dict[UUID, list[Charge]] = defaultdict(list)
    for charge in (
        Charge.objects.filter(phase__in=phases)
        .select_related("meter_version__meter")
        .prefetch_related("prices__price_list")
        .order_by("position")
    ):
        charges[charge.phase_id].append(charge)
    found: dict[UUID, list[PhaseDraft]] = {version_id: [] for version_id in version_ids}
    for phase in phases:
        found[phase.version_id].append(
            PhaseDraft(
                kind=PhaseKind(phase.kind),
                name=phase.name,
                length=cadence_of(phase.length_unit, phase.length_count),
                charges=tuple(_charge_draft(charge) for charge in charges[phase.pk]),
                features=tuple(sorted(granted[phase.pk], key=lambda grant: grant.feature)),
            )
        )
    return {version_id: tuple(listed) for version_id, listed in found.items()}


def _charge_draft(charge: Charge) -> ChargeDraft:
    version = charge.meter_version
    prices = [
        PriceDraft(
            price.currency, price.price_list.key if price.price_list else None, price_terms(price)
        )
        for price in charge.prices.all()
    ]
    return ChargeDraft(
        key=charge.key,
        name=charge.name,
        kind=ChargeKind(charge.kind),
        cadence=cadence_of(charge.period_unit, charge.period_count),
        timing=Timing(charge.timing),
        prorated=charge.prorated,
        proration=Basis(charge.proration) if charge.proration else None,
        meter=version.meter.key if version else None,
        included_quantity=charge.included_quantity,
        prices=tuple(sorted(prices, key=lambda one: (one.price_list or "", one.currency))),
        meter_version=version.number if version else None,
    )


def coupon_terms(coupon: Coupon) -> CouponTerms:
    """Return what a stored coupon takes off."""
    return CouponTerms(
        id=coupon.pk,
        key=coupon.key,
        name=coupon.name,
        percentage=coupon.percentage,
        amounts={currency: Decimal(amount) for currency, amount in coupon.amounts.items()},
        priority=coupon.priority,
        products=frozenset(coupon.products),
        charges=frozenset(coupon.charges),
    )


def price_list_ids(tenant_id: UUID) -> dict[str, UUID]:
    """Return the tenant's price lists by key."""
    return dict(PriceList.objects.filter(tenant_id=tenant_id).values_list("key", "pk"))


def plans_for(tenant_id: UUID) -> QuerySet[Plan]:
    """Return the tenant's plans, with their products."""
    return Plan.objects.filter(tenant_id=tenant_id).select_related("product")


def version_on_sale(plan: Plan, number: int | None = None) -> PlanVersion | None:
    """Return a plan's published version with a number, or its newest; None if there is none.

    Of an archived plan nothing is on sale.
    """
    if plan.archived_at is not None:
        return None
    versions = plan.versions.filter(status=PlanVersionStatus.PUBLISHED)
    if number is not None:
        versions = versions.filter(number=number)
    return versions.order_by("-number").first()


def transition_between(was: Plan, to: Plan) -> PlanTransition | None:
    """Return the rule for changes from one plan to another; None where everything is allowed.

    Of all that fit, the most specific: a plan says more than a product, and that more than nothing.
    Where two say as much, the one that says more of the plan that is left.
    """
    rules = transitions_for(was.tenant_id).filter(
        Q(from_plan=was) | Q(from_product=was.product_id) | _any("from"),
        Q(to_plan=to) | Q(to_product=to.product_id) | _any("to"),
    )
    return max(rules, key=_saying, default=None)


def _any(side: str) -> Q:
    return Q(**{f"{side}_plan__isnull": True, f"{side}_product__isnull": True})


def _saying(rule: PlanTransition) -> tuple[int, int]:
    left = 2 * bool(rule.from_plan_id) + bool(rule.from_product_id)
    taken = 2 * bool(rule.to_plan_id) + bool(rule.to_product_id)
    return left + taken, left


def transitions_for(tenant_id: UUID) -> QuerySet[PlanTransition]:
    """Return the tenant's rules for changes of plans, with the plans and products they name."""
    return PlanTransition.objects.filter(tenant_id=tenant_id).select_related(
        "from_plan", "from_product", "to_plan", "to_product"
    )


def offers_for(tenant_id: UUID) -> QuerySet[AddOnOffer]:
    """Return the tenant's offers of add-ons, with what they name."""
    return AddOnOffer.objects.filter(tenant_id=tenant_id).select_related(
        "base_plan", "base_product", "product"
    )


def offers_to(base: Plan) -> QuerySet[AddOnOffer]:
    """Return the offers that hold for subscriptions on a plan, or on all plans of its product."""
    rows = offers_for(base.tenant_id)
    return rows.filter(Q(base_plan=base) | Q(base_product=base.product_id))


def offer_of(base: Plan, product_ids: Iterable[UUID]) -> dict[UUID, AddOnOffer]:
    """Return by product on which terms add-ons are offered to subscriptions on a plan.

    What is not offered is not there. An offer to the plan holds before one to its product.
    """
    found = offers_to(base).filter(product__in=list(product_ids))
    return {one.product_id: one for one in sorted(found, key=lambda one: bool(one.base_plan_id))}
