"""The pages of the desk: a list and a detail page per model, read-only, with verbs."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin, TabularInline

from apps.core.errors import BillingError, Invalid
from apps.core.ids import decode, encode, is_id, new_id
from apps.core.models import AuditEvent, Identified
from apps.core.tenancy import current_tenant
from apps.core.web.files import inline_file
from apps.tenants.desk.charts import NamedChart
from apps.tenants.desk.columns import Column, column_of, ident, instant_text
from apps.tenants.desk.rights import rights_of
from apps.tenants.desk.verbs import MOST_AT_ONCE, Download, Verb

_EVENTS_SHOWN: Final = 50
_LONGEST_SEARCH: Final = 200
_CONFIRMED: Final = "confirmed"
_LOOKUPS: Final = frozenset({"exact", "in", "isnull", "isempty", "gt", "gte", "lt", "lte"})

_OFFERED_VERBS: Final[defaultdict[type[models.Model], list[Verb]]] = defaultdict(list)
_OFFERED_INLINES: Final[defaultdict[type[models.Model], list["type[DeskInline]"]]] = defaultdict(
    list
)


def offer(
    model: type[models.Model],
    *,
    verbs: Sequence[Verb] = (),
    inlines: Sequence["type[DeskInline]"] = (),
) -> None:
    """Add to the page of a model of an app below what the calling app can do or show there."""
    _OFFERED_VERBS[model] += verbs
    _OFFERED_INLINES[model] += inlines


class TenantFilter(admin.SimpleListFilter):
    """Shows the tenant whose rows these are; not there for who works for only one.

    Choosing another turns the whole desk to it.
    """

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        tenants = rights_of(request).tenants.values()
        return [(one.public_id, str(one)) for one in tenants] if len(tenants) > 1 else []

    def choices(self, changelist: Any) -> Iterator[Any]:
        current = current_tenant()
        for value, label in self.lookup_choices:
            yield {
                "selected": current is not None and value == encode("ten", current),
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": label,
            }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        wanted = self.value()
        if wanted is None:
            return queryset
        try:
            tenant_id = decode("ten", wanted)
        except Invalid as error:
            raise IncorrectLookupParameters(error.detail) from error
        page = admin.site.get_model_admin(queryset.model)
        assert isinstance(page, Desk)  # noqa: S101 -- the filter is for these pages only
        return queryset.filter(**{page.tenant_path: tenant_id})


class _ReadOnly:
    """What pages and inlines share: rights by role, and nothing that changes books."""

    model: type[models.Model]
    resource: ClassVar[str]
    # a lookup that leads from a row to its tenant; "": rows of the installation as a whole
    tenant_path: ClassVar[str] = "tenant_id"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say whether the operator may read this row, or any row."""
        rights = rights_of(request)
        if not self.tenant_path:
            return rights.everywhere
        if isinstance(obj, self.model) and self.tenant_path == "tenant_id":
            return rights.may(self.resource, "read", getattr(obj, "tenant_id", None))
        return rights.may_somewhere(self.resource, "read")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are made by operations."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows are changed by operations."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Books are kept."""
        return False


class DeskInline(_ReadOnly, TabularInline):  # type: ignore[misc]  # the theme has no types
    """Rows that belong to the one above them, listed below it."""

    columns: ClassVar[Sequence[Column]]
    related: ClassVar[Sequence[str]] = ()
    per_page = 50
    extra = 0
    can_delete = False
    hide_title = True
    ordering: ClassVar[Sequence[str]] = ("pk",)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return self.columns

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return self.columns

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.select_related(*self.related)


class Desk(_ReadOnly, ModelAdmin):  # type: ignore[misc]  # the theme has no types
    """A model's pages. A subclass names the ``resource`` whose readers see it."""

    # what the detail page shows; the default is every column of the table
    detail: ClassVar[Sequence[Any]] = ()
    # columns of the table that the detail page leaves out
    hidden: ClassVar[Sequence[str]] = ()
    # rows that lists and pages read along, so that a list costs one query
    related: ClassVar[Sequence[str]] = ()
    # columns too large to be read where they are not shown
    unread: ClassVar[Sequence[str]] = ()
    verbs: ClassVar[Sequence[Verb]] = ()
    downloads: ClassVar[Sequence[Download]] = ()
    # fields that links from elsewhere may filter by, besides those of list_filter
    link_filters: ClassVar[Sequence[str]] = ()
    # what rows of this kind are called, where adding an s to the model's name is wrong
    plural: ClassVar[str] = ""
    # says below an empty list how rows of this kind come to be
    when_empty: ClassVar[str] = ""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
    change_form_outer_before_template = "desk/verbs.html"
    change_form_before_template = "desk/charts.html"
    change_form_outer_after_template = "desk/activity.html"

    def title(self) -> str:
        """Return what a list of these rows is called."""
        text = self.plural or str(self.opts.verbose_name_plural)
        return text[:1].upper() + text[1:]

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Say whether the sidebar and the index mention this."""
        return self.has_view_permission(request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows of the operator's tenants where his role lets him read them."""
        rows: QuerySet[Any] = super().get_queryset(request)
        rows = rows.select_related(*self.related).defer(*self.unread)
        rights = rights_of(request)
        if not self.tenant_path:
            return rows if rights.everywhere else rows.none()
        tenants = rights.tenants_with(self.resource)
        return rows if tenants is None else rows.filter(**{f"{self.tenant_path}__in": tenants})

    def get_list_filter(self, request: HttpRequest) -> Sequence[Any]:
        own = super().get_list_filter(request)
        return [TenantFilter, *own] if self.tenant_path else own

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only the declared filters: no walking through relations by hand."""
        declared = [TenantFilter.parameter_name, *self.link_filters]
        declared += [
            one if isinstance(one, str) else one[0]
            for one in self.list_filter
            if isinstance(one, str | tuple)
        ]
        return any(
            lookup == name or lookup.removeprefix(f"{name}__") in _LOOKUPS for name in declared
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a row by its id, or rows by words in the search fields."""
        term = search_term.replace("\x00", "").strip()[:_LONGEST_SEARCH]
        prefix = getattr(self.model, "ID_PREFIX", None)
        if prefix and is_id(prefix, term):
            return queryset.filter(pk=decode(prefix, term)), False
        found: tuple[QuerySet[Any], bool] = super().get_search_results(request, queryset, term)
        return found

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        return self.detail or self._all_columns()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        fields: list[Any] = []
        for _, section in self.get_fieldsets(request, obj):
            for one in section["fields"]:
                fields += one if isinstance(one, tuple) else [one]
        return fields

    def _all_columns(self) -> Sequence[Column]:
        hidden = {"id", "tenant", "tenant_id", *self.hidden, *self.unread}
        columns = [ident()] if issubclass(self.model, Identified) else []
        return columns + [
            column_of(field)
            for field in self.model._meta.concrete_fields
            if field.name not in hidden and not isinstance(field, models.BinaryField)
        ]

    # --- verbs --------------------------------------------------------------------------------

    def all_verbs(self) -> Sequence[Verb]:
        """Return what may be done to rows: the app's own verbs and those of apps above."""
        return (*self.verbs, *_OFFERED_VERBS[self.model])

    def get_inlines(self, request: HttpRequest, obj: Any) -> Sequence[Any]:
        return (*self.inlines, *_OFFERED_INLINES[self.model])

    def get_urls(self) -> list[URLPattern]:
        verb = path(
            "<path:object_id>/verb/<slug:name>/",
            self.admin_site.admin_view(self.verb_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_verb",
        )
        download = path(
            "<path:object_id>/download/<slug:name>/",
            self.admin_site.admin_view(self.download_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_download",
        )
        return [verb, download, *super().get_urls()]

    def download_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Answer a file that belongs to the row."""
        row = self.get_object(request, unquote(object_id))
        download = next((one for one in self.downloads if one.name == name), None)
        if row is None or download is None or not self.has_view_permission(request, row):
            raise Http404("There is no such file.")
        try:
            filename, media_type, content = download.read(row)
        except BillingError as error:
            messages.error(request, error.detail or error.reason)
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(page, args=[row.pk]))
        headers = {"Content-Disposition": inline_file(filename)}
        return HttpResponse(content, content_type=media_type, headers=headers)

    def verb_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        """Ask, then do it to one row."""
        row = self.get_object(request, unquote(object_id))
        verb = next((one for one in self.all_verbs() if one.name == name), None)
        if row is None or verb is None:
            raise Http404("There is nothing to do here.")
        if not verb.is_allowed(request, row):
            raise PermissionDenied
        back = _page_of(row)
        posted = request.POST if request.method == "POST" else None
        form = verb.form(posted) if verb.form else None
        if posted is not None and (form is None or form.is_valid()):
            given = form.cleaned_data if form else {}
            made = verb.run_all(request, [row], effect=effect_of(request), given=given)
            next_row = made[0] if verb.leads_on and made else row
            return HttpResponseRedirect(_page_of(next_row))
        return self._ask(request, verb, [row], back=back, form=form)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the verbs that the operator may use somewhere."""
        rights = rights_of(request)
        return {
            verb.name: (_on_selection(verb), verb.name, verb.label)
            for verb in self.all_verbs()
            if verb.form is None and rights.may_somewhere(verb.resource, "write")
        }

    def ask_or_run(
        self, request: HttpRequest, verb: Verb, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        """Ask about the selected rows, or, once confirmed, do it to them."""
        rows = list(queryset[: MOST_AT_ONCE + 1])
        if len(rows) > MOST_AT_ONCE:
            messages.error(request, f"Choose at most {MOST_AT_ONCE} at once.")
            return None
        if _CONFIRMED in request.POST:
            verb.run_all(request, rows, effect=effect_of(request))
            return None
        return self._ask(request, verb, rows, back=request.get_full_path())

    def _ask(
        self,
        request: HttpRequest,
        verb: Verb,
        rows: Sequence[Any],
        *,
        back: str,
        form: forms.Form | None = None,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verb.label}?",
            "verb": verb,
            "opts": self.opts,
            "back": back,
            "confirmed": _CONFIRMED,
            "effect": new_id(),
            "action_checkbox_name": ACTION_CHECKBOX_NAME,
            "rows": [(row, verb.fits(row)) for row in rows],
            "form": form,
        }
        return TemplateResponse(request, "desk/confirm.html", context)

    # --- pages --------------------------------------------------------------------------------

    def render_change_form(  # noqa: PLR0917 -- Django's signature
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002 -- Django's signature
        change: bool = False,  # noqa: FBT001, FBT002 -- Django's signature
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Show the row, what may be done to it, and what happened to it."""
        if obj is not None:
            context["verbs"] = [one for one in self.all_verbs() if one.is_for(request, obj)]
            context["downloads"] = self.downloads
            context["download_url"] = f"admin:{self.opts.app_label}_{self.opts.model_name}_download"
            context["verb_url"] = f"admin:{self.opts.app_label}_{self.opts.model_name}_verb"
            context["charts"] = self.charts(obj)
            context["activity"] = self._activity(obj)
        page: HttpResponse = super().render_change_form(
            request, context, add, change, form_url, obj
        )
        return page

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Answer a list; 400 for what PostgreSQL cannot hold in any text."""
        given = [
            one for name, values in request.GET.lists() if name != SEARCH_VAR for one in values
        ]
        if any("\x00" in one for one in given):
            raise BadRequest("NUL is not allowed.")
        extra = {"title": self.title(), **(extra_context or {})}
        page: HttpResponse = super().changelist_view(request, extra)
        return page

    def charts(self, row: Any) -> Sequence[NamedChart]:
        """Return what is drawn above a row's columns; nothing, unless a page says so."""
        return ()

    def _activity(self, row: Any) -> list[dict[str, Any]]:
        if not isinstance(row, Identified) or isinstance(row, AuditEvent):
            return []
        tenant_id = getattr(row, "tenant_id", row.id)
        events = AuditEvent.objects.filter(tenant_id=tenant_id, object_id=row.public_id)
        return [
            {
                "type": event.type,
                "at": instant_text(event.at),
                "actor": event.actor,
                "said": ", ".join(f"{key} {value}" for key, value in event.data.items()),
            }
            for event in events.order_by("-at", "-id")[:_EVENTS_SHOWN]
        ]


def _page_of(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def effect_of(request: HttpRequest) -> UUID:
    """Return the id of what an answer to a question creates: one, however often it is sent."""
    try:
        return UUID(request.POST.get("effect", ""))
    except ValueError:
        return new_id()


def _on_selection(
    verb: Verb,
) -> Callable[[Desk, HttpRequest, QuerySet[Any]], HttpResponse | None]:
    def act(page: Desk, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        return page.ask_or_run(request, verb, queryset)

    return act
