"""What customers have their banks take back, what providers tell of it, and how it ends."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db.models import Sum
from moneyed import Money

from apps.backoffice.simulation.chance import Dice
from apps.backoffice.simulation.contested import DisputeFact
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.faults import Trouble
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.traffic import Buyer
from apps.payments.domain import (
    DisputeExceedsPaid,
    DisputeStatus,
    NothingToDispute,
    PaymentStatus,
    RefundStatus,
)
from apps.payments.models import Allocation, Dispute, Payment, Refund, SandboxCharge, SandboxRefund
from apps.payments.operations.dispute_asking import ask_disputes
from apps.payments.operations.disputing import Claim, lose_dispute, open_dispute, win_dispute
from apps.payments.operations.methods import add_payment_method

ACTOR: Final = "system:simulation"
ENDS: Final[Mapping[str, bool | None]] = {  # the cards that are disputed: whether that is won
    "sandbox_disputed": None,
    "sandbox_disputed_won": True,
    "sandbox_disputed_lost": False,
}
_ZERO: Final = Decimal(0)
_Row = tuple[UUID, UUID, datetime | None, str, Decimal, str]


class Contesting:
    """Disputes payments of one tenant."""

    def __init__(self, purse: Dice, trouble: Trouble, tenant_id: UUID, facts: Facts) -> None:
        self.purse, self.trouble, self.tenant_id, self.facts = purse, trouble, tenant_id, facts
        self._carded: set[UUID] = set()
        self._told_of: dict[str, DisputeFact] = {}  # by the key of the provider's charge
        self._cases = 0

    def act(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let a customer get a card that is disputed, a bank take money back, a dispute end."""
        if self.purse.often(5) and len(self._carded) * 8 < len(buyers):
            self._change_card(buyers, at)
        if self.purse.often(25):
            self._open(buyers, at)
        still = [one for one in self.facts.disputes if one.is_won is None]
        if still and self.purse.often(30):
            self._decide(self.purse.choice(still), at)

    def ask(self, at: datetime) -> None:
        """Ask the provider; keep what it has withdrawn by its own account."""
        charges = SandboxCharge.objects.filter(
            tenant_id=self.tenant_id, behaviour__in=list(ENDS), outcome="succeeded"
        ).exclude(
            idempotency_key__in=[
                key for key, one in self._told_of.items() if one.is_won is not None
            ]
        )
        found = {one.idempotency_key: one for one in charges}
        unknown = {
            one.idempotency_key: (
                one,
                left_at_sandbox(found[one.idempotency_key]),
                self._beyond(one.id, one.amount.amount),
            )
            for one in Payment.objects.filter(
                tenant=self.tenant_id, idempotency_key__in=found.keys() - self._told_of.keys()
            )
        }
        self.trouble.sweep(lambda: ask_disputes(at, tenant_id=self.tenant_id))
        references = {f"sbx_dispute_{key}": key for key in found}
        rows = Dispute.objects.filter(tenant=self.tenant_id, reference__in=references)
        for dispute in rows.order_by("currency", "amount", "id"):
            key = references[dispute.reference]
            if key not in self._told_of:
                payment, amount, beyond = unknown[key]
                self._told_of[key] = self._note(payment, dispute, amount, min(amount, beyond), at)
            fact = self._told_of[key]
            if fact.is_won is None and dispute.status != DisputeStatus.OPENED:
                fact.is_won, fact.decided_at = ENDS[found[key].behaviour], at

    def _note(
        self, payment: Payment, dispute: Dispute, amount: Decimal, beyond: Decimal, at: datetime
    ) -> DisputeFact:
        fact = DisputeFact(
            id=dispute.id,
            name=dispute.public_id,
            payment=payment.id,
            customer=payment.customer_id,
            provider=payment.provider,
            currency=payment.currency,
            amount=amount,
            beyond=beyond,
            fee=_ZERO,
            opened_at=at,
            by_hand=False,
        )
        self.facts.disputes.append(fact)
        return fact

    # --- what people do -------------------------------------------------------------------------

    def _change_card(self, buyers: Sequence[Buyer], at: datetime) -> None:
        fit = [one for one in buyers if not one.pays_by_transfer and one.id not in self._carded]
        if not fit:
            return
        buyer = self.purse.choice(fit)
        self._carded.add(buyer.id)
        chosen, card = self.purse.id(), self.purse.choice(tuple(ENDS))
        self.trouble.survive(
            lambda: add_payment_method(
                buyer.id,
                id=chosen,
                provider="sandbox",
                provider_ref=card,
                make_default=True,
                tenant_id=self.tenant_id,
                actor=ACTOR,
                at=at,
            )
        )

    def _open(self, buyers: Sequence[Buyer], at: datetime) -> None:
        """Let somebody tell of a dispute: of all that is left, of a part, or of too much."""
        row = self._choose({buyer.id: place for place, buyer in enumerate(buyers)}, at)
        if row is None:
            return
        payment_id, customer_id, _, currency, paid, provider = row
        left = self._left(payment_id, paid)
        unit = Decimal(1).scaleb(-DECIMALS[currency])
        named = None
        if self.purse.often(60):
            part = paid * self.purse.randrange(1, 110) / 100
            named = max(part.quantize(unit), unit)
        fee = unit * self.purse.randrange(1, 2000) if self.purse.often(40) else _ZERO
        self._cases += 1
        amount, chosen = left if named is None else named, self.purse.id()
        claim = Claim(
            reference=f"case-{self._cases}",
            amount=None if named is None else Money(named, currency),
            fee=Money(fee, currency) if fee else None,
        )
        refused: type[Exception] | None = NothingToDispute if named is None and left <= 0 else None
        if amount > left and refused is None:
            refused = DisputeExceedsPaid
        beyond = min(amount, self._beyond(payment_id, paid))

        def open_it() -> Dispute:
            return open_dispute(
                payment_id, claim, id=chosen, tenant_id=self.tenant_id, actor=ACTOR, at=at
            )

        try:
            dispute = self.trouble.survive(open_it)
        except (NothingToDispute, DisputeExceedsPaid) as error:
            if type(error) is not refused:
                raise AssertionError(f"{left} of {payment_id} can be disputed") from error
            return
        if refused is not None:
            raise AssertionError(f"{amount} of {payment_id} is disputed, {left} is left")
        self.facts.disputes.append(
            DisputeFact(
                id=dispute.id,
                name=dispute.public_id,
                payment=payment_id,
                customer=customer_id,
                provider=provider,
                currency=currency,
                amount=amount,
                beyond=beyond,
                fee=fee,
                opened_at=at,
                by_hand=True,
            )
        )

    def _choose(self, places: Mapping[UUID, int], at: datetime) -> _Row | None:
        """Return a payment that the provider does not tell of; often one that bought credit."""
        rows = Payment.objects.filter(
            tenant=self.tenant_id, status=PaymentStatus.SUCCEEDED, settled_at__lt=at
        ).exclude(method__provider_ref__in=list(ENDS))
        if self.purse.often(50):
            rows = rows.filter(allocations__invoice__sells_credit=True)
        told = rows.values_list("id", "customer_id", "settled_at", "currency", "amount", "provider")
        found = sorted(set(told), key=lambda row: (places[row[1]], *row[2:], row[0]))
        return self.purse.choice(found) if found else None

    def _decide(self, fact: DisputeFact, at: datetime) -> None:
        is_won = self.purse.often(50)
        decide = win_dispute if is_won else lose_dispute
        self.trouble.survive(lambda: decide(fact.id, tenant_id=self.tenant_id, actor=ACTOR, at=at))
        fact.is_won, fact.decided_at, fact.decided_by_hand = is_won, at, True

    # --- what a payment has left ----------------------------------------------------------------

    def _left(self, payment_id: UUID, paid: Decimal) -> Decimal:
        back = self._refunds_of(payment_id, "amount")
        return paid - back - sum((one.withdrawn for one in self._disputes_of(payment_id)), _ZERO)

    def _beyond(self, payment_id: UUID, paid: Decimal) -> Decimal:
        """Return what a payment brought too much, less what went back of that."""
        used = Allocation.objects.filter(payment=payment_id).aggregate(total=Sum("amount"))["total"]
        gone = [one.beyond for one in self._disputes_of(payment_id) if not one.is_won]
        back = self._refunds_of(payment_id, "from_account")
        return max(paid - (used or _ZERO) - back - sum(gone, _ZERO), _ZERO)

    def _disputes_of(self, payment_id: UUID) -> list[DisputeFact]:
        return [one for one in self.facts.disputes if one.payment == payment_id]

    def _refunds_of(self, payment_id: UUID, column: str) -> Decimal:
        rows = Refund.objects.filter(payment=payment_id).exclude(status=RefundStatus.FAILED)
        return rows.aggregate(total=Sum(column))["total"] or _ZERO


def left_at_sandbox(charge: SandboxCharge) -> Decimal:
    """Return what the provider itself has not given back of what it took."""
    given = SandboxRefund.objects.filter(charge=charge.idempotency_key).exclude(outcome="failed")
    return charge.amount - (given.aggregate(total=Sum("amount"))["total"] or _ZERO)
