"""Reading what ``assembly`` needs, for any number of customers in a handful of queries."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypeVar
from uuid import UUID

from apps.catalog.queries import charges_of, price_list_ids
from apps.core.errors import BillingError
from apps.invoicing.agreements import (
    Agreements,
    agreements_for,
    at_agreed_prices,
    left_alone,
    own_terms_of,
)
from apps.invoicing.assembly import expected_lines, propose
from apps.invoicing.billed import billed_before
from apps.invoicing.committing import counted_back
from apps.invoicing.discounting import further_back
from apps.invoicing.lines import Expected, ProposedLine
from apps.invoicing.slicing import (
    Charges,
    Reach,
    Slice,
    claims_moved,
    has_threshold,
    next_due,
    reach_of,
    slices_due,
)
from apps.metering.domain import Measurement, UsageRequest
from apps.metering.queries import changed_usage, measure
from apps.rating.pricing import Need, PricingModel, needs
from apps.rating.proration import Basis
from apps.subscriptions.domain import BilledMark, SubscriptionTerms
from apps.subscriptions.queries import timelines
from apps.tenants.domain import BoundsApplied
from apps.tenants.models import Tenant


@dataclass(frozen=True, slots=True)
class Due:
    """What a customer's subscriptions owe by the cutoff, and what billing them changes."""

    lines: list[ProposedLine]
    marks: list[BilledMark]


@dataclass(frozen=True, slots=True)
class Gathered:
    """The differences of all customers asked for, at one snapshot of the usage."""

    by_customer: dict[UUID, Due]
    usage_marks: dict[UUID, int]  # the changes of usage that this has taken into account
    usage_snapshot: str
    accruing: frozenset[UUID]  # whose usage, that changed, may be billed before its period is over


def gather(
    tenant: Tenant,
    cutoffs: Mapping[UUID, datetime],
    *,
    reopened: Mapping[UUID, datetime],
    imagined: Mapping[UUID, SubscriptionTerms] | None = None,
    early: frozenset[UUID] = frozenset(),
) -> Gathered:
    """Return what each customer is to be billed by his cutoff.

    ``reopened`` gives, for customers whose draft is being replaced, the start of its earliest
    period: the lines of drafts do not count as billed. A subscription that was billed beyond the
    cutoff already is left alone. ``imagined`` are subscriptions with other timelines than they have,
    by id; of ``early`` ones
    usage is billed up to the cutoff where its charge has a threshold. Reads only; the caller holds the customers' locks if he means to
    store the result.
    """
    everybody = timelines(list(cutoffs), as_of=cutoffs)
    if imagined:
        everybody = {
            customer_id: tuple(imagined.get(one.id, one) for one in subscriptions)
            for customer_id, subscriptions in everybody.items()
        }
    charges = charges_of(
        {phase_id for subs in everybody.values() for one in subs for phase_id in one.phase_ids}
    )
    changes = changed_usage(list(cutoffs))
    moved = {
        subscription_id: since
        for subscriptions in everybody.values()
        for subscription_id, since in claims_moved(subscriptions, charges).items()
    }
    reaches = {
        terms.id: reach_of(
            terms,
            cutoffs[customer_id],
            usage_since=min(
                [
                    *([changes[customer_id].since] if customer_id in changes else []),
                    *([moved[terms.id]] if terms.id in moved else []),
                ],
                default=None,
            ),
            reopened=reopened.get(customer_id),
        )
        for customer_id, subscriptions in everybody.items()
        for terms in subscriptions
    }
    basis = Basis(tenant.proration_basis)
    slices = {
        customer_id: slices_due(subscriptions, charges, reaches=reaches, basis=basis, early=early)
        for customer_id, subscriptions in everybody.items()
    }
    own = own_terms_of(everybody)
    for customer_id in own.redeemed.keys() | own.contracts.keys():
        subscriptions = everybody[customer_id]
        found = slices[customer_id]
        wider = further_back(subscriptions, found, own.redeemed.get(customer_id, ()), reaches)
        wider |= counted_back(found, own.contracts.get(customer_id, ()), reaches | wider)
        if wider:
            reaches |= wider
            slices[customer_id] = slices_due(
                subscriptions, charges, reaches=reaches, basis=basis, early=early
            )
    bounds_first = _bounds_first(tenant)
    billed = billed_before(everybody, reaches, charges, own.contracts)
    alone = list(left_alone(billed, slices)) if own.contracts else ()
    agreements = agreements_for(
        own, everybody, charges, reaches, bounds_first=bounds_first, early=alone
    )
    for customer_id, agreed in agreements.items():
        if agreed.contracts:
            slices[customer_id] = at_agreed_prices(slices[customer_id], agreed.contracts)
    measured, snapshot = _measure(slices)
    lists = price_list_ids(tenant.id)
    by_customer = {}
    for customer_id, subscriptions in everybody.items():
        agreed_on = agreements.get(customer_id)
        lines = propose(
            slices[customer_id],
            measured.get(customer_id, {}),
            billed.get(customer_id, {}),
            price_lists=lists,
            discounts=agreed_on.discounts if agreed_on else None,
            committed=agreed_on.committed if agreed_on else (),
        )
        by_customer[customer_id] = Due(
            lines,
            [
                BilledMark(
                    terms.id,
                    reaches[terms.id].cutoff,
                    _due_again(terms, charges, reaches[terms.id].cutoff, agreed_on),
                )
                for terms in subscriptions
            ],
        )
    marks = {customer_id: change.mark for customer_id, change in changes.items()}
    accruing = frozenset(
        customer_id
        for customer_id in changes
        if any(
            has_threshold(terms, charge)
            for terms in everybody[customer_id]
            for phase_id in terms.phase_ids
            for charge in charges[phase_id]
        )
    )
    return Gathered(by_customer, marks, snapshot, accruing)


K = TypeVar("K", bound=Hashable)
Timelines: TypeAlias = Mapping[UUID, Sequence[SubscriptionTerms]]  # by customer
_ACTUAL, _IMAGINED = False, True


@dataclass(frozen=True, slots=True)
class BothWays:
    """What should be billed of a customer as things are, and as they are imagined."""

    actual: tuple[Expected, ...]
    imagined: tuple[Expected, ...]


def expect_both(
    tenant: Tenant,
    actual: Timelines,
    imagined: Timelines,
    *,
    charges: Charges,
    reaches: Mapping[UUID, Reach],
) -> dict[UUID, BothWays | BillingError]:
    """Return all that should be billed within the reaches, with either timelines; reads only.

    Whatever was billed; both of the same usage, which is read once. What coupons took off and what
    was spent outside the reaches stays as it was. A customer whose imagined prices do not fit gets
    the refusal instead. ``charges`` are those of all phases of both.
    """
    basis = Basis(tenant.proration_basis)
    bounds_first = _bounds_first(tenant)
    agreements = agreements_for(
        own_terms_of(actual), actual, charges, reaches, bounds_first=bounds_first
    )
    slices: dict[tuple[bool, UUID], list[Slice]] = {}
    for side, everybody in ((_ACTUAL, actual), (_IMAGINED, imagined)):
        for customer_id, subscriptions in everybody.items():
            found = slices_due(subscriptions, charges, reaches=reaches, basis=basis)
            agreed = agreements.get(customer_id)
            if agreed is not None and agreed.contracts:
                found = at_agreed_prices(found, agreed.contracts)
            slices[side, customer_id] = found
    measured, _ = _measure(slices)
    lists = price_list_ids(tenant.id)
    expected: dict[UUID, BothWays | BillingError] = {}
    for customer_id in actual:
        agreed = agreements.get(customer_id)
        try:
            was, then = (
                tuple(
                    expected_lines(
                        slices[side, customer_id],
                        measured.get((side, customer_id), {}),
                        lists,
                        agreed.discounts if agreed else None,
                        agreed.committed if agreed else (),
                    )
                )
                for side in (_ACTUAL, _IMAGINED)
            )
        except BillingError as refused:
            expected[customer_id] = refused
        else:
            expected[customer_id] = BothWays(was, then)
    return expected


def _bounds_first(tenant: Tenant) -> bool:
    return tenant.bounds_applied == BoundsApplied.BEFORE_DISCOUNTS


def _due_again(
    terms: SubscriptionTerms, charges: Charges, after: datetime, agreed_on: Agreements | None
) -> datetime | None:
    due = next_due(terms, charges, after)
    if agreed_on is None or not agreed_on.committed:
        return due
    settled = agreed_on.next_settled(terms.id, after)
    return min((one for one in (due, settled) if one is not None), default=None)


# by charge and currency: many customers have the same
_Models: TypeAlias = dict[tuple[UUID, str], PricingModel | None]


def _request(one: Slice, number: int, models: _Models) -> UsageRequest | None:
    """Return the question to metering that a slice of a usage charge asks; None for others."""
    meter, currency = one.charge.meter, one.subscription.currency
    if meter is None:
        return None
    key = (one.charge.id, currency)
    if key not in models:
        models[key] = one.charge.measured_for(currency)
    model = models[key]
    if one.agreed is not None and needs(one.agreed.terms.model) is not Need.QUANTITY:
        model = one.agreed.terms.model
    return UsageRequest(
        number=number,
        tenant_id=one.subscription.tenant_id,
        customer_id=one.subscription.customer_id,
        subscription_id=one.subscription.id,
        meter_version_id=meter.version_id,
        spans=one.usage,
        need=needs(model) if model else None,
        model=model,
    )


def _measure(
    slices: Mapping[K, Sequence[Slice]],
) -> tuple[dict[K, dict[int, Sequence[Measurement]]], str]:
    requests: list[UsageRequest] = []
    models: _Models = {}
    places: list[tuple[K, int]] = []
    for owner, found in slices.items():
        for index, one in enumerate(found):
            request = _request(one, len(requests), models)
            if request is not None:
                requests.append(request)
                places.append((owner, index))
    if not requests:
        return {}, ""
    usage = measure(requests)
    measured: dict[K, dict[int, Sequence[Measurement]]] = {}
    for number, (owner, index) in enumerate(places):
        measured.setdefault(owner, {})[index] = usage.by_request.get(number, ())
    return measured, usage.snapshot
