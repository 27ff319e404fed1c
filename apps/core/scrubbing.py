"""What the log must not keep: credentials, card numbers, and line ends that forge lines."""

import logging
import re
from typing import Final

_HIDDEN: Final = "[hidden]"
_SECRETS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # Authorization: Bearer …, in a header, a dict or a repr
        r"(?P<kept>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}",
        # our keys and those of providers, with enough of them to know which
        r"(?P<kept>\b(?:sk|rk|pk|whsec|rzp)_(?:live_|test_)?)[\w-]{8,}",
        # a signed token
        r"(?P<kept>\beyJ)[\w-]{5,}\.[\w-]{5,}\.[\w-]*",
        # a member, parameter or header that is called like a secret
        (
            r"(?P<kept>\b[\w-]*(?:password|passwd|secret|token|api[_-]?key|authorization|cookie"
            r"|signature|otp|cvc|cvv)[\w-]*['\"]?\s*[:=]\s*['\"]?)(?!\[hidden\]|bearer\b|basic\b)"
            r"[^\s'\",;&})]+"
        ),
        # the password in an address
        r"(?P<kept>://[^\s:/@]*:)[^\s@/]+(?=@)",
    )
)
_DIGITS: Final = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def scrub(text: str) -> str:
    """Return ``text`` with what looks like a credential or a card number hidden."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<kept>{_HIDDEN}", text)
    return _DIGITS.sub(_without_card, text)


def _without_card(found: re.Match[str]) -> str:
    digits = [int(one) for one in found[0] if one.isdigit()]
    doubled = [2 * one - 9 * (one > 4) for one in digits[-2::-2]]  # noqa: PLR2004 -- Luhn's rule
    is_card = (sum(doubled) + sum(digits[-1::-2])) % 10 == 0
    return f"{_HIDDEN}{found[0][-4:]}" if is_card else found[0]


class Scrubbed(logging.Formatter):
    """Writes a record, its exception and its stack without secrets, the message on one line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        record.message = _CONTROL.sub(_escaped, record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of the record."""
        return scrub(super().format(record))


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
