"""The servers of one test run: a pytest plugin, loaded before Django's settings are.

Without DATABASE_URL and REDIS_URL a run gets its own throw-away servers, started when the first
test asks for them (at once, with xdist). Every worker gets its own copy of one migrated database,
and its own Redis database.

Tests connect as the program does: as a role that owns nothing and sees one tenant's rows. Servers
of somebody else need DATABASE_OWNER_URL too, for a superuser, and the roles of deploy/roles.sql.
"""

import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import redis
from django.core.management import call_command
from django.db import connections
from psycopg import sql
from pytest_django.plugin import DjangoDbBlocker, blocking_manager_key

from launcher.system import ROOT
from launcher.throwaway import Throwaway

_TEMPLATE = "BILLING_TEST_TEMPLATE"
_SUPERUSER = "BILLING_TEST_SUPERUSER_URL"
_SUPERUSER_ROLE = "BILLING_TEST_SUPERUSER"
_ROLES = ROOT / "deploy" / "roles.sql"
_OWNER = "billing_owner"
_APP = "billing"
_SECRET_KEY = "only-for-tests-0123456789-abcdefghijklmnopqrstuvwxyz"  # noqa: S105


class TestServers:
    """What one process of a test run knows about its servers."""

    __test__ = False

    def __init__(self) -> None:
        """Decide the URLs and put them into the environment; nothing is started."""
        self.worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self._throwaway: Throwaway | None = None
        self._started = self.worker != "main"
        if self.worker == "main":
            if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
                os.environ[_SUPERUSER] = os.environ["DATABASE_OWNER_URL"]
            else:
                self._throwaway = Throwaway()
                os.environ["DATABASE_URL"] = self._throwaway.database_url
                os.environ["DATABASE_OWNER_URL"] = self._throwaway.owner_url
                os.environ["REDIS_URL"] = self._throwaway.redis_url
                os.environ[_SUPERUSER] = self._throwaway.superuser_url
        elif os.environ["REDIS_URL"].startswith("redis+socket:"):
            number = int(self.worker.removeprefix("gw")) + 1
            os.environ["REDIS_URL"] += f"?virtual_host={number}"
        os.environ["SECRET_KEY"] = _SECRET_KEY
        os.environ["ALLOWED_HOSTS"] = "127.0.0.1,localhost,testserver"
        os.environ["CONN_MAX_AGE"] = "0"
        self.superuser_url = os.environ[_SUPERUSER]
        self.redis_url = os.environ["REDIS_URL"]

    def start(self, blocker: DjangoDbBlocker) -> None:
        """Have the servers running and the template migrated; a repeat does nothing."""
        if self._started:
            return
        self._started = True
        with blocker.unblock():
            if self._throwaway is not None:
                self._throwaway.start(_migrate)
                os.environ[_TEMPLATE] = str(connections["default"].settings_dict["NAME"])
            else:
                os.environ[_TEMPLATE] = self._make_template()
        self._let_tests_become_superuser()

    def copy_template(self) -> str:
        """Make this process's database anew from the template, whatever used it; return its name.

        Django's connections to it must be closed.
        """
        return self.copy(os.environ[_TEMPLATE])

    def copy(self, source: str, *, suffix: str = "") -> str:
        """Make a database of this process's own, anew, as a copy of another; return its name.

        Nobody may be connected to the other.
        """
        name = f"{os.environ[_TEMPLATE]}_{self.worker}{suffix}"
        with self._maintenance() as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
            connection.execute(
                sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(source), sql.Identifier(_OWNER)
                )
            )
        return name

    @property
    def template(self) -> str:
        """The name of the migrated database that all others are copies of."""
        return os.environ[_TEMPLATE]

    def redis(self) -> redis.Redis:
        """A client of the Redis database that this process's application uses."""
        url = urlsplit(self.redis_url)
        if url.scheme != "redis+socket":
            return redis.Redis.from_url(self.redis_url)
        number = int(parse_qs(url.query).get("virtual_host", ["0"])[0])
        return redis.Redis(unix_socket_path=url.path, db=number)

    def remove(self) -> None:
        """Stop the throw-away servers, or drop what was made on those of somebody else."""
        if self.worker != "main":
            return
        if self._throwaway is not None:
            self._throwaway.remove()
        elif template := os.environ.pop(_TEMPLATE, None):
            self._drop_all(template)

    def _make_template(self) -> str:
        """Migrate into a new database on a server that somebody else keeps."""
        name = f"billing_test_{os.getpid()}_{int(time.time())}"
        with self._maintenance() as connection:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        with psycopg.connect(self.superuser_url, dbname=name) as connection:
            connection.execute(_ROLES.read_bytes())
        use_database(name)
        _migrate()
        return name

    def _drop_all(self, template: str) -> None:
        with self._maintenance() as connection:
            names = connection.execute(
                "select datname from pg_database where starts_with(datname, %s)", [template]
            ).fetchall()
            for (name,) in names:
                connection.execute(
                    sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
                )

    def _maintenance(self) -> psycopg.Connection:
        """A connection to a database that is never a template."""
        return psycopg.connect(self.superuser_url, dbname="postgres", autocommit=True)

    def _let_tests_become_superuser(self) -> None:
        """Allow ``SET ROLE`` where a test has to break what the program may not touch.

        The role's rights stay what they are until that is said.
        """
        with self._maintenance() as connection:
            superuser = connection.info.user
            connection.execute(sql.SQL("alter role {} noinherit").format(sql.Identifier(_APP)))
            connection.execute(
                sql.SQL("grant {} to {}").format(sql.Identifier(superuser), sql.Identifier(_APP))
            )
            os.environ[_SUPERUSER_ROLE] = superuser


@contextmanager
def as_superuser() -> Iterator[None]:
    """Have Django's connection do what no role of the program may, inside ``with``.

    For breaking on purpose what triggers and rights protect: the owner's rights, no row security.
    """
    role = sql.Identifier(os.environ[_SUPERUSER_ROLE])
    with connections["default"].cursor() as cursor:
        cursor.execute(sql.SQL("set role {}").format(role))
        try:
            yield
        finally:
            if not connections["default"].needs_rollback:  # which undoes it
                cursor.execute("reset role")


def use_database(name: str) -> None:
    """Let every alias of this process use the database of this name."""
    connections.close_all()
    for alias in connections:
        connections.settings[alias]["NAME"] = name
        connections[alias].settings_dict["NAME"] = name


def _migrate() -> None:
    call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
    connections.close_all()


SERVERS = pytest.StashKey[TestServers]()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Complete the environment before pytest-django reads the settings."""
    early_config.stash[SERVERS] = TestServers()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """With xdist, start the servers before the workers, which only attach."""
    config = session.config
    if config.pluginmanager.has_plugin("dsession"):
        config.stash[SERVERS].start(config.stash[blocking_manager_key])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind, also after a failure."""
    config.stash[SERVERS].remove()
