"""The crash sweep: one history told without a crash, and again with a crash at any point."""

import shutil
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import connections

from tests.faults.forker import Database, Forker
from tests.faults.workload import CHAPTERS
from tests.servers import TestServers

_WORK: Final = "tests.faults.workload:work"
_DRAIN: Final = "tests.faults.workload:drain"
_SUMMARY: Final = "tests.faults.state:summary"


@dataclass(frozen=True, slots=True)
class _Beginning:
    """Of a chapter: the database by then, and the folder with the journal and the hits."""

    database: str
    folder: Path

    def hits(self) -> dict[str, int]:
        """How often each point was reached before it."""
        return {path.name: path.stat().st_size for path in (self.folder / "hits").glob("*")}


class Sweep:
    """Tells the same history again and again, each time on a database of its own.

    From the chapter in which it is to crash, that is: all before that is as it was without.
    """

    def __init__(self, servers: TestServers, forker: Forker, folder: Path) -> None:
        """Tell it once without a crash, counting how often each point is reached."""
        self._servers, self._forker, self._folder = servers, forker, folder / "now"
        self._folder.mkdir()
        self._host = str(connections.settings["default"]["OPTIONS"]["host"])
        database = servers.copy(servers.template, suffix="_winter")
        company = forker.call("tests.faults.workload:prepare", self._at(database))
        self._told = {**company, "journal": str(self._folder / "journal")}
        self._beginnings: list[_Beginning] = []
        for number in range(len(CHAPTERS)):
            one = _Beginning(servers.copy(database, suffix=f"_{number}"), folder / str(number))
            shutil.copytree(self._folder, one.folder)
            self._beginnings.append(one)
            told = {**self._told, "chapters": number + 1}
            ended = forker.start(_WORK, self._at(database), self._folder, **told).wait()
            assert ended.killed_by is None, ended.said
        self._beginnings.append(_Beginning(database, self._folder.rename(folder / "whole")))
        self.hits = self._beginnings[-1].hits()
        self._undisturbed: dict[int, dict[str, list[str]]] = {}

    def crash(self, where: str) -> None:
        """Tell it with a crash at ``point:hit`` and go on after it: the same must come of it.

        After the first hit to the end of all, after others until one more time has passed.
        """
        point, _, hit = where.partition(":")
        before = [one for one in self._beginnings if one.hits().get(point, 0) < int(hit)]
        database = self._begin(before[-1])
        (self._folder / "armed").write_text(f"{where}:kill")
        ended = self._forker.start(_WORK, database, self._folder, **self._told).wait()
        assert ended.killed_by == signal.SIGKILL, ended.said
        # not always the same: readers look once more while others hold the horizon back
        chapter = int((self._folder / "chapter").read_text())
        chapters = len(CHAPTERS) if hit == "1" else _enough(chapter)
        told = self._end(database, chapters)
        assert told["wrong"] == [], (where, told["wrong"])
        otherwise = _otherwise(told["rows"], self._should(chapters))
        assert otherwise == {}, (where, otherwise)

    def _should(self, chapters: int) -> dict[str, list[str]]:
        """Return what so many chapters come to without a crash."""
        if chapters not in self._undisturbed:
            summary = self._end(self._begin(self._beginnings[chapters]), chapters)
            assert summary["wrong"] == []
            self._undisturbed[chapters] = summary["rows"]
        return self._undisturbed[chapters]

    def _begin(self, one: _Beginning) -> Database:
        """Return a copy of the database of a beginning, with its journal in its place."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(one.folder, self._folder)
        return self._at(self._servers.copy(one.database, suffix="_crash"))

    def _end(self, database: Database, chapters: int) -> dict[str, Any]:
        """Let all be done that is left of so many chapters; return what it came to."""
        self._forker.call(_DRAIN, database, **self._told, chapters=chapters)
        summary: dict[str, Any] = self._forker.call(_SUMMARY, database)
        return summary

    def _at(self, name: str) -> Database:
        return Database(name, self._host)


def _enough(chapters: int) -> int:
    """Return how many chapters it is until time passes after so many, or all."""
    later = range(chapters + 1, len(CHAPTERS) + 1)
    return next((n for n in later if CHAPTERS[n - 1].startswith("go_to_")), len(CHAPTERS))


def _otherwise(
    rows: dict[str, list[str]], should_be: dict[str, list[str]]
) -> dict[str, tuple[list[str], list[str]]]:
    """Return what is there and should not be, and what should be and is not."""
    looks = {name: (Counter(rows[name]), Counter(should_be[name])) for name in rows}
    return {
        name: (sorted((did - should).elements()), sorted((should - did).elements()))
        for name, (did, should) in looks.items()
        if did != should
    }
