"""Reading JSON strictly: what other parsers let pass in silence is refused with its place."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import IO, Any, Final, NoReturn

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.core.errors import FieldError, Invalid

MAX_DEPTH: Final = 20
MAX_DIGITS: Final = 40
# possessive, and content with a string that has no end: no input makes it look at a byte twice
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+|[\[{]|[\]}]', re.DOTALL)


class RequestInvalid(Invalid):
    """The form of the request is wrong, before any value in it is looked at."""

    reason = "request_invalid"


class BodyInvalid(RequestInvalid):
    reason = "body_invalid"


class HeaderInvalid(RequestInvalid):
    reason = "header_invalid"


class BodyTooLarge(Invalid):
    reason = "body_too_large"


def refuse(code: str, detail: str, field: str = "") -> NoReturn:
    """Raise the refusal of a body."""
    raise BodyInvalid(errors=[FieldError(field, code, detail)])


def read_json(body: bytes) -> Any:
    """Return the value of ``body``: numbers with a point are ``Decimal``, exactly.

    Raises ``BodyInvalid`` for an empty body, anything but UTF-8 without BOM, invalid JSON (with
    line and column), NaN and infinities, duplicate keys, nesting deeper than 20, numbers longer
    than 40 digits, NUL characters and lone surrogates.
    """
    if not body.strip():
        refuse("body_empty", "The request body is empty; send a JSON object.")
    if body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        refuse("encoding", "The body must be UTF-8 without a byte order mark.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        refuse("encoding", f"The body must be UTF-8; byte {error.start} is not.")
    check_depth(body)
    try:
        value = json.loads(
            text,
            parse_float=_number,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        refuse(
            "json_invalid",
            f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
        )
    if "\\u" in text:
        check_strings(value, "")
    return value


def check_depth(body: bytes) -> None:
    """Raise ``BodyInvalid`` if brackets nest deeper than ``MAX_DEPTH``; strings are skipped."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _STRUCTURE.finditer(body):
        char = body[token.start()]
        if char in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                refuse("json_depth", f"The body nests too deep; the maximum is {MAX_DEPTH}.")
        elif char in b"]}":
            depth -= 1


def check_strings(value: Any, field: str) -> None:
    """Raise ``BodyInvalid`` where a string or key holds NUL or half a surrogate pair."""
    match value:
        case str():
            if "\x00" in value:
                refuse("nul_character", "NUL characters are not allowed.", field)
            if any("\ud800" <= char <= "\udfff" for char in value):
                refuse("invalid_unicode", "A lone surrogate is not a character.", field)
        case dict():
            for key, member in value.items():
                path = f"{field}.{key}" if field else key
                check_strings(key, field)
                check_strings(member, path)
        case list():
            for index, member in enumerate(value):
                check_strings(member, f"{field}[{index}]")
        case _:
            pass


def _number(text: str) -> Decimal:
    if len(text) > MAX_DIGITS:
        refuse("number_too_long", f"A number may have at most {MAX_DIGITS} characters.")
    try:
        number = Decimal(text)
    except InvalidOperation:
        refuse("number_out_of_range", f"The number {text} is out of range.")
    if not number:
        return Decimal(0)  # 0e999999999 would be written out with all its zeros
    if abs(number.adjusted()) > MAX_DIGITS:
        refuse("number_out_of_range", f"The number {text} is out of range.")
    return number


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        refuse("number_too_long", f"A number may have at most {MAX_DIGITS} characters.")
    return int(text)


def _constant(text: str) -> NoReturn:
    refuse("json_nan", f"{text} is not a JSON number.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        refuse("json_duplicate_key", f"The key {twice[:64]!r} occurs twice.", twice[:64])
    return value


class StrictJSONParser(BaseParser):
    """JSON objects only; everything else about the body is refused by ``read_json``."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        value = read_json(stream.read())
        if not isinstance(value, dict):
            names = {list: "array", str: "string", bool: "boolean", type(None): "null"}
            kind = names.get(type(value), "number")
            refuse("json_type", f"Expected a JSON object, got {kind}.")
        return value


class AlwaysJSON(BaseContentNegotiation):
    """The API answers JSON whatever the caller says it accepts."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser | None:
        """Return the JSON parser if the body says that it is JSON."""
        essence = (request.content_type or "").partition(";")[0].strip().lower()
        return next((one for one in parsers if one.media_type == essence), None)

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return the first renderer."""
        first = next(iter(renderers))
        return first, first.media_type or "application/json"
