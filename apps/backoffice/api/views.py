"""Advancing test clocks over HTTP."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.backoffice.api.serializers import AdvanceBody, AdvanceView
from apps.backoffice.domain import later
from apps.backoffice.models import ClockAdvance
from apps.backoffice.operations.clocks import AT_ONCE, begin_advance, continue_advance
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.web.views import Door
from apps.tenants.models import TestClock


class ClockAdvances(Door):
    """The way of a test clock: where it shall go, and how far it has come."""

    resource = "test_clocks"
    serializer_class = AdvanceView

    def get_queryset(self) -> QuerySet[TestClock]:
        return TestClock.objects.filter(tenant=self.tenant_id).select_related("tenant")

    @extend_schema(
        tags=["test-clocks"],
        request=AdvanceBody,
        responses={200: AdvanceView, 202: AdvanceView},
        examples=[
            OpenApiExample("By a year", request_only=True, value={"by": {"months": 12}}),
            OpenApiExample(
                "To an instant", request_only=True, value={"to": "2027-01-01T00:00:00Z"}
            ),
        ],
    )
    def create(self, request: Request, pk: str) -> Response:
        """Advance the clock; everything that comes due on the way happens, in order.

        Subscriptions begin, renew and end, periods are billed, drafts issued, invoices become
        overdue, payments are collected and retried. Answers 200 when the clock is there, or 202
        after ten seconds, when a job goes on; `GET` tells how far it is.
        """
        clock: TestClock = self.get_object()
        given = self.read(AdvanceBody)
        advance = begin_advance(
            clock.id,
            id=self.effect_id,
            to=_target(clock, given),
            tenant_id=self.tenant_id,
            at=now(),
        )
        advance = continue_advance(advance.id, actor=self.actor, within=AT_ONCE, wall=now)
        running = advance.ended_at is None
        return Response(
            AdvanceView(advance).data,
            status=status.HTTP_202_ACCEPTED if running else status.HTTP_200_OK,
        )

    @extend_schema(tags=["test-clocks"], responses=AdvanceView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Tell how far the clock has come on its last way."""
        clock: TestClock = self.get_object()
        advance = ClockAdvance.objects.filter(clock=clock).first()
        if advance is None:
            raise NotFound("This clock has not been advanced yet.")
        return Response(AdvanceView(advance).data)


def _target(clock: TestClock, given: dict[str, Any]) -> Any:
    if "to" in given:
        return given["to"]
    ((unit, count),) = given["by"].items()
    return later(clock.now, unit, count, zone=clock.tenant.zone)
