"""How amendments are told in money, which only apps above this one know."""

from datetime import datetime
from typing import Protocol, cast
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from apps.metering.domain import AmendmentOrder, AmendmentPreview


class Previewer(Protocol):
    """Tells what an amendment would do, to events and to money."""

    def __call__(
        self, tenant_id: UUID, order: AmendmentOrder, *, actor: str, at: datetime
    ) -> AmendmentPreview: ...


def previewer() -> Previewer:
    """Return what the project has named to tell it."""
    return cast("Previewer", import_string(settings.PREVIEW_OF_AMENDMENTS))
