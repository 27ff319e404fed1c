"""Adding products and price lists."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.domain import KeyTaken, ProductKind
from apps.catalog.models import Coupon, Feature, PriceList, Product
from apps.core.constraints import broken
from apps.core.events import record


@transaction.atomic
def create_product(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    key: str,
    name: str,
    kind: ProductKind = ProductKind.BASE,
    tax_code: str = "",
    description: str = "",
    actor: str,
    at: datetime,
) -> Product:
    """Add a product that plans can sell. A repeat with the same ``id`` returns it as it is.

    Raises ``KeyTaken``.
    """
    known = Product.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    product = Product(
        id=id,
        tenant_id=tenant_id,
        key=key,
        name=name,
        kind=kind,
        tax_code=tax_code,
        description=description,
        created_at=at,
    )
    insert(product, key, once="product_key_once")
    record("product.created", product, actor=actor, at=at, key=key)
    return product


@transaction.atomic
def create_price_list(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    key: str,
    name: str,
    actor: str,
    at: datetime,
) -> PriceList:
    """Add a price list, whose key subscriptions and single usages may name as a price point.

    A repeat with the same ``id`` returns it as it is. Raises ``KeyTaken``.
    """
    known = PriceList.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    price_list = PriceList(id=id, tenant_id=tenant_id, key=key, name=name, created_at=at)
    insert(price_list, key, once="price_list_key_once")
    record("price_list.created", price_list, actor=actor, at=at, key=key)
    return price_list


def insert(row: Product | PriceList | Feature | Coupon, key: str, *, once: str) -> None:
    """Insert a new row; raise ``KeyTaken`` if another of the tenant has its key."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != once:
            raise
        name = row._meta.verbose_name
        raise KeyTaken(f"Another {name} has the key {key!r}.", field="key") from error
