"""Waiting until those who read the usage have read all of it."""

import time
from datetime import datetime
from typing import Final

from django.db import connection

from apps.backoffice.simulation.faults import Trouble
from apps.metering.operations import roll_up
from apps.wallets.operations.burning import burn_usage

_TRIES: Final = 1200
_PAUSE: Final = 0.05  # seconds
_IS_LEFT: Final = """
SELECT EXISTS (
  SELECT FROM metering_usageevent
  WHERE ingest_xid >= (SELECT least(r.below_xid, b.below_xid)::text::xid8
                       FROM metering_rollupfrontier r, wallets_burnfrontier b))
"""


def see_all_usage(trouble: Trouble, *, wall: datetime) -> None:
    """Let the readers see every event there is, however long others hold the horizon back.

    ``wall`` is the real time. Raises ``AssertionError`` if they do not come through in a minute.
    """
    trouble.survive(roll_up)
    trouble.survive(lambda: burn_usage(wall=wall))
    for _ in range(_TRIES):
        roll_up()
        burn_usage(wall=wall)
        with connection.cursor() as cursor:
            cursor.execute(_IS_LEFT)
            if not cursor.fetchone()[0]:
                return
        time.sleep(_PAUSE)
    raise AssertionError("the readers do not come through")
