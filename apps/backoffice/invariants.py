"""What must not exist in the trail of what happened."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from apps.core.audit import verify_chain
from apps.core.books import Rule
from apps.core.models import AuditHead


def audit_chain_is_broken(tenant_id: UUID | None) -> Iterator[str]:
    """Yield every tenant's chain of audit events that was changed after it was sealed."""
    heads = AuditHead.objects.order_by("tenant_id")
    if tenant_id is not None:
        heads = heads.filter(tenant_id=tenant_id)
    for head in heads:
        for sentence in verify_chain(head.tenant_id):
            yield f"audit trail of tenant {head.tenant_id}: {sentence}"


RULES: Final[tuple[Rule, ...]] = (audit_chain_is_broken,)
