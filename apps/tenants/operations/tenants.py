"""Making a company, and how it does business."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.events import record
from apps.core.ids import new_id
from apps.core.money import exponent
from apps.core.tenancy import tenant_scope
from apps.rating.periods import zone_info
from apps.tenants.domain import CreditTaxedFixed, Mode, SlugTaken
from apps.tenants.logo import clean_logo
from apps.tenants.models import Tenant
from apps.tenants.operations.locking import locked_tenant
from apps.tenants.tax_numbers import check_tax_numbers


@transaction.atomic
def create_tenant(
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    slug: str,
    name: str,
    currency: str,
    zone: str,
    legal_name: str = "",
    email: str = "",
    actor: str,
    at: datetime,
) -> Tenant:
    """Create a company: its live tenant, which is returned, and its test twin.

    ``legal_name`` is ``name`` if empty. A repeat with the same ``id`` returns the tenant as it is.
    Raises ``SlugTaken``.
    """
    known = Tenant.objects.filter(pk=id).first()
    if known is not None:
        return known
    _check_settings({"currency": currency, "zone": zone})
    twin_id = new_id()
    both = [
        Tenant(
            id=own,
            twin_id=other,
            slug=slug,
            mode=mode,
            name=name,
            legal_name=legal_name or name,
            email=email,
            currency=currency,
            zone=zone,
        )
        for own, other, mode in ((id, twin_id, Mode.LIVE), (twin_id, id, Mode.TEST))
    ]
    Tenant.objects.bulk_create(both, ignore_conflicts=True)
    live = Tenant.objects.filter(pk=id).first()
    if live is None:
        raise SlugTaken(f"There is a tenant {slug!r} already.", field="slug")
    for tenant in both:
        with tenant_scope(tenant.id):
            record("tenant.created", tenant, actor=actor, at=at, slug=slug, mode=str(tenant.mode))
    return live


@transaction.atomic
def change_tenant(tenant_id: UUID, *, actor: str, at: datetime, **changes: Any) -> Tenant:
    """Change how the tenant does business; only the columns named in ``changes``.

    What is issued already keeps what it shows. Changing nothing records nothing. ``slug``,
    ``mode`` and the clock are not changed here. ``tax_ids`` are (kind, number) pairs. Raises
    ``Invalid`` for an unknown currency or zone, a wrong tax number, and what is no logo, and
    ``CreditTaxedFixed`` where credit has been sold.
    """
    tenant = locked_tenant(tenant_id)
    _check_settings(changes)
    changed = sorted(name for name, value in changes.items() if getattr(tenant, name) != value)
    if not changed:
        return tenant
    for name in changed:
        setattr(tenant, name, changes[name])
    _store(tenant, changed)
    record("tenant.changed", tenant, actor=actor, at=at, fields=", ".join(changed))
    return tenant


def _store(tenant: Tenant, changed: list[str]) -> None:
    try:
        with transaction.atomic():
            tenant.save(update_fields=changed)
    except IntegrityError as error:
        if broken(error) != "credit_taxed_fixed":
            raise
        raise CreditTaxedFixed(
            "Credit has been sold; when it is taxed cannot be changed any more.",
            field="credit_taxed",
        ) from error


def _check_settings(changes: dict[str, Any]) -> None:
    """Refuse values that no tenant can have, and put the others into the form that is kept."""
    if "currency" in changes:
        exponent(changes["currency"])
    if "zone" in changes:
        zone_info(changes["zone"])
    if "logo" in changes:
        changes["logo"] = clean_logo(changes["logo"])
    if "tax_ids" in changes:
        numbers = check_tax_numbers(changes["tax_ids"])
        changes["tax_ids"] = [{"kind": one.kind, "value": one.value} for one in numbers]
