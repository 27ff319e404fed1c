"""Money that a provider takes back because its customer disputes it, and what becomes of that.

The customer's lock guards what is left of his payments, so a refund and a dispute never take the
same money.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.money import plain
from apps.core.states import move
from apps.customers.models import Customer
from apps.invoicing.domain import amount_text, refuse_amount
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.payments.domain import (
    DISPUTE_TRANSITIONS,
    DisputeExceedsPaid,
    DisputeStatus,
    NothingToDispute,
    PaymentNotDisputable,
    PaymentStatus,
    ReferenceUsed,
)
from apps.payments.models import Dispute, Payment
from apps.payments.operations.locking import lock_payer
from apps.payments.queries import left_of, unapplied_of

_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is told of a dispute: ``amount`` None is all of the payment that is left.

    ``reference`` is the provider's or the bank's name of it, ``fee`` what the provider asks for it
    beside, in the payment's currency.
    """

    reference: str
    amount: Money | None = None
    fee: Money | None = None
    reason: str = ""
    evidence_due_at: datetime | None = None


@transaction.atomic
def open_dispute(
    payment_id: UUID,
    claim: Claim,
    *,
    id: UUID,  # noqa: A002 -- the id that the dispute gets
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Dispute:
    """Book that a provider has withdrawn money of a payment until a dispute of it is decided.

    What the payment brought too much is disputed first; its invoices stay paid. Prepaid credit
    that they sold is taken by a reaction. A dispute with this id, or of this payment with this
    reference, is returned as it is. Raises ``NotFound``, ``PaymentNotDisputable``,
    ``NothingToDispute``, ``DisputeExceedsPaid``, ``ReferenceUsed`` where another payment of the
    provider's has the reference, and what ``refuse_amount`` raises.
    """
    payment = lock_payer(payment_id, tenant_id=tenant_id)
    known = (
        Dispute.objects.filter(id=id, tenant_id=tenant_id).first()
        or Dispute.objects.filter(
            tenant_id=tenant_id, provider=payment.provider, reference=claim.reference
        ).first()
    )
    if known is not None:
        if known.payment_id != payment.id:
            raise ReferenceUsed(
                f"A dispute with the reference {claim.reference!r} is of another payment."
            )
        return known
    amount = _amount(payment, claim)
    fee = claim.fee.amount if claim.fee is not None and claim.fee.amount else _ZERO
    if fee and claim.fee is not None:
        refuse_amount(claim.fee, document=payment.public_id, currency=payment.currency)
    dispute = Dispute.objects.create(
        id=id,
        tenant_id=tenant_id,
        customer_id=payment.customer_id,
        payment=payment,
        provider=payment.provider,
        reference=claim.reference,
        currency=payment.currency,
        amount=amount,
        from_account=min(amount, max(unapplied_of(payment), _ZERO)),
        fee=fee,
        reason=claim.reason,
        evidence_due_at=claim.evidence_due_at,
        opened_at=at,
    )
    failpoint("payments.dispute.after_create")
    record(
        "dispute.opened",
        dispute,
        actor=actor,
        at=at,
        payment=payment.public_id,
        amount=amount_text(dispute.amount),
        currency=dispute.currency,
        reference=dispute.reference,
        reason=dispute.reason,
    )
    told = {Amount.DISPUTED: amount, Amount.FEE: fee, Amount.WITHDRAWN: amount + fee}
    _book(dispute, FactKind.DISPUTE_OPENED, told, at=at)
    return dispute


@transaction.atomic
def win_dispute(
    dispute_id: UUID, *, reason: str = "", tenant_id: UUID, actor: str, at: datetime
) -> Dispute:
    """Book that the provider has brought the money back; its fee stays paid.

    One that is won is returned as it is. Raises ``NotFound``, and ``IllegalTransition`` for one
    that is lost.
    """
    dispute = lock_dispute(dispute_id, tenant_id=tenant_id)
    if dispute.status == DisputeStatus.WON:
        return dispute
    _decide(dispute, DisputeStatus.WON, reason, actor=actor, at=at)
    _book(dispute, FactKind.DISPUTE_WON, {Amount.DISPUTED: dispute.amount.amount}, at=at)
    return dispute


@transaction.atomic
def lose_dispute(
    dispute_id: UUID, *, reason: str = "", tenant_id: UUID, actor: str, at: datetime
) -> Dispute:
    """Book that the money stays gone: it is lost, but for what had been paid too much.

    One that is lost is returned as it is. Raises ``NotFound``, and ``IllegalTransition`` for one
    that is won.
    """
    dispute = lock_dispute(dispute_id, tenant_id=tenant_id)
    if dispute.status == DisputeStatus.LOST:
        return dispute
    _decide(dispute, DisputeStatus.LOST, reason, actor=actor, at=at)
    amount = dispute.amount.amount
    told = {
        Amount.LOST: amount - dispute.from_account,
        Amount.UNAPPLIED: dispute.from_account,
        Amount.DISPUTED: amount,
    }
    _book(dispute, FactKind.DISPUTE_LOST, told, at=at)
    return dispute


def lock_dispute(dispute_id: UUID, *, tenant_id: UUID) -> Dispute:
    """Lock the dispute's customer and the dispute, and return it; ``NotFound`` if absent.

    The customer's lock keeps what follows from a dispute in the order of its news.
    """
    known = Dispute.objects.filter(id=dispute_id, tenant_id=tenant_id)
    customer_id = known.values_list("customer_id", flat=True).first()
    if customer_id is None:
        raise NotFound("There is no such dispute.")
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    return known.get()


def _amount(payment: Payment, claim: Claim) -> Decimal:
    if payment.status != PaymentStatus.SUCCEEDED:
        raise PaymentNotDisputable(
            f"{payment.public_id} is {payment.status}; only money that came in is disputed."
        )
    left = left_of(payment)
    if claim.amount is None:
        if left <= 0:
            raise NothingToDispute(f"Nothing of {payment.public_id} is left to dispute.")
        return left
    refuse_amount(claim.amount, document=payment.public_id, currency=payment.currency)
    if claim.amount.amount > left:
        raise DisputeExceedsPaid(
            f"{amount_text(claim.amount)} {payment.currency} is more than {payment.public_id} has"
            f" left: {plain(left)}.",
            field="amount",
        )
    return claim.amount.amount


def _decide(
    dispute: Dispute, status: DisputeStatus, reason: str, *, actor: str, at: datetime
) -> None:
    dispute.decided_at = at
    move(
        dispute,
        to=status,
        allowed=DISPUTE_TRANSITIONS,
        actor=actor,
        at=at,
        also=("decided_at",),
        amount=amount_text(dispute.amount),
        currency=dispute.currency,
        reason=reason,
    )
    failpoint("payments.dispute.after_move")


def _book(
    dispute: Dispute, kind: FactKind, amounts: dict[Amount, Decimal], *, at: datetime
) -> None:
    fact = Fact(
        kind=kind,
        tenant_id=dispute.tenant_id,
        source_key=dispute.public_id,
        effective_at=at,
        currency=dispute.currency,
        customer_id=dispute.customer_id,
        amounts=amounts,
        provider=dispute.provider,
    )
    post_all([entry_for(fact)], at=at)
