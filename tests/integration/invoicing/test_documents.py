"""Documents as HTML and PDF: what they show, what they never do, and that they stay."""

import builtins
import http.server
import io
import struct
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from moneyed import Money
from pypdf import PdfReader

from apps.core.errors import NotFound
from apps.core.tenancy import tenant_scope
from apps.customers.models import TaxId
from apps.invoicing.documents import page, pdf
from apps.invoicing.documents.engine import write_pdf
from apps.invoicing.documents.page import html_of, issued_html_of
from apps.invoicing.documents.pdf import DocumentTooLong, PdfUnavailable, pdf_of
from apps.invoicing.models import Invoice, InvoiceLine, IssuedPdf
from apps.invoicing.operations.closing import cancel_invoice
from apps.invoicing.operations.payments_received import record_payment
from apps.invoicing.operations.rendering import keep_pdf
from apps.tenants.models import Tenant
from tests.make.customers import make_customer
from tests.make.invoicing import DERIVATION, fresh, issued, make_draft, make_issued
from tests.make.tenants import ACTOR, AT, make_tenant

pytestmark = pytest.mark.django_db

BERLIN_APRIL = datetime(2026, 3, 31, 22, tzinfo=UTC)
BERLIN_MAY = datetime(2026, 4, 30, 22, tzinfo=UTC)
STEP = {"label": "Units", "flat_fee": "0", "lower": None, "upper": None}


def _png() -> str:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\x00\x10\x50\xa0"))
    picture = b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")
    return "data:image/png;base64," + b64encode(picture).decode()


LOGO = _png()


def make_april(**values: Any) -> Invoice:
    """An issued invoice with everything a document shows, in Berlin's time."""
    tenant = make_tenant()
    Tenant.objects.filter(pk=tenant.pk).update(
        legal_name="Acme GmbH",
        address="Hauptstr. 1\n10115 Berlin",
        tax_ids=[{"kind": "eu_vat", "value": "DE136695976"}],
        logo=LOGO,
        **values,
    )
    customer = make_customer(
        tenant,
        name="Globex",
        zone="Europe/Berlin",
        external_id="glx-1",
        address={"line1": "Way 1", "city": "Springfield", "postal_code": "97403", "country": "US"},
    )
    TaxId.objects.create(tenant=tenant, customer=customer, kind="us_ein", value="12-3456789")
    make_issued(customer, ["-12.50"])
    draft = make_draft(
        customer, ["100.00", "49.00"], period_start=BERLIN_APRIL, period_end=BERLIN_MAY
    )
    calls, fee = draft.lines.order_by("position")
    InvoiceLine.objects.filter(pk=calls.pk).update(
        description="API calls",
        quantity=1200000,
        unit="calls",
        service_start=BERLIN_APRIL,
        service_end=BERLIN_MAY,
        derivation={
            **DERIVATION,
            "measured": {"quantity": "1200000", "count": 25},
            "rated": {
                "amount": "100",
                "steps": [
                    _tier(1, "100000", "0", "0", None, "100000"),
                    _tier(2, "900000", "0.0001", "90.0000", "100000", "1000000"),
                    _tier(3, "200000", "0.00005", "10.00000", "1000000", None),
                ],
            },
        },
    )
    InvoiceLine.objects.filter(pk=fee.pk).update(
        description="Base fee",
        service_start=BERLIN_APRIL,
        service_end=BERLIN_MAY,
        derivation={
            **DERIVATION,
            "rated": {
                "amount": "49",
                "steps": [{**STEP, "quantity": "1", "unit_price": "49", "amount": "49"}],
            },
        },
    )
    return fresh(issued(draft))


def _tier(
    number: int, quantity: str, price: str, amount: str, *bounds: str | None
) -> dict[str, Any]:
    return {
        "label": f"Tier {number}",
        "quantity": quantity,
        "unit_price": price,
        "flat_fee": "0",
        "amount": amount,
        "lower": bounds[0],
        "upper": bounds[1],
    }


class Texts(HTMLParser):
    """Every text of a page, and every element that is on it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip() and self.tags[-1] != "style":
            self.texts.append(" ".join(data.split()))


def text_of(content: bytes) -> str:
    pages = PdfReader(io.BytesIO(content)).pages
    return "\n".join(one.extract_text() for one in pages)


def test_a_page_shows_everything_a_document_has() -> None:
    shown = Texts(html_of(make_april()))
    assert shown.texts == [
        *["Invoice INV-000001", "Invoice", "issued"],
        *["From", "Acme GmbH", "Hauptstr. 1", "10115 Berlin", "VAT DE136695976"],
        *["To", "Globex", "Way 1", "97403 Springfield", "US", "billing@globex.example"],
        *["EIN 12-3456789", "Reference glx-1"],
        *["Number", "INV-000001", "Date", "1 May 2026", "Period", "1 Apr 2026 – 30 Apr 2026"],
        *["Due", "31 May 2026", "Currency", "USD", "Time zone", "Europe/Berlin"],
        *["Description", "Quantity", "Unit price", "Amount (USD)"],
        *["API calls", "1 Apr 2026 – 30 Apr 2026", "1,200,000 calls", "100.00"],
        *["Tier 1, up to 100,000", "100,000", "0.00", "0.00"],
        *["Tier 2, above 100,000 up to 1,000,000", "900,000", "0.0001", "90.00"],
        *["Tier 3, above 1,000,000", "200,000", "0.00005", "10.00"],
        *["Base fee", "1 Apr 2026 – 30 Apr 2026", "1", "49.00", "49.00"],
        *["Subtotal", "149.00 USD", "Total", "149.00 USD"],
        *["From your balance", "−12.50 USD", "Amount due", "136.50 USD"],
    ]
    assert "img" in shown.tags


def test_a_page_says_what_was_paid_and_the_issued_page_never_changes() -> None:
    invoice = make_april()
    before = issued_html_of(invoice)
    record_payment(
        invoice.id, Money("36.50", "USD"), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
    )
    paid = fresh(invoice)
    texts = Texts(html_of(paid)).texts
    assert "partially paid" in texts
    assert texts[-4:] == ["Paid", "−36.50 USD", "Amount due", "100.00 USD"]
    Tenant.objects.filter(pk=invoice.tenant_id).update(legal_name="Other", logo="")
    assert issued_html_of(paid) == before


def test_a_draft_says_so_and_shows_the_parties_of_today() -> None:
    draft = make_draft(make_customer(make_tenant(name="Acme")))
    texts = Texts(html_of(draft)).texts
    assert texts[:3] == ["Invoice draft", "Draft", "Acme"]
    assert "Number" not in texts


def test_a_credit_memo_says_where_the_money_is() -> None:
    memo = make_issued(make_customer(), ["-12.50"])
    texts = Texts(html_of(memo)).texts
    assert texts[0] == "Credit memo CM-000001"
    assert texts[-2:] == ["Credited to your balance", "−12.50 USD"]
    assert "Due" not in texts


def test_amounts_have_the_decimals_of_their_currency() -> None:
    customer = make_customer()
    for currency, amount, shown in (("JPY", "1500", "1,500"), ("KWD", "1.500", "1.500")):
        invoice = make_issued(customer, [amount], currency=currency)
        assert Texts(html_of(invoice)).texts[-1] == f"{shown} {currency}"


def test_a_pdf_is_made_once_and_kept() -> None:
    invoice = make_april()
    content = keep_pdf(invoice.id, tenant_id=invoice.tenant_id, at=AT)
    stored = fresh(invoice)
    assert stored.pdf_sha256 == sha256(content).hexdigest()
    cancel_invoice(invoice.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)
    later = AT + timedelta(days=1)
    assert keep_pdf(invoice.id, tenant_id=invoice.tenant_id, at=later) == content
    assert IssuedPdf.objects.get().made_at == AT
    assert fresh(invoice).pdf_sha256 == stored.pdf_sha256


def test_the_same_document_gives_the_same_bytes() -> None:
    invoice = make_april()
    assert pdf_of(invoice) == pdf_of(fresh(invoice))


def test_a_pdf_shows_what_the_page_shows() -> None:
    content = pdf_of(make_april())
    reader = PdfReader(io.BytesIO(content))
    text = text_of(content)
    assert reader.metadata is not None
    assert reader.metadata.title == "Invoice INV-000001"
    assert reader.metadata.creation_date == AT
    assert len(reader.pages[0].images) == 1
    for shown in (
        "VAT DE136695976",
        "1,200,000 calls",
        "0.00005",
        "Europe/Berlin",
        "136.50 USD",
        "Page 1 of 1",
    ):
        assert shown in text


def test_the_pdf_of_a_draft_is_not_kept() -> None:
    draft = make_draft(make_customer())
    content = keep_pdf(draft.id, tenant_id=draft.tenant_id, at=AT)
    assert "Draft" in text_of(content)
    assert not IssuedPdf.objects.exists()
    assert fresh(draft).pdf_sha256 == ""


def test_nobody_elses_pdf_is_found() -> None:
    invoice = make_issued(make_customer())
    with pytest.raises(NotFound):
        keep_pdf(invoice.id, tenant_id=make_tenant().id, at=AT)


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=file:///etc/passwd>",
    '"><iframe src="http://169.254.169.254/">',
    "{{ settings.SECRET_KEY }}{% include 'admin/base.html' %}",
    "</style><style>@import url(http://169.254.169.254/)",
    "&lt;b&gt;",
)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_texts_are_shown_as_they_are(hostile: str) -> None:
    tenant = make_tenant()
    Tenant.objects.filter(pk=tenant.pk).update(legal_name=hostile, address=hostile)
    customer = make_customer(tenant, name=hostile[:200], address={"line1": hostile})
    plain = make_issued(make_customer(make_tenant()), ["1.00"])
    invoice = make_issued(customer, ["1.00"], descriptions=[hostile])
    shown, usual = Texts(html_of(invoice)), Texts(html_of(plain))
    assert shown.texts.count(" ".join(hostile.split())) == 6
    added = [tag for tag in shown.tags if tag not in usual.tags]
    assert added == []
    assert hostile.replace(" ", "") in text_of(pdf_of(invoice)).replace("\n", "").replace(" ", "")


@pytest.fixture
def canary() -> Iterator[tuple[str, list[str]]]:
    """A web server that writes down who asks for what."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "html",
    [
        '<img src="{}/a.png">',
        '<link rel="stylesheet" href="{}/a.css">',
        '<style>@import url("{}/a.css")</style>',
        '<p style="background: url({}/a.png)">x</p>',
        '<style>@font-face {{ src: url("{}/a.woff"); font-family: x }} p {{ font: x }}</style>',
        '<object data="{}/a.svg"></object>',
        '<embed src="{}/a.svg">',
        '<link rel="attachment" href="{}/a.txt">',
        "<img src=\"data:image/svg+xml,<svg><image href='{}/a.png'/></svg>\">",
    ],
)
@pytest.mark.parametrize("place", ["canary", "file:///etc"])
@pytest.mark.holds("S24", "B123")
def test_the_engine_fetches_nothing(canary: tuple[str, list[str]], html: str, place: str) -> None:
    url, asked = canary
    target = url if place == "canary" else place
    content = write_pdf(html.format(target) + "<p>drawn</p>", identifier=b"x" * 16)
    assert text_of(content).split()[-1] == "drawn"
    assert asked == []


def test_a_logo_is_only_a_picture_written_into_the_page() -> None:
    for logo in ("http://127.0.0.1/x.png", "data:image/svg+xml;base64,AAAA", 'x" onload="y'):
        customer = make_customer()
        Tenant.objects.filter(pk=customer.tenant_id).update(logo=logo)
        with tenant_scope(customer.tenant_id):
            assert "<img" not in html_of(fresh(make_issued(customer)))


def test_a_server_without_pango_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without_pango(name: str, *rest: Any) -> Any:
        if name == "apps.invoicing.documents" and rest[2] == ("engine",):
            raise OSError("cannot load library 'libgobject-2.0-0'")
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pango)
    with pytest.raises(PdfUnavailable) as refused:
        pdf_of(make_issued(make_customer()))
    assert "Pango" in refused.value.detail


def test_a_long_document_is_drawn_without_its_steps_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    invoice = make_april()
    monkeypatch.setattr(page, "MOST_ROWS", 4)
    assert "Tier 1" not in issued_html_of(invoice)
    assert "Tier 1" in html_of(invoice)
    monkeypatch.setattr(pdf, "MOST_ROWS", 1)
    with pytest.raises(DocumentTooLong):
        pdf_of(invoice)
