"""Adding features."""

from datetime import datetime
from uuid import UUID

from django.db import transaction

from apps.catalog.documents.drafts import FeatureDraft
from apps.catalog.documents.features import feature_at
from apps.catalog.documents.reading import Reader
from apps.catalog.models import Feature
from apps.catalog.operations.lists import insert
from apps.catalog.queries import known_to
from apps.core.events import record
from apps.metering.models import Meter


@transaction.atomic
def create_feature(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    document: object,
    actor: str,
    at: datetime,
) -> Feature:
    """Add the feature that a document describes, for phases of plans to grant.

    A repeat with the same ``id`` returns it as it is. Raises ``CatalogInvalid`` with every problem
    of the document, and ``KeyTaken``.
    """
    known = Feature.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    reader = Reader(known_to(tenant_id))
    draft = feature_at(reader.fields(document), reader.known)
    reader.refuse()
    return store_feature(tenant_id, draft, id=id, actor=actor, at=at)


def store_feature(
    tenant_id: UUID,
    draft: FeatureDraft,
    *,
    id: UUID,  # noqa: A002 -- as of every create operation
    actor: str,
    at: datetime,
) -> Feature:
    """Insert a feature that was read. Raises ``KeyTaken``."""
    meter = None
    if draft.meter is not None:
        meter = Meter.objects.get(tenant_id=tenant_id, key=draft.meter)
    feature = Feature(
        id=id,
        tenant_id=tenant_id,
        key=draft.key,
        name=draft.name,
        kind=draft.kind,
        meter=meter,
        unit=draft.unit,
        created_at=at,
    )
    insert(feature, draft.key, once="feature_key_once")
    record("feature.created", feature, actor=actor, at=at, key=draft.key)
    return feature
