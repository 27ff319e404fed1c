"""The clock of everything that happens because time passed: beat, with its schedule in the database."""

import logging
from typing import Any

from django.db import DatabaseError, InterfaceError
from django_celery_beat.schedulers import DatabaseScheduler

_log = logging.getLogger(__name__)


class Scheduler(DatabaseScheduler):  # type: ignore[misc]  # the library brings no types
    """Keeps to the schedule that it knows while the database is away, instead of ending."""

    def all_as_schedule(self) -> Any:
        """Return the schedule as the database has it, or as it was known last if that is away.

        Raises what the database does if none was known. It is read again within five minutes.
        """
        try:
            return super().all_as_schedule()
        except (DatabaseError, InterfaceError):
            if self._schedule is None:
                raise
            _log.exception("the schedule cannot be read and stays as it is")
            return self._schedule
