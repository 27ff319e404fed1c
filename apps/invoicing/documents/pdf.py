"""The page of a document as PDF."""

import hashlib

from apps.core.errors import Conflict, ProviderUnavailable
from apps.invoicing.documents.page import MOST_ROWS, issued_html_of
from apps.invoicing.models import Invoice, InvoiceLine


class PdfUnavailable(ProviderUnavailable):
    """This server cannot make PDFs; everything else works."""

    reason = "pdf_unavailable"


class DocumentTooLong(Conflict):
    """A PDF of so many lines would keep a worker busy for minutes."""

    reason = "document_too_long"


def pdf_of(document: Invoice) -> bytes:
    """Return the PDF of the document as it was issued, or of a draft as it stands.

    The same document gives the same bytes as long as the fonts and the libraries of the server
    stay. Raises ``PdfUnavailable`` where Pango is missing and ``DocumentTooLong``.
    """
    try:
        from apps.invoicing.documents import engine  # noqa: PLC0415 -- needs a system library
    except OSError as error:
        raise PdfUnavailable(
            "PDFs cannot be made on this server: the library Pango is missing. `doctor` says how"
            " to get it; the HTML of the document needs nothing."
        ) from error
    lines = InvoiceLine.objects.filter(invoice=document).count()
    if lines > MOST_ROWS:
        raise DocumentTooLong(
            f"A PDF has at most {MOST_ROWS:,} lines, this document has {lines:,}; use its HTML."
        )
    identifier = hashlib.sha256(document.id.bytes).digest()[:16]
    return engine.write_pdf(issued_html_of(document), identifier=identifier)
