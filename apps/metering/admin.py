"""Meters, streams, orphans and rollups on the desk."""

import csv
from datetime import datetime
from io import StringIO
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.paginator import InfinitePaginator

from apps.core.clock import now
from apps.core.errors import BillingError, Conflict
from apps.core.ids import encode
from apps.core.money import plain as plain_digits
from apps.core.money import round_money
from apps.core.tenancy import current_tenant
from apps.customers.models import Customer
from apps.metering.asking import AmendmentForm
from apps.metering.domain import AmendmentPreview, OrphanStatus, Undoing
from apps.metering.models import (
    ChangedUsage,
    EventAmendment,
    EventsDropped,
    EventStream,
    Meter,
    MeterStamp,
    MeterVersion,
    OrphanEvent,
    RollupFrontier,
    RollupPosition,
    UsageRollup,
    UsageSubject,
)
from apps.metering.operations.amendments import amend_events
from apps.metering.operations.orphans import reattach_orphans
from apps.metering.previewing import previewer
from apps.tenants.desk import (
    By,
    Desk,
    DeskInline,
    Download,
    Verb,
    actor_of,
    choice,
    document,
    effect_of,
    instant,
    itself,
    link,
    named,
    plain,
    reference,
    rights_of,
    status,
)
from apps.tenants.queries import tenant_now, tenant_of


class StillAnOrphan(Conflict):
    """The event matches nothing, as before."""

    reason = "still_an_orphan"


class MeterVersionInline(DeskInline):
    model = MeterVersion
    resource = "meters"
    columns = (
        itself("version"),
        plain("event_name"),
        choice("aggregation"),
        plain("value_property", "value from"),
        document("filters"),
        plain("group_by"),
        instant("created_at", "since"),
    )
    ordering = ("-number",)


@admin.register(Meter)
class MeterDesk(Desk):
    resource = "meters"
    list_display = (
        plain("key"),
        plain("name"),
        plain("unit"),
        instant("created_at", "since"),
        instant("archived_at", "archived"),
    )
    search_fields = ("key", "name")
    inlines = (MeterVersionInline,)
    when_empty = "A meter says what to measure: POST /api/v1/meters."


@admin.register(MeterVersion)
class MeterVersionDesk(Desk):
    resource = "meters"
    list_display = (
        link("meter"),
        plain("number", "version"),
        plain("event_name"),
        choice("aggregation"),
        instant("created_at", "since"),
    )
    list_filter = ("aggregation",)
    search_fields = ("meter__key", "event_name")
    related = ("meter",)
    ordering = ("-id",)


@admin.register(EventStream)
class EventStreamDesk(Desk):
    resource = "meters"
    list_display = (
        plain("handle"),
        plain("event_name"),
        plain("subject_path", "subject from"),
        instant("created_at", "since"),
        instant("archived_at", "archived"),
    )
    search_fields = ("handle", "event_name")
    ordering = ("-id",)
    when_empty = "A stream takes your own JSON as it is: POST /api/v1/streams."


def _reattach(orphan: OrphanEvent, by: By) -> None:
    found = reattach_orphans(
        orphan.tenant_id,
        Q(pk=orphan.pk),
        actor=by.actor,
        at=tenant_now(tenant_of(orphan.tenant_id), wall=now()),
    )
    if found.left:
        raise StillAnOrphan("It still matches nothing; mend what its reason says first.")


@admin.register(OrphanEvent)
class OrphanEventDesk(Desk):
    resource = "events"
    list_display = (
        plain("event_name", "event"),
        status(),
        choice("reason"),
        plain("subject"),
        plain("value"),
        instant("occurred_at", "occurred"),
        instant("received_at", "received"),
    )
    list_filter = ("status", "reason")
    search_fields = ("key", "subject", "event_name")
    verbs = (
        Verb(
            name="reattach",
            label="Try to attach",
            icon="link",
            resource="events",
            run=_reattach,
            fits=lambda orphan: orphan.status == OrphanStatus.OPEN,
            warning="If a meter, a customer and an open subscription match it now, it becomes"
            " usage, and is billed by the next run.",
        ),
    )
    when_empty = "No event is without a home. Events that match nothing are kept here."


class _Why(forms.Form):
    """What is asked for before an amendment is undone."""

    reason = forms.CharField(max_length=500, help_text="Kept for ever beside your name.")


def _time_of(amendment: EventAmendment) -> datetime:
    return tenant_now(tenant_of(amendment.tenant_id), wall=now())


def _undo(amendment: EventAmendment, by: By) -> None:
    amend_events(
        amendment.tenant_id,
        Undoing(amendment.pk),
        id=by.effect_id,
        reason=by.given["reason"],
        actor=by.actor,
        at=_time_of(amendment),
    )


def _undoing_in_money(amendment: EventAmendment) -> tuple[str, str, bytes]:
    """Return by how much each period would differ if the amendment were undone now."""
    told = previewer()(
        amendment.tenant_id,
        Undoing(amendment.pk),
        actor="system:desk",
        at=_time_of(amendment),
    )
    rows = [["customer", "subscription", "from", "to", "billed", "difference", "currency"]]
    rows += [
        [
            encode(Customer.ID_PREFIX, one.customer_id),
            encode("sub", one.subscription_id),
            one.period_start.isoformat(),
            one.period_end.isoformat(),
            "yes" if one.is_billed else "no",
            plain_digits(one.amount),
            one.currency,
        ]
        for one in told.deltas
    ]
    text = StringIO()
    csv.writer(text).writerows(rows)
    return f"undo-{amendment.public_id}.csv", "text/csv", text.getvalue().encode()


@admin.register(EventAmendment)
class EventAmendmentDesk(Desk):
    resource = "events"
    list_display = (
        itself("amendment"),
        plain("reason"),
        plain("actor"),
        plain("voided"),
        plain("restored"),
        plain("added"),
        plain("customers"),
        instant("since", "usage from"),
        instant("until", "usage to"),
    )
    list_filter = ("action",)
    search_fields = ("reason", "actor")
    related = ("undoes", "undone_by")
    ordering = ("-id",)
    verbs = (
        Verb(
            name="undo",
            label="Undo",
            icon="undo",
            resource="events",
            run=_undo,
            fits=lambda amendment: not hasattr(amendment, "undone_by"),
            form=_Why,
            warning="What it took out counts again, what it brought in counts no more; the"
            " difference is billed or credited. The file beside says how much that is.",
        ),
    )
    list_before_template = "desk/amend_link.html"
    downloads = (Download(name="undoing", label="What undoing would cost", read=_undoing_in_money),)
    when_empty = "Nothing has been corrected."

    def get_urls(self) -> list[URLPattern]:
        amend = path(
            "amend/",
            self.admin_site.admin_view(self.amend_view),
            name="metering_eventamendment_amend",
        )
        return [amend, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer the list, with a way to the form for whoever may amend."""
        may = rights_of(request).may(self.resource, "write", current_tenant())
        return super().changelist_view(request, {"may_amend": may, **(extra_context or {})})

    def amend_view(self, request: HttpRequest) -> HttpResponse:
        """Ask which events to amend and how, tell what that does to money, and do it."""
        tenant_id = current_tenant()
        if tenant_id is None or not rights_of(request).may(self.resource, "write", tenant_id):
            raise PermissionDenied
        form = AmendmentForm(tenant_id, request.POST if request.method == "POST" else None)
        told: AmendmentPreview | None = None
        if form.is_bound and form.is_valid():
            at = tenant_now(tenant_of(tenant_id), wall=now())
            actor = actor_of(request)
            try:
                if request.POST.get("step") == "apply":
                    made = amend_events(
                        tenant_id,
                        form.order,
                        id=effect_of(request),
                        reason=form.cleaned_data["reason"],
                        actor=actor,
                        at=at,
                    )
                    messages.success(request, f"Amended: {made}.")
                    page = reverse("admin:metering_eventamendment_change", args=[made.pk])
                    return HttpResponseRedirect(page)
                told = previewer()(tenant_id, form.order, actor=actor, at=at)
            except BillingError as error:
                form.add_error(None, str(error))
        context = {
            **self.admin_site.each_context(request),
            "title": "Amend events",
            "opts": self.opts,
            "form": form,
            "told": told,
            "deltas": _deltas_shown(told) if told else (),
            "totals": {
                currency: round_money(total, currency)
                for currency, total in (told.totals if told else {}).items()
            },
            "effect": effect_of(request),
            "back": reverse("admin:metering_eventamendment_changelist"),
        }
        return TemplateResponse(request, "desk/amend.html", context)


def _deltas_shown(told: AmendmentPreview) -> list[dict[str, Any]]:
    """Return the differences with the names of their customers."""
    wanted = {one.customer_id for one in told.deltas}
    names = {one.pk: str(one) for one in Customer.objects.filter(pk__in=wanted)}
    return [
        {
            "delta": one,
            "customer": names.get(one.customer_id, ""),
            "amount": round_money(one.amount, one.currency),
        }
        for one in told.deltas
    ]


@admin.register(UsageSubject)
class UsageSubjectDesk(Desk):
    resource = "usage"
    list_display = (
        reference("subscription_id", "subscriptions.subscription"),
        plain("external_id"),
        link("customer"),
        instant("opens_at", "opens"),
        instant("closes_at", "closes"),
    )
    search_fields = ("external_id", "customer__name")
    related = ("customer",)
    ordering = ("-subscription_id",)


@admin.register(UsageRollup)
class UsageRollupDesk(Desk):
    resource = "usage"
    list_display = (
        link("meter_version", "meter"),
        reference("customer_id", "customers.customer"),
        choice("grain"),
        instant("starts_at", "from"),
        plain("group"),
        plain("count"),
        plain("total"),
    )
    list_filter = ("grain",)
    related = ("meter_version__meter",)
    ordering = ("-pk",)
    paginator = InfinitePaginator
    sortable_by = ()
    when_empty = "Usage is rolled up seconds after its events arrive."


@admin.register(RollupPosition)
class RollupPositionDesk(Desk):
    resource = "usage"
    list_display = (link("meter_version", "meter"), plain("caught_up"))
    related = ("meter_version__meter",)


@admin.register(RollupFrontier)
class RollupFrontierDesk(Desk):
    resource = "usage"
    tenant_path = ""
    list_display = (named("reader"), plain("below_xid", "counted below"))


@admin.register(ChangedUsage)
class ChangedUsageDesk(Desk):
    resource = "usage"
    list_display = (link("customer"), instant("since", "changed since"))
    search_fields = ("customer__name",)
    related = ("customer",)
    ordering = ("since",)
    when_empty = "The last billing runs have seen all usage."


@admin.register(MeterStamp)
class MeterStampDesk(Desk):
    resource = "meters"
    list_display = (named("stamp"), plain("number"))
    ordering = ("tenant_id",)


@admin.register(EventsDropped)
class EventsDroppedDesk(Desk):
    resource = "usage"
    tenant_path = ""
    list_display = (named("dropped"), instant("before"))
    when_empty = "No event has been dropped by retention."
