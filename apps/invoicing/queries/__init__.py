"""Reading documents, the balance of customers, and who sells to whom."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db.models import DecimalField, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from apps.customers.models import Customer, TaxId
from apps.customers.queries import on_clock
from apps.invoicing.domain import DocumentKind, InvoiceStatus, OpenCredit
from apps.invoicing.models import (
    BalanceApplication,
    CreditPaidOut,
    Invoice,
    InvoiceLine,
    InvoiceTax,
)
from apps.tenants.models import Tenant

_MONEY: Final = DecimalField(max_digits=38, decimal_places=12)
_NOT_STANDING: Final = (InvoiceStatus.DRAFT, InvoiceStatus.CANCELED)


def documents_of(tenant_id: UUID) -> QuerySet[Invoice]:
    """Return all invoices and credit memos of the tenant."""
    return Invoice.objects.filter(tenant_id=tenant_id)


def numbered(documents: QuerySet[Invoice], name: str) -> Invoice | None:
    """Return the document with this number as printed (``INV-000042``), or None."""
    series, dash, digits = name.rpartition("-")
    if not (dash and digits.isascii() and digits.isdigit() and len(digits) <= 18):  # noqa: PLR2004
        return None
    return documents.filter(series=series, number=int(digits)).first()


def lines_of(document: Invoice) -> list[InvoiceLine]:
    """Return the document's lines in their order."""
    return list(document.lines.order_by("position"))


def open_credit(
    customer_ids: Iterable[UUID], *, tenant_id: UUID
) -> dict[tuple[UUID, str], list[OpenCredit]]:
    """Return what the issued credit memos of customers have left, by customer and currency.

    The oldest memo comes first. What was applied to invoices that are canceled counts as left, what
    is being paid back does not, nor what came back as prepaid credit. It is what pays the customer's next invoices. All that is owed to him, with what he paid on account,
    is in the books: ``ledger.queries.customer_balances``.
    """
    memos = (
        Invoice.objects.filter(
            tenant_id=tenant_id,
            customer_id__in=customer_ids,
            kind=DocumentKind.CREDIT_MEMO,
            status=InvoiceStatus.ISSUED,
        )
        .annotate(used=_applied(), back=_paid_out())
        .order_by("issued_at", "number")
        .values_list("id", "customer_id", "currency", "total", "credit_applied", "used", "back")
    )
    credit: dict[tuple[UUID, str], list[OpenCredit]] = defaultdict(list)
    for memo_id, customer_id, currency, total, as_credit, used, back in memos:
        left = as_credit - Decimal(total) - used - back
        if left > 0:
            credit[customer_id, currency].append(OpenCredit(memo_id, left))
    return dict(credit)


def _applied() -> Coalesce:
    given = BalanceApplication.objects.exclude(invoice__status=InvoiceStatus.CANCELED)
    return _summed(given)


def _paid_out() -> Coalesce:
    return _summed(CreditPaidOut.objects.filter(released_at=None))


def _summed(parts: QuerySet[Any]) -> Coalesce:
    # a subquery each: joined, the one would multiply the other
    of_memo = parts.filter(credit_memo=OuterRef("pk")).order_by().values("credit_memo")
    total = of_memo.annotate(total=Sum("amount")).values("total")
    return Coalesce(Subquery(total, output_field=_MONEY), Value(Decimal(0)), output_field=_MONEY)


def creditable(invoices: Iterable[Invoice]) -> dict[UUID, Decimal]:
    """Return how much of each invoice can still be given back, tax included, in its currency.

    Memos give back no more than was asked for: what corrections of its lines have taken off on
    other documents, with its tax, counts as given back.
    """
    wanted = {one.id: one for one in invoices}
    given = dict(
        Invoice.objects.filter(credits__in=wanted)
        .order_by()
        .values_list("credits")
        .annotate(total=-Sum("total"))
    )
    corrections = InvoiceLine.objects.filter(
        corrects__invoice__in=wanted, invoice__credits=None
    ).exclude(invoice__status__in=_NOT_STANDING)
    corrected = dict(
        corrections.order_by().values_list("corrects__invoice").annotate(total=-Sum("amount"))
    )
    zero = Decimal(0)
    left = {}
    for key, invoice in wanted.items():
        taken = corrected.get(key, zero)
        if invoice.tax.amount and key in corrected:
            taken -= _tax_of_corrections(invoice)
        left[key] = max(invoice.total.amount - given.get(key, zero) - max(taken, zero), zero)
    return left


def _tax_of_corrections(invoice: Invoice) -> Decimal:
    """Return the tax that corrections have added to what the invoice billed; mostly below zero."""
    scopes = [invoice.id, *InvoiceLine.objects.filter(invoice=invoice).values_list("id", flat=True)]
    rows = InvoiceTax.objects.filter(scope_id__in=scopes, invoice__credits=None)
    rows = rows.exclude(invoice=invoice).exclude(invoice__status__in=_NOT_STANDING)
    total: Decimal | None = rows.aggregate(total=Sum("amount"))["total"]
    return total or Decimal(0)


def memos_of(invoice_ids: Iterable[UUID], *, tenant_id: UUID) -> set[UUID]:
    """Return the issued credit memos that give back or correct any of these invoices."""
    wanted = list(invoice_ids)
    memos = Invoice.objects.filter(
        tenant_id=tenant_id, kind=DocumentKind.CREDIT_MEMO, status=InvoiceStatus.ISSUED
    )
    giving = memos.filter(credits__in=wanted).values_list("id", flat=True)
    correcting = memos.filter(lines__corrects__invoice__in=wanted).values_list("id", flat=True)
    return {*giving, *correcting}


def invoices_behind(memo: Invoice) -> set[UUID]:
    """Return the invoices that a credit memo gives back or corrects."""
    corrected = InvoiceLine.objects.filter(invoice=memo, corrects__invoice__kind="invoice")
    found = set(corrected.values_list("corrects__invoice_id", flat=True))
    return found | ({memo.credits_id} if memo.credits_id else set())


def drafts_due(
    at: datetime, *, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> QuerySet[Invoice]:
    """Return the drafts whose grace has ended by ``at``, of customers who live on the clock."""
    due = Invoice.objects.filter(
        on_clock(clock_id, "customer__"), status=InvoiceStatus.DRAFT, issue_after__lte=at
    )
    return due if tenant_id is None else due.filter(tenant_id=tenant_id)


def to_become_overdue(
    at: datetime, *, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> QuerySet[Invoice]:
    """Return the invoices that had to be paid by ``at`` and are not, and do not say so yet."""
    late = Invoice.objects.filter(
        on_clock(clock_id, "customer__"),
        kind=DocumentKind.INVOICE,
        status__in=[InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID],
        due_at__lte=at,
    )
    return late if tenant_id is None else late.filter(tenant_id=tenant_id)


def seller_of(tenant: Tenant) -> dict[str, Any]:
    """Return what documents show of who sells; the logo is named by its hash."""
    return {
        "name": tenant.legal_name,
        "address": tenant.address,
        "email": tenant.email,
        "tax_ids": tenant.tax_ids,
        "logo": hashlib.sha256(tenant.logo.encode()).hexdigest() if tenant.logo else "",
    }


def buyers_of(customer_ids: Iterable[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return what documents show of who buys, for each customer."""
    wanted = list(customer_ids)
    tax_ids: dict[UUID, list[dict[str, str]]] = defaultdict(list)
    rows = TaxId.objects.filter(customer_id__in=wanted).order_by("customer_id", "kind", "value")
    for customer_id, kind, value in rows.values_list("customer_id", "kind", "value"):
        tax_ids[customer_id].append({"kind": kind, "value": value})
    customers = Customer.objects.filter(id__in=wanted)
    return {
        customer_id: {
            "name": name,
            "email": email,
            "external_id": external_id or "",
            "address": address,
            "tax_ids": tax_ids.get(customer_id, []),
            "tax_exempt": exempt,
            "tax_exempt_reason": reason,
        }
        for customer_id, external_id, name, email, address, exempt, reason in customers.values_list(
            "id", "external_id", "name", "email", "address", "tax_exempt", "tax_exempt_reason"
        )
    }
