"""Writing usage."""

from apps.metering.operations.amendments import amend_events
from apps.metering.operations.changes import clear_changed
from apps.metering.operations.ingestion import ingest_batch
from apps.metering.operations.meters import archive_meter, create_meter, revise_meter
from apps.metering.operations.orphans import Reattached, reattach_orphans
from apps.metering.operations.partitions import keep_partitions
from apps.metering.operations.rollups import rebuild_rollups, roll_up
from apps.metering.operations.streams import (
    StreamPaths,
    archive_stream,
    change_stream,
    create_stream,
)
from apps.metering.operations.subjects import close_subject, register_subject

__all__ = [
    "Reattached",
    "StreamPaths",
    "amend_events",
    "archive_meter",
    "archive_stream",
    "change_stream",
    "clear_changed",
    "close_subject",
    "create_meter",
    "create_stream",
    "ingest_batch",
    "keep_partitions",
    "reattach_orphans",
    "rebuild_rollups",
    "register_subject",
    "revise_meter",
    "roll_up",
]
