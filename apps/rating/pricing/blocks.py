"""Prices per whole block: packages, and tiers of blocks. Pure."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import assert_never

from apps.core.money import plain
from apps.rating.documents import Fields
from apps.rating.pricing.measured import ZERO, Step, usage_step


@dataclass(frozen=True, slots=True)
class Package:
    """After the free units, each package that is begun is paid in full.

    Without usage beyond the free units nothing is, unless ``minimum_one``.
    """

    size: Decimal
    price: Decimal
    free_units: Decimal = ZERO
    minimum_one: bool = False


class BlockPolicy(StrEnum):
    """Whether each tier prices its own blocks, or the tier reached prices them all."""

    ALL_TIERS = "all_tiers"
    TOP_TIER = "top_tier"


@dataclass(frozen=True, slots=True)
class BlockTier:
    """At most so many blocks of a size, each begun one paid in full; the last tier has no limit."""

    block_size: Decimal
    max_blocks: int | None
    block_price: Decimal


@dataclass(frozen=True, slots=True)
class TieredBlocks:
    """Tiers that are filled with blocks one after another.

    ``all_tiers``: each tier charges the blocks in it. ``top_tier``: the whole quantity is divided
    into blocks of the tier that its last unit lies in, and pays the price of that one.
    """

    policy: BlockPolicy
    tiers: tuple[BlockTier, ...]


def read_package(fields: Fields, _currency: str) -> Package:
    """Read ``{"size", "price", "free_units", "minimum_one"}``."""
    return Package(
        size=fields.size("size"),
        price=fields.price("price"),
        free_units=fields.quantity("free_units", default=ZERO),
        minimum_one=fields.flag("minimum_one", default=False),
    )


def read_tiered_blocks(fields: Fields, _currency: str) -> TieredBlocks:
    """Read ``{"policy", "tiers": [{"block_size", "max_blocks", "block_price"}]}``."""
    policy = fields.choice("policy", BlockPolicy) or BlockPolicy.ALL_TIERS
    rows = fields.rows("tiers")
    tiers = tuple(_read_tier(row, is_last=row is rows[-1]) for row in rows)
    return TieredBlocks(BlockPolicy(policy), tiers)


def _read_tier(row: Fields, *, is_last: bool) -> BlockTier:
    size = row.size("block_size")
    most = None
    if row.has("max_blocks"):
        most = row.whole("max_blocks", least=1)
        if is_last:
            row.note("max_blocks", "last_tier_not_open", "the last tier has no limit: null")
    else:
        row.take("max_blocks")
        if not is_last and row.gives("max_blocks"):
            row.note("max_blocks", "tier_open", "only the last tier is without a limit")
    price = row.price("block_price")
    row.close()
    return BlockTier(size, most, price)


def block_document(model: Package | TieredBlocks) -> dict[str, object]:
    """Return the JSON form of the model."""
    match model:
        case Package():
            return {
                "model": "package",
                "size": f"{model.size:f}",
                "price": f"{model.price:f}",
                "free_units": f"{model.free_units:f}",
                "minimum_one": model.minimum_one,
            }
        case TieredBlocks():
            return {
                "model": "tiered_blocks",
                "policy": model.policy.value,
                "tiers": [
                    {
                        "block_size": f"{tier.block_size:f}",
                        "max_blocks": tier.max_blocks,
                        "block_price": f"{tier.block_price:f}",
                    }
                    for tier in model.tiers
                ],
            }
        case _:
            assert_never(model)


def block_steps(model: Package | TieredBlocks, quantity: Decimal) -> list[Step]:
    """Price a quantity that is not negative; a step counts blocks, its bounds count units."""
    match model:
        case Package():
            return _package_steps(model, quantity)
        case TieredBlocks():
            return _tier_steps(model, quantity)
        case _:
            assert_never(model)


def _package_steps(model: Package, quantity: Decimal) -> list[Step]:
    steps = []
    free = min(quantity, model.free_units)
    if free:
        steps.append(usage_step("Free units", free, ZERO, ZERO, model.free_units))
    packages = _blocks_in(quantity - free, model.size)
    if model.minimum_one:
        packages = max(packages, Decimal(1))
    if packages:
        label = f"Packages of {plain(model.size)}"
        steps.append(usage_step(label, packages, model.price, model.free_units))
    return steps


def _tier_steps(model: TieredBlocks, quantity: Decimal) -> list[Step]:
    if not quantity:
        return []
    steps = []
    floor = ZERO
    for number, tier in enumerate(model.tiers, start=1):
        blocks = _blocks_in(quantity - floor, tier.block_size)
        ends_here = tier.max_blocks is None or blocks <= tier.max_blocks
        upper = None if tier.max_blocks is None else floor + tier.max_blocks * tier.block_size
        if model.policy is BlockPolicy.ALL_TIERS:
            filled = blocks if tier.max_blocks is None else min(blocks, Decimal(tier.max_blocks))
            steps.append(usage_step(f"Tier {number}", filled, tier.block_price, floor, upper))
        elif ends_here:
            blocks = _blocks_in(quantity, tier.block_size)
            steps.append(usage_step(f"Tier {number}", blocks, tier.block_price, floor, upper))
        if ends_here or upper is None:
            break
        floor = upper
    return steps


def _blocks_in(quantity: Decimal, size: Decimal) -> Decimal:
    """Return how many blocks hold a quantity, the last of them perhaps not full."""
    whole, rest = divmod(quantity, size)
    return whole + 1 if rest else whole
