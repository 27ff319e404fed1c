"""Invoices and credit memos on the desk."""

import re
from typing import Any, Final

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.clock import now
from apps.core.ids import encode
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.invoicing.admin.backtests import BacktestCustomerDesk as BacktestCustomerDesk
from apps.invoicing.admin.backtests import BacktestDesk as BacktestDesk
from apps.invoicing.domain import COLLECTABLE, DocumentKind, InvoiceStatus
from apps.invoicing.models import (
    AccrualLook,
    BalanceApplication,
    CreditPaidOut,
    Invoice,
    InvoiceLine,
    InvoiceTax,
    IssuedLogo,
    IssuedPdf,
    NumberSequence,
    ParkedCustomer,
)
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.invoicing.operations.issuing import issue_invoice
from apps.invoicing.operations.rendering import keep_pdf
from apps.tenants.desk import (
    By,
    Desk,
    DeskInline,
    Download,
    Verb,
    amount,
    choice,
    document,
    ident,
    instant,
    itself,
    link,
    named,
    offer,
    plain,
    reference,
    status,
)

_NUMBER: Final = re.compile(r"([A-Za-z0-9]{1,20})-0*([0-9]{1,18})")


def _issue(invoice: Invoice, by: By) -> None:
    at = customer_now(invoice.customer, wall=now())
    issue_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=by.actor, at=at)


def _cancel(invoice: Invoice, by: By) -> None:
    at = customer_now(invoice.customer, wall=now())
    cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=by.actor, at=at)


def _write_off(invoice: Invoice, by: By) -> None:
    at = customer_now(invoice.customer, wall=now())
    write_off_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=by.actor, at=at)


def _pdf(invoice: Invoice) -> tuple[str, str, bytes]:
    at = customer_now(invoice.customer, wall=now())
    content = keep_pdf(invoice.id, tenant_id=invoice.tenant_id, at=at)
    return f"{invoice.display_number or 'draft'}.pdf", "application/pdf", content


class InvoiceLineInline(DeskInline):
    model = InvoiceLine
    resource = "invoices"
    columns = (
        itself("description"),
        instant("service_start", "from", zone="invoice.zone"),
        instant("service_end", "to, exclusive", zone="invoice.zone"),
        plain("quantity"),
        plain("unit"),
        amount("amount"),
    )
    related = ("invoice",)
    ordering = ("position",)


class InvoiceTaxInline(DeskInline):
    model = InvoiceTax
    resource = "invoices"
    columns = (
        itself("tax"),
        plain("percentage", "%"),
        amount("taxable", "on"),
        amount("covered", "taxed when credit was bought"),
        amount("amount"),
        amount("taxable_before", "on, before"),
        amount("amount_before", "before"),
    )
    ordering = ("id",)


@admin.register(Invoice)
class InvoiceDesk(Desk):
    resource = "invoices"
    list_display = (
        named("number"),
        link("customer"),
        status(),
        choice("kind"),
        amount("total"),
        amount("amount_paid", "paid"),
        instant("issued_at", "issued"),
        instant("due_at", "due"),
    )
    list_filter = ("status", "kind", "currency", "issued_at")
    search_fields = ("customer__name", "customer__external_id", "customer__email")
    related = ("customer__test_clock", "customer__tenant__test_clock")
    detail = (
        ident(),
        (plain("display_number", "number"), status(), choice("kind")),
        link("customer"),
        instant("period_start", "from", zone="zone"),
        instant("period_end", "to, exclusive", zone="zone"),
        instant("cutoff_at", "bills up to", zone="zone"),
        (amount("subtotal"), amount("discount"), amount("tax")),
        (
            amount("total"),
            amount("credit_applied", "from prepaid credit"),
            amount("balance_applied", "from the customer's balance"),
            amount("amount_paid", "paid"),
        ),
        instant("created_at", "created", zone="zone"),
        instant("issue_after", "to be issued", zone="zone"),
        instant("issued_at", "issued", zone="zone"),
        instant("due_at", "due", zone="zone"),
        instant("closed_at", "closed", zone="zone"),
        document("buyer"),
        document("seller"),
        plain("pdf_sha256", "SHA-256 of the PDF"),
    )
    inlines = (InvoiceLineInline, InvoiceTaxInline)
    downloads = (Download(name="pdf", label="PDF", icon="picture_as_pdf", read=_pdf),)
    verbs = (
        Verb(
            name="issue",
            label="Issue",
            icon="send",
            resource="invoices",
            run=_issue,
            fits=lambda invoice: invoice.status == InvoiceStatus.DRAFT,
            warning="An issued document gets its number and never changes again. If the company"
            " collects automatically, money is asked for at once.",
        ),
        Verb(
            name="cancel",
            label="Cancel",
            icon="block",
            resource="invoices",
            run=_cancel,
            fits=lambda invoice: (
                invoice.kind == DocumentKind.INVOICE
                and invoice.status in (InvoiceStatus.ISSUED, InvoiceStatus.OVERDUE)
            ),
            warning="A canceled invoice keeps its number and asks for nothing any more. What is"
            " still owed for its periods is billed again by the next run.",
        ),
        Verb(
            name="write_off",
            label="Write off",
            icon="money_off",
            resource="invoices",
            run=_write_off,
            fits=lambda invoice: (
                invoice.kind == DocumentKind.INVOICE and invoice.status in COLLECTABLE
            ),
            warning="What is unpaid becomes bad debt in the books. Money that arrives later is"
            " still accepted.",
        ),
    )
    when_empty = (
        "Invoices are drafted when a billing period ends, or at once by POST /api/v1/invoices."
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find also by the printed number, such as INV-000042."""
        printed = _NUMBER.fullmatch(search_term.strip())
        if printed:
            return queryset.filter(series=printed[1], number=int(printed[2])), False
        return super().get_search_results(request, queryset, search_term)


@admin.register(InvoiceLine)
class InvoiceLineDesk(Desk):
    resource = "invoices"
    list_display = (
        plain("description"),
        link("invoice"),
        choice("kind"),
        instant("service_start", "from"),
        instant("service_end", "to, exclusive"),
        plain("quantity"),
        amount("amount"),
    )
    list_filter = ("kind", "currency")
    search_fields = ("description",)
    related = ("invoice", "corrects")
    detail = (
        ident(),
        link("invoice"),
        choice("kind"),
        plain("description"),
        reference("subscription_id", "subscriptions.subscription"),
        reference("charge_id", "catalog.charge"),
        reference("grant_id", "wallets.creditgrant"),
        instant("service_start", "from", zone="invoice.zone"),
        instant("service_end", "to, exclusive", zone="invoice.zone"),
        instant("period_start", "period from", zone="invoice.zone"),
        instant("period_end", "period to, exclusive", zone="invoice.zone"),
        plain("group", "price point"),
        link("corrects"),
        plain("quantity"),
        plain("unit"),
        amount("amount"),
        document("derivation", "how it came about"),
    )
    ordering = ("-id",)


@admin.register(InvoiceTax)
class InvoiceTaxDesk(Desk):
    resource = "invoices"
    list_display = (
        plain("name"),
        link("invoice"),
        plain("percentage", "%"),
        amount("taxable", "on"),
        amount("amount"),
        choice("rounding"),
    )
    list_filter = ("currency", "name")
    search_fields = ("name",)
    related = ("invoice", "rate")
    ordering = ("-id",)
    when_empty = "Rates are added by POST /api/v1/tax-rates."


@admin.register(NumberSequence)
class NumberSequenceDesk(Desk):
    resource = "invoices"
    list_display = (plain("series"), plain("last_number"))
    ordering = ("series", "id")


@admin.register(BalanceApplication)
class BalanceApplicationDesk(Desk):
    resource = "invoices"
    list_display = (
        ident(),
        link("credit_memo"),
        link("invoice"),
        amount("amount"),
        instant("applied_at", "applied"),
    )
    related = ("credit_memo", "invoice")
    ordering = ("-id",)
    when_empty = "Money of credit memos is used up by the invoices that follow them."


@admin.register(CreditPaidOut)
class CreditPaidOutDesk(Desk):
    resource = "invoices"
    list_display = (
        ident(),
        link("credit_memo"),
        itself("refund", lambda row: encode("ref", row.refund_id)),
        amount("amount"),
        instant("taken_at", "taken"),
        instant("released_at", "released"),
    )
    related = ("credit_memo",)
    ordering = ("-id",)
    when_empty = "Nothing of a credit memo was paid back."


@admin.register(ParkedCustomer)
class ParkedCustomerDesk(Desk):
    resource = "invoices"
    list_display = (
        link("customer"),
        plain("reason"),
        plain("attempts"),
        instant("cutoff_at", "bills up to"),
        instant("parked_at", "parked"),
    )
    search_fields = ("customer__name", "reason")
    related = ("customer",)
    ordering = ("-parked_at",)
    when_empty = "The last billing runs worked for everybody."


@admin.register(AccrualLook)
class AccrualLookDesk(Desk):
    resource = "invoices"
    list_display = (link("customer"), plain("mark", "up to change"))
    search_fields = ("customer__name",)
    related = ("customer",)
    ordering = ("-mark",)
    when_empty = "Usage is looked at between its bills where a price has a billing threshold."


@admin.register(IssuedPdf)
class IssuedPdfDesk(Desk):
    resource = "invoices"
    list_display = (link("invoice"), instant("made_at", "made"))
    related = ("invoice",)
    unread = ("content",)
    ordering = ("-invoice_id",)
    when_empty = "A PDF is made when somebody first asks for it, and kept."


@admin.register(IssuedLogo)
class IssuedLogoDesk(Desk):
    resource = "invoices"
    list_display = (ident(), plain("sha256", "SHA-256"))
    unread = ("image",)
    ordering = ("-id",)
    when_empty = "Documents show the logo that the company had when they were issued."


class InvoiceInline(DeskInline):
    model = Invoice
    resource = "invoices"
    columns = (
        itself("number"),
        status(),
        choice("kind"),
        amount("total"),
        amount("amount_paid", "paid"),
        instant("issued_at", "issued"),
    )
    ordering = ("-id",)


offer(Customer, inlines=(InvoiceInline,))
