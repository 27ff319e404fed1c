"""Reading features, and what phases grant of them, with every problem noted. Pure."""

from collections.abc import Mapping

from apps.catalog.documents.drafts import FeatureDraft, GrantDraft, Known
from apps.catalog.documents.parts import key_at, line_at, word_at
from apps.catalog.domain import FeatureKind
from apps.rating.documents import Fields


def feature_at(fields: Fields, known: Known) -> FeatureDraft:
    """Read ``{"key", "name", "kind", "meter", "unit"}``."""
    key = key_at(fields, "key")
    meter = None
    if fields.has("meter"):
        meter = key_at(fields, "meter")
        if meter and meter not in known.meters and meter not in known.broken_meters:
            fields.note("meter", "meter_unknown", f"there is no meter {meter!r}")
    else:
        fields.take("meter", required=False)
    expected = FeatureKind.BOOLEAN if meter is None else FeatureKind.METERED
    kind = FeatureKind(word_at(fields, "kind", FeatureKind, expected))
    if (kind is FeatureKind.METERED) != (meter is not None):
        fields.note("meter", "meter_mismatch", "a metered feature, and no other, names a meter")
    stored = known.features.get(key)
    if stored is not None and (stored.kind, stored.meter) != (kind, meter):
        fields.note(
            "kind", "feature_fixed", "what a feature is, and its meter, never change; add another"
        )
    draft = FeatureDraft(
        key=key,
        name=line_at(fields, "name", default=key),
        kind=kind,
        meter=meter,
        unit=line_at(fields, "unit", default="", longest=40),
    )
    fields.close()
    return draft


def grants_at(fields: Fields, known: Known) -> dict[str, GrantDraft]:
    """Read ``features``, a list of ``{"feature", "limit"}``; none where it is absent or empty.

    A limit is for features of the kinds limit and metered; null or absent, it grants without end.
    """
    if fields.take("features", required=False) in (None, []):
        return {}
    granted: dict[str, GrantDraft] = {}
    for row in fields.rows("features"):
        key = key_at(row, "feature")
        feature = known.features.get(key)
        limit = row.quantity("limit") if row.has("limit") else None
        row.take("limit", required=False)
        if key and feature is None:
            row.note("feature", "feature_unknown", f"there is no feature {key!r}")
        elif feature is not None and feature.kind is FeatureKind.BOOLEAN and limit is not None:
            row.note("limit", "only_for_limits", f"{key!r} is granted or not; it has no limit")
        if key in granted:
            row.note("feature", "duplicate", f"{key!r} is granted above already")
        granted[key] = GrantDraft(key, limit)
        row.close()
    return granted


def in_order(*granted: Mapping[str, GrantDraft]) -> tuple[GrantDraft, ...]:
    """Return what is granted by key; of one feature, what comes later holds."""
    merged = {key: grant for one in granted for key, grant in one.items()}
    return tuple(merged[key] for key in sorted(merged))
