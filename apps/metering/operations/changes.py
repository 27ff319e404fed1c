"""Clearing what a billing run has seen."""

from collections.abc import Mapping
from uuid import UUID

from django.db import connection

_CLEAR = """
DELETE FROM metering_changedusage c USING unnest(%s::uuid[], %s::bigint[]) AS seen(customer, mark)
WHERE c.customer_id = seen.customer AND c.mark = seen.mark
"""


def clear_changed(marks: Mapping[UUID, int]) -> None:
    """Forget each customer's change, unless it has another mark by now: then usage changed again.

    In the caller's transaction, which stores what was billed instead.
    """
    if marks:
        with connection.cursor() as cursor:
            cursor.execute(_CLEAR, [list(marks), list(marks.values())])
