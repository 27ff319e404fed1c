"""What rules for changes of plans, and offers of add-ons, are made from."""

from typing import Any

from rest_framework import serializers

from apps.catalog.domain import Behaviour, PhaseAlignment, TransitionTiming
from apps.core.web.fields import DecimalField, FlagField, KeyField, LineField, StrictSerializer


class SideDocument(StrictSerializer):
    """Which plans are meant: one, or all of a product."""

    plan = KeyField(required=False, allow_null=True)
    product = KeyField(required=False, allow_null=True)


class TransitionDocument(StrictSerializer):
    """A rule, and what holds for a change of which nothing else is said."""

    to = SideDocument(required=False, allow_null=True, help_text="Any plan unless given.")
    allowed = FlagField(required=False, default=True)
    reason = LineField(
        max_length=500, required=False, help_text="What is told where a change is not allowed."
    )
    effective = serializers.ChoiceField(
        choices=[one.value for one in TransitionTiming],
        default=TransitionTiming.NOW.value,
        help_text="When a change takes effect that names no instant.",
    )
    behaviour = serializers.ChoiceField(
        choices=[one.value for one in Behaviour if one is not Behaviour.NEXT_PERIOD],
        default=Behaviour.PRORATE.value,
    )
    phase_alignment = serializers.ChoiceField(
        choices=[one.value for one in PhaseAlignment], default=PhaseAlignment.START.value
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, with the one whose name is a word of Python."""
        side = SideDocument(required=False, allow_null=True, help_text="Any plan unless given.")
        return {"from": side, **super().get_fields()}


class OfferDocument(StrictSerializer):
    """Which add-on is offered to whom, and how many of it."""

    base = SideDocument()
    add_on = KeyField(help_text="A product of the kind add_on; any plan of it may be added.")
    least = DecimalField(required=False, help_text="1 unless given.")
    most = DecimalField(required=False, allow_null=True, help_text="Any number unless given.")
