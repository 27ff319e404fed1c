"""Reading usage back over HTTP."""

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any, ClassVar, Final
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.ids import decode, is_id
from apps.core.web.fields import BoundaryField, InstantField
from apps.core.web.views import Door, ParameterInvalid
from apps.customers.models import Customer
from apps.customers.queries import customers_for
from apps.metering.api.serializers import UsageView
from apps.metering.models import Meter, UsageSubject
from apps.metering.queries.meters import meter_named
from apps.metering.queries.usage import Grain, Whose, month_around, usage_of, whose_subscription
from apps.rating.periods import Span, instant, zone_info

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_METERS: Final = 100
_PARAMETERS: Final = [
    OpenApiParameter("meter", str, description="Its key or id; all meters in use if left out."),
    OpenApiParameter(
        "start",
        str,
        description="An instant, or a date in the zone; the current month if left out.",
    ),
    OpenApiParameter("end", str, description="Exclusive: an instant, or a date in the zone."),
    OpenApiParameter("grain", str, enum=[str(one) for one in Grain]),
    OpenApiParameter("group_by", str, description="Dimensions of the meter, joined by commas."),
    OpenApiParameter("zone", str, description="IANA; the customer's if left out."),
]


class _Usage(Door):
    resource = "usage"
    serializer_class = UsageView
    pagination_class = None
    parameters: ClassVar[frozenset[str]] = frozenset(
        {"meter", "start", "end", "grain", "group_by", "zone"}
    )

    def answer(self, whose: Whose, customer_zone: str) -> Response:
        """Answer what the query asks for; raise ``ParameterInvalid`` with all that is wrong."""
        query = self.request.query_params
        asked = _Asked(query, customer_zone, self.at)
        meters = self._meters(query.get("meter"))
        try:
            usage = usage_of(
                whose,
                meters,
                asked.span,
                zone=asked.zone,
                grain=asked.grain,
                group_by=asked.group_by,
            )
        except Invalid as error:
            raise ParameterInvalid(
                errors=[FieldError(error.field or "grain", error.reason, error.detail)]
            ) from error
        return Response(
            UsageView(
                {
                    "customer_id": whose.customer_id,
                    "subscription_id": whose.subscription_id,
                    "start": asked.span.start,
                    "end": asked.span.end,
                    "zone": asked.zone,
                    "grain": asked.grain,
                    "meters": usage,
                }
            ).data
        )

    def _meters(self, name: str | None) -> list[Meter]:
        if name is not None:
            return [meter_named(self.tenant_id, name)]
        in_use = Meter.objects.filter(tenant_id=self.tenant_id, archived_at=None)
        return list(in_use.prefetch_related("versions").order_by("key")[:_MOST_METERS])


class CustomerUsage(_Usage):
    """What a customer used, under whatever subscription or none."""

    own_name = "external_id"

    def get_queryset(self) -> QuerySet[Customer]:
        return customers_for(self.tenant_id)

    @extend_schema(parameters=_PARAMETERS, responses=UsageView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer usage, exact at the instant of the request, whatever has been rolled up."""
        customer: Customer = self.get_object()
        return self.answer(Whose(self.tenant_id, customer.pk), customer.zone)


class SubscriptionUsage(_Usage):
    """What was used under a subscription."""

    def get_queryset(self) -> QuerySet[UsageSubject]:
        return UsageSubject.objects.filter(tenant_id=self.tenant_id).select_related("customer")

    @extend_schema(parameters=_PARAMETERS, responses=UsageView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer usage, exact at the instant of the request, whatever has been rolled up.

        Events that name only the customer count too, while it has no other subscription.
        """
        subject = subject_named(self.get_queryset(), pk)
        return self.answer(whose_subscription(self.tenant_id, subject), subject.customer.zone)


def subject_named(rows: QuerySet[UsageSubject], name: str) -> UsageSubject:
    """Return the subscription with this id or external id; raise ``NotFound``."""
    found = None
    if is_id("sub", name):
        found = rows.filter(pk=decode("sub", name)).first()
    if found is None and "\x00" not in name:
        found = rows.filter(external_id=name).first()
    if found is None:
        raise NotFound(f"There is no subscription {name[:64]!r}.")
    return found


class _Asked:
    """What a query asks for, read strictly, with every error at once."""

    def __init__(self, query: Mapping[str, Any], zone: str, at: datetime) -> None:
        self._errors: list[FieldError] = []
        self.zone = query.get("zone", zone)
        try:
            rules = zone_info(self.zone)
        except Invalid as error:
            raise ParameterInvalid(
                errors=[FieldError("zone", error.reason, error.detail)]
            ) from error
        month = month_around(at, self.zone)
        start = self._boundary(query, "start", rules, InstantField()) or month.start
        end = self._boundary(query, "end", rules, BoundaryField()) or max(month.end, start)
        self.grain = Grain.TOTAL
        if (grain := query.get("grain", "total")) in list(Grain):
            self.grain = Grain(grain)
        else:
            known = ", ".join(Grain)
            self._note("grain", "parameter_invalid", f"{grain[:64]!r} is not one of: {known}.")
        self.group_by = tuple(name for name in query.get("group_by", "").split(",") if name)
        if end < start:
            self._note("end", "range_backwards", "The end is before the start.")
        if self._errors:
            raise ParameterInvalid(errors=self._errors)
        self.span = Span(start, end)

    def _boundary(
        self, query: Mapping[str, Any], name: str, rules: ZoneInfo, field: InstantField
    ) -> datetime | None:
        text = query.get(name)
        if text is None:
            return None
        try:
            if _DATE.fullmatch(text):
                return instant(datetime.combine(date.fromisoformat(text), time()), rules)
            return field.to_internal_value(text)
        except ValueError:
            self._note(name, "timestamp_format", f"{text!r} is no date that there is.")
        except ValidationError as error:
            details: Any = error.detail
            self._note(name, details[0].code, str(details[0]))
        return None

    def _note(self, field: str, code: str, detail: str) -> None:
        self._errors.append(FieldError(field, code, detail))
