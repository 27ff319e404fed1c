"""What a document describes, before it is stored; and what is stored, in the same form. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from apps.catalog.domain import (
    ChargeKind,
    FeatureKind,
    MeterTerms,
    PhaseKind,
    PriceTerms,
    ProductKind,
    Timing,
)
from apps.rating.aggregation import Aggregation, RoundingMode
from apps.rating.periods import Cadence
from apps.rating.proration import Basis


@dataclass(frozen=True, slots=True)
class FeatureDraft:
    """A feature as described; ``meter`` is the key of what a metered one is measured by."""

    key: str
    name: str
    kind: FeatureKind
    meter: str | None
    unit: str


@dataclass(frozen=True, slots=True)
class Known:
    """What a document may refer to: the newest version of each meter and all, and keys."""

    meters: Mapping[str, MeterTerms] = field(default_factory=dict)
    meter_versions: Mapping[tuple[str, int], MeterTerms] = field(default_factory=dict)
    products: Mapping[str, ProductKind] = field(default_factory=dict)
    plans: Mapping[str, str] = field(default_factory=dict)  # the product of each
    price_lists: frozenset[str] = frozenset()
    features: Mapping[str, FeatureDraft] = field(default_factory=dict)
    # the same document describes these meters: the version that its charges mean
    described_meters: Mapping[str, int] = field(default_factory=dict)
    # it describes these wrongly: complained about there, and not again where they are named
    broken_meters: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PriceDraft:
    """A price as described: ``price_list`` is a key, None for the standard prices."""

    currency: str
    price_list: str | None
    terms: PriceTerms


@dataclass(frozen=True, slots=True)
class ChargeDraft:
    """A charge as described. ``meter_version`` is the number asked for; None means the newest."""

    key: str
    name: str
    kind: ChargeKind
    cadence: Cadence | None
    timing: Timing
    prorated: bool
    meter: str | None
    included_quantity: Decimal
    prices: tuple[PriceDraft, ...]
    proration: Basis | None = None
    meter_version: int | None = field(default=None, compare=False)
    meter_terms: MeterTerms | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class GrantDraft:
    """A feature that a phase grants, by its key; ``limit`` None is without limit."""

    feature: str
    limit: Decimal | None


@dataclass(frozen=True, slots=True)
class PhaseDraft:
    """A phase as described; ``length`` None lasts until the subscription ends.

    Features are in the order of their keys.
    """

    kind: PhaseKind
    name: str
    length: Cadence | None
    charges: tuple[ChargeDraft, ...]
    features: tuple[GrantDraft, ...] = ()


@dataclass(frozen=True, slots=True)
class ProductDraft:
    """A product as described."""

    key: str
    name: str
    kind: ProductKind = ProductKind.BASE
    tax_code: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class PriceListDraft:
    """A price list as described."""

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class MeterDraft:
    """A meter as described, with the definition of one version; see ``metering``."""

    key: str
    name: str
    unit: str
    description: str
    event_name: str
    aggregation: Aggregation
    value_property: str
    percentile: Decimal | None
    recurring: bool
    filters: tuple[dict[str, object], ...]
    group_by: tuple[str, ...]
    rounding: RoundingMode | None
    rounding_places: int


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan as described, with one version. ``product`` is None where a new one is to be made."""

    key: str
    name: str
    product: str | None
    description: str
    metadata: Mapping[str, str]
    phases: tuple[PhaseDraft, ...]
    publish: bool


def same_terms(draft: Sequence[PhaseDraft], stored: Sequence[PhaseDraft]) -> bool:
    """Tell whether a description says what is stored.

    Numbers are compared by value and names by their letters. A charge that does not say which
    version of its meter it means is content with the one that is stored.
    """
    if tuple(draft) != tuple(stored):
        return False
    return all(
        described.meter_version in {None, kept.meter_version}
        for here, there in zip(draft, stored, strict=True)
        for described, kept in zip(here.charges, there.charges, strict=True)
    )
