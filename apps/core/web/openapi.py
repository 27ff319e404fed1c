"""What the OpenAPI schema says about every door, so that no door has to say it again."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_parameter_type
from drf_spectacular.utils import OpenApiParameter, _SchemaType
from rest_framework import serializers

from apps.core.web.errors import CONTENT_TYPE
from apps.core.web.views import Door

_SAFE = ("GET", "HEAD", "OPTIONS")


class ProblemFieldView(serializers.Serializer[Any]):
    """What is wrong with one field, parameter or header."""

    field = serializers.CharField(help_text="Its path, such as tiers[2].up_to.")
    code = serializers.CharField(help_text="Stable, for programs.")
    detail = serializers.CharField(help_text="For people.")


class ProblemView(serializers.Serializer[Any]):
    """A refusal as RFC 9457 describes it."""

    type = serializers.URLField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="The family: AUTH_001, VAL_001, REQ_003, …")
    reason = serializers.CharField(help_text="What exactly; stable, for programs.")
    detail = serializers.CharField(help_text="For people.")
    request_id = serializers.CharField(help_text="Quote it when you ask about this.")
    errors = ProblemFieldView(many=True, required=False)  # type: ignore[assignment]  # a field


class Schema(AutoSchema):
    """Adds filters, idempotency keys, ids in paths, tags and problems to what views declare."""

    def get_tags(self) -> list[str]:
        if isinstance(self.view, Door):
            return [self.view.resource.replace("_", "-")]
        return super().get_tags()

    def get_override_parameters(self) -> list[Any]:
        parameters = [*super().get_override_parameters()]
        if not isinstance(self.view, Door):
            return parameters
        action = getattr(self.view, "action", None)
        if action == "list":
            parameters += [OpenApiParameter(name, str) for name in self.view.filters]
        if self.method not in _SAFE:
            parameters.append(
                OpenApiParameter(
                    "Idempotency-Key",
                    str,
                    OpenApiParameter.HEADER,
                    required=action in self.view.money_actions,
                    description="New for each intended effect, the same on retries: the effect"
                    " happens once, and a retry gets the first answer.",
                )
            )
        return parameters

    def _resolve_path_parameters(self, variables: list[str]) -> list[_SchemaType]:
        own_name = getattr(self.view, "own_name", None)
        description = f"The id, or the {own_name.replace('_', ' ')}." if own_name else "The id."
        return [
            build_parameter_type(
                name=variable,
                location=OpenApiParameter.PATH,
                description=description if variable in ("id", "pk") else "",
                schema={"type": "string"},
            )
            for variable in variables
        ]

    def _get_response_bodies(self, direction: Any = "response") -> _SchemaType:
        bodies: _SchemaType = super()._get_response_bodies(direction)
        problem = self.resolve_serializer(ProblemView, "response")
        bodies["default"] = {
            "description": "What was wrong.",
            "content": {CONTENT_TYPE: {"schema": problem.ref}},
        }
        return bodies
