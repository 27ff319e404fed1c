"""The stored form of how a line came about: JSON with decimals as strings."""

from typing import Final

import msgspec
from msgspec.structs import replace

from apps.invoicing.assembly import Derivation

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


def decode_derivation(stored: object) -> Derivation:
    """Return the derivation that a line stores (as Django's JSONField gives it)."""
    return _DECODER.decode(_ENCODER.encode(stored))
