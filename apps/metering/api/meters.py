"""Meters and streams over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, inline_serializer
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.web.fields import ObjectField, StrictSerializer
from apps.core.web.views import Door, Reader, text
from apps.metering.api.serializers import (
    DefinitionBody,
    MeterBody,
    MeterVersionView,
    MeterView,
    StreamBody,
    StreamChanges,
    StreamView,
)
from apps.metering.models import EventStream, Meter
from apps.metering.operations import (
    StreamPaths,
    archive_meter,
    archive_stream,
    change_stream,
    create_meter,
    create_stream,
    revise_meter,
)

_SUM: Mapping[str, Any] = {
    "key": "api_calls",
    "name": "API calls",
    "aggregation": "sum",
    "description": "Calls made in the billing period",
}
_FINE: Mapping[str, Any] = {
    "key": "eu_storage",
    "name": "Storage in Europe",
    "unit": "GB",
    "event_name": "storage.changed",
    "aggregation": "weighted_sum",
    "value_property": "gigabytes",
    "recurring": True,
    "filters": [{"property": "region", "op": "in", "value": ["eu-west", "eu-central"]}],
    "group_by": ["region", "class"],
    "rounding": {"mode": "up", "precision": 2},
}
_REVISED: Mapping[str, Any] = {"aggregation": "max", "value_property": "gigabytes"}
_STREAM: Mapping[str, Any] = {
    "handle": "clicks",
    "event_name": "ad.clicked",
    "subject_path": "account_id",
    "value_path": "clicks",
    "key_path": "event.id",
}


class Meters(Door):
    """What is measured, and how."""

    resource = "meters"
    own_name = "key"
    serializer_class = MeterView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {"key": ("key", text)}

    def get_queryset(self) -> QuerySet[Meter]:
        return Meter.objects.filter(tenant_id=self.tenant_id).prefetch_related("versions")

    @extend_schema(
        request=MeterBody,
        responses={201: MeterView},
        examples=[
            OpenApiExample("The sum of a value", request_only=True, value=_SUM),
            OpenApiExample("Everything a meter can say", request_only=True, value=_FINE),
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a meter. Events that it was missing for are attached soon after."""
        given = self.read(MeterBody)
        given.setdefault("name", given["key"])
        given.setdefault("event_name", given["key"])
        meter = create_meter(
            self.tenant_id, id=self.effect_id, **_flat(given), actor=self.actor, at=self.at
        )
        return Response(MeterView(meter).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        operation_id="meters_versions_list",
        responses=inline_serializer(
            "MeterVersions",
            {"object": ObjectField("list"), "data": MeterVersionView(many=True)},
        ),
        methods=["GET"],
    )
    @extend_schema(
        request=DefinitionBody,
        responses={201: MeterVersionView},
        methods=["POST"],
        examples=[OpenApiExample("Another aggregation", request_only=True, value=_REVISED)],
    )
    @action(detail=True, methods=["get", "post"], pagination_class=None)
    def versions(self, request: Request, pk: str) -> Response:
        """List the versions, newest first; or add one, which charges made from now on may name."""
        meter: Meter = self.get_object()
        if request.method == "GET":
            versions = meter.versions.select_related("meter").order_by("-number")
            return Response({"object": "list", "data": MeterVersionView(versions, many=True).data})
        given = self.read(DefinitionBody)
        given.setdefault("event_name", meter.newest.event_name)
        version = revise_meter(
            meter.id,
            tenant_id=self.tenant_id,
            id=self.effect_id,
            **_flat(given),
            actor=self.actor,
            at=self.at,
        )
        return Response(MeterVersionView(version).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=MeterView)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Take no more events and no new charges. What was measured stays."""
        self.read(StrictSerializer)
        meter: Meter = self.get_object()
        archive_meter(meter.id, tenant_id=self.tenant_id, actor=self.actor, at=self.at)
        return Response(MeterView(self.get_object()).data)


class Streams(Door):
    """Endpoints that take your own JSON as it is: `POST /streams/{handle}/events`."""

    resource = "meters"
    own_name = "handle"
    serializer_class = StreamView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {"handle": ("handle", text)}

    def get_queryset(self) -> QuerySet[EventStream]:
        return EventStream.objects.filter(tenant_id=self.tenant_id)

    @extend_schema(
        request=StreamBody,
        responses={201: StreamView},
        examples=[OpenApiExample("Clicks of an account", request_only=True, value=_STREAM)],
    )
    def create(self, request: Request) -> Response:
        """Create a stream."""
        given = self.read(StreamBody)
        stream = create_stream(
            self.tenant_id,
            id=self.effect_id,
            handle=given["handle"],
            event_name=given["event_name"],
            paths=_paths(given),
            actor=self.actor,
            at=self.at,
        )
        return Response(StreamView(stream).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        request=StreamChanges,
        responses=StreamView,
        examples=[OpenApiExample("Another path", request_only=True, value={"value_path": "count"})],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change where things lie, for what arrives from now on."""
        stream: EventStream = self.get_object()
        given = self.read(StreamChanges)
        known: Mapping[str, str] = StreamView(stream).data
        stream = change_stream(
            stream.id,
            tenant_id=self.tenant_id,
            event_name=given.get("event_name", stream.event_name),
            paths=_paths({**known, **given}),
            actor=self.actor,
            at=self.at,
        )
        return Response(StreamView(stream).data)

    @extend_schema(request=None, responses=StreamView)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Take no more events."""
        self.read(StrictSerializer)
        stream: EventStream = self.get_object()
        stream = archive_stream(stream.id, tenant_id=self.tenant_id, actor=self.actor, at=self.at)
        return Response(StreamView(stream).data)


def _flat(given: dict[str, Any]) -> dict[str, Any]:
    """Return a body's values as the operations take them."""
    rounding = given.pop("rounding", None)
    if rounding is not None:
        given |= {"rounding": rounding["mode"], "rounding_places": rounding["precision"]}
    return given


def _paths(given: Mapping[str, str]) -> StreamPaths:
    return StreamPaths(
        subject=given["subject_path"],
        timestamp=given.get("timestamp_path", ""),
        value=given.get("value_path", ""),
        key=given.get("key_path", ""),
    )
