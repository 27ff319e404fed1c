"""What a change of a subscription would be billed, before it is made."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction

from apps.core.ids import new_id, new_ids
from apps.invoicing.gathering import Gathered, gather
from apps.invoicing.lines import ProposedLine
from apps.invoicing.operations.billing import reopened_by
from apps.invoicing.operations.drafting import facts_for, tax_proposed
from apps.subscriptions.domain import (
    MoneyPreview,
    PreviewLine,
    SubscriptionPreview,
    SubscriptionTerms,
)
from apps.tenants.models import Tenant

_ZERO: Final = Decimal(0)


def preview_change(terms: SubscriptionTerms, *, cutoff: datetime) -> MoneyPreview:
    """Return what the customer would be billed by ``cutoff`` if a subscription had these terms.

    Beside what he would be billed as things are. Stores nothing; the usage counted is what there is
    so far, and only documents in the subscription's currency are told.
    """
    tenant = Tenant.objects.get(id=terms.tenant_id)
    cutoffs = {terms.customer_id: cutoff}
    reopened = reopened_by([terms.customer_id])
    with transaction.atomic():
        now = gather(tenant, cutoffs, reopened=reopened)
        then = gather(tenant, cutoffs, reopened=reopened, imagined={terms.id: terms})
    lines, otherwise = (
        [
            one
            for one in found.by_customer[terms.customer_id].lines
            if one.currency == terms.currency
        ]
        for found in (then, now)
    )
    tax, otherwise_tax = (_tax(tenant, terms, one) for one in (lines, otherwise))
    return MoneyPreview(
        currency=terms.currency,
        cutoff=cutoff,
        lines=tuple(
            PreviewLine(
                description=one.description,
                service_start=one.service.start,
                service_end=one.service.end,
                quantity=one.quantity,
                unit=one.unit,
                amount=one.amount,
                corrects=one.corrects,
            )
            for one in lines
        ),
        total=sum((one.amount for one in lines), _ZERO),
        otherwise=sum((one.amount for one in otherwise), _ZERO),
        tax=tax,
        otherwise_tax=otherwise_tax,
    )


def preview_subscriptions(
    terms: Sequence[SubscriptionTerms], *, cutoff: datetime
) -> list[SubscriptionPreview]:
    """Return what each subscription of a tenant would be billed by ``cutoff`` with these terms.

    Beside what it would be billed as things are, before tax; in as many queries for many as for
    one. Stores nothing.
    """
    if not terms:
        return []
    tenant = Tenant.objects.get(id=terms[0].tenant_id)
    cutoffs = {one.customer_id: cutoff for one in terms}
    reopened = reopened_by(cutoffs)
    with transaction.atomic():
        now = _by_subscription(gather(tenant, cutoffs, reopened=reopened))
        imagined = {one.id: one for one in terms}
        then = _by_subscription(gather(tenant, cutoffs, reopened=reopened, imagined=imagined))
    return [
        SubscriptionPreview(
            subscription_id=one.id,
            customer_id=one.customer_id,
            external_id=one.external_id,
            currency=one.currency,
            total=then[one.id],
            otherwise=now[one.id],
        )
        for one in terms
    ]


def _by_subscription(gathered: Gathered) -> dict[UUID, Decimal]:
    totals: dict[UUID, Decimal] = defaultdict(Decimal)
    for due in gathered.by_customer.values():
        for line in due.lines:
            totals[line.key.subscription_id] += line.amount
    return totals


def _tax(tenant: Tenant, terms: SubscriptionTerms, lines: Sequence[ProposedLine]) -> Decimal:
    """Return the tax of a document of these lines; none where no line moves money."""
    facts = facts_for(tenant, {terms.customer_id: lines})
    named = zip(new_ids(len(lines)), lines, strict=True)
    return tax_proposed(new_id(), terms.customer_id, terms.currency, named, facts).total
