"""Beat goes on while the database is away."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.db import OperationalError, connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from billing_project.beat import Scheduler
from billing_project.celery import app
from tests.make.tenants import AT

Away = Callable[[], AbstractContextManager[None]]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.holds("F13")]


@pytest.fixture
def away(tmp_path: Path) -> Away:
    """Sends the database away: there is no socket where it is looked for."""

    @contextmanager
    def send_away() -> Iterator[None]:
        options = connection.settings_dict["OPTIONS"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(options, "host", str(tmp_path))
            connection.close()
            yield

    return send_away


def make_entry() -> None:
    every = IntervalSchedule.objects.create(every=1, period="minutes")
    PeriodicTask.objects.create(name="show", task="core.beat", interval=every)


def test_it_keeps_the_schedule_that_it_knows(away: Away) -> None:
    make_entry()
    with time_machine.travel(AT, tick=False) as clock:
        scheduler = Scheduler(app=app, lazy=True)
        known = scheduler.schedule
        assert list(known) == ["show"]
        clock.shift(timedelta(minutes=6))  # after five it is read again in any case
        with away():
            assert scheduler.schedule == known
        PeriodicTask.objects.all().delete()
        clock.shift(timedelta(minutes=6))
        assert scheduler.schedule == {}


def test_it_does_not_begin_without_a_schedule(away: Away) -> None:
    scheduler = Scheduler(app=app, lazy=True)
    with away(), pytest.raises(OperationalError):
        _ = scheduler.schedule
