"""What billing leaves on subscriptions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from apps.subscriptions.domain import BilledMark


def mark_billed(marks: Sequence[BilledMark]) -> None:
    """Note on each subscription how far it has been billed and when it is due again.

    One statement. Forgets ``changed_from``, which the run has taken into account: the caller has
    held the customers' locks since it read the timelines.
    """
    if not marks:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE subscriptions_subscription s
            SET billed_until = m.billed_until, next_bill_at = m.next_bill_at, changed_from = NULL
            FROM unnest(%s::uuid[], %s::timestamptz[], %s::timestamptz[])
                 AS m(id, billed_until, next_bill_at)
            WHERE s.id = m.id
            """,
            [
                [mark.subscription_id for mark in marks],
                [mark.billed_until for mark in marks],
                [mark.next_bill_at for mark in marks],
            ],
        )


def mark_changed(since: Mapping[UUID, datetime]) -> None:
    """Have the next run of each subscription look again at everything that ends after an instant.

    One statement; an earlier mark stays. When that run comes does not change. The caller holds
    the customers' locks.
    """
    if not since:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE subscriptions_subscription s SET changed_from = LEAST(s.changed_from, m.since)
            FROM unnest(%s::uuid[], %s::timestamptz[]) AS m(id, since) WHERE s.id = m.id
            """,
            [list(since), list(since.values())],
        )
