"""Everything that happens because something else happened: event -> jobs.

``core.events.record`` writes the jobs in the transaction of the event. A job gets the id of what
the event is about as ``subject``.
"""

from typing import Final

REACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "meter.created": ("metering.reattach_orphans",),
    "meter.revised": ("metering.reattach_orphans",),
    "invoice.issued": ("payments.collect_invoice",),
    "invoice.canceled": ("payments.end_collection",),
    "invoice.written_off": ("payments.end_collection",),
}
