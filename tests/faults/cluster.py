"""An installation of real processes, each of which can be killed and started again by itself.

PostgreSQL and Valkey are started as the launcher starts them, durable, on a data directory of their
own; the web server, the worker and beat are the programs that `./dev up` runs. What happens at the
failpoints of all of them is decided by one folder.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import redis
import requests
from celery import Celery

from launcher.commands.up import programs
from launcher.embedded import Servers, places
from launcher.instance import Instance
from launcher.system import ROOT, LauncherError, die_with_parent
from launcher.throwaway import Throwaway
from tests.faults.forker import Database
from tests.launcher.processes import mentioning

PROGRAMS: Final = ("web", "worker", "beat")
SERVERS: Final = ("postgres", "valkey")
PATIENCE: Final = 180.0  # seconds for what takes two on an idle machine
_MOMENT: Final = 0.05
_NEVER: Final = 9999  # seconds; nobody else asks that rarely
_AWAY: Final = (
    psycopg.OperationalError,
    redis.ConnectionError,
    requests.RequestException,
    OSError,
)
_PASS_TIME: Final = (
    "UPDATE core_job SET lease_until = '2000-01-01' WHERE state = 'running'",
    "UPDATE core_job SET due_at = '2000-01-01' WHERE state = 'pending'",
    "UPDATE core_idempotencyrecord SET leased_until = '2000-01-01' WHERE status IS NULL",
    (
        "UPDATE payments_payment SET ask_after = '2000-01-01',"
        " sent_at = sent_at - interval '2 hours' WHERE ask_after IS NOT NULL"
    ),
    (
        "UPDATE payments_collection SET next_attempt_at = '2000-01-01'"
        " WHERE next_attempt_at IS NOT NULL"
    ),
)


def until(found: Callable[[], Any], *, seconds: float = PATIENCE, what: str = "") -> Any:
    """Ask again and again until the answer is true, and return it; who is away says no."""
    end = time.monotonic() + seconds
    error: Exception | None = None
    while time.monotonic() < end:
        error = None
        try:
            if answer := found():
                return answer
        except _AWAY as raised:
            error = raised
        time.sleep(_MOMENT)
    raise AssertionError(f"{what or found} has not come true in {seconds} s") from error


class Cluster:
    """Five kinds of processes over one data directory, and the folder of their failpoints."""

    def __init__(self) -> None:
        """Put a migrated database in its place; nothing runs yet."""
        self._throwaway = Throwaway()
        self.data = self._throwaway.folder
        self.logs = self.data / "logs"
        self.failpoints = self.data / "failpoints"
        for folder in (self.logs, self.failpoints):
            folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.environ = self._environment()
        self._throwaway.prepare(self.migrate)
        self._servers: dict[str, Servers] = {}
        self._programs: dict[str, subprocess.Popen[bytes]] = {}

    # --- processes --------------------------------------------------------------------------------

    def start(self, *names: str, environ: Mapping[str, str] | None = None) -> None:
        """Start what is named and does not run, in order, and wait until it answers."""
        for name in names:
            if name in SERVERS:
                self._start_server(name)
            elif not self.runs(name):
                self._start_program(name, environ or {})
        for name in names:
            if name in PROGRAMS:
                until(partial(self._is_ready, name), what=f"{name} is ready")

    def kill(self, name: str) -> None:
        """Kill what is named with all its processes, as by kill -9, and wait until it is gone."""
        if name in SERVERS:
            os.kill(self.server_pid(name), signal.SIGKILL)
            self._servers.pop(name).stop()
            return
        program = self._programs.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait(60)

    def stop(self, name: str) -> int:
        """Ask what is named to end in good order; return its exit code."""
        if name in SERVERS:
            self._servers.pop(name).stop()
            return 0
        self._programs[name].send_signal(signal.SIGTERM)
        try:
            return self._programs[name].wait(120)
        finally:
            self.kill(name)

    def runs(self, name: str) -> bool:
        """Say whether the program was started and has not ended."""
        return name in self._programs and self._programs[name].poll() is None

    def pid(self, name: str) -> int:
        """The id of a program's first process."""
        return self._programs[name].pid

    def children(self, name: str) -> list[int]:
        """The ids of the processes that a program has started."""
        pid = self.pid(name)
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def server_pid(self, name: str) -> int:
        """The id of a server's first process."""
        if name == "valkey":
            return int(self.valkey().info("server")["process_id"])
        (file,) = places(self.data).clusters.glob("pg*/postmaster.pid")
        return int(file.read_text().split()[0])

    def mend(self) -> None:
        """Have everything running again, no failpoint armed, and beat in a hurry."""
        self.disarm()
        for hits in (self.failpoints / "hits").glob("*"):
            hits.unlink()
        self.start(*SERVERS, *PROGRAMS)
        self.sql("ALTER ROLE billing NOINHERIT")
        self.sql("GRANT postgres TO billing")  # for children that look at everything
        self.hurry()

    def close(self) -> None:
        """End everything and delete the data; fails if a process is left over."""
        self.disarm()
        for name in list(self._programs):
            self.kill(name)
        for name in list(self._servers):
            self.stop(name)
        folders = {self.data, places(self.data).sockets}
        until(lambda: not any(mentioning(one) for one in folders), what="no orphan is left")
        self._throwaway.remove()

    def log(self, name: str) -> str:
        """What a program has said since the cluster was made."""
        return (self.logs / f"{name}.log").read_text(errors="replace")

    # --- failpoints -------------------------------------------------------------------------------

    def arm(self, *lines: str) -> None:
        """Let things happen at failpoints from now on, and nothing else."""
        unfinished = self.failpoints / "unfinished"
        unfinished.write_text("\n".join(lines))
        unfinished.rename(self.failpoints / "armed")

    def disarm(self) -> None:
        """Let nothing happen any more; who waits at a point goes on."""
        (self.failpoints / "armed").unlink(missing_ok=True)

    def hits(self, point: str) -> int:
        """How often the point was reached since the test began."""
        counted = self.failpoints / "hits" / point
        return counted.stat().st_size if counted.exists() else 0

    # --- looking and asking -----------------------------------------------------------------------

    @property
    def database(self) -> Database:
        """Where children of the forker find this installation's rows."""
        url = urlsplit(places(self.data).database_url)
        return Database(url.path.removeprefix("/"), str(places(self.data).sockets))

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement, seeing everything; return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection:
        """A connection that may do everything, each statement by itself."""
        where = places(self.data).superuser_url
        return psycopg.connect(where, dbname=self.database.name, autocommit=True, connect_timeout=5)

    def one(self, query: str, *parameters: object) -> Any:
        """The one value that a query returns."""
        ((value,),) = self.sql(query, *parameters)
        return value

    def migrate(self) -> None:
        """Do what an installation does to its database when it is updated."""
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--no-input", "--verbosity", "0"],
            env=self.environ,
            cwd=ROOT,
            check=True,
        )

    def server_owner(self) -> tuple[int, int]:
        """Whom PostgreSQL runs as: the ids of its user and group."""
        found = Path(f"/proc/{self.server_pid('postgres')}").stat()
        return found.st_uid, found.st_gid

    @property
    def sockets(self) -> Path:
        """The folder of the servers' sockets."""
        return places(self.data).sockets

    def beats(self) -> Any:
        """When a worker last did what beat had asked it for."""
        rows = self.sql("SELECT max(beaten_at) FROM core_heartbeat")
        return rows[0][0]

    def waits_for_a_lock(self) -> bool:
        """Say whether somebody waits for a lock that somebody else holds."""
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        )
        return bool(self.one(query))

    def valkey(self) -> redis.Redis:
        """A client of the broker."""
        return redis.Redis(unix_socket_path=str(places(self.data).sockets / "valkey.sock"))

    def send_task(self, name: str, *, times: int = 1) -> None:
        """Put a task's message into the queue, as beat does."""
        with Celery("harness", broker=self.environ["REDIS_URL"], set_as_current=False) as sender:
            for _ in range(times):
                sender.send_task(name)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str,
        idempotency_key: str | None = None,
        seconds: float = 60,
    ) -> requests.Response:
        """Ask the API once; raise where no answer comes."""
        headers = {"Authorization": f"Bearer {key}"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        url = f"http://127.0.0.1:{self.port}/api/v1{path}"
        return requests.request(method, url, json=body, headers=headers, timeout=seconds)

    def health(self) -> requests.Response:
        """What the installation says of itself."""
        return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=60)

    def hurry(self) -> None:
        """Have beat do every other second what it does every minute or more often."""
        until(lambda: self.one("SELECT count(*) FROM django_celery_beat_periodictask") > 1)
        self._have_beat_ask(2, of=[*range(61), _NEVER])

    def rest(self) -> None:
        """Let beat ask for nothing until ``hurry``, so that others have the machine."""
        self._have_beat_ask(_NEVER, of=[2])

    def pass_time(self) -> None:
        """Let the claims of the dead lapse, and questions and jobs that wait come due."""
        with self.connect() as connection:
            connection.execute("SET session_replication_role = replica")  # no trigger minds
            for statement in _PASS_TIME:
                connection.execute(statement)

    # --- inside -----------------------------------------------------------------------------------

    def _have_beat_ask(self, every: int, *, of: list[int]) -> None:
        # not by disabling tasks: beat stores their rows as it knew them
        self.sql(
            "UPDATE django_celery_beat_intervalschedule SET every = %s"
            " WHERE period = 'seconds' AND every = ANY(%s)",
            every,
            of,
        )
        self.sql("UPDATE django_celery_beat_periodictasks SET last_update = clock_timestamp()")

    def _environment(self) -> dict[str, str]:
        ours = {"DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "PYTEST_CURRENT_TEST"}
        environ = {name: value for name, value in os.environ.items() if name not in ours}
        environ |= {
            "BILLING_DATA_DIR": str(self.data),
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            "CONN_MAX_AGE": "60",
            "FAILPOINTS": str(self.failpoints),
            "FAULT_HARNESS": "yes",
            "WORKER_CONCURRENCY": "2",
            "PYTHONUNBUFFERED": "1",
        }
        Instance(self.data).settle(environ)
        return environ

    def _start_server(self, name: str) -> None:
        if name in self._servers:
            return
        other = {"postgres": {"valkey": False}, "valkey": {"postgres": False}}[name]

        def started() -> bool:
            try:
                self._servers[name] = Servers(self.data, **other).start()
            except LauncherError:  # the killed one's children are still on their way out
                return False
            return True

        until(started, what=f"{name} starts")

    def start_another(self, name: str, another: str) -> None:
        """Start a program a second time, under another name."""
        self._start_program(another, {}, programs("127.0.0.1", self.port)[name])

    def _start_program(
        self, name: str, environ: Mapping[str, str], argv: Sequence[str] | None = None
    ) -> None:
        argv = argv or programs("127.0.0.1", self.port)[name]
        with (self.logs / f"{name}.log").open("ab") as log:
            self._programs[name] = subprocess.Popen(
                [sys.executable, "-m", *argv],
                env={**self.environ, **environ},
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, signal.SIGKILL),  # noqa: PLW1509 -- no locks held
            )

    def _is_ready(self, name: str) -> bool:
        assert self.runs(name), self.log(name)[-4000:]
        if name == "web":
            url = f"http://127.0.0.1:{self.port}/health/live"
            return requests.get(url, timeout=5).ok
        if name == "worker":
            return len(self.children("worker")) > 0
        return True
