"""The taxes of a tenant, some of whose rates change, and where those are who pay them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import Facts, LevyFact, PlaceFact
from apps.taxes.operations import create_tax_rate

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
PLACES: Final = (
    PlaceFact("DE"),
    PlaceFact("FR"),
    PlaceFact("CA"),
    PlaceFact("CA", "Quebec"),
    PlaceFact("JP"),
)


def levy(tenant_id: UUID, dice: Dice, facts: Facts, *, at: datetime) -> None:
    """Make the rates; that of one country changes twice in the months to come."""
    first = dice.instant(at + 20 * _DAY, at + 90 * _DAY)
    second = dice.instant(first + 30 * _DAY, first + 200 * _DAY)
    facts.levies += [
        LevyFact("vat-de", "vat", Decimal(19), "DE", until=first),
        LevyFact("vat-de-lower", "vat", Decimal(16), "DE", since=first, until=second),
        LevyFact("vat-de-again", "vat", Decimal("19.5"), "DE", since=second),
        LevyFact("vat-fr", "vat", Decimal("5.5"), "FR"),
        LevyFact("jct", "jct", Decimal(10), "JP", since=first),
        LevyFact("gst-ca", "gst", Decimal(5), "CA"),
        LevyFact("qst-ca", "qst", Decimal("9.975"), "CA", "Quebec"),
        LevyFact("qst-rest", "qst", Decimal("1.25"), "CA", since=first),
    ]
    for one in facts.levies:
        create_tax_rate(
            tenant_id,
            id=dice.id(),
            key=one.key,
            tax=one.tax,
            name=one.key,
            percentage=one.percentage,
            country=one.country,
            region=one.region,
            valid_from=one.since,
            valid_until=one.until,
            actor=ACTOR,
            at=at,
        )
