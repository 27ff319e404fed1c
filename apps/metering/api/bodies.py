"""Reading bodies of many events: as strictly as ``read_json``, several times as fast."""

import hashlib
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from apps.core.web.parsing import MAX_DEPTH, MAX_DIGITS, read_json

_ENCODER: Final = msgspec.json.Encoder(decimal_format="number", order="sorted")

_FLAT_DEPTH: Final = 4  # object, list, event, properties
_LONG_NUMBER: Final = re.compile(rb"[0-9]{%d}" % (MAX_DIGITS + 1))


class _Doubtful(Exception):
    """This body needs the slow reader, if only to say what is wrong with it."""


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise _Doubtful from None
    if len(text) > MAX_DIGITS or abs(number.adjusted()) > MAX_DIGITS:
        raise _Doubtful
    return number or Decimal(0)


_DECODER: Final = msgspec.json.Decoder(float_hook=_number)


def read_body(body: bytes) -> Any:
    """Return the value of a body, as ``read_json`` does and with the same refusals.

    The fast decoder lets a few things pass; whatever might be one of them is read again slowly.
    A key that occurs twice, for example, is lost in the value: encoded again it has a colon less.
    """
    if b"\\u" in body:
        return read_json(body)
    try:
        value = _DECODER.decode(body)
    except (msgspec.DecodeError, _Doubtful, UnicodeDecodeError, RecursionError, ValueError):
        return read_json(body)
    again = _ENCODER.encode(value)
    if (
        again.count(b":") != body.count(b":")
        or again.count(b"{") + again.count(b"[") > _flat(value) + 2 + MAX_DEPTH - _FLAT_DEPTH
        or _LONG_NUMBER.search(body)
    ):
        return read_json(body)
    return value


def fingerprint(value: object) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex."""
    return hashlib.sha256(_ENCODER.encode(value)).hexdigest()


def _flat(value: Any) -> int:
    """Return how many brackets a batch opens if no property of its events is nested."""
    events = value.get("events") if isinstance(value, dict) else value
    if not isinstance(events, list):
        return 0
    own = sum(
        1 for one in events if isinstance(one, dict) and isinstance(one.get("properties"), dict)
    )
    return len(events) + own
