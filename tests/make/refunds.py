"""Payments that succeeded, and paying them back."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.ledger.domain import AccountKind, AccountRef
from apps.ledger.queries import account_balance
from apps.payments.models import Payment, Refund, SandboxRefund
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.payments.operations.refunding import refund_memo, refund_payment
from apps.tenants.models import Tenant
from tests.make.payments import make_owing, usd
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT


def make_paid_invoice(
    method: str = "sandbox_ok", amount: str = "149.00", **values: Any
) -> tuple[Invoice, Payment]:
    """Return an invoice of a new customer, and the charge that paid it."""
    invoice = make_owing(method, amount, **values)
    return invoice, _charge(invoice)


@in_its_scope
def _charge(invoice: Invoice) -> Payment:
    return charge_invoice(invoice.id, id=new_id(), tenant_id=invoice.tenant_id, actor=ACTOR, at=AT)


@in_its_scope
def receive(invoice: Invoice, amount: str, *, at: datetime = AT) -> Payment:
    """Return money that came for the invoice by bank."""
    return record_external_payment(
        invoice.id, id=new_id(), amount=usd(amount), tenant_id=invoice.tenant_id, actor=ACTOR, at=at
    )


@in_its_scope
def pay_back(payment: Payment, amount: str | None = None, **values: Any) -> Refund:
    """Pay back an amount of the payment in USD, or all that can be."""
    given = {"id": new_id(), "reason": "The service was down.", "at": AT, "actor": ACTOR, **values}
    money = usd(amount) if amount else None
    return refund_payment(payment.id, amount=money, tenant_id=payment.tenant_id, **given)


@in_its_scope
def pay_memo_back(memo: Invoice, amount: str | None = None, **values: Any) -> list[Refund]:
    """Pay back an amount of the credit memo in USD, or all that it has left."""
    given = {"id": new_id(), "reason": "The customer left.", "at": AT, "actor": ACTOR, **values}
    money = usd(amount) if amount else None
    return refund_memo(memo.id, amount=money, tenant_id=memo.tenant_id, **given)


@in_its_scope
def fresh_refund(refund: Refund) -> Refund:
    """Return the refund as the database has it."""
    return Refund.objects.get(pk=refund.pk)


@in_its_scope
def given_back(payment: Payment) -> Decimal:
    """Return what the sandbox gave back of the payment, whatever we know of it."""
    known = SandboxRefund.objects.filter(charge=payment.idempotency_key, outcome="succeeded")
    return sum((one.amount for one in known), Decimal(0))


def books(tenant: Tenant) -> dict[str, str]:
    """Return what stands in USD on the tenant's shared accounts that are not empty; debit positive."""
    shared = (
        AccountKind.REVENUE,
        AccountKind.DEFERRED_REVENUE,
        AccountKind.TAX_PAYABLE,
        AccountKind.CREDIT_LIABILITY,
        AccountKind.BREAKAGE,
        AccountKind.BAD_DEBT,
        AccountKind.REFUNDS,
        AccountKind.DISPUTES,
        AccountKind.PROVIDER_FEES,
    )
    refs = [AccountRef(kind, "USD") for kind in shared]
    refs += [
        AccountRef(AccountKind.CASH_CLEARING, "USD", provider=p) for p in ("sandbox", "external")
    ]
    found = {}
    for ref in refs:
        balance = account_balance(tenant.id, ref)
        if balance:
            found[ref.provider or ref.kind.value] = f"{balance:.2f}"
    return found
