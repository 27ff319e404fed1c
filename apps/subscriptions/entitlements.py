"""What customers may do: the features that their running subscriptions and contracts grant."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from apps.catalog.domain import FeatureKind, GrantTerms
from apps.catalog.models import Feature
from apps.catalog.queries import charges_of, features_of, grants_of
from apps.customers.models import Customer
from apps.metering.queries.usage import Whose, month_around, usage_of
from apps.rating.periods import Span
from apps.subscriptions.domain import (
    SegmentTerms,
    Standing,
    SubscriptionTerms,
    current_period,
    segment_at,
)
from apps.subscriptions.models import Contract
from apps.subscriptions.queries import contracts_granting, timelines


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What a customer may do with one feature at an instant.

    ``limit`` is None where it is granted without limit, or not at all. Of a metered feature
    ``used`` is what the customer used in ``period``, up to now and ahead of it.
    """

    feature: Feature
    granted: bool
    limit: Decimal | None
    used: Decimal | None = None
    period: Span | None = None

    @property
    def remaining(self) -> Decimal | None:
        """What may still be used, never less than zero; None where there is no limit, or no meter."""
        if self.limit is None or self.used is None:
            return None
        return max(self.limit - self.used, Decimal(0))


@dataclass(frozen=True, slots=True)
class _Running:
    """A subscription that holds at the instant, in the segment that says what it grants."""

    terms: SubscriptionTerms
    segment: SegmentTerms


def entitlements_of(
    customer: Customer, *, at: datetime, key: str | None = None
) -> list[Entitlement]:
    """Return what the customer may do at an instant, by the keys of the features.

    Every feature of the tenant is there, granted or not; with ``key`` the one that has it, or
    none; what is paused or suspended grants nothing. What several subscriptions and their add-ons grant adds up, and no limit beats any. What a contract
    grants in which the instant lies takes the place of that: of what its subscription grants, or, of
    one for all that a customer has, of what all of them grant. A metered feature counts
    the usage of the whole customer in the current billing period of the subscription that grants it
    and started first; in the calendar month of his zone if nothing of it recurs. Six queries,
    and two more for each billing period in which something is metered.
    """
    features = features_of(customer.tenant_id, key)
    running = [
        _Running(terms, segment)
        for subscription in timelines([customer.pk])[customer.pk]
        for terms in subscription.tracks
        if (segment := segment_at(terms.segments, at)) is not None
        and segment.standing is Standing.ACTIVE
        and not segment.absent
    ]
    granted = _granted(running)
    _agree(granted, running, features, contracts_granting(customer.pk, at))
    periods = _periods(features, granted, at, customer.zone)
    used = _used(customer, features, periods)
    return [
        _entitlement(one, granted.get(one.pk, ()), used.get(one.pk), periods.get(one.pk))
        for one in features
    ]


def _granted(running: Sequence[_Running]) -> dict[UUID, list[tuple[_Running, GrantTerms]]]:
    """Return by feature who grants it, in the order in which they started."""
    by_phase = grants_of({one.segment.phase_id for one in running})
    found: dict[UUID, list[tuple[_Running, GrantTerms]]] = defaultdict(list)
    for one in running:
        for grant in by_phase[one.segment.phase_id]:
            found[grant.feature_id].append((one, grant))
    return found


def _agree(
    granted: dict[UUID, list[tuple[_Running, GrantTerms]]],
    running: Sequence[_Running],
    features: Iterable[Feature],
    contracts: Iterable[Contract],
) -> None:
    """Let contracts, in their order, take the place of what they are about."""
    by_key = {one.key: one for one in features}
    for contract in contracts:
        own = contract.subscription_id
        about = [one for one in running if own is None or one.terms.id == own]
        for agreed in contract.features if about else ():
            feature = by_key.get(agreed["feature"])
            if feature is None:
                continue  # another one is asked for
            limit = None if agreed["limit"] is None else Decimal(agreed["limit"])
            left = [one for one in granted.get(feature.pk, ()) if one[0] not in about]
            mine = (about[0], GrantTerms(feature.pk, limit))
            granted[feature.pk] = sorted([*left, mine], key=lambda one: running.index(one[0]))


def _periods(
    features: Iterable[Feature],
    granted: Mapping[UUID, Sequence[tuple[_Running, GrantTerms]]],
    at: datetime,
    zone: str,
) -> dict[UUID, Span]:
    found = {}
    for feature in features:
        if feature.kind != FeatureKind.METERED or feature.pk not in granted:
            continue
        first = granted[feature.pk][0][0]
        charges = charges_of([first.segment.phase_id])
        found[feature.pk] = current_period(first.terms, charges, at) or month_around(at, zone)
    return found


def _used(
    customer: Customer, features: Iterable[Feature], periods: Mapping[UUID, Span]
) -> dict[UUID, Decimal]:
    by_period: dict[Span, list[Feature]] = defaultdict(list)
    for feature in features:
        if feature.pk in periods:
            by_period[periods[feature.pk]].append(feature)
    whose = Whose(customer.tenant_id, customer.pk)
    found = {}
    for period, metered in by_period.items():
        meters = [one.meter for one in metered if one.meter is not None]
        usage = usage_of(whose, meters, period, zone=customer.zone)
        for feature, measured in zip(metered, usage, strict=True):
            found[feature.pk] = sum((one.quantity for one in measured.buckets), Decimal(0))
    return found


def _entitlement(
    feature: Feature,
    grants: Sequence[tuple[_Running, GrantTerms]],
    used: Decimal | None,
    period: Span | None,
) -> Entitlement:
    limits = [grant.limit for _, grant in grants]
    unlimited = not limits or None in limits
    limit = None if unlimited else sum((one for one in limits if one is not None), Decimal(0))
    return Entitlement(feature, bool(grants), limit, used, period)
