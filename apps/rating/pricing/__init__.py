"""Pricing models: what a quantity costs, and why. Pure."""

from apps.rating.pricing.blocks import BlockPolicy, BlockTier, Package, TieredBlocks
from apps.rating.pricing.matrix import Matrix, MatrixPrice
from apps.rating.pricing.measured import (
    DEFAULT_BAND,
    GroupKey,
    Measured,
    Need,
    Rated,
    Step,
    after_included,
    step_document,
)
from apps.rating.pricing.percentages import GraduatedPercentage, Percentage, PercentageTier
from apps.rating.pricing.rates import (
    MODEL_NAMES,
    PricingModel,
    needs,
    parse_pricing,
    pricing_document,
    rate,
)
from apps.rating.pricing.tiers import Capacity, Graduated, Stair, Stairstep, Tier, Volume
from apps.rating.pricing.time_of_day import Band, TimeOfDay, band_of
from apps.rating.pricing.units import Dynamic, Flat, PerUnit

__all__ = [
    "DEFAULT_BAND",
    "MODEL_NAMES",
    "Band",
    "BlockPolicy",
    "BlockTier",
    "Capacity",
    "Dynamic",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "GroupKey",
    "Matrix",
    "MatrixPrice",
    "Measured",
    "Need",
    "Package",
    "PerUnit",
    "Percentage",
    "PercentageTier",
    "PricingModel",
    "Rated",
    "Stair",
    "Stairstep",
    "Step",
    "Tier",
    "TieredBlocks",
    "TimeOfDay",
    "Volume",
    "after_included",
    "band_of",
    "needs",
    "parse_pricing",
    "pricing_document",
    "rate",
    "step_document",
]
