"""Writing what is stored in the form from which it can be read again. Pure."""

from collections.abc import Iterable
from decimal import Decimal

from apps.catalog.documents.drafts import ChargeDraft, PhaseDraft
from apps.core.money import plain
from apps.rating.periods import Cadence
from apps.rating.pricing import pricing_document


def phases_document(phases: Iterable[PhaseDraft]) -> list[dict[str, object]]:
    """Return phases in the form from which ``Reader`` reads equal ones."""
    return [
        {
            "kind": phase.kind.value,
            "name": phase.name,
            "duration": cadence_document(phase.length),
            "charges": [_charge_document(charge) for charge in phase.charges],
            "features": [
                {"feature": one.feature, "limit": _plain_or_none(one.limit)}
                for one in phase.features
            ],
        }
        for phase in phases
    ]


def cadence_document(cadence: Cadence | None) -> dict[str, object] | None:
    """Return the JSON form of a period."""
    return None if cadence is None else {"unit": cadence.unit.value, "count": cadence.count}


def _charge_document(charge: ChargeDraft) -> dict[str, object]:
    return {
        "key": charge.key,
        "name": charge.name,
        "kind": charge.kind.value,
        "meter": charge.meter,
        "meter_version": charge.meter_version,
        "period": cadence_document(charge.cadence),
        "timing": charge.timing.value,
        "prorated": charge.prorated,
        "proration": charge.proration.value if charge.proration else None,
        "included_quantity": plain(charge.included_quantity),
        "prices": [
            {
                "currency": price.currency,
                "price_list": price.price_list,
                "pricing": pricing_document(price.terms.model),
                "minimum": _plain_or_none(price.terms.minimum),
                "maximum": _plain_or_none(price.terms.maximum),
                "billing_threshold": _plain_or_none(price.terms.billing_threshold),
            }
            for price in charge.prices
        ],
    }


def _plain_or_none(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
