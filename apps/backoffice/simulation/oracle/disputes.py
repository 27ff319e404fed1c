"""What disputes come to in the books, each by itself. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from fractions import Fraction
from uuid import UUID

from apps.backoffice.simulation.contested import DisputeFact


def moved_by_disputes(
    disputes: Iterable[DisputeFact],
) -> Mapping[tuple[str, UUID | str | None, str], Fraction]:
    """Return what disputes themselves come to in the accounts; a debit is positive."""
    found: dict[tuple[str, UUID | str | None, str], Fraction] = defaultdict(Fraction)
    for one in disputes:
        amount, fee, beyond = map(Fraction, (one.amount, one.fee, one.beyond))
        cash = ("cash_clearing", one.provider, one.currency)
        found[cash] -= amount + fee
        found["provider_fees", None, one.currency] += fee
        if one.is_won is None:
            found["disputes", None, one.currency] += amount
        elif one.is_won:
            found[cash] += amount
        else:
            found["bad_debt", None, one.currency] += amount - beyond
            found["customer", one.customer, one.currency] += beyond
    return found
