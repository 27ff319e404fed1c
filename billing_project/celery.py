"""The Celery application."""

import os
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")

app = Celery("billing_project")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def leave_logging_alone(**_: Any) -> None:
    """Let nothing be added to LOGGING of the settings, which hides secrets: its mere presence does."""


@worker_init.connect
def refuse_to_work_on_old_tables(**_: Any) -> None:
    """End a worker whose database lacks migrations of its code; whatever starts it tries again."""
    from apps.backoffice.queries.installation import (  # noqa: PLC0415 -- needs Django loaded
        migrations_are_pending,
    )

    if migrations_are_pending():
        raise SystemExit("The database lacks migrations of this version: run manage.py migrate.")
