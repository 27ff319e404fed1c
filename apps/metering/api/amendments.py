"""Corrections of events over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from django.core import signing
from django.db.models import QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.web.paging import read_cursor, read_limit
from apps.core.web.views import Door, Reader, named, one_of
from apps.customers.queries import customers_for
from apps.metering.api.amending import (
    AmendedEventView,
    AmendmentBody,
    AmendmentPreviewView,
    AmendmentView,
)
from apps.metering.api.usage import subject_named
from apps.metering.domain import (
    AmendmentAction,
    AmendmentOrder,
    Backfilling,
    EventChange,
    EventSelection,
    Replacing,
    SubjectKind,
    Undoing,
    Voiding,
)
from apps.metering.models import EventAmendment, UsageSubject
from apps.metering.operations import amend_events
from apps.metering.previewing import previewer
from apps.metering.queries.amendments import events_amended
from apps.metering.queries.meters import latest_version, meter_named, terms_of
from apps.rating.filters import Filter, parse_filters

_EXAMPLES = [
    OpenApiExample(
        "Void an hour in which a broken client counted twice",
        request_only=True,
        value={
            "action": "void",
            "reason": "client 3.2 sent everything twice (INC-71)",
            "where": {
                "start": "2026-04-03T09:00:00Z",
                "end": "2026-04-03T10:00:00Z",
                "meter": "api_calls",
                "customer": "crm-4711",
                "filters": [{"property": "client", "op": "eq", "value": "3.2"}],
            },
        },
    ),
    OpenApiExample(
        "Kilobytes were sent as bytes",
        request_only=True,
        value={
            "action": "replace",
            "reason": "wrong unit",
            "where": {
                "start": "2026-04-01T00:00:00Z",
                "end": "2026-05-01T00:00:00Z",
                "event_name": "traffic",
            },
            "change": {"factor": "0.001"},
        },
    ),
    OpenApiExample(
        "Bring in what was lost",
        request_only=True,
        value={
            "action": "backfill",
            "reason": "queue was down on 3 April",
            "events": [
                {
                    "idempotency_key": "req_7f8a9b2c3d4e5f6a",
                    "meter": "api_calls",
                    "customer": "crm-4711",
                    "timestamp": "2026-04-03T09:30:00Z",
                    "value": "1",
                }
            ],
        },
    ),
]


class Amendments(Door):
    """Corrections of events that were sent: an audited overlay, undone by another amendment."""

    resource = "events"
    serializer_class = AmendmentView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "action": ("action", one_of(*AmendmentAction)),
    }

    parameters: ClassVar[frozenset[str]] = frozenset({"preview"})
    money_actions: ClassVar[frozenset[str]] = frozenset({"create"})

    def _claim_key(self, request: Request) -> None:
        if request.query_params.get("preview") != "true":  # which has no effect to be had once
            super()._claim_key(request)

    def get_queryset(self) -> QuerySet[EventAmendment]:
        return EventAmendment.objects.filter(tenant_id=self.tenant_id).select_related("undone_by")

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "preview", bool, description="true: tell what it would do and cost, and do nothing."
            )
        ],
        request=AmendmentBody,
        responses={
            201: AmendmentView,
            200: PolymorphicProxySerializer(
                component_name="AmendmentOrPreview",
                serializers=[AmendmentView, AmendmentPreviewView],
                resource_type_field_name=None,
            ),
        },
        examples=_EXAMPLES,
    )
    def create(self, request: Request) -> Response:
        """Void, replace or backfill events, or undo an amendment; what it changes is billed.

        Each period concerned is billed or credited by its difference, as the tenant's policy for
        late usage says: with the next invoice, at once, or once an operator agrees.
        """
        given = self.read(AmendmentBody)
        preview = one_of("true", "false")(request.query_params.get("preview", "false"))
        order = self._order(given)
        if preview == "true":
            told = previewer()(self.tenant_id, order, actor=self.actor, at=self.at)
            return Response(AmendmentPreviewView(told).data)
        made = amend_events(
            self.tenant_id,
            order,
            id=self.effect_id,
            reason=given["reason"],
            actor=self.actor,
            at=self.at,
        )
        return Response(AmendmentView(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=AmendedEventView(many=True))
    @action(
        detail=True,
        methods=["get"],
        filter_backends=[],
        parameters=frozenset({"limit", "cursor"}),
    )
    def events(self, request: Request, pk: str) -> Response:
        """Answer a page of what the amendment did to each event."""
        limit = read_limit(request.query_params.get("limit"))
        salt = f"{self.tenant_id}{request.path}"
        cursor = request.query_params.get("cursor")
        after = int(read_cursor(cursor, salt)) if cursor else 0
        found = events_amended(self.get_object().pk, after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Response(
            {
                "object": "list",
                "data": AmendedEventView(page, many=True).data,
                "has_more": more,
                "next_cursor": signing.dumps(str(page[-1].number), salt=salt) if more else None,
            }
        )

    def _order(self, given: Mapping[str, Any]) -> AmendmentOrder:
        match given["action"]:
            case AmendmentAction.VOID:
                return Voiding(self._selection(given))
            case AmendmentAction.REPLACE if "replacements" in given:
                by_key = {one["key"]: _change(one) for one in given["replacements"]}
                keys = tuple(by_key)
                selection = EventSelection(keys=keys, told={"keys": list(keys)})
                return Replacing(selection, by_key=by_key)
            case AmendmentAction.REPLACE:
                return Replacing(self._selection(given), _change(given["change"]))
            case AmendmentAction.BACKFILL:
                return Backfilling(given["events"])
            case _:
                return Undoing(given["amendment"])

    def _selection(self, given: Mapping[str, Any]) -> EventSelection:
        sent = cast("Mapping[str, object]", self.request.data)  # the body has been read
        told = {name: sent[name] for name in ("keys", "where") if name in given}
        if "keys" in given:
            return EventSelection(keys=tuple(given["keys"]), told=told)
        where = given["where"]
        filters: tuple[Filter, ...] = tuple(
            parse_filters(where.get("filters", []), "where.filters")
        )
        event_name = where.get("event_name", "")
        if "meter" in where:
            terms = terms_of(latest_version(meter_named(self.tenant_id, where["meter"]).pk))
            event_name, filters = terms.event_name, (*terms.filters, *filters)
        customer = subscription = None
        if "customer" in where:
            rows = customers_for(self.tenant_id)
            customer = named(rows, where["customer"], own_name="external_id").pk
        if "subscription" in where:
            subjects = UsageSubject.objects.filter(tenant_id=self.tenant_id)
            subscription = subject_named(subjects, where["subscription"]).pk
        return EventSelection(
            start=where["start"],
            end=where["end"],
            event_name=event_name,
            customer_id=customer,
            subscription_id=subscription,
            filters=filters,
            told=told,
        )


def _change(given: Mapping[str, Any]) -> EventChange:
    kinds = (SubjectKind.CUSTOMER, SubjectKind.SUBSCRIPTION)
    return EventChange(
        value=given.get("value"),
        factor=given.get("factor"),
        timestamp=given.get("timestamp"),
        properties=given.get("properties", {}),
        subject=next(((kind, given[kind]) for kind in kinds if kind in given), None),
    )
