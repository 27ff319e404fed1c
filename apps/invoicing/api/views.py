"""Invoices and credit memos over HTTP."""

from collections.abc import Mapping
from datetime import datetime, time
from functools import cached_property
from typing import Any, ClassVar, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core import signing
from django.db.models import QuerySet, prefetch_related_objects
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.ids import decode, is_id
from apps.core.models import AuditEvent
from apps.core.money import CURRENCIES
from apps.core.web.fields import StrictSerializer
from apps.core.web.files import inline_file
from apps.core.web.paging import read_cursor, read_limit
from apps.core.web.views import Door, Reader, named, one_of
from apps.customers.models import Customer
from apps.customers.queries import customer_now, customers_for
from apps.invoicing.api.serializers import (
    BillBody,
    EventView,
    ExplanationView,
    InvoiceRow,
    InvoiceView,
    LineView,
    PreviewBody,
    PreviewView,
    UsageEventView,
    VerificationView,
    WriteOffBody,
)
from apps.invoicing.documents.page import html_of
from apps.invoicing.domain import (
    DocumentKind,
    InvoiceImmutable,
    InvoiceStatus,
    refuse_far_preview,
)
from apps.invoicing.explaining import explain, usage_behind, verify
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.billing import bill_customer, preview_customer
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.invoicing.operations.issuing import issue_invoice
from apps.invoicing.operations.rendering import keep_pdf
from apps.invoicing.queries import documents_of, numbered
from apps.rating.periods import instant

# the page brings its style and its logo along and asks for nothing else
_PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
)
_BILL_EXAMPLES: Final = [
    OpenApiExample(
        "April, on the first of May",
        request_only=True,
        value={"customer": "crm-4711", "cutoff": "2026-05-01T00:00:00Z"},
    ),
    OpenApiExample(
        "By day, in the customer's time zone, as drafts",
        request_only=True,
        value={"customer": "crm-4711", "target_date": "2026-05-01", "issue": False},
    ),
]


def _customers_named(name: str) -> QuerySet[Customer]:
    if is_id(Customer.ID_PREFIX, name):
        return Customer.objects.filter(pk=decode(Customer.ID_PREFIX, name))
    return Customer.objects.filter(external_id=name)


class DocumentDoor(Door):
    """What every endpoint below ``/invoices`` has in common."""

    resource = "invoices"

    def get_queryset(self) -> QuerySet[Any]:
        return documents_of(self.tenant_id)

    @cached_property
    def document(self) -> Invoice:
        """The document that the path names by id or number, as it was when the request came."""
        name = self.kwargs["pk"]
        found = numbered(self.get_queryset(), name) if "\x00" not in name else None
        document: Invoice = found or super().get_object()
        return document

    def get_object(self) -> Any:
        """Return the document that the path names."""
        return self.document

    def time_of(self, customer_id: UUID) -> datetime:
        """Return what time it is for the customer."""
        clocks = Customer.objects.select_related("test_clock", "tenant__test_clock")
        return customer_now(clocks.get(pk=customer_id), wall=now())


@extend_schema(tags=["invoices"])
class Invoices(DocumentDoor):
    """Invoices and credit memos; either is named by its id or its number (``INV-000042``)."""

    serializer_class = InvoiceRow
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "customer": ("customer__in", _customers_named),
        "status": ("status", one_of(*(one.value for one in InvoiceStatus))),
        "kind": ("kind", one_of(*(one.value for one in DocumentKind))),
        "currency": ("currency", one_of(*CURRENCIES)),
    }

    @extend_schema(responses=InvoiceView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer one document with its lines."""
        return Response(InvoiceView(self.document).data)

    @extend_schema(
        request=BillBody,
        responses={201: InvoiceView(many=True), 200: InvoiceView(many=True)},
        examples=_BILL_EXAMPLES,
    )
    def create(self, request: Request) -> Response:
        """Bill a customer: one document per currency for what is due and not billed yet.

        Answers 201 with the list of documents, or 200 with an empty list where nothing is due.
        Repeating it bills nothing twice.
        """
        given, customer, at = self._order(BillBody)
        documents = bill_customer(
            customer.id,
            tenant_id=self.tenant_id,
            request_id=self.effect_id,
            cutoff=given["cutoff"],
            issue=given["issue"],
            actor=self.actor,
            at=at,
        )
        prefetch_related_objects(documents, "lines", "taxes")
        return _listed(
            InvoiceView(documents, many=True).data,
            status.HTTP_201_CREATED if documents else status.HTTP_200_OK,
        )

    @extend_schema(
        request=PreviewBody, responses=PreviewView(many=True), examples=_BILL_EXAMPLES[:1]
    )
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Answer the documents that billing would make, and store nothing.

        The cutoff may lie up to three years ahead: the usage counted is what there is so far.
        """
        given, customer, at = self._order(PreviewBody)
        refuse_far_preview(given["cutoff"], at)
        documents = preview_customer(customer.id, tenant_id=self.tenant_id, cutoff=given["cutoff"])
        return _listed(PreviewView(documents, many=True).data, status.HTTP_200_OK)

    @extend_schema(request=None, responses=InvoiceView)
    @action(detail=True, methods=["post"])
    def issue(self, request: Request, pk: str) -> Response:
        """Issue a draft: it gets its number and never changes again.

        An issued document is answered as it is.
        """
        self.read(StrictSerializer)
        issued = issue_invoice(
            self.document.id,
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=self.time_of(self.document.customer_id),
        )
        return Response(InvoiceView(issued).data)

    @extend_schema(request=None, responses=InvoiceView)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel an issued invoice that nothing was paid of.

        It keeps its number; balance that it used is the customer's again; what is still owed of
        it is billed by the next run.
        """
        self.read(StrictSerializer)
        canceled = cancel_invoice(
            self.document.id,
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=self.time_of(self.document.customer_id),
        )
        return Response(InvoiceView(canceled).data)

    @extend_schema(
        request=WriteOffBody,
        responses=InvoiceView,
        examples=[
            OpenApiExample(
                "A bankrupt customer", request_only=True, value={"reason": "insolvency 4 IN 12/26"}
            )
        ],
    )
    @action(detail=True, methods=["post"], url_path="write-off")
    def write_off(self, request: Request, pk: str) -> Response:
        """Write off what is open of an invoice as bad debt."""
        given = self.read(WriteOffBody)
        written = write_off_invoice(
            self.document.id,
            reason=given["reason"],
            tenant_id=self.tenant_id,
            actor=self.actor,
            at=self.time_of(self.document.customer_id),
        )
        return Response(InvoiceView(written).data)

    @extend_schema(exclude=True)
    def update(self, request: Request, pk: str) -> Response:
        """Refuse: documents are not written by hand."""
        if self.document.status == InvoiceStatus.DRAFT:
            raise InvoiceImmutable(
                "A draft is computed: change the subscription or send usage, and bill again."
            )
        raise InvoiceImmutable(
            "An issued document never changes. What is wrong on it is corrected by billing again:"
            " the difference becomes a line of the next invoice, or a credit memo."
        )

    @extend_schema(exclude=True)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Refuse, as ``update`` does."""
        return self.update(request, pk)

    @extend_schema(exclude=True)
    def destroy(self, request: Request, pk: str) -> Response:
        """Refuse, as ``update`` does."""
        return self.update(request, pk)

    @extend_schema(exclude=True)
    @action(detail=True, methods=["post", "put", "patch", "delete"])
    def lines(self, request: Request, pk: str) -> Response:
        """Refuse, as ``update`` does."""
        return self.update(request, pk)

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY})
    @action(detail=True, methods=["get"])
    def pdf(self, request: Request, pk: str) -> HttpResponse:
        """Answer the document as PDF, as it was issued: the same bytes for ever."""
        document = self.document
        at = self.time_of(document.customer_id)
        content = keep_pdf(document.id, tenant_id=self.tenant_id, at=at)
        name = document.display_number or f"draft-{document.public_id}"
        return HttpResponse(
            content,
            content_type="application/pdf",
            headers={
                "Content-Disposition": inline_file(f"{name}.pdf"),
                "Content-Security-Policy": "default-src 'none'; sandbox",
                "X-Content-Type-Options": "nosniff",
            },
        )

    @extend_schema(responses={(200, "text/html"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"])
    def html(self, request: Request, pk: str) -> HttpResponse:
        """Answer the document as a page, with how much of it is paid now."""
        return HttpResponse(
            html_of(self.document),
            headers={
                "Content-Security-Policy": _PAGE_POLICY,
                "X-Content-Type-Options": "nosniff",
            },
        )

    def _order(self, body: type[PreviewBody]) -> tuple[dict[str, Any], Customer, datetime]:
        """Return the body, with its cutoff as an instant, the customer and his time."""
        given = self.read(body)
        customers = customers_for(self.tenant_id).select_related("test_clock", "tenant__test_clock")
        customer: Customer = named(customers, given["customer"], own_name="external_id")
        at = customer_now(customer, wall=now())
        cutoff = given["cutoff"]
        if cutoff is None:
            cutoff = at
        elif not isinstance(cutoff, datetime):
            cutoff = instant(datetime.combine(cutoff, time.min), ZoneInfo(customer.zone))
        return {**given, "cutoff": cutoff}, customer, at


@extend_schema(tags=["invoices"])
class InvoiceEvents(DocumentDoor):
    """The event log of a document: what happened to it, when, on whose behalf."""

    serializer_class = EventView
    parameters: ClassVar[frozenset[str]] = frozenset({"limit", "cursor"})

    @extend_schema(responses=EventView(many=True))
    def log(self, request: Request, pk: str) -> Response:
        """Answer a page of events, newest first."""
        events = AuditEvent.objects.filter(
            tenant_id=self.tenant_id, object_id=self.document.public_id
        )
        page = self.paginate_queryset(events)
        return self.get_paginated_response(EventView(page, many=True).data)


@extend_schema(tags=["invoices"])
class InvoiceLines(DocumentDoor):
    """A line of a document: why it amounts to what it does."""

    serializer_class = LineView
    parameters: ClassVar[frozenset[str]] = frozenset({"limit", "cursor"})

    @property
    def line(self) -> InvoiceLine:
        """The line that the path names."""
        name = self.kwargs["line"]
        found = None
        if is_id(InvoiceLine.ID_PREFIX, name):
            lines = InvoiceLine.objects.select_related("invoice").filter(invoice=self.document)
            found = lines.filter(pk=decode(InvoiceLine.ID_PREFIX, name)).first()
        if found is None:
            raise NotFound(f"{self.document} has no line {name[:64]!r}.")
        return found

    @extend_schema(responses=ExplanationView)
    def explain(self, request: Request, pk: str, line: str) -> Response:
        """Answer what the amount came from: usage, tiers walked, rates, rounding, difference."""
        return Response(ExplanationView(explain(self.line)).data)

    @extend_schema(responses=VerificationView)
    def verify(self, request: Request, pk: str, line: str) -> Response:
        """Compute the line again from the events it saw, and answer whether it holds."""
        return Response(VerificationView(verify(self.line)).data)

    @extend_schema(responses=UsageEventView(many=True))
    def usage_events(self, request: Request, pk: str, line: str) -> Response:
        """Answer a page of the events behind the line, in the order of their arrival."""
        limit = read_limit(request.query_params.get("limit"))
        salt = f"{self.tenant_id}{request.path}"
        cursor = request.query_params.get("cursor")
        after = int(read_cursor(cursor, salt)) if cursor else 0
        found = usage_behind(self.line, after=after, limit=limit + 1)
        page = found[:limit]
        more = len(found) > limit
        return Response(
            {
                "object": "list",
                "data": UsageEventView(page, many=True).data,
                "has_more": more,
                "next_cursor": signing.dumps(str(page[-1].seq), salt=salt) if more else None,
            }
        )


def _listed(documents: Any, answer: int) -> Response:
    body = {"object": "list", "data": documents, "has_more": False, "next_cursor": None}
    return Response(body, status=answer)
