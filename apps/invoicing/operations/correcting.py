"""What an amendment of events would change in money, before it is made."""

from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction

from apps.core.errors import Conflict
from apps.core.ids import new_id
from apps.invoicing.gathering import gather
from apps.invoicing.operations.billing import reopened_by
from apps.metering.domain import (
    AmendmentAction,
    AmendmentOrder,
    AmendmentPreview,
    MoneyDelta,
)
from apps.metering.models import EventAmendment
from apps.metering.operations import amend_events
from apps.metering.queries.amendments import customers_amended
from apps.subscriptions.models import Subscription
from apps.tenants.models import Tenant

MOST_CUSTOMERS: Final = 200
# the longest billing period: what is used today is billed by then
_AHEAD: Final = timedelta(days=366)


class TooManyCustomers(Conflict):
    """Preview fewer customers, one after the other."""

    reason = "too_many_customers"


class _Place(NamedTuple):
    """Whose charges for which period, in which currency."""

    customer_id: UUID
    subscription_id: UUID
    start: datetime
    end: datetime
    currency: str


def preview_amendment(
    tenant_id: UUID, order: AmendmentOrder, *, actor: str, at: datetime
) -> AmendmentPreview:
    """Return what ``amend_events`` would do and what would be billed otherwise because of it.

    Expected with the amendment less expected without, by the function that bills, for every
    period of the customers concerned that ends within a year. The amendment is made and undone
    within one transaction: nothing is stored. Raises what ``amend_events`` raises, and
    ``TooManyCustomers`` for more than 200.
    """
    tenant = Tenant.objects.get(id=tenant_id)
    with transaction.atomic():
        made = amend_events(tenant_id, order, id=new_id(), reason="preview", actor=actor, at=at)
        since = customers_amended(made.id)
        if len(since) > MOST_CUSTOMERS:
            raise TooManyCustomers(
                f"It concerns {len(since):,} customers; preview at most {MOST_CUSTOMERS} at once."
            )
        cutoff = max(at, made.until or at) + _AHEAD
        expected = _due(tenant, since, cutoff)
        transaction.set_rollback(True)
    otherwise = _due(tenant, since, cutoff)
    return _told(made, expected, otherwise)


def _due(tenant: Tenant, since: dict[UUID, datetime], cutoff: datetime) -> dict[_Place, Decimal]:
    """Return what is to be billed, each customer from the instant given on, by period."""
    drafts = reopened_by(since)
    # as if his draft began there: both sides look at the same periods
    reopened = {one: min(start, drafts.get(one, start)) for one, start in since.items()}
    found: dict[_Place, Decimal] = defaultdict(Decimal)
    gathered = gather(tenant, dict.fromkeys(since, cutoff), reopened=reopened)
    for customer_id, due in gathered.by_customer.items():
        for line in due.lines:
            place = _Place(
                customer_id,
                line.key.subscription_id,
                line.key.period_start,
                line.period_end,
                line.currency,
            )
            found[place] += line.amount
    return found


def _told(
    made: EventAmendment, expected: dict[_Place, Decimal], otherwise: dict[_Place, Decimal]
) -> AmendmentPreview:
    none = Decimal(0)
    differences = {
        place: expected.get(place, none) - otherwise.get(place, none)
        for place in sorted({*expected, *otherwise})
    }
    subscriptions = Subscription.objects.filter(
        id__in={place.subscription_id for place, amount in differences.items() if amount}
    )
    billed = dict(subscriptions.values_list("id", "billed_until"))
    return AmendmentPreview(
        action=AmendmentAction(made.action),
        voided=made.voided,
        restored=made.restored,
        added=made.added,
        customers=made.customers,
        since=made.since,
        until=made.until,
        deltas=tuple(
            MoneyDelta(
                place.customer_id,
                place.subscription_id,
                place.start,
                place.end,
                place.currency,
                amount,
                is_billed=_is_over(place.end, billed.get(place.subscription_id)),
            )
            for place, amount in differences.items()
            if amount
        ),
    )


def _is_over(end: datetime, billed_until: datetime | None) -> bool:
    return billed_until is not None and end <= billed_until
