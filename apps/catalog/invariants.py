"""What the catalog must never show; every line yielded is a row that must not exist."""

from collections.abc import Iterator
from typing import Final
from uuid import UUID

from apps.catalog.models import ChargePrice
from apps.core.books import Rule, rows_that_break
from apps.core.errors import Invalid
from apps.core.ids import encode
from apps.rating.pricing import parse_pricing

_UNPRICED: Final = """
SELECT c.id, wanted.currency
FROM catalog_charge c
JOIN catalog_phase p ON p.id = c.phase_id
JOIN catalog_planversion v ON v.id = p.version_id AND v.status <> 'draft'
JOIN LATERAL (
    SELECT DISTINCT x.currency FROM catalog_chargeprice x
    JOIN catalog_charge y ON y.id = x.charge_id
    JOIN catalog_phase z ON z.id = y.phase_id AND z.version_id = v.id
) AS wanted ON true
WHERE (%(tenant)s::uuid IS NULL OR c.tenant_id = %(tenant)s)
  AND NOT EXISTS (SELECT 1 FROM catalog_chargeprice s WHERE s.charge_id = c.id
                  AND s.price_list_id IS NULL AND s.currency = wanted.currency)
ORDER BY c.id, wanted.currency
"""
_ENDLESS: Final = """
SELECT v.id, count(p.id), max(p.position),
       (array_agg(p.kind ORDER BY p.position DESC))[1]
FROM catalog_planversion v LEFT JOIN catalog_phase p ON p.version_id = v.id
WHERE v.status <> 'draft' AND (%(tenant)s::uuid IS NULL OR v.tenant_id = %(tenant)s)
GROUP BY v.id
HAVING count(p.id) = 0 OR max(p.position) <> count(p.id) - 1
    OR (array_agg(p.kind ORDER BY p.position DESC))[1] NOT IN ('evergreen', 'fixed_term')
ORDER BY v.id
"""
_STRAY: Final = """
SELECT 'charge price', x.id FROM catalog_chargeprice x
JOIN catalog_charge c ON c.id = x.charge_id
LEFT JOIN catalog_pricelist l ON l.id = x.price_list_id
WHERE (%(tenant)s::uuid IS NULL OR x.tenant_id = %(tenant)s)
  AND (x.tenant_id <> c.tenant_id OR x.tenant_id <> coalesce(l.tenant_id, x.tenant_id))
UNION ALL
SELECT 'charge', c.id FROM catalog_charge c
JOIN catalog_phase p ON p.id = c.phase_id
LEFT JOIN metering_meterversion m ON m.id = c.meter_version_id
WHERE (%(tenant)s::uuid IS NULL OR c.tenant_id = %(tenant)s)
  AND (c.tenant_id <> p.tenant_id OR c.tenant_id <> coalesce(m.tenant_id, c.tenant_id))
UNION ALL
SELECT 'feature grant', g.id FROM catalog_phasefeature g
JOIN catalog_phase p ON p.id = g.phase_id JOIN catalog_feature f ON f.id = g.feature_id
LEFT JOIN metering_meter m ON m.id = f.meter_id
WHERE (%(tenant)s::uuid IS NULL OR g.tenant_id = %(tenant)s)
  AND (g.tenant_id <> p.tenant_id OR g.tenant_id <> f.tenant_id
       OR f.tenant_id <> coalesce(m.tenant_id, f.tenant_id))
UNION ALL
SELECT 'phase', p.id FROM catalog_phase p JOIN catalog_planversion v ON v.id = p.version_id
WHERE (%(tenant)s::uuid IS NULL OR p.tenant_id = %(tenant)s) AND p.tenant_id <> v.tenant_id
UNION ALL
SELECT 'plan', l.id FROM catalog_plan l JOIN catalog_product o ON o.id = l.product_id
WHERE (%(tenant)s::uuid IS NULL OR l.tenant_id = %(tenant)s) AND l.tenant_id <> o.tenant_id
"""


def every_charge_has_its_standard_prices(tenant_id: UUID | None) -> Iterator[str]:
    """Every charge of a published version has a standard price in each of its currencies."""
    for charge_id, currency in rows_that_break(_UNPRICED, tenant_id):
        yield f"charge {encode('chg', charge_id)} has no standard price in {currency}"


def every_price_can_be_read(tenant_id: UUID | None) -> Iterator[str]:
    """Every stored price is a pricing model in its currency."""
    prices = (
        ChargePrice.objects.all()
        if tenant_id is None
        else ChargePrice.objects.filter(tenant_id=tenant_id)
    )
    for price in prices.iterator(chunk_size=2000):
        try:
            parse_pricing(price.pricing, currency=price.currency)
        except Invalid as error:
            yield f"price {price.public_id} cannot be read: {error.detail}"


def every_version_goes_on(tenant_id: UUID | None) -> Iterator[str]:
    """The phases of a published version are numbered from 0 and end evergreen or a fixed term."""
    for version_id, count, last, kind in rows_that_break(_ENDLESS, tenant_id):
        yield (
            f"plan version {encode('plv', version_id)} has {count} phases up to number {last},"
            f" the last one {kind}"
        )


def parts_belong_to_one_tenant(tenant_id: UUID | None) -> Iterator[str]:
    """Prices, charges, phases and plans have the tenant of what they are part of."""
    for kind, row_id in rows_that_break(_STRAY, tenant_id):
        yield f"{kind} {row_id} refers to another tenant's row"


RULES: Final[tuple[Rule, ...]] = (
    every_charge_has_its_standard_prices,
    every_price_can_be_read,
    every_version_goes_on,
    parts_belong_to_one_tenant,
)
