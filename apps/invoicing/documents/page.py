"""The page of a document: everything it shows, in words, and the HTML of it."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from django.template.loader import render_to_string

from apps.invoicing.derivation import decode_derivation
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.lines import Derivation
from apps.invoicing.models import Invoice, InvoiceLine, IssuedLogo
from apps.invoicing.queries import buyers_of, lines_of, seller_of
from apps.invoicing.wording import (
    amount_words,
    day_words,
    exact_words,
    number_words,
    span_words,
)
from apps.rating.pricing import Step

_LOGO: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
_ADDRESS: Final = (("line1",), ("line2",), ("postal_code", "city"), ("state",), ("country",))
_TAX_ID_NAMES: Final = {"eu_vat": "VAT", "gb_vat": "VAT", "us_ein": "EIN"}
_EXEMPT: Final = {
    "exempt": "Exempt from tax",
    "reverse_charge": "Reverse charge: the recipient owes the tax",
}
_MOST_STEPS: Final = 12  # of one line; the explanation has all of them
MOST_ROWS: Final = 1000  # of a page that is drawn as PDF: beyond, the steps of lines are left out
_TITLES: Final = {DocumentKind.INVOICE: "Invoice", DocumentKind.CREDIT_MEMO: "Credit memo"}


@dataclass(frozen=True, slots=True)
class Party:
    """Who sells, or who buys."""

    name: str
    address: tuple[str, ...]
    email: str
    tax_ids: tuple[str, ...]
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """One step of a line's price; its amount is exact, not rounded."""

    label: str
    quantity: str
    unit_price: str
    amount: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the document."""

    description: str
    period: str
    quantity: str
    unit_price: str
    amount: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Total:
    """One line below the lines."""

    label: str
    amount: str
    strong: bool = False


def html_of(document: Invoice) -> str:
    """Return the document as a page, with how much of it is paid now."""
    return render_to_string("invoicing/document.html", page_of(document, now=True))


def issued_html_of(document: Invoice) -> str:
    """Return the document as it was issued: nothing that has happened since changes the page."""
    page = page_of(document, now=False)
    rows: list[Row] = page["rows"]
    if sum(1 + len(row.parts) + len(row.notes) for row in rows) > MOST_ROWS:
        page["rows"] = [replace(row, parts=()) for row in rows]
    return render_to_string("invoicing/document.html", page)


def page_of(document: Invoice, *, now: bool) -> dict[str, Any]:
    """Return what the page shows, in words; with ``now``, also where the document stands.

    A draft shows its parties as they are, an issued document as they were.
    """
    is_draft = document.status == InvoiceStatus.DRAFT
    seller, buyer = document.seller, document.buyer
    if is_draft:
        seller = seller_of(document.tenant)
        buyer = buyers_of([document.customer_id])[document.customer_id]
    title = _TITLES[DocumentKind(document.kind)]
    zone = document.zone
    facts = [
        ("Number", document.display_number),
        ("Date", day_words(document.issued_at, zone) if document.issued_at else ""),
        ("Period", _period(document)),
        ("Due", _due_day(document)),
        ("Currency", document.currency),
        ("Time zone", zone),
    ]
    return {
        "title": f"{title} {document.display_number or 'draft'}",
        "kind": title,
        "is_draft": is_draft,
        "standing": document.status.replace("_", " ") if now and not is_draft else "",
        "language": "en",
        "made_at": document.issued_at or document.created_at,
        "seller": _party(seller),
        "buyer": _party(buyer),
        "logo": _logo(document, seller.get("logo", "")),
        "facts": [fact for fact in facts if fact[1]],
        "rows": [_row(line, zone) for line in lines_of(document)],
        "totals": _totals(document, now=now),
        "remark": _tax_remark(buyer),
        "currency": document.currency,
    }


def _period(document: Invoice) -> str:
    if document.period_start is None or document.period_end is None:
        return ""
    return span_words(document.period_start, document.period_end, document.zone)


def _due_day(document: Invoice) -> str:
    if document.due_at is None or document.kind != DocumentKind.INVOICE:
        return ""
    return day_words(document.due_at, document.zone)


def _totals(document: Invoice, *, now: bool) -> list[Total]:
    currency = document.currency

    def total(label: str, amount: Decimal, *, strong: bool = False) -> Total:
        return Total(label, amount_words(amount, currency), strong)

    found = [total("Subtotal", document.subtotal.amount)]
    if document.discount.amount:
        found.append(total("Discount", -document.discount.amount))
    found += [
        total(f"{one.name} on {amount_words(one.taxable, currency)}", one.amount)
        for one in document.taxes_shown
    ]
    if document.kind == DocumentKind.CREDIT_MEMO:
        left = document.total.amount - document.credit_applied
        if document.credit_applied:
            found.append(total("Given back as prepaid credit", document.credit_applied))
        return [*found, total("Credited to your balance", left, strong=True)]
    found.append(total("Total", document.total.amount, strong=True))
    due = document.total.amount - document.credit_applied - document.balance_applied.amount
    if document.credit_applied:
        found.append(total("Prepaid credit", -document.credit_applied))
    if document.balance_applied.amount:
        found.append(total("From your balance", -document.balance_applied.amount))
    if now:
        if document.amount_paid.amount:
            found.append(total("Paid", -document.amount_paid.amount))
        due = document.amount_due.amount
    return [*found, total("Amount due", due, strong=True)]


def _tax_remark(buyer: Mapping[str, Any]) -> str:
    """Return why no tax is asked for, where the buyer has a reason."""
    remark = _EXEMPT.get(buyer.get("tax_exempt", ""), "")
    reason = buyer.get("tax_exempt_reason", "")
    return f"{remark}: {reason}" if remark and reason else remark


def _row(line: InvoiceLine, zone: str) -> Row:
    derivation = decode_derivation(line.derivation)
    steps = derivation.rated.steps if derivation.rated else ()
    single = steps[0] if len(steps) == 1 and not _says_more(steps[0], derivation) else None
    unit_price = ""
    if single is not None and single.unit_price is not None:
        unit_price = exact_words(single.unit_price, line.currency)
    return Row(
        description=line.description,
        period=span_words(line.service_start, line.service_end, zone),
        quantity=f"{number_words(line.quantity)} {line.unit}".rstrip() if line.quantity else "",
        unit_price=unit_price,
        amount=amount_words(line.amount, line.currency),
        parts=() if single else tuple(_parts(steps, line.currency)),
        notes=tuple(_notes(line, derivation, len(steps))),
    )


def _says_more(step: Step, derivation: Derivation) -> bool:
    """Say whether quantity and unit price of the line do not tell the step."""
    measured = derivation.measured
    return bool(step.unit_price is not None and step.flat_fee) or (
        step.unit_price is not None and measured is not None and measured.quantity != step.quantity
    )


def _parts(steps: Iterable[Step], currency: str) -> Iterable[Part]:
    for step in list(steps)[:_MOST_STEPS]:
        per_unit = step.unit_price is not None
        price = exact_words(step.unit_price, currency) if step.unit_price is not None else ""
        fee = exact_words(step.flat_fee, currency)
        yield Part(
            label=f"{step.label}{_bounds(step)}",
            quantity=number_words(step.quantity) if per_unit else "",
            unit_price=f"{price} + {fee}" if per_unit and step.flat_fee else price,
            amount=exact_words(step.amount, currency),
        )


def _bounds(step: Step) -> str:
    above = f", above {number_words(step.lower)}" if step.lower else ""
    if step.upper is None:
        return above
    return f"{above or ','} up to {number_words(step.upper)}"


def _notes(line: InvoiceLine, derivation: Derivation, steps: int) -> Iterable[str]:
    if steps > _MOST_STEPS:
        yield f"and {steps - _MOST_STEPS:,} more"
    if derivation.included:
        yield f"{number_words(derivation.included)} {line.unit}".rstrip() + " included"
    share, whole = derivation.share
    if 0 < share < whole and derivation.rated is not None and line.kind != "usage":
        percent = (Decimal(100 * share) / Decimal(whole)).quantize(Decimal("0.01"))
        yield f"{number_words(percent)} % of the period"
    reduction = derivation.reduction
    if reduction is not None and reduction.percentage is not None:
        yield f"{number_words(reduction.percentage)} % of {amount_words(reduction.base, line.currency)}"
    if line.corrects_id is not None or derivation.already_billed:
        yield (
            f"{amount_words(derivation.expected, line.currency)} in all,"
            f" less {amount_words(derivation.already_billed, line.currency)} billed before"
        )


def _party(snapshot: Mapping[str, Any]) -> Party:
    address = snapshot.get("address") or ""
    if isinstance(address, str):
        lines = address.splitlines()
    else:
        lines = [
            " ".join(str(address[name]) for name in names if address.get(name))
            for names in _ADDRESS
        ]
    return Party(
        name=snapshot.get("name", ""),
        address=tuple(line for line in lines if line.strip()),
        email=snapshot.get("email", ""),
        tax_ids=tuple(
            f"{_TAX_ID_NAMES.get(one['kind'], one['kind'].upper())} {one['value']}"
            for one in snapshot.get("tax_ids", ())
        ),
        reference=snapshot.get("external_id", ""),
    )


def _logo(document: Invoice, sha256: str) -> str:
    """Return the picture as a data URI: nothing on the page is ever fetched from elsewhere."""
    if not sha256:
        return ""
    kept = IssuedLogo.objects.filter(tenant_id=document.tenant_id, sha256=sha256).first()
    image = kept.image if kept else document.tenant.logo
    known = hashlib.sha256(image.encode()).hexdigest() == sha256
    return image if known and _LOGO.fullmatch(image) else ""
