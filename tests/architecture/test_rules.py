"""The project keeps its own rules."""

import pytest
from django.conf import settings

from apps.core import jobs
from billing_project.celery import app
from billing_project.reactions import REACTIONS
from billing_project.schedule import BEAT_SCHEDULE
from tests.architecture.rules import RULES


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    assert RULES[name](settings.BASE_DIR) == []


def test_every_line_of_the_schedule_names_a_task() -> None:
    app.loader.import_default_modules()
    assert {entry["task"] for entry in BEAT_SCHEDULE.values()} - set(app.tasks) == set()


def test_every_reaction_names_a_job() -> None:
    app.loader.import_default_modules()
    assert {name for names in REACTIONS.values() for name in names} - jobs.registered() == set()
