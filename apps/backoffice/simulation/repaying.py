"""What operators pay back: payments, or parts of them, and what credit memos have left."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from moneyed import Money

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.traffic import Buyer
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.giving_back import credit_left
from apps.payments.domain import CreditUnpaid, NothingToRefund, PaymentStatus, RefundExceedsPaid
from apps.payments.models import Payment, Refund
from apps.payments.operations.refunding import ByHand, refund_memo, refund_payment
from apps.payments.providers.external import External

ACTOR: Final = "system:simulation"
_DAY: Final = timedelta(days=1)


class Repaying:
    """Pays back for one tenant."""

    def __init__(self, purse: Dice, tenant_id: UUID, trouble: Trouble) -> None:
        self.purse, self.tenant_id, self.trouble = purse, tenant_id, trouble
        self._wires = self.refunds = 0

    def act(self, buyers: Sequence[Buyer], facts: Facts, at: datetime) -> None:
        """Pay a payment back now and then, and a credit memo."""
        places = {buyer.id: place for place, buyer in enumerate(buyers)}
        if self.purse.often(30):
            self._pay_back(places, facts, at)
        if self.purse.often(30):
            self._pay_out(places, facts, at)

    def _pay_back(self, places: Mapping[UUID, int], facts: Facts, at: datetime) -> None:
        rows = Payment.objects.filter(
            tenant=self.tenant_id, status=PaymentStatus.SUCCEEDED, settled_at__lt=at
        ).values_list("id", "customer_id", "settled_at", "currency", "amount", "provider")
        found = sorted(set(rows), key=lambda row: (places[row[1]], *row[2:], row[0]))
        if not found:
            return
        payment_id, customer_id, _, currency, paid, provider = self.purse.choice(found)
        by_hand = self._by_hand() if provider == External.name or self.purse.often(20) else None
        amount = self._part_of(paid, currency)
        chosen = self.purse.id()

        def pay_back() -> Refund:
            return refund_payment(
                payment_id,
                id=chosen,
                amount=Money(amount, currency),
                reason="goodwill",
                by_hand=by_hand,
                tenant_id=self.tenant_id,
                actor=ACTOR,
                at=at,
            )

        try:
            self.trouble.survive(pay_back)
        except (NothingToRefund, RefundExceedsPaid, CreditUnpaid):
            return  # it was paid back before, credit memos have given it, or it bought nothing yet
        self.refunds += 1
        if by_hand is not None:
            facts.transfers.append((customer_id, currency, -amount))

    def _pay_out(self, places: Mapping[UUID, int], facts: Facts, at: datetime) -> None:
        memos = [
            (one, credit_left(one))
            for one in Invoice.objects.filter(
                tenant=self.tenant_id,
                kind=DocumentKind.CREDIT_MEMO,
                status=InvoiceStatus.ISSUED,
                issued_at__lt=at,
                issued_at__gt=at - 90 * _DAY,
            )
        ]
        open_ = [(memo, left) for memo, left in memos if left > 0]
        if not open_:
            return
        open_.sort(
            key=lambda one: (places[one[0].customer_id], one[0].issued_at, one[1], one[0].id)
        )
        memo, left = self.purse.choice(open_)
        amount = self._part_of(left, memo.currency)
        by_hand = self._by_hand() if self.purse.often(50) else None
        chosen = self.purse.id()

        def pay_out() -> list[Refund]:
            return refund_memo(
                memo.id,
                id=chosen,
                amount=Money(amount, memo.currency),
                reason="not wanted as credit",
                by_hand=by_hand,
                tenant_id=self.tenant_id,
                actor=ACTOR,
                at=at,
            )

        try:
            made = self.trouble.survive(pay_out)
        except (NothingToRefund, RefundExceedsPaid):
            return  # no payment of the customer has so much left
        self.refunds += len(made)
        for one in made:
            if one.provider == External.name:
                facts.transfers.append((memo.customer_id, memo.currency, -one.amount.amount))

    def _part_of(self, whole: Decimal, currency: str) -> Decimal:
        unit = Decimal(1).scaleb(-DECIMALS[currency])
        if self.purse.often(40):
            return whole.quantize(unit)
        return max((whole * self.purse.randrange(1, 100) / 100).quantize(unit), unit)

    def _by_hand(self) -> ByHand:
        self._wires += 1
        return ByHand(reference=f"back-{self._wires}")
