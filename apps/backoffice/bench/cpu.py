"""CPU time: what else the machine does changes it less than it changes the time on the clock.

Only where the database server runs on this machine, and that is Linux.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import process_time
from typing import Final

from django.db import connections

_PROCESSES: Final = Path("/proc")
_NANOSECONDS: Final = 1_000_000_000


def spent(work: Callable[[], object], alias: str) -> float | None:
    """Do the work; return the CPU seconds of this process and of its connection's on the server.

    None where they cannot be told.
    """
    connections[alias].ensure_connection()
    pids = [int(connections[alias].connection.info.backend_pid)]
    if not _are_here(pids):
        work()
        return None
    before = _seconds(pids) + process_time()
    work()
    return _seconds(pids) + process_time() - before


def spent_by_all(work: Callable[[], object]) -> float | None:
    """Do the work; return the CPU seconds of this process, those it started, and the server's.

    Of the server, its connections to the database in use, which must all be there already. None
    where they cannot be told.
    """
    connected = _connected()
    if not _are_here(connected):
        work()
        return None
    pids = [*_descendants(os.getpid()), *connected]
    before = _seconds(pids) + process_time()
    work()
    return _seconds(pids) + process_time() - before


def _connected() -> list[int]:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
        return [pid for (pid,) in cursor.fetchall()]


def _are_here(pids: Iterable[int]) -> bool:
    """Tell whether these are processes of a server on this machine, and not in a container."""
    try:
        names = {(_PROCESSES / str(pid) / "comm").read_text().strip() for pid in pids}
    except OSError:
        return False
    return names == {"postgres"}


def _seconds(pids: Iterable[int]) -> float:
    nanoseconds = 0
    for pid in pids:
        for thread in (_PROCESSES / str(pid)).glob("task/*/schedstat"):
            with suppress(OSError):  # it has ended
                nanoseconds += int(thread.read_text().split()[0])
    return nanoseconds / _NANOSECONDS


def _descendants(of: int) -> list[int]:
    parents = {}
    for stat in _PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError):
            # the name, in brackets, may hold anything
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [of]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found[1:]
