"""Who sends events."""

from uuid import UUID

from apps.metering.domain import Sender
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant


def sender_of(tenant: Tenant, *, key_id: UUID | None = None) -> Sender:
    """Return the tenant as a sender of events, by one of its API keys if given."""
    return Sender(
        tenant_id=tenant.pk,
        max_age=tenant.event_max_age,
        max_ahead=tenant.event_max_ahead,
        has_clocks=tenant.mode == Mode.TEST,
        key_id=key_id,
    )
