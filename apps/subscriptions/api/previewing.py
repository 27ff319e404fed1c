"""How previews of changes are told in money, which only apps above this one know."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string

from apps.subscriptions.domain import MoneyPreview, SubscriptionPreview, SubscriptionTerms


class Previewer(Protocol):
    """Tells what the customer would be billed by ``cutoff`` if a subscription had these terms."""

    def __call__(self, terms: SubscriptionTerms, *, cutoff: datetime) -> MoneyPreview: ...


def previewer() -> Previewer:
    """Return what the project has named to tell it."""
    return cast("Previewer", import_string(settings.PREVIEW_OF_CHANGES))


class CohortPreviewer(Protocol):
    """Tells what each of many subscriptions would be billed by ``cutoff`` with these terms."""

    def __call__(
        self, terms: Sequence[SubscriptionTerms], *, cutoff: datetime
    ) -> list[SubscriptionPreview]: ...


def cohort_previewer() -> CohortPreviewer:
    """Return what the project has named to tell it."""
    return cast("CohortPreviewer", import_string(settings.PREVIEW_OF_MIGRATIONS))
