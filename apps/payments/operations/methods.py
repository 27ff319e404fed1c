"""A customer's ways to pay."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.payments.domain import (
    MethodDetached,
    MethodUnusable,
    ProviderNotForMode,
    last_month,
)
from apps.payments.models import PaymentMethod
from apps.payments.providers import provider_named
from apps.tenants.domain import Mode
from apps.tenants.models import Tenant


@transaction.atomic
def add_payment_method(
    customer_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the row gets
    provider: str,
    provider_ref: str,
    label: str = "",
    make_default: bool = False,
    expires_at: datetime | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> PaymentMethod:
    """Attach a way to pay to the customer; it becomes his default only if asked for.

    ``expires_at`` is the end of the month that the provider names, exclusive. A method with this
    id that exists is returned as it is. Raises ``NotFound``, ``MethodUnusable`` for one that has
    expired, ``ProviderUnknown``, ``ProviderNotForMode`` for the sandbox at a live tenant, and
    ``MethodReferenceInvalid``.
    """
    customer = lock_row(Customer, customer_id, tenant_id=tenant_id)
    known = PaymentMethod.objects.filter(id=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    chosen = provider_named(provider)
    mode = Mode(Tenant.objects.values_list("mode", flat=True).get(id=tenant_id))
    if mode not in chosen.modes:
        raise ProviderNotForMode(
            f"{provider} moves no real money; it is for tenants in test mode.", field="provider"
        )
    chosen.check_method(provider_ref)
    if expires_at is not None and expires_at <= at:
        raise MethodUnusable(f"It expired with {last_month(expires_at)}.", field="expires")
    method = PaymentMethod.objects.create(
        id=id,
        tenant_id=tenant_id,
        customer=customer,
        provider=provider,
        provider_ref=provider_ref,
        label=label,
        created_at=at,
        expires_at=expires_at,
    )
    record(
        "payment_method.added",
        method,
        actor=actor,
        at=at,
        customer=customer.public_id,
        provider=provider,
    )
    if make_default:
        _make_default(method, actor, at)
    return method


@transaction.atomic
def set_default(method_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> PaymentMethod:
    """Make this the method that is charged when none is named; a repeat changes nothing.

    Invoices that were issued before are not charged to it by themselves, unless collecting them
    has failed before and is due again.
    Raises ``NotFound``, and ``MethodDetached``.
    """
    method = _lock(method_id, tenant_id)
    if method.detached_at is not None:
        raise MethodDetached("This payment method was detached; attach it anew.")
    if not method.is_default:
        _make_default(method, actor, at)
    return method


@transaction.atomic
def detach(method_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> PaymentMethod:
    """Use this method never again; its payments stay, and one under way goes on.

    A repeat changes nothing. Raises ``NotFound``.
    """
    method = _lock(method_id, tenant_id)
    if method.detached_at is not None:
        return method
    method.detached_at, method.is_default, method.default_since = at, False, None
    method.save(update_fields=["detached_at", "is_default", "default_since"])
    record("payment_method.detached", method, actor=actor, at=at)
    return method


def _make_default(method: PaymentMethod, actor: str, at: datetime) -> None:
    PaymentMethod.objects.filter(customer_id=method.customer_id, is_default=True).update(
        is_default=False, default_since=None
    )
    method.is_default, method.default_since = True, at
    method.save(update_fields=["is_default", "default_since"])
    record("payment_method.made_default", method, actor=actor, at=at)


def _lock(method_id: UUID, tenant_id: UUID) -> PaymentMethod:
    """Lock the customer, whose lock guards his methods, and return the method as it now is."""
    found = PaymentMethod.objects.filter(id=method_id, tenant_id=tenant_id)
    customer_id = found.values_list("customer_id", flat=True).first()
    if customer_id is None:
        raise NotFound("There is no such payment method.")
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    return found.get()
