"""Which rates apply to what is sold, and what the tax on an amount is. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple
from uuid import UUID

from msgspec import Struct

from apps.core.errors import Conflict, FieldError, Invalid
from apps.core.money import EXACT, round_money
from apps.customers.domain import COUNTRIES

_PLACES: Final = 6
_PERCENT: Final = Decimal("0.01")


class TaxRateKeyTaken(Conflict):
    reason = "tax_rate_key_taken"


class TaxRateOverlaps(Conflict):
    """Another rate of the same tax is meant for the same place, products and time."""

    reason = "tax_rate_overlaps"


class TaxRateEnded(Conflict):
    """The rate ends already; what ended it may not be undone, only succeeded."""

    reason = "tax_rate_ended"


class TaxRateInvalid(Invalid):
    reason = "tax_rate_invalid"


class Place(NamedTuple):
    """Where something is sold to: a country by its ISO 3166-1 code, and a part of it.

    Both are "" where they are not known.
    """

    country: str
    region: str


class RateTerms(Struct, frozen=True):
    """A rate as it is applied; it holds in ``[valid_from, valid_until)``, None being open."""

    id: UUID
    tax: str  # which tax it is a rate of: of one tax, one rate applies
    name: str
    percentage: Decimal
    country: str = ""
    region: str = ""
    tax_code: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def place_of(address: Mapping[str, str]) -> Place:
    """Return the place that an address is in."""
    return Place(address.get("country", ""), address.get("state", ""))


def rates_for(
    rates: Iterable[RateTerms], place: Place, tax_code: str, at: datetime
) -> tuple[RateTerms, ...]:
    """Return the rates that apply together to what is sold there, then, under a product tax code.

    Of each tax the most specific one that fits: a rate for the region comes before one for the
    country, that before one for everywhere, and at the same place one for the tax code before one
    for everything. Different taxes add up, each on the amount without the others; they come in
    the order of their names, such as ``county`` and ``state``.
    """
    best: dict[str, RateTerms] = {}
    for one in rates:
        if not _fits(one, place, tax_code, at):
            continue
        known = best.get(one.tax)
        if known is None or _rank(known) < _rank(one):
            best[one.tax] = one
    return tuple(best[tax] for tax in sorted(best))


def tax_on(taxable: Decimal, percentage: Decimal, currency: str) -> Decimal:
    """Return the tax on an amount without it: rounded once, half up, to the currency's decimals."""
    exact = EXACT.multiply(EXACT.multiply(taxable, percentage), _PERCENT)
    return round_money(exact, currency)


def check_rate(
    percentage: Decimal,
    country: str,
    region: str,
    valid_from: datetime | None,
    valid_until: datetime | None,
) -> None:
    """Raise ``TaxRateInvalid`` with everything that is wrong with a new rate."""
    errors = []
    if not 0 <= percentage <= 100:  # noqa: PLR2004 -- percent
        errors.append(
            FieldError("percentage", "percentage_range", "A percentage lies between 0 and 100.")
        )
    elif int(percentage.normalize(EXACT).as_tuple().exponent) < -_PLACES:
        errors.append(
            FieldError("percentage", "percentage_precision", "A percentage has up to 6 decimals.")
        )
    if country and country not in COUNTRIES:
        detail = f"{country[:64]!r} is no ISO 3166-1 country code, such as DE."
        errors.append(FieldError("country", "country_unknown", detail))
    if region and not country:
        errors.append(FieldError("region", "country_missing", "A region lies in a country."))
    if valid_from and valid_until and valid_until <= valid_from:
        errors.append(_ends_too_early(valid_from))
    if errors:
        raise TaxRateInvalid(errors=errors)


def check_end(valid_from: datetime | None, valid_until: datetime) -> None:
    """Raise ``TaxRateInvalid`` if a rate would end before it begins."""
    if valid_from and valid_until <= valid_from:
        raise TaxRateInvalid(errors=[_ends_too_early(valid_from)])


def _ends_too_early(valid_from: datetime) -> FieldError:
    detail = f"The rate begins at {valid_from.isoformat()}; its end is exclusive and comes later."
    return FieldError("valid_until", "end_before_start", detail)


def _fits(rate: RateTerms, place: Place, tax_code: str, at: datetime) -> bool:
    return (
        rate.country in ("", place.country)
        and (not rate.region or rate.region.casefold() == place.region.casefold())
        and rate.tax_code in ("", tax_code)
        and (rate.valid_from is None or rate.valid_from <= at)
        and (rate.valid_until is None or at < rate.valid_until)
    )


def _rank(rate: RateTerms) -> tuple[bool, bool, bool]:
    return bool(rate.region), bool(rate.country), bool(rate.tax_code)
