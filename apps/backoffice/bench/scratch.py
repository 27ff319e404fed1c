"""Databases to be measured in: made on the installation's server, dropped whatever happens."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from time import sleep
from typing import Final, Self
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from psycopg import sql

PREFIX: Final = "countinghouse_bench"
OWNER: Final = "owner"  # the connection as the role that owns the tables
_URLS: Final = ("DATABASE_URL", "DATABASE_OWNER_URL")
_ROLES: Final = settings.BASE_DIR / "deploy" / "roles.sql"
_BROKER: Final = "REDIS_URL"
_TRIES: Final = 100
_PAUSE: Final = 0.1  # seconds
# one that nobody listens to: what is measured must not call the installation's workers
_NO_BROKER: Final = "memory://localhost"


class NoScratchDatabase(Exception):
    """Nobody has said how to connect as the owner of the tables, or he may not make databases."""


class Scratch:
    """The scratch databases of one process, in whose ``with`` it uses the blank one.

    The installation's own database is not touched: the connection is turned to another database of
    the same server, and so is the environment that child processes inherit.
    """

    def __init__(self, template: str = "") -> None:
        """Copy the blank database from a migrated one, if given, to which nobody is connected."""
        self._template = template
        self._numbers = count(1)
        self._made: list[str] = []
        self._home = str(connection.settings_dict["NAME"])
        self._environment = {name: os.environ.get(name) for name in (*_URLS, _BROKER)}

    def __enter__(self) -> Self:
        """Make the blank database and use it; ``NoScratchDatabase`` if that is forbidden."""
        os.environ[_BROKER] = _NO_BROKER
        try:
            self._use(self._make(self._template or "template0"))
            if not self._template:
                with connections[OWNER].cursor() as cursor:
                    cursor.execute(_ROLES.read_text())
                call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Return to the installation's database and drop all that was made."""
        _turn_to(self._home)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        while self._made:
            self._drop(self._made[-1])

    @property
    def blank(self) -> str:
        """The database that is migrated and has nothing in it."""
        return self._made[0]

    @contextmanager
    def copied(self, original: str) -> Iterator[str]:
        """Use a copy of one of the databases inside ``with``, which gets its name; then drop it.

        No other process may be connected to the original.
        """
        before = str(connection.settings_dict["NAME"])
        connections.close_all()
        name = self._make(original)
        self._use(name)
        try:
            yield name
        finally:
            self._use(before)
            self._drop(name)

    @contextmanager
    def using(self, name: str) -> Iterator[None]:
        """Use one of the databases inside ``with``."""
        before = str(connection.settings_dict["NAME"])
        self._use(name)
        try:
            yield
        finally:
            self._use(before)

    def _use(self, name: str) -> None:
        _turn_to(name)
        for url in _URLS:
            if url in os.environ:
                os.environ[url] = urlsplit(os.environ[url])._replace(path=f"/{name}").geturl()

    def _make(self, template: str) -> str:
        name = f"{PREFIX}_{os.getpid()}_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with _maintenance() as server:
            try:
                server.execute(statement)
            except psycopg.errors.InsufficientPrivilege as error:
                raise NoScratchDatabase(
                    "The owner of the tables may not make databases: ALTER ROLE … CREATEDB."
                ) from error
        self._made.append(name)
        return name

    def _drop(self, name: str) -> None:
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with _maintenance() as server:
            for patience in range(_TRIES, -1, -1):
                try:
                    server.execute(statement)
                    break
                except psycopg.errors.InsufficientPrivilege:
                    # the owner may not end sessions of the role that serves; they are just ending
                    if not patience:
                        raise
                    sleep(_PAUSE)
        self._made.remove(name)


def _turn_to(name: str) -> None:
    connections.close_all()
    for alias in connections:
        connections.settings[alias]["NAME"] = name
        connections[alias].settings_dict["NAME"] = name


def _maintenance() -> psycopg.Connection:
    """Return a connection to a database that every server has."""
    if OWNER not in connections:
        raise NoScratchDatabase("Set DATABASE_OWNER_URL to the role that owns the tables.")
    parameters = connections[OWNER].get_connection_params()
    wanted = ("host", "port", "user", "password", "options", "sslmode")
    given = {name: parameters[name] for name in wanted if name in parameters}
    return psycopg.connect(**given, dbname="postgres", autocommit=True)
