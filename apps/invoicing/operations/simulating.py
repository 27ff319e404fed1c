"""The invoice that would be, of a plan and usage that need not exist: the engine, with nothing kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.catalog.domain import PlanVersionStatus
from apps.catalog.models import PlanVersion
from apps.catalog.operations.plans import publish_version
from apps.core.errors import FieldError, Invalid
from apps.core.ids import encode, new_id
from apps.customers.domain import TaxExempt
from apps.customers.models import Customer
from apps.customers.operations import create_customer
from apps.invoicing.operations.billing import PreviewDocument, preview_customer
from apps.metering.domain import ReceiptStatus, Sender
from apps.metering.operations import ingest_batch
from apps.subscriptions.models import Subscription
from apps.subscriptions.operations import start_subscription

LONGEST: Final = timedelta(days=3 * 366)
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SimulationInvalid(Invalid):
    """What is to be simulated could not happen so."""

    reason = "simulation_invalid"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A plan, for whom, from when until when (exclusive), and what was used meanwhile.

    ``like`` is a customer whose currency, zone, address and tax status count; without one they are
    ``currency`` and ``zone``. ``events`` are as callers send them, less key and subject.
    """

    version_id: UUID
    start: datetime
    end: datetime
    currency: str
    zone: str
    like: Customer | None = None
    quantity: Decimal = Decimal(1)
    price_list_id: UUID | None = None
    events: Sequence[Mapping[str, object]] = ()


def simulate_invoice(
    tenant_id: UUID, hypothesis: Hypothesis, *, actor: str
) -> list[PreviewDocument]:
    """Return the documents for services that begin in ``[start, end)`` and are due by its end.

    A new customer like the one given subscribes at the start, has the usage, and is billed, by what
    bills everybody; all of it in a transaction that is then undone, so that nothing is stored. The
    version may be a draft. Raises ``SimulationInvalid`` with every event that is wrong, and what
    starting a subscription raises.
    """
    if hypothesis.end - hypothesis.start > LONGEST:
        raise SimulationInvalid("Simulate three years at most.", field="end")
    at = hypothesis.start
    with transaction.atomic():
        version = PlanVersion.objects.get(pk=hypothesis.version_id, tenant_id=tenant_id)
        if version.status == PlanVersionStatus.DRAFT:
            publish_version(version.pk, actor=actor, at=at)
        customer = _customer(tenant_id, hypothesis, actor=actor, at=at)
        subscription = start_subscription(
            customer.pk,
            id=new_id(),
            plan_version_id=version.pk,
            started_at=at,
            quantity=hypothesis.quantity,
            price_list_id=hypothesis.price_list_id,
            actor=actor,
            at=at,
        )
        _use(subscription, hypothesis)
        documents = preview_customer(
            customer.pk, tenant_id=tenant_id, cutoff=hypothesis.end, begun_before=hypothesis.end
        )
        transaction.set_rollback(True)
    return documents


def _customer(tenant_id: UUID, hypothesis: Hypothesis, *, actor: str, at: datetime) -> Customer:
    like = hypothesis.like
    if like is None:
        return create_customer(
            tenant_id,
            id=new_id(),
            name="Nobody",
            currency=hypothesis.currency,
            zone=hypothesis.zone,
            actor=actor,
            at=at,
        )
    return create_customer(
        tenant_id,
        id=new_id(),
        name=like.name,
        currency=like.currency,
        zone=like.zone,
        address=like.address,
        tax_ids=like.tax_ids.values_list("kind", "value"),
        tax_exempt=TaxExempt(like.tax_exempt),
        tax_exempt_reason=like.tax_exempt_reason,
        actor=actor,
        at=at,
    )


def _use(subscription: Subscription, hypothesis: Hypothesis) -> None:
    if not hypothesis.events:
        return
    subject = encode(Subscription.ID_PREFIX, subscription.pk)
    items = [
        {"timestamp": hypothesis.start.astimezone(UTC).isoformat(), **one}
        | {"idempotency_key": new_id().hex, "subscription": subject}
        for one in hypothesis.events
    ]
    at = hypothesis.end
    sender = Sender(subscription.tenant_id, at - _FIRST, timedelta(0), has_clocks=False)
    errors = []
    for place, receipt in enumerate(ingest_batch(sender, items, at=at)):
        path = f"events[{place}]"
        if receipt.status != ReceiptStatus.ACCEPTED:
            field = f"{path}.{receipt.field}" if receipt.field else path
            errors.append(FieldError(field, receipt.reason or "invalid", receipt.detail or ""))
        elif receipt.orphan is not None:
            errors.append(FieldError(path, receipt.orphan, "It would match nothing."))
    if errors:
        raise SimulationInvalid(errors=errors[:100])
