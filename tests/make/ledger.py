"""Facts for the books."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from itertools import count
from uuid import UUID

from apps.core.ids import new_id
from apps.ledger.domain import Amount, Fact, FactKind
from apps.tenants.models import Tenant
from tests.make.tenants import AT

_numbers = count(1)


def make_fact(
    tenant: Tenant,
    kind: FactKind = FactKind.INVOICE_ISSUED,
    *,
    source_key: str | None = None,
    customer_id: UUID | None = None,
    currency: str = "USD",
    provider: str | None = None,
    at: datetime = AT,
    amounts: Mapping[Amount, str] | None = None,
) -> Fact:
    """Return a fact: an issued invoice of 119.00, 19.00 of it tax, unless said otherwise."""
    given = amounts or {Amount.TOTAL: "119.00", Amount.NET: "100.00", Amount.TAX: "19.00"}
    return Fact(
        kind=kind,
        tenant_id=tenant.id,
        source_key=source_key or f"fact-{next(_numbers)}",
        effective_at=at,
        currency=currency,
        customer_id=customer_id or new_id(),
        amounts={name: Decimal(text) for name, text in given.items()},
        provider=provider,
    )
