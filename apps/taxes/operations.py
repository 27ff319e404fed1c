"""What is done to tax rates."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import BillingError
from apps.core.events import record
from apps.core.locks import lock_row
from apps.core.money import plain
from apps.taxes.domain import (
    TaxRateEnded,
    TaxRateKeyTaken,
    TaxRateOverlaps,
    check_end,
    check_rate,
)
from apps.taxes.models import TaxRate


@transaction.atomic
def create_tax_rate(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    key: str,
    tax: str,
    name: str,
    percentage: Decimal,
    country: str = "",
    region: str = "",
    tax_code: str = "",
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    actor: str,
    at: datetime,
) -> TaxRate:
    """Add a rate of ``percentage`` percent on top of amounts without tax.

    It applies in ``[valid_from, valid_until)``, None being open, to services whose last instant lies
    in it. A repeat with the same ``id`` returns the rate as it is. Raises ``TaxRateKeyTaken``,
    ``TaxRateOverlaps`` where another rate of the tax stands for the same place, tax code and time,
    and ``TaxRateInvalid``.
    """
    known = TaxRate.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    check_rate(percentage, country, region, valid_from, valid_until)
    rate = TaxRate(
        id=id,
        tenant_id=tenant_id,
        key=key,
        tax=tax,
        name=name,
        percentage=percentage,
        country=country,
        region=region,
        tax_code=tax_code,
        valid_from=valid_from,
        valid_until=valid_until,
        created_at=at,
    )
    try:
        with transaction.atomic():
            rate.save(force_insert=True)
    except IntegrityError as error:
        raise _refusal(error, rate) from error
    record("tax_rate.created", rate, actor=actor, at=at, key=key, percentage=plain(percentage))
    return rate


@transaction.atomic
def end_tax_rate(
    rate_id: UUID, *, tenant_id: UUID, valid_until: datetime, actor: str, at: datetime
) -> TaxRate:
    """End a rate at ``valid_until``, exclusive: what is served later than that has its successor's.

    Documents keep the tax they have; so do the corrections of their lines. Ending it again at the same
    instant changes nothing. Raises ``NotFound``, ``TaxRateInvalid`` where it would end before it
    begins, and ``TaxRateEnded`` where it ends at another instant.
    """
    rate = lock_row(TaxRate, rate_id, tenant_id=tenant_id)
    if rate.valid_until == valid_until:
        return rate
    if rate.valid_until is not None:
        raise TaxRateEnded(f"{rate} ends at {rate.valid_until.isoformat()} already.")
    check_end(rate.valid_from, valid_until)
    rate.valid_until = valid_until
    rate.save(update_fields=["valid_until"])
    record("tax_rate.ended", rate, actor=actor, at=at, valid_until=valid_until.isoformat())
    return rate


@transaction.atomic
def archive_tax_rate(rate_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> TaxRate:
    """Let a rate apply to nothing new, whatever its time; its key stays taken.

    What was taxed by it keeps its tax, and so do corrections of that. A repeat changes nothing. Raises
    ``NotFound``.
    """
    rate = lock_row(TaxRate, rate_id, tenant_id=tenant_id)
    if rate.archived_at is not None:
        return rate
    rate.archived_at = at
    rate.save(update_fields=["archived_at"])
    record("tax_rate.archived", rate, actor=actor, at=at)
    return rate


def _refusal(error: IntegrityError, rate: TaxRate) -> BillingError:
    rule = broken(error)
    if rule == "tax_rate_key_once":
        return TaxRateKeyTaken(f"Another tax rate has the key {rate.key!r}.", field="key")
    if rule != "tax_rate_overlaps":
        raise error
    return TaxRateOverlaps(
        f"Another rate of the tax {rate.tax!r} applies to the same place, tax code and time;"
        " end it first.",
        field="valid_from",
    )
