"""./dev up: servers, migrations, the demo company, web, worker and beat under one process."""

import argparse
import http.client
import json
import os
import signal
import socket
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Final

import django
from django.apps import apps
from django.conf import settings
from django.core.management import call_command, get_commands
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor

from launcher import pango
from launcher.children import Child, stop_all
from launcher.embedded import APPLICATION, Servers, places
from launcher.instance import Instance, data_folder, write_private
from launcher.system import LauncherError

_SECONDS_TO_STOP: Final = 15
_SECONDS_TO_ANSWER: Final = 60
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- names it, binds nothing


class _StopAskedFor(BaseException):
    """A signal came that asks us to stop."""


class _Signals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into an exception, and notes a second one."""

    def __init__(self) -> None:
        self._seen = 0
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, self._receive)

    def seen_again(self) -> bool:
        return self._seen > 1

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._seen += 1
        if self._seen == 1:
            raise _StopAskedFor


def main(arguments: Sequence[str]) -> int:
    """Run until a signal asks to stop (0) or one of the processes ends by itself (1)."""
    parser = argparse.ArgumentParser(prog="./dev up")
    parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
    parser.add_argument("--bind", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--no-demo", action="store_true", help="start with an empty database")
    options = parser.parse_args(arguments)
    signals = _Signals()
    instance = Instance(data_folder())
    try:
        if not instance.become_keeper():
            raise LauncherError(
                f"Another ./dev already runs on {instance.data}. Stop it first,"
                " or set BILLING_DATA_DIR to run a second one beside it."
            )
        _check_address(options.bind, options.port)
        os.environ.setdefault("PUBLIC_URL", _address(options.bind, options.port))
        pango.ensure()
        return _run(instance, options, signals)
    except _StopAskedFor:
        return 0


def _run(instance: Instance, options: argparse.Namespace, signals: _Signals) -> int:
    with _servers(instance):
        _prepare_database(instance, demo=not options.no_demo)
        instance.announce(os.environ)
        children: list[Child] = []
        ended: Child | None = None
        try:
            for name, argv in programs(options.bind, options.port).items():
                children.append(Child(name, argv, in_child=partial(_enter, instance)))
            for child in children:
                child.pass_lines_on()
            ended = _wait_for_answer(children, options.bind, options.port)
            if ended is None:
                print(_banner(instance, options.bind, options.port), flush=True)
            while ended is None:
                time.sleep(0.2)
                ended = _first_ended(children)
        except _StopAskedFor:
            print("\nStopping...", flush=True)
        finally:
            instance.withdraw()
            if ended is not None:
                print(f"{ended.name} ended with code {ended.poll()}; stopping.", flush=True)
            stop_all(children, seconds=_SECONDS_TO_STOP, hurry=signals.seen_again)
    print("Stopped.", flush=True)
    return 0 if ended is None else 1


@contextmanager
def _servers(instance: Instance) -> Iterator[Servers]:
    """The servers that the environment does not name, with the environment completed."""
    servers = instance.servers(os.environ)
    instance.settle(os.environ)
    print("Starting PostgreSQL and Valkey...", flush=True)
    with servers:
        yield servers


def _check_address(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LauncherError(
                f"Cannot listen on {address} port {port}: {error.strerror}. Try --port."
            ) from error


def _prepare_database(instance: Instance, *, demo: bool) -> None:
    """Migrate where there is something to migrate; load the demo company into an empty database.

    A demo company whose loading was cut short is thrown away with its database first.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_project.settings")
    django.setup()
    _discard_unfinished_demo(instance)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        print("Migrating the database...", flush=True)
        call_command("migrate", verbosity=0, interactive=False)
    has_tenant = apps.get_model("tenants", "Tenant").objects.exists()
    connections.close_all()
    if demo and not has_tenant and "load_demo" in get_commands():
        print("Loading the demo company (once)...", flush=True)
        write_private(instance.demo_unfinished, os.environ["DATABASE_URL"])
        loader = Child("demo", ["django", "load_demo"], in_child=partial(_enter, instance))
        loader.pass_lines_on()
        try:
            code = loader.wait()
        except _StopAskedFor:
            stop_all([loader], seconds=2, hurry=lambda: False)
            raise
        if code:
            raise LauncherError("The demo company could not be loaded; --no-demo does without.")
    instance.demo_unfinished.unlink(missing_ok=True)


def _discard_unfinished_demo(instance: Instance) -> None:
    """Empty a database whose demo company was cut short, if it is one that we keep ourselves."""
    if not instance.demo_unfinished.exists():
        return
    if instance.demo_unfinished.read_text() != os.environ["DATABASE_URL"]:
        return  # it was another database
    if os.environ["DATABASE_URL"] != places(instance.data).database_url:
        raise LauncherError(
            "Loading the demo company into the database was cut short. Empty that database, or"
            f" keep what is there by removing {instance.demo_unfinished}."
        )
    with connections["owner"].cursor() as cursor:
        cursor.execute("drop schema public cascade")
        cursor.execute("create schema public")
        cursor.execute(f"grant usage on schema public to {APPLICATION}")


def _enter(instance: Instance) -> None:
    """What a forked child does first: let go of what only the parent needs.

    That is the lock, the way to the database as its owner, and two warnings of no use here.
    """
    instance.forget_keeper()
    os.environ.pop("DATABASE_OWNER_URL", None)
    settings.DATABASES.pop("owner", None)
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")
    warnings.filterwarnings("ignore", message="No directory at")


def programs(address: str, port: int) -> dict[str, list[str]]:
    """What runs beside the servers, as arguments of `python -m`."""
    celery = ["celery", "--quiet", "-A", "billing_project"]
    log_level = os.environ.get("LOG_LEVEL", "INFO")
    return {
        "web": [
            *("gunicorn", "billing_project.wsgi", "--no-control-socket"),
            *("--bind", f"[{address}]:{port}" if ":" in address else f"{address}:{port}"),
            *("--worker-class", "gthread"),
            *("--workers", os.environ.get("WEB_WORKERS", "2")),
            *("--threads", os.environ.get("WEB_THREADS", "4")),
        ],
        "worker": [
            *(*celery, "worker", "--loglevel", log_level),
            *("--pool", os.environ.get("WORKER_POOL", "prefork")),
            *("--concurrency", os.environ.get("WORKER_CONCURRENCY", "2")),
            *("--without-gossip", "--without-mingle"),
        ],
        "beat": [*celery, "beat", "--loglevel", log_level, "--pidfile", ""],
    }


def _first_ended(children: Sequence[Child]) -> Child | None:
    return next((child for child in children if child.poll() is not None), None)


def _wait_for_answer(children: Sequence[Child], address: str, port: int) -> Child | None:
    """Return None once the web server answers, or the child that ended before that."""
    deadline = time.monotonic() + _SECONDS_TO_ANSWER
    while time.monotonic() < deadline:
        if (ended := _first_ended(children)) is not None:
            return ended
        web = http.client.HTTPConnection(_ANYWHERE.get(address, address), port, timeout=5)
        try:
            web.request("GET", "/health/live")
            web.getresponse()
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        else:
            return None
        finally:
            web.close()
    raise LauncherError(f"The web server does not answer within {_SECONDS_TO_ANSWER} s.")


def _address(address: str, port: int) -> str:
    """The URL at which this machine's browser finds the web server."""
    host = _ANYWHERE.get(address, address)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _banner(instance: Instance, address: str, port: int) -> str:
    """What the person in front of the terminal needs now."""
    root = _address(address, port)
    rows = [
        ("operators", f"{root}/admin/"),
        ("API", f"{root}/api/docs"),
        ("health", f"{root}/health"),
        ("database", os.environ["DATABASE_URL"]),
        ("data", str(places(instance.data).clusters)),
    ]
    if instance.demo_file.exists():
        demo = json.loads(instance.demo_file.read_text())
        rows += [("login", "   ".join(map(str, one.values()))) for one in demo["logins"]]
        rows.append(("API key", str(demo["api_key"])))
    lines = [f"  {name:<10} {value}" for name, value in rows]
    return "\n".join(["", "Countinghouse is ready.", "", *lines, "", "Ctrl-C stops it.", ""])
