"""Stories run over HTTP against a served installation whose jobs are worked off meanwhile."""

import threading
from collections.abc import Iterator

import pytest
from client import Client
from django.db import connection

from apps.backoffice.books import breaches
from apps.core import jobs
from apps.core.clock import now
from apps.metering.operations import roll_up
from apps.tenants.domain import Mode
from apps.wallets.operations.burning import burn_usage
from tests.make.tenants import make_key, make_tenant


@pytest.fixture
def worker(transactional_db: None) -> Iterator[None]:
    """Do what a worker does: run due jobs and roll up usage, again and again."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.05):
            jobs.run_due()
            roll_up()
            burn_usage(wall=now())
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def api(served: str, worker: None) -> Iterator[Client]:
    """A caller of a new tenant; afterwards its books must be right."""
    tenant = make_tenant(mode=Mode.TEST)
    yield Client(served, make_key(tenant))
    assert list(breaches(tenant.id)) == []
