"""Fields of what the desk asks before it does something: amounts, reasons and instants."""

from decimal import Decimal
from typing import Any, Final

from django import forms

LONGEST_REASON: Final = 500
_DIGITS: Final = 26
_PLACES: Final = 12


def amount_field(label: str, *, may_be_negative: bool = False, **options: Any) -> forms.Field:
    """Return a field of an amount that is not zero, as the API takes it."""
    smallest = None if may_be_negative else Decimal(1).scaleb(-_PLACES)
    return forms.DecimalField(
        label=label,
        min_value=smallest,
        max_digits=_DIGITS,
        decimal_places=_PLACES,
        widget=forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"}),
        **options,
    )


def reason_field() -> forms.Field:
    """Return the field of a reason that people will read later; it must be given."""
    return forms.CharField(
        label="Reason",
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Stays with it, and in the audit trail.",
    )


def instant_field(label: str) -> forms.Field:
    """Return a field of an instant of UTC that may be left out."""
    return forms.DateTimeField(
        label=label,
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="UTC. Leave it empty for never.",
    )
