"""The orphan desk over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.db.models import Count, Q, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.web.views import Door, Reader, instant, one_of, text
from apps.metering.api.serializers import (
    OrphanCountView,
    OrphanView,
    ReattachBody,
    ReattachedView,
)
from apps.metering.domain import OrphanReason, OrphanStatus, SubjectKind
from apps.metering.models import OrphanEvent
from apps.metering.operations import reattach_orphans
from apps.metering.queries.orphans import suggestions


class Orphans(Door):
    """Events that matched no meter, customer or open subscription: kept, mended, then billed."""

    resource = "events"
    serializer_class = OrphanView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "status": ("status", one_of(*OrphanStatus)),
        "reason": ("reason", one_of(*OrphanReason)),
        "event_name": ("event_name", text),
        "subject": ("subject", text),
        "received_from": ("received_at__gte", instant),
        "received_before": ("received_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[OrphanEvent]:
        return OrphanEvent.objects.filter(tenant_id=self.tenant_id)

    def list(self, request: Request) -> Response:
        """Answer a page of orphans, newest first, each with what would probably mend it."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self._shown(page or ()))

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer one orphan."""
        return Response(self._shown([self.get_object()])[0])

    @extend_schema(responses=OrphanCountView)
    @action(detail=False, methods=["get"], filter_backends=[], pagination_class=None)
    def count(self, request: Request) -> Response:
        """Answer how many orphans wait, by reason."""
        waiting = self.get_queryset().filter(status=OrphanStatus.OPEN).order_by()
        by_reason = dict(waiting.values_list("reason").annotate(Count("pk")))
        return Response(
            OrphanCountView({"open": sum(by_reason.values()), "by_reason": by_reason}).data
        )

    @extend_schema(
        request=ReattachBody,
        responses=ReattachedView,
        examples=[
            OpenApiExample(
                "A mistyped event name",
                request_only=True,
                value={"filter": {"event_name": "api.cals"}, "event_name": "api.calls"},
            ),
            OpenApiExample(
                "Single events of a customer",
                request_only=True,
                value={"ids": ["orp_01h455vb4pex5vsknk084sn02q"], "customer": "crm-4711"},
            ),
        ],
    )
    @action(detail=False, methods=["post"])
    def reattach(self, request: Request) -> Response:
        """Make usage events of orphans, with another event name or subject if given."""
        given = self.read(ReattachBody)
        done = reattach_orphans(
            self.tenant_id,
            _which(given),
            event_name=given.get("event_name"),
            subject=next(
                ((kind, given[kind]) for kind in SubjectKind if kind in given),
                None,
            ),
            actor=self.actor,
            at=self.at,
        )
        return Response(ReattachedView(done).data)

    def _shown(self, orphans: Sequence[OrphanEvent]) -> Any:
        context = {"suggestions": suggestions(self.tenant_id, orphans)}
        return OrphanView(orphans, many=True, context=context).data


def _which(given: Mapping[str, Any]) -> Q:
    if "ids" in given:
        return Q(pk__in=given["ids"])
    lookups = {
        "reason": "reason",
        "event_name": "event_name",
        "subject": "subject",
        "received_from": "received_at__gte",
        "received_before": "received_at__lt",
    }
    return Q(**{lookups[name]: value for name, value in given["filter"].items()})
