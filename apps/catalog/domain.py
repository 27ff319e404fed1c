"""What can be sold, the terms of a charge as billing sees them, and the life of a plan version."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from apps.core.errors import Conflict, Invalid
from apps.rating.aggregation import Aggregation, AggregationRule
from apps.rating.periods import Cadence
from apps.rating.pricing import (
    Capacity,
    Dynamic,
    Graduated,
    GraduatedPercentage,
    Matrix,
    Need,
    Percentage,
    PricingModel,
    Stairstep,
    TimeOfDay,
    Volume,
    needs,
)
from apps.rating.proration import Basis


class ProductKind(StrEnum):
    """How a product is sold."""

    BASE = "base"
    ADD_ON = "add_on"
    STANDALONE = "standalone"


class PhaseKind(StrEnum):
    """What a stretch of a plan is for."""

    TRIAL = "trial"
    DISCOUNT = "discount"
    FIXED_TERM = "fixed_term"
    EVERGREEN = "evergreen"


class ChargeKind(StrEnum):
    """What makes a charge due."""

    FIXED = "fixed"  # once, when its phase begins
    RECURRING = "recurring"  # every billing period, by the subscription's quantity
    USAGE = "usage"  # what a meter measured in the billing period


class FeatureKind(StrEnum):
    """What is asked of a feature."""

    BOOLEAN = "boolean"  # has the customer got it?
    LIMIT = "limit"  # how many may he have?
    METERED = "metered"  # how much may he use in a billing period, and how much has he used?


class Timing(StrEnum):
    """At which end of its period a charge is billed."""

    ADVANCE = "advance"
    ARREARS = "arrears"


class Behaviour(StrEnum):
    """What may be said about a change of a subscription: how it settles, and when that is billed."""

    PRORATE = "prorate"
    NONE = "none"
    FULL_CREDIT = "full_credit"
    INVOICE_NOW = "invoice_now"  # prorated, and billed at once
    NEXT_PERIOD = "next_period"  # takes effect only when the current billing period ends


class TransitionTiming(StrEnum):
    """When a change of the plan takes effect for which no instant is named."""

    NOW = "now"
    PERIOD_END = "period_end"  # with the billing period in which it is asked for


class PhaseAlignment(StrEnum):
    """From where the phases of a plan that is changed to are counted."""

    START = "start"  # the subscription's start: time lived on the old plan counts
    CONTINUE = "continue"  # the start of the phase that holds, in the new plan's phase of that kind
    CHANGE = "change"  # the change: its first phase begins then


class CouponTarget(StrEnum):
    """Whose charges a coupon discounts."""

    SUBSCRIPTION = "subscription"  # those of the one that it is redeemed for
    CUSTOMER = "customer"  # those of all subscriptions of the customer


class CouponDuration(StrEnum):
    """How many billing periods a coupon discounts."""

    ONCE = "once"
    PERIODS = "periods"
    FOREVER = "forever"


class PlanVersionStatus(StrEnum):
    """A draft may change and cannot be sold; a published version never changes."""

    DRAFT = "draft"
    PUBLISHED = "published"
    RETIRED = "retired"  # sold no more; subscriptions that have it keep it


PLAN_VERSION_TRANSITIONS: Final[Mapping[PlanVersionStatus, frozenset[PlanVersionStatus]]] = {
    PlanVersionStatus.DRAFT: frozenset({PlanVersionStatus.PUBLISHED}),
    PlanVersionStatus.PUBLISHED: frozenset({PlanVersionStatus.RETIRED}),
    PlanVersionStatus.RETIRED: frozenset(),
}


class KeyTaken(Conflict):
    """Another row of the tenant has this key."""

    reason = "key_taken"


class TransitionTaken(Conflict):
    """Another rule is about the same change."""

    reason = "transition_taken"


class OfferTaken(Conflict):
    """The add-on is offered to these subscriptions already."""

    reason = "offer_taken"


class InUse(Conflict):
    """Something depends on what was to be removed."""

    reason = "in_use"


class VersionPublished(Conflict):
    """A plan version that was published never changes, and is never deleted."""

    reason = "version_published"


class CouponInvalid(Invalid):
    """What was asked for cannot be a coupon; ``errors`` lists every reason."""

    reason = "coupon_invalid"


class CouponSpent(Conflict):
    """The coupon has been redeemed as often as it may be."""

    reason = "coupon_spent"


class CouponExpired(Conflict):
    """The coupon could be redeemed until a time that is over, or was archived."""

    reason = "coupon_expired"


class CatalogInvalid(Invalid):
    """A document of the catalog has problems; ``errors`` lists all of them."""

    reason = "catalog_invalid"


@dataclass(frozen=True, slots=True)
class MeterTerms:
    """The version of a meter that a charge is pinned to. Name and unit are for people to read."""

    version_id: UUID
    key: str
    name: str
    unit: str
    rule: AggregationRule
    group_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PriceTerms:
    """A pricing model in one currency, and the bounds of what a whole period costs.

    ``minimum`` and ``maximum`` are amounts for a full period, in major units of the currency.
    ``billing_threshold`` is the amount of unbilled usage at which a bill need not wait.
    """

    model: PricingModel
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    billing_threshold: Decimal | None = None


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What a phase grants of a feature. ``limit`` None grants without limit."""

    feature_id: UUID
    limit: Decimal | None


@dataclass(frozen=True, slots=True)
class ChargeTerms:
    """One priced part of a phase, as published.

    ``cadence`` is None for fixed charges alone, ``meter`` is given for usage alone. ``prices`` are
    by price list (None: the standard prices) and currency; every currency of the plan has a
    standard price. ``proration`` None is the tenant's.
    """

    id: UUID
    key: str
    name: str
    kind: ChargeKind
    cadence: Cadence | None
    timing: Timing
    prorated: bool
    meter: MeterTerms | None
    included_quantity: Decimal
    prices: Mapping[tuple[UUID | None, str], PriceTerms]
    proration: Basis | None = None
    product: str = ""  # the key of what the plan sells

    def price(self, price_list_id: UUID | None, currency: str) -> PriceTerms | None:
        """Return the price on a list, or the standard one where the list has none of its own."""
        return self.prices.get((price_list_id, currency)) or self.prices.get((None, currency))

    def measured_for(self, currency: str) -> PricingModel | None:
        """Return the model for which usage is measured: of all price lists, the most curious one.

        What it needs includes what the others need (``looks`` tells; the catalog sees to it), so
        usage at any price point can be priced by one measurement. None without a price.
        """
        models = [price.model for (_, priced), price in self.prices.items() if priced == currency]
        return max(models, key=lambda model: needs(model) is not Need.QUANTITY, default=None)


@dataclass(frozen=True, slots=True)
class CouponTerms:
    """What a coupon takes off: a percentage of what is left, or an amount per billing period.

    One of ``percentage`` and ``amounts`` (by currency, in major units) is given. Of several coupons
    the one with the lowest ``priority`` comes first; of the same priority, amounts before
    percentages. ``products`` and ``charges`` are keys; where both are empty it is for everything.
    """

    id: UUID
    key: str
    name: str
    percentage: Decimal | None
    amounts: Mapping[str, Decimal]
    priority: int
    products: frozenset[str]
    charges: frozenset[str]

    def covers(self, charge: ChargeTerms) -> bool:
        """Say whether the coupon is for a charge."""
        return (not self.products or charge.product in self.products) and (
            not self.charges or charge.key in self.charges
        )


_MONEY: Final = frozenset(Aggregation) - {Aggregation.COUNT, Aggregation.UNIQUE_COUNT}
_ADDITIVE: Final = frozenset({Aggregation.COUNT, Aggregation.SUM})
_WHOLE: Final = frozenset({Aggregation.COUNT, Aggregation.UNIQUE_COUNT})


def looks(model: PricingModel) -> Hashable:
    """Return how a model looks at usage beyond its quantity; None if it does not.

    Prices of one charge in one currency may differ in everything else, but usage is measured once
    for all of them.
    """
    match model:
        case Matrix():
            return (Need.GROUPS, model.dimensions)
        case TimeOfDay():
            return (Need.BANDS, model.zone, tuple((one.begin, one.end) for one in model.bands))
        case _:
            need = needs(model)
            return None if need is Need.QUANTITY else need


def misfits(model: PricingModel, meter: MeterTerms | None) -> list[tuple[str, str, str]]:
    """Return why a model cannot price what a meter measures, or a subscription's quantity.

    Each is a path below the model's document, a code and a sentence. Matrix prices need their
    dimensions among the meter's; prices per transaction, per event and per time of day need an
    aggregation of which parts can be told; a percentage needs an amount of money.
    """
    if meter is None:
        if needs(model) is not Need.QUANTITY or isinstance(model, Percentage | GraduatedPercentage):
            return [("model", "model_needs_usage", "this model prices usage: name a meter")]
        return []
    found = _misfit_dimensions(model, meter)
    allowed = _aggregations(model)
    aggregation = meter.rule.aggregation
    if aggregation not in allowed:
        offer = ", ".join(sorted(allowed))
        found.append(
            (
                "model",
                "aggregation_unfit",
                f"the model needs a meter by {offer}; {meter.key!r} is by {aggregation.value}",
            )
        )
    elif meter.rule.recurring and needs(model) in {Need.TRANSACTIONS, Need.PRICED, Need.BANDS}:
        found.append(
            (
                "model",
                "aggregation_unfit",
                f"{meter.key!r} carries its level from period to period; this model prices events",
            )
        )
    if aggregation in _WHOLE:
        found += _fractional_bounds(model)
    return found


def _aggregations(model: PricingModel) -> frozenset[Aggregation]:
    match model:
        case Percentage() if needs(model) is Need.TRANSACTIONS:
            return frozenset({Aggregation.SUM})
        case Percentage() | GraduatedPercentage():
            return _MONEY
        case Dynamic() | TimeOfDay():
            return _ADDITIVE
        case _:
            return frozenset(Aggregation)


def _misfit_dimensions(model: PricingModel, meter: MeterTerms) -> list[tuple[str, str, str]]:
    if not isinstance(model, Matrix):
        return []
    known = ", ".join(map(repr, meter.group_by)) or "nothing"
    return [
        (
            f"dimensions[{index}]",
            "dimension_unknown",
            f"the meter {meter.key!r} does not group by {name!r}; it groups by {known}",
        )
        for index, name in enumerate(model.dimensions)
        if name not in meter.group_by
    ]


def _fractional_bounds(model: PricingModel) -> list[tuple[str, str, str]]:
    if not isinstance(model, Graduated | Volume | Stairstep | Capacity):
        return []
    bounds = [tier.up_to for tier in model.tiers]
    return [
        (
            f"tiers[{index}].up_to",
            "not_a_whole_number",
            f"the meter counts: {bound} is never reached",
        )
        for index, bound in enumerate(bounds)
        if bound is not None and bound % 1
    ]
