"""The crash sweep: one history told without a crash, and again with a crash at any point."""

import shutil
import signal
from pathlib import Path
from typing import Any, Final

from django.db import connections

from tests.faults.forker import Database, Forker
from tests.servers import TestServers

_WORK: Final = "tests.faults.workload:work"
_DRAIN: Final = "tests.faults.workload:drain"
_SUMMARY: Final = "tests.faults.state:summary"


class Sweep:
    """Tells the same history again and again, each time on a database of its own."""

    def __init__(self, servers: TestServers, forker: Forker, folder: Path) -> None:
        """Tell it once without a crash, counting how often each point is reached."""
        self._servers, self._forker, self._folder = servers, forker, folder
        self._host = str(connections.settings["default"]["OPTIONS"]["host"])
        self._base = servers.copy(servers.template, suffix="_winter")
        self._client = forker.call("tests.faults.workload:prepare", self._at(self._base))
        told = self._tell("")
        assert told["wrong"] == []
        self.undisturbed: dict[str, list[str]] = told["rows"]
        hits = {path.name: path.stat().st_size for path in (folder / "hits").iterdir()}
        self.hits: dict[str, int] = hits

    def crash(self, where: str) -> None:
        """Tell it with a crash at ``point:hit`` and go on after it: the end must be the same."""
        told = self._tell(f"{where}:kill")
        assert told["wrong"] == [], where
        assert told["rows"] == self.undisturbed, where

    def _tell(self, armed: str) -> dict[str, Any]:
        shutil.rmtree(self._folder)
        self._folder.mkdir()
        (self._folder / "armed").write_text(armed)
        database = self._at(self._servers.copy(self._base, suffix="_crash"))
        told: dict[str, Any] = {**self._client, "journal": str(self._folder / "journal")}
        first = self._forker.start(_WORK, database, self._folder, **told).wait()
        assert first.killed_by == (signal.SIGKILL if armed else None), first.said
        (self._folder / "armed").unlink()
        self._forker.call(_DRAIN, database, **told)
        summary: dict[str, Any] = self._forker.call(_SUMMARY, database)
        return summary

    def _at(self, name: str) -> Database:
        return Database(name, self._host)
