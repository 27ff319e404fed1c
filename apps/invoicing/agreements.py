"""Reading what coupons and contracts have to do with what is due."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from apps.invoicing.committing import Committed, settled_after
from apps.invoicing.discounting import Discounts, Turn
from apps.invoicing.domain import SETTLEMENTS, InvoiceStatus, LineKind
from apps.invoicing.lines import Billed, LineKey
from apps.invoicing.models import InvoiceLine
from apps.invoicing.slicing import Charges, Reach, Slice, in_window
from apps.subscriptions.contracts import contracts_of, who_agreed
from apps.subscriptions.discounts import discounts_of
from apps.subscriptions.domain import (
    ContractTerms,
    DiscountTerms,
    SubscriptionTerms,
    agreed_price,
)

_OPEN: Final = (InvoiceStatus.DRAFT, InvoiceStatus.CANCELED)
_COUNTED: Final = frozenset(LineKind) - SETTLEMENTS - {LineKind.CREDIT}


@dataclass(frozen=True, slots=True)
class OwnTerms:
    """The coupons, in the order of taking off, and the contracts of those customers who have any."""

    redeemed: Mapping[UUID, tuple[DiscountTerms, ...]]
    contracts: Mapping[UUID, tuple[ContractTerms, ...]]


@dataclass(frozen=True, slots=True)
class Agreements:
    """What was agreed on with a customer beside the prices of the catalog."""

    contracts: tuple[ContractTerms, ...]
    discounts: Discounts | None
    committed: tuple[Committed, ...]

    def next_settled(self, subscription_id: UUID, after: datetime) -> datetime | None:
        """Return the first instant after one at which a commitment is to be settled."""
        found = [
            settled_after(one, after)
            for one in self.committed
            if one.subscription.id == subscription_id
        ]
        return min((due for due in found if due is not None), default=None)


def own_terms_of(everybody: Mapping[UUID, Sequence[SubscriptionTerms]]) -> OwnTerms:
    """Return what customers have of their own; one query, and one of coupons and one of contracts."""
    found = who_agreed(everybody)
    return OwnTerms(
        discounts_of(found.with_coupons) if found.with_coupons else {},
        contracts_of(found.with_contracts) if found.with_contracts else {},
    )


def agreements_for(
    own: OwnTerms,
    everybody: Mapping[UUID, Sequence[SubscriptionTerms]],
    charges: Charges,
    reaches: Mapping[UUID, Reach],
    *,
    bounds_first: bool,
    early: Iterable[tuple[LineKey, Decimal]] = (),  # as ``left_alone`` gives it
) -> dict[UUID, Agreements]:
    """Return the agreements of customers who have any; ``bounds_first`` as ``Discounts`` has it.

    Up to two queries: of what was taken off and of what was spent in periods that are not looked at.
    """
    used = _used(own.redeemed, everybody, reaches)
    committed = _committed(own.contracts, everybody, charges, reaches, early)
    return {
        customer_id: Agreements(
            contracts=own.contracts.get(customer_id, ()),
            discounts=(
                Discounts(own.redeemed[customer_id], used, bounds_first)
                if customer_id in own.redeemed
                else None
            ),
            committed=committed.get(customer_id, ()),
        )
        for customer_id in own.redeemed.keys() | own.contracts.keys()
    }


def left_alone(
    billed: Mapping[UUID, Mapping[LineKey, Billed]], slices: Mapping[UUID, Iterable[Slice]]
) -> Iterator[tuple[LineKey, Decimal]]:
    """Yield what was billed early of periods that go on, unless it is billed on now; by customer."""
    for customer_id, lines in billed.items():
        now = {
            (one.subscription.id, one.charge.id, one.period.start, one.segment_start)
            for one in slices[customer_id]
            if one.is_early
        }
        for key, past in lines.items():
            place = (key.subscription_id, key.charge_id, key.period_start, key.segment_start)
            if past.is_running and place not in now:
                yield key, past.amount


def at_agreed_prices(slices: Iterable[Slice], contracts: Sequence[ContractTerms]) -> list[Slice]:
    """Return the slices, each with the price that a contract sets for it, if one does."""
    priced = []
    for one in slices:
        agreed = agreed_price(contracts, one.subscription, one.charge, one.period.start)
        priced.append(one if agreed is None else replace(one, agreed=agreed))
    return priced


def _used(
    redeemed: Mapping[UUID, Sequence[DiscountTerms]],
    everybody: Mapping[UUID, Sequence[SubscriptionTerms]],
    reaches: Mapping[UUID, Reach],
) -> dict[Turn, Decimal]:
    """Return what issued documents took off billing periods outside the windows."""
    amounts = {
        one.public_id: one
        for discounts in redeemed.values()
        for one in discounts
        if one.coupon.percentage is None
    }
    billed = _billed_before(redeemed, everybody)
    used: dict[Turn, Decimal] = defaultdict(Decimal)
    if not amounts or not billed:
        return used
    rows = InvoiceLine.objects.filter(
        subscription_id__in=list(billed), kind=LineKind.DISCOUNT, group__in=list(amounts)
    ).exclude(invoice__status__in=_OPEN)
    for owner, group, start, end, amount, currency in rows.values_list(
        "subscription_id", "group", "period_start", "period_end", "amount", "currency"
    ):
        if owner is None or in_window(start, end, reaches[owner].window):
            continue
        discount = amounts[group]
        number = discount.turn(billed[owner], start)
        used[Turn(discount.id, number, currency)] -= amount
    return used


def _committed(
    contracts: Mapping[UUID, Sequence[ContractTerms]],
    everybody: Mapping[UUID, Sequence[SubscriptionTerms]],
    charges: Charges,
    reaches: Mapping[UUID, Reach],
    early: Iterable[tuple[LineKey, Decimal]],
) -> dict[UUID, tuple[Committed, ...]]:
    """Return the commitments of each customer, with what was spent beside what is looked at."""
    terms = {one.id: one for customer_id in contracts for one in everybody[customer_id]}
    listed = [
        (customer_id, contract, terms[contract.subscription_id])
        for customer_id, found in contracts.items()
        for contract in found
        if contract.commitment is not None
        and contract.subscription_id in terms
        and terms[contract.subscription_id].segments
    ]
    billed = [one for _, _, one in listed if one.billed_until is not None]
    spent = _spent(billed, reaches)
    for key, amount in early:
        if key.charge_id is not None:
            spent[key.subscription_id].append((key.charge_id, key.period_start, amount))
    keys = {one.id: one for found in charges.values() for one in found}
    by_customer: dict[UUID, list[Committed]] = defaultdict(list)
    for customer_id, contract, one in listed:
        if contract.commitment is None:
            continue
        elsewhere: dict[int, Decimal] = defaultdict(Decimal)
        for charge_id, start, amount in spent.get(one.id, ()):
            charge = keys.get(charge_id)
            covers = (
                not contract.commitment.charges
                if charge is None
                else contract.commitment.covers(charge)
            )
            if covers and contract.holds(one, start):
                elsewhere[contract.turn_at(one, start)] += amount
        by_customer[customer_id].append(
            Committed(contract, contract.commitment, one, reaches[one.id], elsewhere)
        )
    return {customer_id: tuple(found) for customer_id, found in by_customer.items()}


def _spent(
    subscriptions: Sequence[SubscriptionTerms], reaches: Mapping[UUID, Reach]
) -> dict[UUID, list[tuple[UUID, datetime, Decimal]]]:
    """Return what issued lines of periods outside the windows come to: charge, start, amount."""
    spent: dict[UUID, list[tuple[UUID, datetime, Decimal]]] = defaultdict(list)
    if not subscriptions:
        return spent
    rows = InvoiceLine.objects.filter(
        subscription_id__in=[one.id for one in subscriptions], kind__in=_COUNTED
    ).exclude(invoice__status__in=_OPEN)
    for owner, charge_id, start, end, amount in rows.values_list(
        "subscription_id", "charge_id", "period_start", "period_end", "amount"
    ):
        if owner is None or charge_id is None or in_window(start, end, reaches[owner].window):
            continue
        spent[owner].append((charge_id, start, amount))
    return spent


def _billed_before(
    customers: Iterable[UUID], everybody: Mapping[UUID, Sequence[SubscriptionTerms]]
) -> dict[UUID, SubscriptionTerms]:
    return {
        terms.id: terms
        for customer_id in customers
        for terms in everybody[customer_id]
        if terms.billed_until is not None
    }
