"""Numbers of issued documents: gapless per tenant and series."""

from typing import Final
from uuid import UUID

from django.db import connection

from apps.core.ids import new_id

_TAKE: Final = """
INSERT INTO invoicing_numbersequence AS s (id, tenant_id, series, last_number)
VALUES (%s, %s, %s, %s)
ON CONFLICT (tenant_id, series) DO UPDATE SET last_number = s.last_number + excluded.last_number
RETURNING last_number
"""


def take_numbers(tenant_id: UUID, series: str, count: int) -> range:
    """Return the next ``count`` numbers of the series, in the caller's transaction.

    The series stays locked until the transaction ends, and a rollback gives the numbers back: so
    there are no gaps, and whoever issues must take them last. A new series begins with 1.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [new_id(), tenant_id, series, count])
        (last,) = cursor.fetchone()
    return range(last - count + 1, last + 1)
