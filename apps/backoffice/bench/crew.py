"""Processes that work for a bench, each with its own connection to the scratch database."""

import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from time import perf_counter
from typing import ParamSpec, Self, TypeVar

import django
from django.db import connection

P = ParamSpec("P")
T = TypeVar("T")


class Crew:
    """A number of processes, started inside ``with``; they use what the environment names."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._stack = ExitStack()
        self._hands: list[ProcessPoolExecutor] = []
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        """Start the processes and wait until all are connected."""
        spawn = get_context("spawn")
        for _ in range(self._count):
            hand = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin)
            self._hands.append(self._stack.enter_context(hand))
        self._pids = self.each(_connect)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the processes; after an error (Ctrl-C) without waiting for what they do."""
        if error is not None:
            for pid in self._pids:
                os.kill(pid, signal.SIGTERM)
        self._stack.close()

    def each(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> list[T]:
        """Have all processes do the same at the same time; return what each returned."""
        return _results([hand.submit(work, *args, **kwargs) for hand in self._hands])

    def share(self, work: Callable[..., T], parts: Sequence[Sequence[object]]) -> list[T]:
        """Have each process do its part, given as arguments, at the same time."""
        pairs = zip(self._hands, parts, strict=True)
        return _results([hand.submit(work, *part) for hand, part in pairs])

    def timed(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> float:
        """Have all processes do the same; return the seconds until the last was done."""
        began = perf_counter()
        self.each(work, *args, **kwargs)
        return perf_counter() - began


def _results(futures: Sequence[Future[T]]) -> list[T]:
    return [future.result() for future in futures]


def _begin() -> None:
    """Prepare a process: Ctrl-C is the parent's affair, who then ends this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    django.setup()


def _connect() -> int:
    connection.ensure_connection()
    return os.getpid()
