"""Subscriptions over HTTP."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, datetime, time
from itertools import islice
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    inline_serializer,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.models import Plan, PlanVersion, PriceList
from apps.catalog.queries import version_on_sale
from apps.core.clock import now
from apps.core.errors import FieldError, Invalid, NotFound
from apps.core.ids import decode, is_id
from apps.core.web.fields import ObjectField, StrictSerializer
from apps.core.web.views import Door, ParameterInvalid, Reader, instant, named, one_of, text
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.rating.periods import Alignment, zone_info
from apps.rating.periods import instant as instant_of
from apps.subscriptions import operations
from apps.subscriptions.api.previewing import cancellation_previewer, previewer
from apps.subscriptions.api.serializers import (
    REFUND,
    UNCANCEL,
    CalendarView,
    CancelBody,
    CancelPreviewView,
    ChangeBody,
    ChangePreviewView,
    DescriptionBody,
    RenewBody,
    ScheduledChangeView,
    SubscriptionBody,
    SubscriptionView,
)
from apps.subscriptions.domain import (
    Anchoring,
    Behaviour,
    CancelMode,
    ChangeVerb,
    MoneyPreview,
    PhaseAlignment,
    PlanNotOnSale,
    Settlement,
    SubscriptionStatus,
    Wish,
)
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.operations.foreseeing import Foreseen
from apps.subscriptions.queries import billing_calendar, shown, subscriptions_for

_MOST_PERIODS: Final = 100
_PERIODS: Final = 24
_PREVIEW: Final = OpenApiParameter(
    "preview", bool, description="true: tell what it would do and cost, and do nothing."
)
_OR_PREVIEW: Final = PolymorphicProxySerializer(
    component_name="SubscriptionOrPreview",
    serializers=[SubscriptionView, ChangePreviewView],
    resource_type_field_name=None,
)


def _customers(name: str) -> QuerySet[Customer]:
    """Read a customer's id or external id."""
    text(name)
    condition = Q(external_id=name)
    if is_id(Customer.ID_PREFIX, name):
        condition |= Q(pk=decode(Customer.ID_PREFIX, name))
    return Customer.objects.filter(condition)


@extend_schema(tags=["subscriptions"])
class Subscriptions(Door):
    """Who has what, since when."""

    resource = "subscriptions"
    own_name = "external_id"
    serializer_class = SubscriptionView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "customer": ("customer__in", _customers),
        "plan": ("plan_version__plan__key", text),
        "status": ("status", one_of(*(one.value for one in SubscriptionStatus))),
        "external_id": ("external_id", text),
    }

    def get_queryset(self) -> QuerySet[Subscription]:
        return subscriptions_for(self.tenant_id)

    def get_serializer(self, *args: Any, **kwargs: Any) -> SubscriptionView:
        """Return the view of one subscription, of a page of them, or of none at all."""
        rows = list(args[0]) if kwargs.get("many") else list(args)
        kwargs["context"] = {**kwargs.get("context", {}), "shown": shown(rows, wall=now())}
        return SubscriptionView(*args, **kwargs)

    def answer(self, subscription_id: UUID, code: int = status.HTTP_200_OK) -> Response:
        """Answer a subscription as it is now."""
        row = self.get_queryset().get(pk=subscription_id)
        return Response(self.get_serializer(row).data, code)

    @extend_schema(
        request=SubscriptionBody,
        responses={201: SubscriptionView},
        examples=[
            OpenApiExample(
                "Since the first of April",
                value={
                    "customer": "cust_acme",
                    "plan": "plan_growth",
                    "start_date": "2026-04-01",
                },
                request_only=True,
            ),
            OpenApiExample(
                "Three seats, billed on the 15th, found by the caller's own id",
                value={
                    "customer": "cus_01h455vb4pex5vsknk084sn02q",
                    "plan": "seats",
                    "plan_version": 2,
                    "started_at": "2026-05-04T09:30:00Z",
                    "alignment": "calendar",
                    "anchor_day": 15,
                    "quantity": "3",
                    "external_id": "account-4711",
                    "term": {"unit": "year", "count": 1},
                },
                request_only=True,
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Start a subscription: now, in the past, or ahead of time.

        It is pinned to one version of the plan, the newest published one unless `plan_version` says
        another, and stays on it.
        """
        given = self.read(SubscriptionBody)
        customer = self._customer(given.pop("customer"))
        at = customer_now(customer, wall=now())
        version = self._version(given.pop("plan"), given.pop("plan_version", None))
        started_at = given.pop("started_at", None) or at
        if "start_date" in given:
            started_at = _midnight(given.pop("start_date"), customer.zone)
        subscription = operations.start_subscription(
            customer.pk,
            id=self.effect_id,
            plan_version_id=version.pk,
            started_at=started_at,
            alignment=Alignment(given.pop("alignment")),
            price_list_id=self._price_list(given.pop("price_list", None)),
            **given,
            actor=self.actor,
            at=at,
        )
        return self.answer(subscription.pk, status.HTTP_201_CREATED)

    def _customer(self, name: str) -> Customer:
        customers = Customer.objects.filter(tenant_id=self.tenant_id)
        found: Customer = named(
            customers.select_related("test_clock", "tenant__test_clock"),
            name,
            own_name="external_id",
        )
        return found

    def _version(self, name: str, number: int | None) -> PlanVersion:
        plan: Plan = named(Plan.objects.filter(tenant_id=self.tenant_id), name, own_name="key")
        version = version_on_sale(plan, number)
        if version is not None:
            return version
        if number is not None and not plan.versions.filter(number=number).exists():
            raise NotFound(f"The plan {plan.key} has no version {number}.", field="plan_version")
        which = "no version" if number is None else f"not its version {number}"
        raise PlanNotOnSale(f"Of the plan {plan.key} {which} is on sale.")

    def _price_list(self, name: str | None) -> UUID | None:
        if name is None:
            return None
        lists = PriceList.objects.filter(tenant_id=self.tenant_id)
        found: PriceList = named(lists, name, own_name="key")
        return found.pk

    def _found(self) -> tuple[Subscription, datetime]:
        """Return the subscription that the path names, and its customer's time."""
        subscription: Subscription = self.get_object()
        return subscription, customer_now(subscription.customer, wall=now())

    @extend_schema(
        parameters=[_PREVIEW],
        request=CancelBody,
        responses=PolymorphicProxySerializer(
            component_name="SubscriptionOrCancelPreview",
            serializers=[SubscriptionView, CancelPreviewView],
            resource_type_field_name=None,
        ),
        examples=[
            OpenApiExample(
                "With the current billing period", value={"mode": "period_end"}, request_only=True
            ),
            OpenApiExample(
                "On a date, without credit for what was billed ahead",
                value={"mode": "date", "ends_at": "2026-06-15T00:00:00Z", "settlement": "none"},
                request_only=True,
            ),
            OpenApiExample(
                "At once, and what was paid ahead goes back",
                value={"mode": "now", "settlement": "refund"},
                request_only=True,
            ),
        ],
    )
    @action(detail=True, methods=["post"], parameters=frozenset({"preview"}))
    def cancel(self, request: Request, pk: str) -> Response:
        """End a subscription: at once, with its current billing period, or on a date.

        An end that lies ahead waits among the `scheduled_changes` and can be withdrawn; one in the
        past, down to the start, is settled by the next invoice. The settlement `refund` needs the
        scope `payments:write` too.
        """
        given = self.read(CancelBody)
        preview = self._previews()
        subscription, at = self._found()
        refund = given["settlement"] == REFUND
        if refund:
            self.want("payments", "write")
        asked: dict[str, Any] = {
            "mode": CancelMode(given["mode"]),
            "ends_at": given.get("ends_at"),
            "settlement": Settlement.PRORATE if refund else Settlement(given["settlement"]),
        }
        if preview:
            found = operations.foresee_cancellation(subscription, **asked, at=at)
            ended_at = found.change.effective_at
            end = cancellation_previewer()(
                found.terms, ended_at=ended_at, refund=refund, cutoff=found.cutoff
            )
            shown_as = {**_told(subscription, found, end.told), "refund": end.refund}
            return Response(CancelPreviewView(shown_as).data)
        operations.cancel_subscription(
            subscription.pk,
            **asked,
            refund=refund,
            change_id=self.effect_id,
            actor=self.actor,
            at=at,
        )
        return self.answer(subscription.pk)

    @extend_schema(parameters=[_PREVIEW], request=None, responses=_OR_PREVIEW)
    @action(detail=True, methods=["post"], parameters=frozenset({"preview"}))
    def uncancel(self, request: Request, pk: str) -> Response:
        """Take back the cancellation that waits for its time: the subscription goes on.

        Its preview tells what is billed by the instant at which it was to end.
        """
        self.read(StrictSerializer)
        preview = self._previews()
        subscription, at = self._found()
        if preview:
            found = operations.foresee_uncancellation(subscription, at=at)
            return self._preview(subscription, found, verb=UNCANCEL)
        operations.uncancel_subscription(subscription.pk, actor=self.actor, at=at)
        return self.answer(subscription.pk)

    @extend_schema(
        parameters=[_PREVIEW],
        request=ChangeBody,
        responses=_OR_PREVIEW,
        examples=[
            OpenApiExample(
                "Another plan at once, billed in proportion to time",
                value={"verb": "change_plan", "plan": "enterprise", "behaviour": "invoice_now"},
                request_only=True,
            ),
            OpenApiExample(
                "Two packs of an add-on",
                value={"verb": "add_add_on", "add_on": "storage_pack", "quantity": "2"},
                request_only=True,
            ),
            OpenApiExample(
                "Fewer seats from the next billing period on",
                value={"verb": "change_quantity", "quantity": "3", "behaviour": "next_period"},
                request_only=True,
            ),
        ],
    )
    @action(detail=True, methods=["post"], parameters=frozenset({"preview"}))
    def changes(self, request: Request, pk: str) -> Response:
        """Change the plan, quantity, prices or add-ons; pause, suspend, resume; extend a trial.

        From `effective_at` on, which may lie in the past, down to the start: every period since is
        billed or credited by its difference. What lies ahead waits among the `scheduled_changes`.
        """
        given = self.read(ChangeBody)
        preview = self._previews()
        subscription, at = self._found()
        wish = self._wish(given)
        if preview:
            found = operations.foresee_change(subscription, wish, at=at)
            return self._preview(subscription, found)
        operations.change_subscription(
            subscription.pk, wish, change_id=self.effect_id, actor=self.actor, at=at
        )
        return self.answer(subscription.pk)

    def _wish(self, given: dict[str, Any]) -> Wish:
        verb = ChangeVerb(given["verb"])
        version, add_on = None, None
        if "plan" in given:
            version = self._version(given["plan"], given.get("plan_version"))
        if "add_on" in given:
            plans = Plan.objects.filter(tenant_id=self.tenant_id)
            add_on = named(plans, given["add_on"], own_name="key")
            if verb is ChangeVerb.ADD_ADD_ON:
                version = self._version(given["add_on"], given.get("plan_version"))
        alignment, anchoring = given.get("phase_alignment"), given.get("anchoring")
        behaviour = given.get("behaviour")
        return Wish(
            verb=verb,
            effective_at=given.get("effective_at"),
            behaviour=Behaviour(behaviour) if behaviour else None,
            quantity=given.get("quantity"),
            plan_version_id=version.pk if version else None,
            phase_alignment=PhaseAlignment(alignment) if alignment else None,
            anchoring=Anchoring(anchoring) if anchoring else None,
            price_list_id=self._price_list(given.get("price_list")),
            trial_ends_at=given.get("trial_ends_at"),
            add_on_id=add_on.pk if add_on else None,
        )

    def _previews(self) -> bool:
        asked = self.request.query_params.get("preview", "false")
        return bool(one_of("true", "false")(asked) == "true")

    def _preview(
        self, subscription: Subscription, found: Foreseen, verb: str | None = None
    ) -> Response:
        told = previewer()(found.terms, cutoff=found.cutoff)
        shown_as = _told(subscription, found, told)
        return Response(ChangePreviewView({**shown_as, "verb": verb or shown_as["verb"]}).data)

    @extend_schema(
        request=DescriptionBody,
        responses=SubscriptionView,
        examples=[
            OpenApiExample(
                "Found by another id", value={"external_id": "account-4712"}, request_only=True
            )
        ],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change how a subscription is called; what it has is changed by `changes`."""
        given = self.read(DescriptionBody)
        subscription, at = self._found()
        operations.describe_subscription(
            subscription.pk,
            external_id=given.get("external_id", subscription.external_id),
            metadata=given.get("metadata", subscription.metadata),
            actor=self.actor,
            at=at,
        )
        return self.answer(subscription.pk)

    @extend_schema(
        parameters=[_PREVIEW],
        request=RenewBody,
        responses=_OR_PREVIEW,
        examples=[
            OpenApiExample(
                "Not before the first of December",
                value={"effective_at": "2026-12-01T00:00:00Z"},
                request_only=True,
            )
        ],
    )
    @action(detail=True, methods=["post"], parameters=frozenset({"preview"}))
    def renew(self, request: Request, pk: str) -> Response:
        """Let another term follow the one of `effective_at`; a repeat in the term changes nothing.

        A renewal that lies ahead waits among the `scheduled_changes`. Its preview tells what is
        billed by the instant at which the subscription would have ended without it.
        """
        effective_at = self.read(RenewBody).get("effective_at")
        preview = self._previews()
        subscription, at = self._found()
        if preview:
            found = operations.foresee_renewal(subscription, effective_at=effective_at, at=at)
            return self._preview(subscription, found)
        operations.renew_subscription(
            subscription.pk,
            effective_at=effective_at,
            change_id=self.effect_id,
            actor=self.actor,
            at=at,
        )
        return self.answer(subscription.pk)

    @extend_schema(
        responses=inline_serializer(
            "ScheduledChanges",
            {"object": ObjectField("list"), "data": ScheduledChangeView(many=True)},
        )
    )
    @action(detail=True, methods=["get"], url_path="scheduled-changes")
    def scheduled_changes(self, request: Request, pk: str) -> Response:
        """Answer the changes of a subscription, those that are over too."""
        subscription: Subscription = self.get_object()
        changes = ScheduledChangeView(subscription.scheduled_changes.all(), many=True)
        return Response({"object": "list", "data": changes.data})

    @extend_schema(responses={200: ScheduledChangeView})
    @action(
        detail=True,
        methods=["delete"],
        url_path=r"scheduled-changes/(?P<change>[^/]+)",
        url_name="withdraw",
    )
    def withdraw(self, request: Request, pk: str, change: str) -> Response:
        """Take back a change: one that waits is withdrawn, one that was applied is undone."""
        self.read(StrictSerializer)
        subscription, at = self._found()
        found: ScheduledChange = named(subscription.scheduled_changes.all(), change, own_name=None)
        withdrawn = operations.withdraw_change(found.pk, actor=self.actor, at=at)
        return Response(ScheduledChangeView(withdrawn).data)

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "count", int, description=f"How many, 1 to {_MOST_PERIODS}; {_PERIODS} by default."
            ),
            OpenApiParameter(
                "from",
                {"type": "string", "format": "date-time"},
                description="Periods that end after it; now unless given.",
            ),
        ],
        responses=CalendarView,
    )
    @action(detail=True, methods=["get"], parameters=frozenset({"count", "from"}))
    def periods(self, request: Request, pk: str) -> Response:
        """Answer the next billing periods: the calendar by which the subscription is billed.

        Periods of charges with different cadences are listed side by side.
        """
        subscription, at = self._found()
        count, after = self._calendar_asked_for(at)
        calendar = billing_calendar(subscription, after=after)
        return Response(
            CalendarView(
                {
                    "subscription": subscription.pk,
                    "zone": subscription.zone,
                    "periods": list(islice(calendar, count)),
                },
                context={"zone": zone_info(subscription.zone)},
            ).data
        )

    def _calendar_asked_for(self, at: datetime) -> tuple[int, datetime]:
        errors = []
        given = self.request.query_params
        count, after = given.get("count", str(_PERIODS)), at
        if not (count.isascii() and count.isdigit() and 1 <= int(count[:9]) <= _MOST_PERIODS):
            errors.append(
                FieldError("count", "page_size", f"count is a number from 1 to {_MOST_PERIODS}.")
            )
        if "from" in given:
            try:
                after = instant(given["from"])
            except Invalid as error:
                errors.append(FieldError("from", error.reason, error.detail))
        if errors:
            raise ParameterInvalid(errors=errors)
        return int(count), after


def _told(subscription: Subscription, found: Foreseen, told: MoneyPreview) -> dict[str, Any]:
    """Return what a preview shows of a change that was foreseen."""
    return {
        "subscription": subscription.pk,
        "verb": found.change.verb,
        "effective_at": found.change.effective_at,
        "currency": told.currency,
        "cutoff": told.cutoff,
        "lines": [{**asdict(one), "currency": told.currency} for one in told.lines],
        "total": told.total,
        "tax": told.tax,
        "otherwise": told.otherwise,
        "otherwise_tax": told.otherwise_tax,
        "difference": told.difference,
    }


def _midnight(day: date, zone: str) -> datetime:
    """Return the instant at which a day begins in a zone; an instant is returned as it is."""
    if isinstance(day, datetime):
        return day
    return instant_of(datetime.combine(day, time.min), zone_info(zone))
