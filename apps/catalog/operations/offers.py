"""Offering add-ons to subscriptions."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.documents.offers import offer_at
from apps.catalog.documents.reading import Reader
from apps.catalog.domain import OfferTaken, ProductKind
from apps.catalog.models import AddOnOffer, Plan, Product
from apps.catalog.queries import known_to
from apps.core.constraints import broken
from apps.core.events import record
from apps.rating.documents import Fields


@transaction.atomic
def create_offer(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    document: object,
    actor: str,
    at: datetime,
) -> AddOnOffer:
    """Offer an add-on, as a document describes it, to subscriptions on a plan or a product's plans.

    A repeat with the same ``id`` returns it as it is. Raises ``CatalogInvalid`` with every problem
    of the document, and ``OfferTaken`` where it is offered to them already.
    """
    known = AddOnOffer.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    reader = Reader(known_to(tenant_id))
    fields = reader.fields(document)
    draft = offer_at(fields, reader.known)
    reader.refuse()
    base_plan, base_product = None, None
    if draft.base.plan is not None:
        base_plan = Plan.objects.select_related("product").get(
            tenant_id=tenant_id, key=draft.base.plan
        )
    else:
        base_product = Product.objects.get(tenant_id=tenant_id, key=draft.base.product)
    product = Product.objects.get(tenant_id=tenant_id, key=draft.add_on)
    base = base_plan.product if base_plan is not None else base_product
    _note_kinds(fields, base, product)
    reader.refuse()
    offer = AddOnOffer(
        id=id,
        tenant_id=tenant_id,
        base_plan=base_plan,
        base_product=base_product,
        product=product,
        least=draft.least,
        most=draft.most,
        created_at=at,
    )
    try:
        with transaction.atomic():
            offer.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "offer_once":
            raise
        raise OfferTaken(f"{offer} is offered already; remove that first.") from error
    record("add_on_offer.created", offer, actor=actor, at=at, offer=str(offer))
    return offer


@transaction.atomic
def delete_offer(offer_id: UUID, *, actor: str, at: datetime) -> None:
    """Offer an add-on no more. Who has it keeps it; a repeat does nothing."""
    offer = AddOnOffer.objects.select_for_update().filter(pk=offer_id).first()
    if offer is not None:
        record("add_on_offer.deleted", offer, actor=actor, at=at, offer=str(offer))
        offer.delete()


def _note_kinds(fields: Fields, base: Product | None, product: Product) -> None:
    if base is not None and base.kind != ProductKind.BASE:
        fields.note("base", "product_kind", f"{base.key} is no base product, but {base.kind}")
    if product.kind != ProductKind.ADD_ON:
        fields.note("add_on", "product_kind", f"{product.key} is no add-on, but {product.kind}")
