"""Moving many subscriptions from one version of their plan to another. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class MigrationStatus(StrEnum):
    """Where a migration stands."""

    RUNNING = "running"
    DONE = "done"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"


MIGRATION_TRANSITIONS: Final[Mapping[MigrationStatus, frozenset[MigrationStatus]]] = {
    MigrationStatus.RUNNING: frozenset({MigrationStatus.DONE, MigrationStatus.ROLLING_BACK}),
    MigrationStatus.DONE: frozenset({MigrationStatus.ROLLING_BACK}),
    MigrationStatus.ROLLING_BACK: frozenset({MigrationStatus.ROLLED_BACK}),
    MigrationStatus.ROLLED_BACK: frozenset(),
}


class MemberOutcome(StrEnum):
    """What has become of one subscription of a migration."""

    PENDING = "pending"
    MIGRATED = "migrated"
    REFUSED = "refused"  # with its reason
    ROLLED_BACK = "rolled_back"


LARGEST_BATCH: Final = 1000
