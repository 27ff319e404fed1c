"""The Celery application."""

import os
import signal
from types import FrameType
from typing import Any, Final

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")

_LAST_SECONDS: Final = 10  # until beat is ended, if it does not end when it is told to

app = Celery("billing_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Let nothing be added to LOGGING of the settings, which hides secrets: its mere presence does."""


@worker_init.connect
def refuse_to_work_on_wrong_tables(**_: Any) -> None:
    """End a worker whose database lacks migrations of its code, or is in a cluster that is new to it.

    Whatever starts it tries again.
    """
    from apps.backoffice.queries.installation import (  # noqa: PLC0415 -- needs Django loaded
        migrations_are_pending,
        passed_over,
    )

    if migrations_are_pending():
        raise SystemExit("The database lacks migrations of this version: run manage.py migrate.")
    if passed_over():
        raise SystemExit("A dump was restored into this cluster: run manage.py adopt_cluster.")


@beat_init.connect
def end_outside_of_statements(**_: Any) -> None:
    """Let beat leave what it is doing before it saves its schedule and ends.

    Celery saves from inside the signal's handler. Where that has interrupted a statement, its
    connection waits for itself, for ever.
    """

    def leave(_number: int, _frame: FrameType | None) -> None:
        # should this be lost on its way, as in what Python runs while it collects garbage
        signal.alarm(_LAST_SECONDS)
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
