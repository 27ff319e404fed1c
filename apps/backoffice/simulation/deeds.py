"""What people do: end and renew subscriptions, pay or not, cancel and give up invoices."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from moneyed import Money

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import Facts, SubscriptionFact
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.oracle.timeline import end_of_period, is_alive
from apps.backoffice.simulation.traffic import Buyer
from apps.core.errors import BillingError
from apps.core.states import IllegalTransition
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import cancel_invoice, write_off_invoice
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.payments.queries import payment_in_flight
from apps.subscriptions.domain import CancelMode, Settlement
from apps.subscriptions.operations import cancel_subscription, renew_subscription, withdraw_change

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)
# of a hundred unpaid invoices at every stop; each of these includes those before it
_CANCELS: Final = 2
_GIVES_UP: Final = 6
_PAYS_BY_HAND: Final = 10
_PAYS_BY_TRANSFER: Final = 45
_UNPAID: Final = (InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID, InvoiceStatus.OVERDUE)


class Deeds:
    """Acts for the customers and the operators of one tenant."""

    def __init__(self, dice: Dice, purse: Dice, tenant_id: UUID, trouble: Trouble) -> None:
        self.dice, self.tenant_id, self.trouble = dice, tenant_id, trouble
        self.purse = purse  # decides over money alone
        self._scheduled: dict[UUID, UUID] = {}  # cancellations that wait, by subscription
        self._wires = 0

    # --- subscriptions --------------------------------------------------------------------------

    def by_customers(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let some customers end, keep or renew what they have."""
        for buyer in buyers:
            for fact in buyer.subscriptions:
                if not self.dice.often(2) or not is_alive(fact, at):
                    continue
                if fact.id in self._scheduled and self.dice.often(50):
                    self._withdraw(fact, at)
                elif fact.term_months is not None and self.dice.often(60):
                    self._renew(fact, at)
                else:
                    self._cancel(fact, at)

    def _withdraw(self, fact: SubscriptionFact, at: datetime) -> None:
        change = self._scheduled.pop(fact.id)
        self.trouble.survive(lambda: withdraw_change(change, actor=ACTOR, at=at))
        fact.ended_at = None

    def _renew(self, fact: SubscriptionFact, at: datetime) -> None:
        self.trouble.survive(lambda: renew_subscription(fact.id, actor=ACTOR, at=at))
        fact.renewed.append(at)

    def _cancel(self, fact: SubscriptionFact, at: datetime) -> None:
        mode = self.dice.choice(tuple(CancelMode))
        keeps = self.dice.often(30)
        ends_at = None
        if mode is CancelMode.DATE:
            earliest = max(fact.started_at, at - 40 * _DAY)
            ends_at = self.dice.instant(min(earliest, at), at + 30 * _DAY)
        if at < fact.started_at:
            end = max(fact.started_at, ends_at or fact.started_at)
        elif ends_at is not None:
            end = max(ends_at, fact.started_at)
        else:
            end = at if mode is CancelMode.NOW else end_of_period(fact, at)
        waits = end > max(at, fact.started_at)
        if waits and fact.id in self._scheduled:
            return
        change = self.dice.id()
        settlement = Settlement.NONE if keeps else Settlement.PRORATE

        def cancel() -> None:
            cancel_subscription(
                fact.id,
                mode=mode,
                ends_at=ends_at,
                settlement=settlement,
                change_id=change,
                actor=ACTOR,
                at=at,
            )

        self.trouble.survive(cancel)
        if waits:
            self._scheduled[fact.id] = change
        else:
            self._scheduled.pop(fact.id, None)
        fact.ended_at, fact.keeps_whole_period = end, keeps

    def _once(self, call: Callable[[], object], refusal: type[BillingError]) -> None:
        """Do what can be done once: a repeat is refused, and by nothing else."""
        done = False

        def try_it() -> None:
            nonlocal done
            try:
                call()
            except refusal:
                if not done:
                    raise
            else:
                if done:
                    raise AssertionError(f"{refusal.__name__} was to be raised")
            done = True

        self.trouble.survive(try_it)

    # --- money ----------------------------------------------------------------------------------

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
        """Return what is unpaid, and whose it is, in an order that does not depend on ids."""
        rows = Invoice.objects.filter(
            tenant=self.tenant_id,
            kind=DocumentKind.INVOICE,
            issued_at__lt=at,
            status__in=(*_UNPAID, InvoiceStatus.WRITTEN_OFF),
        ).values_list("id", "customer_id", "issued_at", "cutoff_at", "currency", "total")
        return [
            (row[0], row[1]) for row in sorted(rows, key=lambda row: (places[row[1]], *row[2:]))
        ]

    def _cancel_invoice(self, invoice: Invoice, at: datetime) -> None:
        if invoice.amount_paid.amount or invoice.status not in _UNPAID:
            return
        self._once(
            lambda: cancel_invoice(invoice.id, tenant_id=self.tenant_id, actor=ACTOR, at=at),
            IllegalTransition,
        )

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
