"""Selling prepaid credit by an invoice of its own, and taking it back by a credit memo."""

import json
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Max, Sum

from apps.core.events import record
from apps.core.ids import new_id
from apps.core.locks import lock_row
from apps.core.money import plain
from apps.customers.models import Customer
from apps.invoicing.derivation import as_asked, encode_derivation
from apps.invoicing.domain import DocumentKind, LineKind
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.operations.drafting import store_taxes
from apps.invoicing.operations.issuing import issue_documents
from apps.invoicing.tax_facts import tax_facts
from apps.invoicing.taxing import DocumentTax, TaxableLine, tax_document
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.models import JournalEntry
from apps.ledger.operations import post_all
from apps.tenants.domain import CreditTaxed
from apps.tenants.models import Tenant
from apps.wallets.domain import EntryKind, GrantStatus, refundable
from apps.wallets.models import CreditGrant, CreditTransaction
from apps.wallets.operations.purchasing import note_invoice

_ZERO: Final = Decimal(0)


@transaction.atomic
def sell_credit(grant_id: UUID, *, actor: str, at: datetime) -> Invoice | None:
    """Issue the invoice for credit that somebody asked to buy; what follows is collecting it.

    With the tax of the customer's place where the tenant taxes credit on its purchase.

    Returns the invoice, the same for a repeat; None for credit that is not wanted any more.
    Nothing is earned by it: what is paid for credit is owed until the credit is used.
    """
    grant = CreditGrant.objects.select_related("wallet__unit").get(pk=grant_id)
    customer = lock_row(Customer, grant.wallet.customer_id, tenant_id=grant.tenant_id)
    sold = InvoiceLine.objects.filter(grant_id=grant_id, sequence=0).first()
    if sold is not None:
        return Invoice.objects.get(pk=sold.invoice_id)
    if grant.status != GrantStatus.PENDING:
        return None
    invoice = _write(grant, customer, grant.value, corrects=None, actor=actor, at=at)
    note_invoice(grant.id, invoice.id, tenant_id=grant.tenant_id, actor=actor, at=at)
    issue_documents([invoice.id], tenant_id=grant.tenant_id, actor=actor, at=at)
    return Invoice.objects.get(pk=invoice.id)


@transaction.atomic
def refund_credit(grant_id: UUID, *, actor: str, at: datetime) -> Invoice | None:
    """Issue the credit memo for credit that was taken back; its money is then the customer's.

    The next invoices take what they can of it. Memos give no more of a price back than was asked:
    where other memos have given some of it, for credit that was used and came back since, the rest
    is not given again, and the books take it off what was lost.

    Returns the memo, the same for a repeat; None where nothing is left to pay, or where it
    was clawed back because its money went back.
    """
    grant = CreditGrant.objects.select_related("wallet__unit").get(pk=grant_id)
    customer = lock_row(Customer, grant.wallet.customer_id, tenant_id=grant.tenant_id)
    given = Invoice.objects.filter(customer=customer, request_id=grant_id).first()
    if given is not None:
        return given
    taken = CreditTransaction.objects.filter(
        grant=grant, kind=EntryKind.REFUND, source_key=grant.public_id
    ).first()
    if taken is None:  # clawed back: a credit memo has given its money back before
        return None
    known = JournalEntry.objects.filter(
        tenant_id=grant.tenant_id, kind=FactKind.CREDIT_RECOVERED, source_key=grant.public_id
    )
    if known.exists():
        return None
    worth = refundable(-taken.value, grant.wallet.currency)
    amount = min(worth, _left_of_price(grant_id))
    if amount < worth:
        _recover(grant, worth - amount, at=at)
    if not amount:
        return None
    sold = InvoiceLine.objects.get(grant_id=grant_id, sequence=0)
    memo = _write(grant, customer, -amount, corrects=sold, actor=actor, at=at)
    issue_documents([memo.id], tenant_id=grant.tenant_id, actor=actor, at=at)
    return Invoice.objects.get(pk=memo.id)


def next_sequence(grant_id: UUID) -> int:
    """Return the number of the next line about credit that was sold; the first is 0."""
    last: int = InvoiceLine.objects.filter(grant_id=grant_id).aggregate(
        last=Max("sequence", default=-1)
    )["last"]
    return last + 1


def _left_of_price(grant_id: UUID) -> Decimal:
    """Return what no memo has given back of a grant's price, without tax."""
    left: Decimal = InvoiceLine.objects.filter(grant_id=grant_id).aggregate(
        left=Sum("amount", default=_ZERO)
    )["left"]
    return left


def _recover(grant: CreditGrant, worth: Decimal, *, at: datetime) -> None:
    fact = Fact(
        kind=FactKind.CREDIT_RECOVERED,
        tenant_id=grant.tenant_id,
        source_key=grant.public_id,
        effective_at=at,
        currency=grant.wallet.currency,
        customer_id=grant.wallet.customer_id,
        amounts={Amount.PAID: worth},
    )
    post_all([entry_for(fact)], at=at)


def _write(
    grant: CreditGrant,
    customer: Customer,
    amount: Decimal,
    *,
    corrects: InvoiceLine | None,
    actor: str,
    at: datetime,
) -> Invoice:
    wallet = grant.wallet
    document_id, line_id = new_id(), new_id()
    tax = _tax(grant, customer, document_id, line_id, amount, corrects=corrects, at=at)
    document = Invoice.objects.create(
        id=document_id,
        tenant_id=grant.tenant_id,
        customer=customer,
        kind=DocumentKind.CREDIT_MEMO if corrects else DocumentKind.INVOICE,
        currency=wallet.currency,
        sells_credit=True,
        credits_id=corrects.invoice_id if corrects else None,
        request_id=grant.id if corrects else None,
        cutoff_at=at,
        period_start=at,
        period_end=at,
        subtotal=amount,
        discount=_ZERO,
        tax=tax.total,
        total=amount + tax.total,
        balance_applied=_ZERO,
        amount_paid=_ZERO,
        zone=customer.zone,
        created_at=at,
    )
    unit = wallet.unit.name if wallet.unit else ""
    credit = f"{plain(grant.amount)} {unit}".rstrip() if unit else "Prepaid credit"
    by = tax.lines.get(line_id)
    InvoiceLine.objects.create(
        id=line_id,
        tenant_id=grant.tenant_id,
        invoice=document,
        position=0,
        kind=LineKind.CREDIT,
        grant_id=grant.id,
        # a correction has the key of what it corrects, whenever it comes
        period_start=corrects.period_start if corrects else at,
        period_end=corrects.period_end if corrects else at,
        service_start=at,
        service_end=at,
        segment_start=corrects.segment_start if corrects else at,
        group=grant.public_id,
        sequence=next_sequence(grant.id) if corrects else 0,
        corrects=corrects,
        description=f"Refund: {credit}" if corrects else credit,
        quantity=Decimal(1),
        amount=amount,
        currency=wallet.currency,
        derivation=json.loads(encode_derivation(as_asked(amount))),
        tax_scope_id=by.scope_id if by else None,
        tax_rates=[str(one) for one in by.rates] if by else None,
    )
    store_taxes(grant.tenant_id, [(document_id, wallet.currency, tax)])
    record(
        "invoice.drafted",
        document,
        actor=actor,
        at=at,
        total=plain(amount + tax.total),
        currency=wallet.currency,
    )
    return document


def _tax(
    grant: CreditGrant,
    customer: Customer,
    document_id: UUID,
    line_id: UUID,
    amount: Decimal,
    *,
    corrects: InvoiceLine | None,
    at: datetime,
) -> DocumentTax:
    """Return the tax of the purchase, or of its part that is taken back."""
    tenant = Tenant.objects.get(pk=grant.tenant_id)
    sells_taxed = tenant.credit_taxed == CreditTaxed.ON_PURCHASE and corrects is None
    facts = tax_facts(
        tenant,
        customers=[customer.id] if sells_taxed else [],
        charges=(),
        corrected=[corrects.id] if corrects else [],
    )
    line = TaxableLine(line_id, corrects.id if corrects else None, None, at, at, amount)
    return tax_document(document_id, customer.id, grant.wallet.currency, [line], facts)
