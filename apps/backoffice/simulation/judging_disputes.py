"""Comparing disputes with what providers and people told, and what they make of the books."""

from collections.abc import Iterator
from fractions import Fraction
from uuid import UUID

from apps.backoffice.simulation.contested import DisputeFact, noticed_at
from apps.backoffice.simulation.contesting import ENDS, left_at_sandbox
from apps.backoffice.simulation.facts import Facts
from apps.backoffice.simulation.offers import DECIMALS
from apps.backoffice.simulation.oracle.clawing import Claim, Given, Paid, Reclaim, Sale
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine
from apps.payments.domain import DisputeStatus
from apps.payments.models import Allocation, Dispute, Payment, SandboxCharge

_STATUS = {None: DisputeStatus.OPENED, True: DisputeStatus.WON, False: DisputeStatus.LOST}
_NO_DOCUMENT = (InvoiceStatus.DRAFT, InvoiceStatus.CANCELED)


def in_disputes(tenant_id: UUID, facts: Facts) -> Iterator[str]:
    """Yield disputes that nobody told of, that are missing, or that stand otherwise."""
    told = {one.name: one for one in facts.disputes}
    rows = {one.public_id: one for one in Dispute.objects.filter(tenant=tenant_id)}
    for name in sorted(told.keys() | rows.keys()):
        fact, row = told.get(name), rows.get(name)
        if fact is None or row is None:
            yield f"{name} is {'not told of' if row else 'missing'}"
            continue
        should = (fact.payment, fact.amount, fact.beyond, fact.fee, _STATUS[fact.is_won])
        did = (row.payment_id, row.amount.amount, row.from_account, row.fee, row.status)
        if should != did:
            yield f"{name} is {did}, should be {should}"
    disputed = {one.payment: one for one in facts.disputes if not one.by_hand}
    payments = {one.idempotency_key: one for one in Payment.objects.filter(tenant=tenant_id)}
    last = facts.stops[-1]  # what came in then, or was disputed then, is not asked for any more
    charges = SandboxCharge.objects.filter(tenant_id=tenant_id, behaviour__in=list(ENDS))
    for charge in charges.filter(outcome="succeeded"):
        payment = payments[charge.idempotency_key]
        fact = disputed.get(payment.id)
        if fact is None:
            if left_at_sandbox(charge) > 0 and payment.settled_at and payment.settled_at < last:
                yield f"{payment.public_id} should be disputed"
        elif (
            not fact.decided_by_hand
            and fact.opened_at < last
            and fact.is_won != ENDS[charge.behaviour]
        ):
            yield f"{fact.name} is not decided as {charge.behaviour} says"


def claims_of(customer: UUID, facts: Facts) -> list[Claim]:
    """Return the customer's disputes as his wallets hear of them."""
    return [
        Claim(
            name=one.name,
            amount=Fraction(one.amount) - Fraction(one.beyond),
            opens_at=noticed_at(one.opened_at, facts.stops, by_hand=one.by_hand),
            is_won=one.is_won,
            ends_at=None
            if one.decided_at is None
            else noticed_at(one.decided_at, facts.stops, by_hand=one.decided_by_hand),
            paid=list(_paid(one)),
        )
        for one in facts.disputes
        if one.customer == customer
    ]


def _paid(fact: DisputeFact) -> Iterator[Paid]:
    rows = Allocation.objects.filter(payment=fact.payment).select_related("invoice")
    for one in rows.order_by("-allocated_at", "-id"):
        invoice = one.invoice
        sold = InvoiceLine.objects.filter(invoice=invoice, grant_id__isnull=False).first()
        total, tax = Fraction(invoice.total.amount), Fraction(invoice.tax.amount)
        sale = Sale(
            invoice.id, sold.grant_id if sold else None, total, total - tax, DECIMALS[fact.currency]
        )
        yield Paid(one.allocated_at, sale, Fraction(one.amount))


def reclaims_of(customer: UUID, facts: Facts) -> Iterator[Reclaim]:
    """Yield the memos by which people gave the price of credit back, as wallets hear of them."""
    lines = InvoiceLine.objects.filter(
        invoice__customer=customer, invoice__credits__isnull=False, grant_id__isnull=False
    ).select_related("invoice")
    for line in lines:
        memo = line.invoice
        if line.grant_id is None or memo.issued_at is None or memo.request_id == line.grant_id:
            continue
        at = noticed_at(memo.issued_at, facts.stops, by_hand=True)
        price = -Fraction(memo.total.amount - memo.tax.amount)
        yield Reclaim(memo.public_id, line.grant_id, price, memo.issued_at, at)


def given_back(customer: UUID) -> Iterator[Given]:
    """Yield what credit memos and corrections gave back of the customer's invoices."""
    memos = Invoice.objects.filter(
        customer=customer, kind=DocumentKind.CREDIT_MEMO, credits__isnull=False
    )
    for memo in memos.exclude(status__in=_NO_DOCUMENT):
        if memo.credits_id is not None and memo.issued_at is not None:
            # the memo for credit that was given back is made by what follows at a stop; others by people
            sold = InvoiceLine.objects.filter(invoice=memo, grant_id=memo.request_id).exists()
            amount = -Fraction(memo.total.amount)
            yield Given(memo.credits_id, amount, memo.issued_at, None, sold, corrects=False)
    lines = InvoiceLine.objects.filter(
        invoice__customer=customer, corrects__isnull=False, invoice__credits=None
    )
    for line in lines.exclude(invoice__status=InvoiceStatus.DRAFT).select_related(
        "invoice", "corrects"
    ):
        document, corrected = line.invoice, line.corrects
        if document.issued_at is not None and corrected is not None:
            canceled = document.status == InvoiceStatus.CANCELED
            yield Given(
                of=corrected.invoice_id,
                amount=-Fraction(line.amount),
                since=document.issued_at,
                until=document.closed_at if canceled else None,
                at_once=True,
                corrects=True,
            )
