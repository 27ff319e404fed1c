"""Writing usage."""

from apps.metering.operations.changes import clear_changed
from apps.metering.operations.ingestion import ingest_batch
from apps.metering.operations.meters import archive_meter, create_meter, revise_meter
from apps.metering.operations.rollups import rebuild_rollups, roll_up
from apps.metering.operations.subjects import close_subject, register_subject

__all__ = [
    "archive_meter",
    "clear_changed",
    "close_subject",
    "create_meter",
    "ingest_batch",
    "rebuild_rollups",
    "register_subject",
    "revise_meter",
    "roll_up",
]
