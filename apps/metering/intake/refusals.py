"""Refusing an item."""

from typing import NoReturn

from apps.core.errors import BillingError


class EventRefused(BillingError):
    """An item that is no event: the rest of its batch is."""

    reason = "event_refused"

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(detail, field=field)
        self.code = code


def refuse(field: str, code: str, detail: str) -> NoReturn:
    """Raise the refusal of an item."""
    raise EventRefused(field, code, detail)
