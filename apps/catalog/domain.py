"""What can be sold, and the life of a plan version."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


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


class Timing(StrEnum):
    """At which end of its period a charge is billed."""

    ADVANCE = "advance"
    ARREARS = "arrears"


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
