"""The stored form of how a line came about: JSON with decimals as strings."""

from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from apps.invoicing.lines import Derivation

_ENCODER: Final = msgspec.json.Encoder(decimal_format="string")
_DECODER: Final = msgspec.json.Decoder(Derivation)


def encode_derivation(derivation: Derivation) -> bytes:
    """Return the JSON that the line stores.

    Single transactions (of per-transaction prices) are left out, there may be a million: their
    count and sum stay, and replaying measures them again.
    """
    measured = derivation.measured
    if measured is not None and measured.transactions:
        derivation = replace(derivation, measured=replace(measured, transactions=()))
    return _ENCODER.encode(derivation)


def as_asked(amount: Decimal) -> Derivation:
    """Return the derivation of an amount that somebody asked for and nothing computed."""
    zero = Decimal(0)
    return Derivation(
        price_list="",
        price_list_id=None,
        share=(1, 1),
        included=zero,
        measured=None,
        rated=None,
        exact=amount,
        expected=amount,
        already_billed=zero,
    )


def decode_derivation(stored: object) -> Derivation:
    """Return the derivation that a line stores (as Django's JSONField gives it)."""
    return _DECODER.decode(_ENCODER.encode(stored))
