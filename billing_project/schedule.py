"""Everything that happens because time passed: one screen.

Intervals, in UTC, never crontabs of a zone. Each task reads due rows, so a missed or doubled
tick changes nothing but when work is done.
"""

from typing import Final, TypedDict


class Entry(TypedDict):
    """One line of the schedule: a task and every how many seconds it runs."""

    task: str
    schedule: float


_MINUTE: Final = 60.0
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

BEAT_SCHEDULE: Final[dict[str, Entry]] = {
    "show that all parts work": {"task": "core.beat", "schedule": _MINUTE},
    "run due jobs": {"task": "core.run_due_jobs", "schedule": _MINUTE},
    "seal the audit trail": {"task": "core.seal_audit", "schedule": _MINUTE},
    "roll up usage": {"task": "metering.roll_up", "schedule": 10.0},
    "burn credit for usage": {"task": "wallets.burn_usage", "schedule": 10.0},
    "begin, expire and top off credit": {"task": "wallets.apply_due", "schedule": _MINUTE},
    "begin, renew and end subscriptions": {
        "task": "subscriptions.apply_due_changes",
        "schedule": _MINUTE,
    },
    "tell of what ends soon": {"task": "subscriptions.tell_of_endings", "schedule": _MINUTE},
    "close due periods": {"task": "invoicing.close_periods", "schedule": _MINUTE},
    "bill usage over its threshold": {"task": "invoicing.bill_accrued", "schedule": _MINUTE},
    "issue drafts after their grace": {"task": "invoicing.issue_drafts", "schedule": _MINUTE},
    "mark overdue invoices": {"task": "invoicing.mark_overdue", "schedule": _HOUR},
    "retry failed payments": {"task": "payments.retry_collections", "schedule": _MINUTE},
    "ask about unknown payments": {"task": "payments.resolve_unknown", "schedule": _MINUTE},
    "ask about unknown refunds": {"task": "payments.resolve_refunds", "schedule": _MINUTE},
    "ask about disputes": {"task": "payments.ask_disputes", "schedule": 10 * _MINUTE},
    "make and drop event partitions": {"task": "metering.keep_partitions", "schedule": 6 * _HOUR},
    "check the books": {"task": "backoffice.check_books", "schedule": _DAY},
}
