"""Keeping the PDF of an issued document."""

import hashlib
from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.locks import lock_row
from apps.invoicing.documents.pdf import pdf_of
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice, IssuedPdf


def keep_pdf(invoice_id: UUID, *, tenant_id: UUID, at: datetime) -> bytes:
    """Return the PDF of a document; of an issued one, make it once and keep it for ever.

    Whoever asks later gets the same bytes, and the document has their SHA-256. A draft is drawn
    anew each time. Raises ``NotFound``, ``PdfUnavailable`` and ``DocumentTooLong``.
    """
    document = (
        Invoice.objects.filter(id=invoice_id, tenant_id=tenant_id).select_related("tenant").first()
    )
    if document is None:
        raise NotFound("There is no such invoice.")
    kept = IssuedPdf.objects.filter(invoice_id=invoice_id).first()
    if kept is not None:
        return bytes(kept.content)
    content = pdf_of(document)  # takes a tenth of a second or more: before the transaction
    if document.status == InvoiceStatus.DRAFT:
        return content
    return _keep(document.id, content, tenant_id, at)


@transaction.atomic
def _keep(invoice_id: UUID, content: bytes, tenant_id: UUID, at: datetime) -> bytes:
    document = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    if document.pdf_sha256:
        return bytes(IssuedPdf.objects.get(invoice_id=invoice_id).content)
    document.pdf_sha256 = hashlib.sha256(content).hexdigest()
    document.save(update_fields=["pdf_sha256"])
    IssuedPdf.objects.create(invoice=document, tenant_id=tenant_id, content=content, made_at=at)
    return content
