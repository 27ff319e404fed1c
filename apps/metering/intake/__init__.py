"""What callers send as events: reading it strictly. Pure.

A bad item is refused by itself, with the field that is to blame; its neighbours are not touched.
"""

from apps.metering.intake.expectations import (
    Expectations,
    check_fit,
    is_undemanding,
    terms_by_event,
)
from apps.metering.intake.fields import (
    EVENT_NAME,
    LONGEST_KEY,
    LONGEST_NAME,
    MOST_PROPERTIES,
    MOST_PROPERTY_BYTES,
)
from apps.metering.intake.identity import event_id, subject_ids
from apps.metering.intake.items import Window, window_at
from apps.metering.intake.reading import EventReader, Events, Refusal
from apps.metering.intake.refusals import EventRefused

__all__ = [
    "EVENT_NAME",
    "LONGEST_KEY",
    "LONGEST_NAME",
    "MOST_PROPERTIES",
    "MOST_PROPERTY_BYTES",
    "EventReader",
    "EventRefused",
    "Events",
    "Expectations",
    "Refusal",
    "Window",
    "check_fit",
    "event_id",
    "is_undemanding",
    "subject_ids",
    "terms_by_event",
    "window_at",
]
