"""Customers who can pay, their payment methods, and what the sandbox knows of charges."""

from decimal import Decimal
from typing import Any

from moneyed import Money

from apps.core.ids import new_id
from apps.core.tenancy import current_tenant
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.payments.invariants import RULES
from apps.payments.models import Payment, PaymentMethod, SandboxCharge
from apps.payments.operations.methods import add_payment_method
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant
from tests.make.customers import make_customer
from tests.make.invoicing import make_issued
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT, make_tenant


def make_payer(
    method: str | None = "sandbox_ok", *, tenant: Tenant | None = None, **values: Any
) -> Customer:
    """Return a customer whose default method is of the sandbox; None: he has none.

    He is of the tenant in whose scope the test is, if that is in test mode, else of a new one.
    """
    here = Tenant.objects.filter(pk__in=[current_tenant()], mode=Mode.TEST).first()
    customer = make_customer(tenant or here or make_tenant(mode=Mode.TEST), **values)
    if method is not None:
        make_method(customer, method)
    return customer


@in_its_scope
def make_method(
    customer: Customer, ref: str = "sandbox_ok", *, default: bool = True, provider: str = "sandbox"
) -> PaymentMethod:
    """Attach a payment method to the customer."""
    return add_payment_method(
        customer.id,
        id=new_id(),
        provider=provider,
        provider_ref=ref,
        make_default=default,
        tenant_id=customer.tenant_id,
        actor=ACTOR,
        at=AT,
    )


def make_owing(method: str | None = "sandbox_ok", amount: str = "149.00", **values: Any) -> Invoice:
    """Return an issued invoice of a new customer with a default method."""
    return make_issued(make_payer(method, **values), [amount])


def usd(amount: str) -> Money:
    """Return an amount in USD."""
    return Money(Decimal(amount), "USD")


@in_its_scope
def fresh_payment(payment: Payment) -> Payment:
    """Return the payment as the database has it."""
    return Payment.objects.get(pk=payment.pk)


def taken(invoice: Invoice) -> Decimal:
    """Return what the sandbox took for the invoice, whatever we know of it."""
    charges = SandboxCharge.objects.filter(invoice=invoice.public_id, outcome="succeeded")
    return sum((charge.amount for charge in charges), Decimal(0))


def broken_rules() -> list[str]:
    """Return what is wrong with payments and their books: nothing, if all is well."""
    return [sentence for rule in RULES for sentence in rule(None)]
