"""Reading usage."""

from apps.metering.queries.changes import changed_usage
from apps.metering.queries.measuring import events_behind, measure, measure_as_of
from apps.metering.queries.meters import latest_version, meter_named, meter_terms
from apps.metering.queries.senders import sender_of

__all__ = [
    "changed_usage",
    "events_behind",
    "latest_version",
    "measure",
    "measure_as_of",
    "meter_named",
    "meter_terms",
    "sender_of",
]
