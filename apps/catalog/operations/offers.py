"""Offering add-ons to subscriptions."""

from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.catalog.documents.offers import OfferDraft, offer_at
from apps.catalog.documents.reading import Reader
from apps.catalog.domain import OfferTaken
from apps.catalog.models import AddOnOffer, Product
from apps.catalog.operations.transitions import plan_or_product
from apps.catalog.queries import known_to
from apps.core.constraints import broken
from apps.core.events import record


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
    draft = offer_at(reader.fields(document), reader.known)
    reader.refuse()
    return store_offer(tenant_id, draft, id=id, actor=actor, at=at)


def store_offer(
    tenant_id: UUID,
    draft: OfferDraft,
    *,
    id: UUID,  # noqa: A002 -- as of every create operation
    actor: str,
    at: datetime,
) -> AddOnOffer:
    """Insert an offer that was read; ``OfferTaken`` where it is offered to them already."""
    base_plan, base_product = plan_or_product(tenant_id, draft.base)
    product = Product.objects.get(tenant_id=tenant_id, key=draft.add_on)
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


def offer_like(tenant_id: UUID, draft: OfferDraft) -> AddOnOffer | None:
    """Return the offer of the same add-on to the same, whatever its limits."""
    plan, product = plan_or_product(tenant_id, draft.base)
    return AddOnOffer.objects.filter(
        tenant_id=tenant_id, base_plan=plan, base_product=product, product__key=draft.add_on
    ).first()
