"""Taking events over HTTP: plain views, because a serializer would cost more than the storing."""

from apps.metering.api.ingestion.events import EventBatch, Events
from apps.metering.api.ingestion.streams import StreamBulk, StreamEvents
from apps.metering.api.ingestion.usages import Usages

__all__ = ["EventBatch", "Events", "StreamBulk", "StreamEvents", "Usages"]
