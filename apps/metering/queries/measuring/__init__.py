"""Measuring usage: exact at every instant, at a cost that does not grow with the events.

A span is cut into whole UTC days and hours, which are read from the rollups, and the rest of its
two edge hours, which is read from the events; to the whole hours come the events that the reader
of ``operations.rollups`` has not counted yet. All of it is one statement, so one snapshot.
"""

from apps.metering.queries.measuring.statements import events_behind, measure, measure_as_of

__all__ = ["events_behind", "measure", "measure_as_of"]
