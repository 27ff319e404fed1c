"""Processes of ours that may be killed: a program with Django loaded that forks on request.

Starting Python and loading everything takes seconds, a fork takes none. Each child runs one
function of a module of tests, with JSON for arguments and JSON for its answer, against the
database and with the failpoints that it is told.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from launcher.system import ROOT, die_with_parent

_PATIENCE: Final = 300.0  # seconds that a child may take on a busy machine


@dataclass(frozen=True, slots=True)
class Database:
    """Where a child finds its rows: the name of the database and the folder of its socket."""

    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: the signal that killed it or None, its answer, and what it said."""

    killed_by: int | None
    answer: Any
    said: str


class ChildFailed(AssertionError):
    """A child raised; the message is what it said."""


class Child:
    """One process that runs one function."""

    def __init__(self, forker: "Forker", pid: int, folder: Path) -> None:
        """Remember it; it runs already."""
        self._forker, self.pid, self._folder = forker, pid, folder

    def kill(self) -> None:
        """Kill it as by kill -9."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        """Wait until it has ended; raise ``ChildFailed`` if it raised."""
        code = self._forker.ask("wait", pid=self.pid, seconds=_PATIENCE)["code"]
        said = (self._folder / "said").read_text(errors="replace")
        if code > 0:
            raise ChildFailed(said)
        answer = self._folder / "answer"
        return Ended(
            -code if code else None,
            json.loads(answer.read_text()) if answer.exists() else None,
            said,
        )


class Forker:
    """The program that forks; started on first use, ended by ``close``."""

    def __init__(self) -> None:
        """Start it; it is ready when it answers."""
        self._answers = Path(tempfile.mkdtemp(prefix="countinghouse-forks-"))
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forker"],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "billing_project.settings"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(
        self,
        function: str,
        database: Database,
        failpoints: Path | None = None,
        /,
        **arguments: Any,
    ) -> Child:
        """Fork a child that calls ``module:function`` with the arguments."""
        folder = Path(tempfile.mkdtemp(dir=self._answers))
        pid = self.ask(
            "fork",
            function=function,
            arguments=arguments,
            name=database.name,
            host=database.host,
            failpoints="" if failpoints is None else str(failpoints),
            folder=str(folder),
        )["pid"]
        return Child(self, pid, folder)

    def call(self, function: str, database: Database, /, **arguments: Any) -> Any:
        """Run a function in a child of its own and return its answer."""
        ended = self.start(function, database, **arguments).wait()
        assert ended.killed_by is None, ended
        return ended.answer

    def ask(self, order: str, **values: Any) -> dict[str, Any]:
        """Have the program do one thing and return what it answers."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(json.dumps({"order": order, **values}) + "\n")
        self._program.stdin.flush()
        line = self._program.stdout.readline()
        if not line:
            raise ChildFailed(f"the forker ended with {self._program.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """End the program, and with it its children."""
        self._program.communicate(timeout=60)
        subprocess.run(["/bin/rm", "-rf", str(self._answers)], check=True)


# --- in the program -------------------------------------------------------------------------------


def main() -> None:
    """Load everything, then do what is ordered, line by line, until nobody orders any more."""
    import django  # noqa: PLC0415 -- only the program needs it loaded
    from django.urls import get_resolver  # noqa: PLC0415 -- as above

    die_with_parent(signal.SIGKILL)
    django.setup()
    _ = get_resolver().url_patterns  # which loads every view
    for module in ("tests.faults.workload", "tests.faults.acts"):
        importlib.import_module(module)
    for line in sys.stdin:
        order = json.loads(line)
        done = {"pid": _fork(order)} if order["order"] == "fork" else {"code": _wait(order)}
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()


def _wait(order: dict[str, Any]) -> int:
    end = time.monotonic() + order["seconds"]
    while True:
        pid, status = os.waitpid(order["pid"], os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(order["pid"], signal.SIGKILL)
        time.sleep(0.005)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid == 0:
        _become(order)
    return pid


def _become(order: dict[str, Any]) -> NoReturn:
    code = 1
    folder = Path(order["folder"])
    try:
        die_with_parent(signal.SIGKILL)
        said = os.open(folder / "said", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(said, 1)
        os.dup2(said, 2)
        _use(order["name"], order["host"], order["failpoints"])
        module, _, name = order["function"].partition(":")
        answer = getattr(importlib.import_module(module), name)(**order["arguments"])
        unfinished = folder / "unfinished"
        unfinished.write_text(json.dumps(answer))
        unfinished.rename(folder / "answer")
        code = 0
    except BaseException:  # noqa: BLE001 -- nothing of the program may run on in the child
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _use(name: str, host: str, failpoints: str) -> None:
    from django.db import connections  # noqa: PLC0415 -- only the program needs it loaded

    from apps.core.failpoints import arm  # noqa: PLC0415 -- as above

    for alias in connections:
        connections.settings[alias]["NAME"] = name
        connections.settings[alias]["OPTIONS"]["host"] = host
    arm(failpoints, allowed=True)


if __name__ == "__main__":
    main()
