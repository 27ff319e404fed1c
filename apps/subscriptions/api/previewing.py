"""How previews of changes are told in money, which only apps above this one know."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

from apps.subscriptions.domain import (
    CancellationPreview,
    MoneyPreview,
    SubscriptionPreview,
    SubscriptionTerms,
)


class Previewer(Protocol):
    """Tells what the customer would be billed by ``cutoff`` if a subscription had these terms."""

    def __call__(self, terms: SubscriptionTerms, *, cutoff: datetime) -> MoneyPreview: ...


def previewer() -> Previewer:
    """Return what the project has named to tell it."""
    return cast("Previewer", import_string(settings.PREVIEW_OF_CHANGES))


class CancellationPreviewer(Protocol):
    """Tells what the end of a subscription costs, and what of it goes back to payments."""

    def __call__(
        self, terms: SubscriptionTerms, *, ended_at: datetime, refund: bool, cutoff: datetime
    ) -> CancellationPreview: ...


def cancellation_previewer() -> CancellationPreviewer:
    """Return what the project has named to tell it."""
    return cast("CancellationPreviewer", import_string(settings.PREVIEW_OF_CANCELLATIONS))


class CohortPreviewer(Protocol):
    """Tells what each of many subscriptions would be billed by ``cutoff`` with these terms."""

    def __call__(
        self, terms: Sequence[SubscriptionTerms], *, cutoff: datetime
    ) -> list[SubscriptionPreview]: ...


def cohort_previewer() -> CohortPreviewer:
    """Return what the project has named to tell it."""
    return cast("CohortPreviewer", import_string(settings.PREVIEW_OF_MIGRATIONS))
