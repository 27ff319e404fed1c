"""What credit may be for must be there: products, meters and charges, by their keys."""

from uuid import UUID

from apps.catalog.models import Charge, Product
from apps.core.errors import FieldError
from apps.metering.models import Meter
from apps.wallets.domain import MeterUnknown, Scope, ScopeUnfit, ScopeUnknown, Settlement


def refuse_scope(scope: Scope, settlement: Settlement, *, tenant_id: UUID) -> None:
    """Raise ``ScopeUnfit`` or ``ScopeUnknown`` for credit that nothing could ever use.

    The first where credit is used by events and asks for more than their meter; the second for
    every key that the tenant has no product, meter or charge of, each with its place in the list.
    """
    if settlement is Settlement.ON_EVENT and (scope.products or scope.charges):
        raise ScopeUnfit(
            "Events tell their meter only: credit settled on event is for meters or for everything.",
            field="scope",
        )
    errors = []
    for name, keys, model in (
        ("products", scope.products, Product),
        ("meters", scope.meters, Meter),
        ("charges", scope.charges, Charge),
    ):
        if not keys:
            continue
        rows = model._default_manager.filter(tenant_id=tenant_id, key__in=keys)
        known = set(rows.values_list("key", flat=True))
        errors += [
            FieldError(
                f"scope.{name}[{place}]",
                ScopeUnknown.reason,
                f"There is no {name.removesuffix('s')} {key!r}.",
            )
            for place, key in enumerate(keys)
            if key not in known
        ]
    if errors:
        raise ScopeUnknown(errors=errors)


def refuse_meter(meter: str, *, tenant_id: UUID) -> None:
    """Raise ``MeterUnknown`` if credit is asked for by a meter that is not there; "" is for none."""
    if meter and not Meter.objects.filter(tenant_id=tenant_id, key=meter).exists():
        raise MeterUnknown(f"There is no meter {meter!r}.", field="meter")
