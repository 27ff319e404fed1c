"""Servers for one run of tests or checks, with a migrated database to copy; gone afterwards.

Making and migrating a cluster takes seconds, copying its files does not. So the first run after a
migration has changed keeps its migrated cluster in .data/test-cache, under a fingerprint of all
that goes into it, and later runs start from a copy.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from launcher.embedded import Servers, places
from launcher.instance import data_folder
from launcher.system import ROOT, alive, is_root, make_data_folder

_PREFIX: Final = "countinghouse-test-"
_KEPT_CLUSTERS: Final = 3


class Throwaway:
    """One PostgreSQL and one Valkey below a temporary folder of the process that makes it."""

    def __init__(self) -> None:
        """Choose the folder, which decides the URLs; nothing is started."""
        _remove_left_over()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self.folder.chmod(0o711 if is_root() else 0o700)
        self._servers = Servers(self.folder, volatile=True)
        self._prepared = False
        self._started = False

    @property
    def database_url(self) -> str:
        return self._servers.places.database_url

    @property
    def owner_url(self) -> str:
        return self._servers.places.owner_url

    @property
    def superuser_url(self) -> str:
        return self._servers.places.superuser_url

    @property
    def redis_url(self) -> str:
        return self._servers.places.redis_url

    def start(self, migrate: Callable[[], None]) -> None:
        """Start both servers with the database migrated; once, a repeat does nothing.

        `migrate` is called, with the servers running, only where no earlier run kept the result.
        It must leave no connection open.
        """
        if self._started:
            return
        self._started = True
        self.prepare(migrate)
        self._servers.start()

    def prepare(self, migrate: Callable[[], None]) -> None:
        """Put the migrated cluster in its place, for whoever starts the servers himself.

        Once, a repeat does nothing. `migrate` as for `start`.
        """
        if self._prepared:
            return
        self._prepared = True
        cache = data_folder() / "test-cache"
        kept = cache / _fingerprint()
        with _locked(cache, fcntl.LOCK_SH):
            found = kept.exists()
            if found:
                self._copy_from(kept)
        if not found:
            with _locked(cache, fcntl.LOCK_EX):
                if not kept.exists():
                    self._make(kept, migrate)
                    _remove_oldest(cache)
                self._copy_from(kept)

    def remove(self) -> None:
        """Stop both servers and delete all they had; a repeat does nothing."""
        self._servers.stop()
        for folder in {self.folder, self._servers.places.clusters, self._servers.places.sockets}:
            shutil.rmtree(folder, ignore_errors=True)

    def _make(self, kept: Path, migrate: Callable[[], None]) -> None:
        """Keep a freshly migrated cluster as `kept`: whole or not at all."""
        with self._servers:
            migrate()
        unfinished = Path(tempfile.mkdtemp(dir=kept.parent))
        for cluster in self._servers.places.clusters.glob("pg*"):
            _copy_tree(cluster, unfinished)
            shutil.rmtree(cluster)
        unfinished.rename(kept)

    def _copy_from(self, kept: Path) -> None:
        os.utime(kept)
        where = self._servers.places.clusters
        if where != self.folder:
            self._servers.make_folders()
        for cluster in kept.glob("pg*"):
            _copy_tree(cluster, where)


def _fingerprint() -> str:
    """A name for what a migrated database consists of: migrations, SQL, libraries, settings."""
    digest = hashlib.sha256()
    sources = [
        *ROOT.glob("apps/*/migrations/**/*.py"),
        *ROOT.glob("apps/**/*.sql"),
        ROOT / "billing_project" / "settings.py",
        ROOT / "launcher" / "embedded.py",
        ROOT / "deploy" / "roles.sql",
        ROOT / "requirements-dev.lock",
    ]
    for path in sorted(sources):
        digest.update(f"{path.relative_to(ROOT)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(cache: Path, how: int) -> Iterator[None]:
    make_data_folder(cache.parent)
    cache.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(cache / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _copy_tree(source: Path, into: Path) -> None:
    """Copy a folder with its owners and modes; much faster than file by file in Python."""
    subprocess.run(["/bin/cp", "-a", str(source), str(into)], check=True)


def _remove_oldest(cache: Path) -> None:
    clusters = sorted((p for p in cache.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for old in clusters[:-_KEPT_CLUSTERS]:
        shutil.rmtree(old, ignore_errors=True)


def _remove_left_over() -> None:
    """Delete the folders of earlier runs that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX).split("-")[0]
        with suppress(FileNotFoundError, ValueError):
            if folder.stat().st_uid == os.geteuid() and not alive(int(pid)):
                where = places(folder)
                for left in {folder, where.clusters, where.sockets}:
                    shutil.rmtree(left, ignore_errors=True)
