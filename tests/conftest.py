"""Fixtures for every test: a database of its own kind, an empty Redis, the application over HTTP."""

import os
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest
import redis
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.db import connections
from django.test import TransactionTestCase
from django.test.testcases import LiveServerThread
from hypothesis import HealthCheck, settings
from pytest_django.plugin import DjangoDbBlocker

from apps.core.tenancy import tenant_scope
from tests.servers import SERVERS, TestServers, as_superuser, use_database

settings.register_profile(
    "suite",
    deadline=None,  # other work on the machine must not fail a test
    derandomize=True,  # the same commit gets the same verdict
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("random", settings.get_profile("suite"), derandomize=False)
settings.register_profile("long", settings.get_profile("random"))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run include the faults that take long."""
    parser.addoption("--faults", action="store_true", help="let every fault happen (20 minutes)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only ``--faults`` asks for."""
    if config.getoption("--faults"):
        return
    left_out = [item for item in items if item.get_closest_marker("whole") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("whole") is None]


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config, django_db_blocker: DjangoDbBlocker) -> TestServers:
    """PostgreSQL and Redis of this run, running."""
    found = pytestconfig.stash[SERVERS]
    found.start(django_db_blocker)
    return found


@pytest.fixture(scope="session")
def django_db_setup(
    servers: TestServers, django_test_environment: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """This worker's database, a copy of the migrated template.

    After a test with real transactions it is copied anew instead of truncated: append-only tables
    refuse to be truncated, and rows that migrations made come back.
    """

    def renew(_case: TransactionTestCase) -> None:
        use_database(servers.copy_template())

    patch = pytest.MonkeyPatch()
    with django_db_blocker.unblock():
        use_database(servers.copy_template())
    patch.setattr(TransactionTestCase, "_fixture_teardown", renew)
    yield
    patch.undo()
    with django_db_blocker.unblock():
        connections.close_all()


@pytest.fixture(scope="session")
def redis_client(servers: TestServers) -> Iterator[redis.Redis]:
    """The Redis database that this worker's application uses."""
    client = servers.redis()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _nobodys_scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin every test outside of any tenant; the first that it makes is the one it is about.

    Its threads, which are its hands, begin where it is; those of the program begin in nobody's.
    """
    start = threading.Thread.start

    def start_here(thread: threading.Thread) -> None:
        run, here = thread.run, copy_context()
        monkeypatch.setattr(thread, "run", lambda: here.run(run), raising=False)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_here)
    with tenant_scope(None):
        yield


@pytest.fixture
def all_tenants(db: None) -> Iterator[None]:
    """Let the test see and write the rows of all tenants: what guards rows is not about scopes."""
    with as_superuser():
        yield


@pytest.fixture(autouse=True)
def _empty_redis(request: pytest.FixtureRequest) -> None:
    """Begin every test that has servers with an empty Redis."""
    if {"servers", "db", "transactional_db", "_django_db_helper"} & set(request.fixturenames):
        request.getfixturevalue("redis_client").flushdb()


@pytest.fixture
def served(transactional_db: None) -> Iterator[str]:
    """The application over real HTTP: the root of its URLs, such as http://127.0.0.1:41234."""
    server = LiveServerThread("127.0.0.1", StaticFilesHandler)
    server.daemon = True
    server.start()
    server.is_ready.wait()
    if server.error:
        raise server.error
    yield f"http://127.0.0.1:{server.port}"
    server.terminate()
