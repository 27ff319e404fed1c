"""The processes that `./dev up` runs: Python modules, each with its lines marked by its name."""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Final, NoReturn

from launcher.system import die_with_parent

_FORKS: Final = sys.platform == "linux"  # elsewhere unsafe once much is loaded
_ENDED_BY_US: Final = frozenset({0, -signal.SIGTERM, -signal.SIGKILL})
_GRACE = 15  # seconds for what a process does after its parent is gone


class Child:
    """One running child, and the thread that passes its lines on.

    On Linux it is forked from this process, so that what is imported here is imported once;
    elsewhere it is a fresh interpreter.
    """

    def __init__(self, name: str, argv: Sequence[str], *, in_child: Callable[[], None]) -> None:
        """Start `python -m *argv`; `in_child` runs first in a fork, to let go of what is not its.

        It leads a session of its own: Ctrl-C at the terminal reaches only its parent.
        """
        self.name = name
        self._code: int | None = None
        reading, writing = os.pipe()
        if _FORKS:
            self._spawned = None
            self.pid = os.fork()
            if self.pid == 0:
                os.close(reading)
                in_child()
                _become(argv, writing)
        else:
            command = [sys.executable, "-m", *argv]
            self._spawned = subprocess.Popen(
                command, stdout=writing, stderr=writing, start_new_session=True
            )
            self.pid = self._spawned.pid
        os.close(writing)
        self._output = os.fdopen(reading, encoding="utf-8", errors="replace")
        self._thread: threading.Thread | None = None

    def pass_lines_on(self) -> None:
        """Begin to print its lines; to be called after the last fork."""
        self._thread = threading.Thread(target=_copy, args=(self.name, self._output), daemon=True)
        self._thread.start()

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or None while it runs."""
        if self._code is None:
            if self._spawned is not None:
                self._code = self._spawned.poll()
            else:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def wait(self) -> int:
        """Wait until it ends by itself and all its lines are printed; return its exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.02)
        self._join()
        return code

    def terminate(self) -> None:
        """Ask it to finish what it does and end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and all that it started, now."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=5)


def stop_all(children: Sequence[Child], *, seconds: float, hurry: Callable[[], bool]) -> list[str]:
    """Ask all of them to end, wait, and kill what is left after `seconds` or when in a hurry.

    Returns:
        The names of those that did not end in good order.
    """
    for child in children:
        child.terminate()
    deadline = time.monotonic() + seconds
    while any(child.poll() is None for child in children):
        if hurry() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    late = [child for child in children if child.poll() is None]
    for child in late:
        child.kill()
    for child in children:
        child.wait()
    return [child.name for child in children if child.poll() not in _ENDED_BY_US]


def _outlive_nobody(parent: int) -> None:
    """End this process a while after its parent, should it have lost the word to end."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        time.sleep(_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _become(argv: Sequence[str], output: int) -> NoReturn:
    """In a forked child: turn into `python -m *argv` without a new interpreter."""
    code = 1
    try:
        os.setsid()
        die_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8")
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8")
        sys.argv = list(argv)
        _outlive_nobody(os.getppid())
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- nothing of the parent may run on in the child
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _copy(name: str, lines: IO[str]) -> None:
    """Print lines until the pipe closes; keep emptying it when nobody reads our own output."""
    for line in lines:
        with suppress(OSError):
            print(f"{name:>7} | {line.rstrip()}", flush=True)
