"""Rules for changes from plan to plan, over HTTP."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.api.reading import documents_read
from apps.catalog.api.rules import TransitionDocument
from apps.catalog.api.views import CatalogDoor
from apps.catalog.domain import Behaviour, PhaseAlignment, TransitionTiming
from apps.catalog.models import PlanTransition
from apps.catalog.operations.transitions import create_transition, delete_transition
from apps.catalog.queries import transitions_for
from apps.core.web.fields import (
    IdField,
    InstantField,
    ObjectField,
    StrictSerializer,
)


class SideView(serializers.Serializer[Any]):
    """One plan, or all of a product; neither is any plan."""

    plan = serializers.CharField(allow_null=True)
    product = serializers.CharField(allow_null=True)


class TransitionView(serializers.Serializer[Any]):
    """A rule for changes from one plan to another."""

    object = ObjectField("plan_transition")
    id = IdField("ptr")
    to = serializers.SerializerMethodField()
    allowed = serializers.BooleanField()
    reason = serializers.CharField()
    effective = serializers.ChoiceField(choices=[one.value for one in TransitionTiming])
    behaviour = serializers.ChoiceField(choices=[one.value for one in Behaviour])
    phase_alignment = serializers.ChoiceField(choices=[one.value for one in PhaseAlignment])
    created_at = InstantField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, with the one whose name is a word of Python."""
        side = serializers.SerializerMethodField("get_from")
        return {"object": ObjectField("plan_transition"), "from": side, **super().get_fields()}

    @extend_schema_field(SideView)
    def get_from(self, rule: PlanTransition) -> dict[str, str | None]:
        return _side(rule, "from")

    @extend_schema_field(SideView)
    def get_to(self, rule: PlanTransition) -> dict[str, str | None]:
        return _side(rule, "to")


def _side(rule: PlanTransition, name: str) -> dict[str, str | None]:
    named = {kind: getattr(rule, f"{name}_{kind}") for kind in ("plan", "product")}
    return {kind: row.key if row is not None else None for kind, row in named.items()}


@extend_schema(tags=["catalog"])
class PlanTransitions(CatalogDoor):
    """Which changes of plans are allowed, and how they are made unless something else is said."""

    serializer_class = TransitionView

    def get_queryset(self) -> QuerySet[PlanTransition]:
        return transitions_for(self.tenant_id)

    @extend_schema(
        request=TransitionDocument,
        responses={201: TransitionView},
        examples=[
            OpenApiExample(
                "Going down waits for the end of the period",
                value={
                    "from": {"plan": "pro"},
                    "to": {"plan": "basic"},
                    "effective": "period_end",
                },
                request_only=True,
            ),
            OpenApiExample(
                "Nobody goes back to what is sold no more",
                value={
                    "to": {"product": "classic"},
                    "allowed": False,
                    "reason": "Classic is for those who have it.",
                },
                request_only=True,
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Add a rule. Of several that fit a change the most specific holds."""
        with documents_read():
            rule = create_transition(
                self.tenant_id,
                id=self.effect_id,
                document=self.document(),
                actor=self.actor,
                at=self.at,
            )
        return Response(
            TransitionView(self.get_queryset().get(pk=rule.pk)).data, status.HTTP_201_CREATED
        )

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Remove a rule; changes that were made or scheduled stay."""
        self.read(StrictSerializer)
        delete_transition(self.get_object().pk, actor=self.actor, at=self.at)
        return Response(status=status.HTTP_204_NO_CONTENT)
