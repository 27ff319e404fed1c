"""Which problems of a document are the form's (400) and which are the meaning's (422)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rest_framework.exceptions import ErrorDetail, ValidationError

from apps.catalog.domain import CatalogInvalid
from apps.core.errors import FieldError

# Each value may be right by itself, but they do not go together, or name what does not exist.
_MEANING: Final = frozenset(
    {
        "aggregation_unfit",
        "band_empty",
        "band_overlap",
        "dimension_unknown",
        "duplicate",
        "empty",
        "evergreen_ends",
        "last_phase",
        "last_tier_not_open",
        "maximum_below_minimum",
        "measured_differently",
        "meter_mismatch",
        "meter_unknown",
        "model_needs_usage",
        "not_for_fixed",
        "not_prorated",
        "only_for_limits",
        "only_for_usage",
        "phase_unreachable",
        "feature_fixed",
        "feature_unknown",
        "most_below_least",
        "only_for_refusals",
        "plan_archived",
        "plan_unknown",
        "price_list_unknown",
        "price_missing",
        "product_kind",
        "product_unknown",
        "tier_descending",
        "tier_duplicate",
        "tier_gap",
        "tier_open",
        "tier_overlap",
        "timing_mismatch",
        "trial_late",
        "wrong_length",
    }
)
# of a bound: in between its neighbours it could not be
_OF_BOUNDS: Final = frozenset({"not_positive", "not_a_whole_number"})


def _is_meaning(error: FieldError) -> bool:
    return error.code in _MEANING or (error.code in _OF_BOUNDS and error.field.endswith("up_to"))


@contextmanager
def documents_read() -> Iterator[None]:
    """Turn the refusal of a document into one of its form, unless all of it is about meaning."""
    try:
        yield
    except CatalogInvalid as error:
        if all(_is_meaning(one) for one in error.errors):
            raise
        details: dict[str, list[ErrorDetail]] = {}
        for one in error.errors:
            details.setdefault(one.field, []).append(ErrorDetail(one.detail, one.code))
        raise ValidationError(details) from error
