"""What is done to customers."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.money import exponent
from apps.customers.domain import (
    ClockFixed,
    CurrencyInUse,
    ExternalIdTaken,
    TaxExempt,
    check_address,
    check_exemption,
)
from apps.customers.models import Customer, TaxId
from apps.customers.queries import has_amounts
from apps.rating.periods import zone_info
from apps.tenants.models import TestClock
from apps.tenants.tax_numbers import check_tax_numbers

_ONCE: Final = "customer_external_id_once"
_EXEMPTION: Final = frozenset({"tax_exempt", "tax_exempt_reason", "tax_ids"})


@transaction.atomic
def create_customer(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    name: str,
    email: str = "",
    currency: str,
    zone: str,
    external_id: str | None = None,
    address: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    tax_ids: Iterable[tuple[str, str]] = (),
    tax_exempt: TaxExempt = TaxExempt.NONE,
    tax_exempt_reason: str = "",
    payment_provider: str = "",
    payment_provider_customer_id: str = "",
    test_clock_id: UUID | None = None,
    actor: str,
    at: datetime,
) -> Customer:
    """Create a customer, billed in ``currency``, whose periods are computed in ``zone``.

    ``tax_ids`` are (kind, number) pairs. A repeat with the same ``id`` returns the customer as it
    is. Raises ``ExternalIdTaken``, ``NotFound`` for a clock of another tenant, and ``Invalid`` for
    an unknown currency, zone, country or a wrong tax number, and for reverse charge without one.
    """
    known = Customer.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    exponent(currency)
    zone_info(zone)
    numbers = check_tax_numbers(tax_ids)
    check_exemption(tax_exempt, tax_exempt_reason, has_tax_id=bool(numbers))
    _check_clock(tenant_id, test_clock_id)
    customer = Customer(
        id=id,
        tenant_id=tenant_id,
        external_id=external_id,
        name=name,
        email=email,
        currency=currency,
        zone=zone,
        address=check_address(address or {}),
        tax_exempt=tax_exempt,
        tax_exempt_reason=tax_exempt_reason,
        metadata=dict(metadata or {}),
        payment_provider=payment_provider,
        payment_provider_customer_id=payment_provider_customer_id,
        test_clock_id=test_clock_id,
        created_at=at,
    )
    _store(customer, force_insert=True)
    failpoint("customers.create.after_insert")
    TaxId.objects.bulk_create(
        TaxId(tenant_id=tenant_id, customer=customer, kind=number.kind, value=number.value)
        for number in numbers
    )
    record("customer.created", customer, actor=actor, at=at)
    return customer


@transaction.atomic
def change_customer(
    customer_id: UUID,
    *,
    tenant_id: UUID,
    tax_ids: Iterable[tuple[str, str]] | None = None,
    actor: str,
    at: datetime,
    **changes: Any,
) -> Customer:
    """Change the columns named in ``changes``, and the tax numbers unless they are None.

    Issued documents keep what they show and the tax they have; a new zone is that of later
    subscriptions. Who is no longer exempt has no reason for it either. Changing nothing records nothing. Raises ``CurrencyInUse`` once amounts in the old currency exist,
    ``ClockFixed``, ``ExternalIdTaken`` and ``Invalid`` as ``create_customer`` does.
    """
    customer = lock_row(Customer, customer_id, tenant_id=tenant_id)
    if changes.get("tax_exempt") == TaxExempt.NONE:
        changes.setdefault("tax_exempt_reason", "")
    if "address" in changes:
        changes["address"] = check_address(changes["address"] or {})
    changed = sorted(name for name, value in changes.items() if getattr(customer, name) != value)
    _check_changes(customer, changed, changes)
    for name in changed:
        setattr(customer, name, changes[name])
    if changed:
        _store(customer, update_fields=changed)
    if tax_ids is not None and _replace_tax_ids(customer, tax_ids):
        changed.append("tax_ids")
    if not _EXEMPTION.isdisjoint(changed):
        check_exemption(
            TaxExempt(customer.tax_exempt),
            customer.tax_exempt_reason,
            has_tax_id=customer.tax_ids.exists(),
        )
    if changed:
        record("customer.changed", customer, actor=actor, at=at, fields=", ".join(changed))
    return customer


def _check_changes(customer: Customer, changed: list[str], changes: Mapping[str, Any]) -> None:
    if "zone" in changed:
        zone_info(changes["zone"])
    if "test_clock_id" in changed:
        raise ClockFixed("A customer keeps the clock that it was created with.", field="test_clock")
    if "currency" in changed:
        exponent(changes["currency"])
        # the strongest lock: nobody can add a row that refers to the customer meanwhile
        Customer.objects.select_for_update().get(pk=customer.pk)
        if has_amounts(customer):
            raise CurrencyInUse(
                f"This customer has subscriptions or documents in {customer.currency};"
                f" create another customer for {changes['currency']}.",
                field="currency",
            )


def _replace_tax_ids(customer: Customer, given: Iterable[tuple[str, str]]) -> bool:
    wanted = check_tax_numbers(given)
    have = {(one.kind, one.value): one for one in customer.tax_ids.all()}
    gone = have.keys() - {(number.kind, number.value) for number in wanted}
    new = [number for number in wanted if (number.kind, number.value) not in have]
    TaxId.objects.filter(pk__in=[have[key].pk for key in gone]).delete()
    TaxId.objects.bulk_create(
        TaxId(tenant_id=customer.tenant_id, customer=customer, kind=number.kind, value=number.value)
        for number in new
    )
    return bool(gone or new)


def _store(customer: Customer, **options: Any) -> None:
    try:
        with transaction.atomic():
            customer.save(**options)
    except IntegrityError as error:
        if broken(error) != _ONCE:
            raise
        raise ExternalIdTaken(
            f"Another customer has the external id {customer.external_id!r}.", field="external_id"
        ) from error


def _check_clock(tenant_id: UUID, clock_id: UUID | None) -> None:
    if clock_id is None:
        return
    if not TestClock.objects.filter(pk=clock_id, tenant_id=tenant_id).exists():
        raise NotFound("There is no such test clock.", field="test_clock")
