"""Reading what was negotiated with customers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection

from apps.catalog.domain import PriceTerms
from apps.core.ids import decode
from apps.rating.periods import Cadence, Schedule, Unit
from apps.rating.pricing import parse_pricing
from apps.subscriptions.domain import AgreedPrice, Commitment, CommitmentPer, ContractTerms
from apps.subscriptions.models import Contract

_WHO: Final = """
SELECT customer_id, true FROM subscriptions_couponredemption WHERE customer_id = ANY (%(asked)s)
UNION SELECT customer_id, false FROM subscriptions_contract WHERE customer_id = ANY (%(asked)s)
"""


class Agreed(NamedTuple):
    """Customers with whom something was agreed on beside the prices of the catalog."""

    with_coupons: frozenset[UUID]
    with_contracts: frozenset[UUID]


def who_agreed(customer_ids: Iterable[UUID]) -> Agreed:
    """Return which of the customers have coupons or contracts; one query, however many."""
    with connection.cursor() as cursor:
        cursor.execute(_WHO, {"asked": list(customer_ids)})
        rows = cursor.fetchall()
    return Agreed(
        frozenset(one for one, is_coupon in rows if is_coupon),
        frozenset(one for one, is_coupon in rows if not is_coupon),
    )


def contracts_of(customer_ids: Iterable[UUID]) -> dict[UUID, tuple[ContractTerms, ...]]:
    """Return the contracts of customers who have any; one query.

    Those that hold no more are there too: what they were about may be billed again.
    """
    found: dict[UUID, list[ContractTerms]] = {}
    for row in Contract.objects.filter(customer__in=list(customer_ids)).order_by("pk"):
        found.setdefault(row.customer_id, []).append(contract_terms(row))
    return {customer_id: tuple(listed) for customer_id, listed in found.items()}


def contract_terms(row: Contract) -> ContractTerms:
    """Return what a contract is to billing."""
    commitment = None
    if row.commitment is not None:
        commitment = Commitment(
            amount=row.commitment,
            per=CommitmentPer(row.commitment_per),
            overage_factor=row.overage_factor,
            true_up=row.true_up,
            charges=frozenset(row.commitment_charges),
        )
    return ContractTerms(
        id=row.pk,
        public_id=row.public_id,
        subscription_id=row.subscription_id,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        currency=row.currency,
        rhythm=Schedule(row.starts_at, Cadence(Unit(row.period_unit), row.period_count), row.zone),
        prices=tuple(
            _price(f"{row.public_id}:{number}", one) for number, one in enumerate(row.prices)
        ),
        commitment=commitment,
    )


def agreed_terms(name: str) -> PriceTerms:
    """Return the terms of a price by its name, as ``AgreedPrice`` has it."""
    contract, _, place = name.partition(":")
    row = Contract.objects.get(pk=decode(Contract.ID_PREFIX, contract))
    return contract_terms(row).prices[int(place)].terms


def _price(name: str, stored: Mapping[str, Any]) -> AgreedPrice:
    minimum, maximum = stored["minimum"], stored["maximum"]
    return AgreedPrice(
        name=name,
        charge=stored["charge"],
        currency=stored["currency"],
        starts_at=datetime.fromisoformat(stored["starts_at"]),
        terms=PriceTerms(
            parse_pricing(stored["pricing"], currency=stored["currency"]),
            None if minimum is None else Decimal(minimum),
            None if maximum is None else Decimal(maximum),
        ),
    )
