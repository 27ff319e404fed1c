"""The life of an invoice and the kinds of its lines."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class DocumentKind(StrEnum):
    """An invoice asks for money; a credit memo gives it back to the customer's balance."""

    INVOICE = "invoice"
    CREDIT_MEMO = "credit_memo"


class InvoiceStatus(StrEnum):
    """Where a document stands."""

    DRAFT = "draft"
    ISSUED = "issued"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    OVERDUE = "overdue"
    WRITTEN_OFF = "written_off"
    CANCELED = "canceled"


_OPEN: Final = frozenset(
    {
        InvoiceStatus.PARTIALLY_PAID,
        InvoiceStatus.PAID,
        InvoiceStatus.OVERDUE,
        InvoiceStatus.WRITTEN_OFF,
    }
)
INVOICE_TRANSITIONS: Final[Mapping[InvoiceStatus, frozenset[InvoiceStatus]]] = {
    InvoiceStatus.DRAFT: frozenset({InvoiceStatus.ISSUED}),
    InvoiceStatus.ISSUED: _OPEN | {InvoiceStatus.CANCELED},
    InvoiceStatus.PARTIALLY_PAID: _OPEN - {InvoiceStatus.PARTIALLY_PAID},
    InvoiceStatus.OVERDUE: _OPEN - {InvoiceStatus.OVERDUE} | {InvoiceStatus.CANCELED},
    InvoiceStatus.WRITTEN_OFF: frozenset({InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.PAID}),
    InvoiceStatus.PAID: frozenset(),
    InvoiceStatus.CANCELED: frozenset(),
}
COLLECTABLE: Final = frozenset(
    {InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.OVERDUE}
)


class LineKind(StrEnum):
    """What a line stands for."""

    FIXED = "fixed"
    RECURRING = "recurring"
    USAGE = "usage"
    MINIMUM = "minimum"  # what is missing to the charge's minimum
    MAXIMUM = "maximum"  # what exceeds the charge's maximum, taken off
