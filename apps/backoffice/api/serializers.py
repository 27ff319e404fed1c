"""What the endpoints of the desk read and write."""

from typing import Any

from rest_framework import serializers

from apps.core.web.fields import IdField, InstantField, ObjectField, StrictSerializer, WholeField


class StretchBody(StrictSerializer):
    """A stretch of time in one unit, on the calendar of the tenant's zone."""

    hours = WholeField(min_value=1, max_value=87_672, required=False)
    days = WholeField(min_value=1, max_value=3653, required=False)
    weeks = WholeField(min_value=1, max_value=521, required=False)
    months = WholeField(min_value=1, max_value=120, required=False)
    years = WholeField(min_value=1, max_value=10, required=False)

    def validate(self, attrs: dict[str, int]) -> dict[str, int]:
        """Give one unit."""
        if len(attrs) != 1:
            raise serializers.ValidationError(
                "Give one of: hours, days, weeks, months, years.", code="one_unit"
            )
        return attrs


class AdvanceBody(StrictSerializer):
    """Where to, or by how much."""

    to = InstantField(required=False, help_text="The instant that the clock shall show.")
    by = StretchBody(required=False, help_text="How far to move it; instead of `to`.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Give one of the two."""
        if len(attrs) != 1:
            raise serializers.ValidationError("Give either `to` or `by`.", code="to_or_by")
        return attrs


class AdvanceView(serializers.Serializer[Any]):
    """How far a clock has come. Everything due up to ``reached`` has happened."""

    object = ObjectField("clock_advance")
    id = IdField("adv")
    test_clock = IdField("clk", source="clock_id")
    status = serializers.SerializerMethodField()
    begins_at = InstantField()
    to = InstantField()
    reached = InstantField()
    steps = serializers.IntegerField()

    def get_status(self, advance: Any) -> str:
        """Tell ``running``, ``done`` or ``failed``."""
        if advance.ended_at is None:
            return "running"
        return "failed" if advance.failure else "done"
