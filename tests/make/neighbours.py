"""The other databases on the same server, whose transactions hold this one's horizon back."""

import time
from typing import Final

from django.db import connection

# Numbers of transactions are given out by the server, not by the database: what a neighbour began
# before now stays below every horizon here until it ends.
_OLDER: Final = """
SELECT 1 FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND backend_xid::text::bigint < %s
  AND (datname IS DISTINCT FROM current_database() OR backend_type <> 'client backend')
LIMIT 1
"""


def outlive_neighbours() -> None:
    """Wait until every transaction has ended that runs elsewhere on the server now.

    What this database has committed before is then below the snapshot horizon, unless one of its
    own transactions holds it back.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint % (1::bigint << 32))"
        )
        (number,) = cursor.fetchone() or (0,)
        for _ in range(1200):
            cursor.execute(_OLDER, [number])
            if cursor.fetchone() is None:
                return
            time.sleep(0.05)
    raise AssertionError("a transaction of another database does not end")
