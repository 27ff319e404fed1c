"""What people do with money: pay or not, cancel and give up invoices."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from moneyed import Money

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.traffic import Buyer
from apps.core.states import IllegalTransition
from apps.invoicing.domain import CreditGivenBack, DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.payments.queries import payment_in_flight

ACTOR: Final = "system:simulation"
# of a hundred unpaid invoices at every stop; each of these includes those before it
_CANCELS: Final = 2
_GIVES_UP: Final = 6
_PAYS_BY_HAND: Final = 10
_PAYS_BY_TRANSFER: Final = 45
_UNPAID: Final = (InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.OVERDUE)


class Deeds:
    """Acts for the customers and the operators of one tenant."""

    def __init__(self, purse: Dice, tenant_id: UUID, trouble: Trouble) -> None:
        self.purse, self.tenant_id, self.trouble = purse, tenant_id, trouble
        self._wires = 0

    def with_money(self, buyers: Sequence[Buyer], facts: Facts, at: datetime) -> None:
        """Let customers pay, and operators give up or take back, some of what is open."""
        places = {buyer.id: place for place, buyer in enumerate(buyers)}
        by_transfer = {buyer.id for buyer in buyers if buyer.pays_by_transfer}
        for invoice_id, customer_id in self._open(places, at):
            chance = self.purse.randrange(100)
            if chance >= (_PAYS_BY_TRANSFER if customer_id in by_transfer else _PAYS_BY_HAND):
                continue
            invoice = Invoice.objects.get(pk=invoice_id)
            if chance < _CANCELS:
                self._cancel_invoice(invoice, at)
            elif chance < _GIVES_UP and invoice.status == InvoiceStatus.OVERDUE:
                self._write_off(invoice, at)
            elif customer_id in by_transfer:
                self._transfer(invoice, facts, at)
            else:
                self._charge(invoice, at)

    def _open(self, places: Mapping[UUID, int], at: datetime) -> list[tuple[UUID, UUID]]:
        """Return what is unpaid, and whose it is, in an order that every run of the seed has."""
        rows = Invoice.objects.filter(
            tenant=self.tenant_id,
            kind=DocumentKind.INVOICE,
            issued_at__lt=at,
            status__in=(*_UNPAID, InvoiceStatus.WRITTEN_OFF),
        ).values_list("id", "customer_id", "issued_at", "cutoff_at", "currency", "total")
        return [
            (row[0], row[1])
            for row in sorted(rows, key=lambda row: (places[row[1]], *row[2:], row[0]))
        ]

    def _cancel_invoice(self, invoice: Invoice, at: datetime) -> None:
        if invoice.amount_paid.amount or invoice.status not in _UNPAID:
            return
        try:
            self.trouble.survive_once(
                lambda: cancel_invoice(invoice.id, tenant_id=self.tenant_id, actor=ACTOR, at=at),
                IllegalTransition,
            )
        except CreditGivenBack:
            return  # a correction of it has given credit back, which may be used already

    def _write_off(self, invoice: Invoice, at: datetime) -> None:
        self.trouble.survive(
            lambda: write_off_invoice(
                invoice.id, reason="hopeless", tenant_id=self.tenant_id, actor=ACTOR, at=at
            )
        )

    def _transfer(self, invoice: Invoice, facts: Facts, at: datetime) -> None:
        """Record money that came: all of it, a part, or more than was asked for."""
        still_open = Decimal(invoice.open_amount.amount)
        unit = Decimal(1).scaleb(-DECIMALS[invoice.currency])
        amount = still_open
        if self.purse.often(25):
            amount = max((still_open * self.purse.randrange(1, 99) / 100).quantize(unit), unit)
        elif self.purse.often(12):
            amount = still_open + unit * self.purse.randrange(1, 900)
        self._wires += 1
        chosen, reference = self.purse.id(), f"wire-{self._wires}"
        self.trouble.survive(
            lambda: record_external_payment(
                invoice.id,
                id=chosen,
                amount=Money(amount, invoice.currency),
                reference=reference,
                tenant_id=self.tenant_id,
                actor=ACTOR,
                at=at,
            )
        )
        facts.transfers.append((invoice.customer_id, invoice.currency, amount))

    def _charge(self, invoice: Invoice, at: datetime) -> None:
        if payment_in_flight(invoice.id) is not None or invoice.status not in _UNPAID:
            return
        chosen = self.purse.id()
        self.trouble.survive(
            lambda: charge_invoice(
                invoice.id, id=chosen, tenant_id=self.tenant_id, actor=ACTOR, at=at
            )
        )
