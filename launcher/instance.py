"""One data directory: who may start servers on it, how others find them, and its secret key.

A data directory has at most one *keeper*, the process that started its servers (or, with
DATABASE_URL and REDIS_URL given, the one `./dev up`). The keeper holds `keeper.lock` and describes
its servers in `servers.json`. Other commands are *guests*: they hold `guests.lock` together.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from launcher.embedded import Servers, places
from launcher.system import ROOT, LauncherError, make_data_folder

_SECRET_KEY_CHARACTERS: Final = 64
_SECONDS_FOR_A_START: Final = 240
_ANNOUNCED: Final = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL", "SECRET_KEY")


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this copy of the project keeps its data: BILLING_DATA_DIR, else .data in it."""
    return Path(environ.get("BILLING_DATA_DIR") or ROOT / ".data").resolve()


class Instance:
    """One data directory, seen by one process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._keeper: int | None = None

    @property
    def demo_file(self) -> Path:
        """What the demo company's loader wrote: its logins and its API key."""
        return self.data / "demo.json"

    @property
    def demo_unfinished(self) -> Path:
        """Exists from before the demo company is loaded until it is loaded whole."""
        return self.data / "demo.unfinished"

    def become_keeper(self) -> bool:
        """Try to become the one process that may start servers here; released when it ends."""
        make_data_folder(self.data)
        lock = os.open(self.data / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._keeper = lock
        self._servers_file.unlink(missing_ok=True)
        return True

    def forget_keeper(self) -> None:
        """In a forked child: close the lock, so that it ends with the parent."""
        if self._keeper is not None:
            os.close(self._keeper)
            self._keeper = None

    def servers(self, environ: Mapping[str, str]) -> Servers:
        """The servers that this environment does not already name, not yet started."""
        return Servers(
            self.data,
            postgres=not environ.get("DATABASE_URL"),
            valkey=not environ.get("REDIS_URL"),
        )

    def settle(self, environ: MutableMapping[str, str]) -> None:
        """Fill in what Django's settings need and the environment does not say yet."""
        where = places(self.data)
        environ.setdefault("BILLING_DATA_DIR", str(self.data))
        if not environ.get("DATABASE_URL"):
            environ["DATABASE_OWNER_URL"] = where.owner_url
        for name, value in (
            ("DATABASE_URL", where.database_url),
            ("REDIS_URL", where.redis_url),
            ("SECRET_KEY", ""),
        ):
            if not environ.get(name):
                environ[name] = value or self._secret_key()

    def announce(self, environ: Mapping[str, str]) -> None:
        """Tell other commands that the keeper's servers answer, and where."""
        known = {name: environ[name] for name in _ANNOUNCED if name in environ}
        write_private(self._servers_file, json.dumps(known))

    def withdraw(self) -> None:
        """Take back `announce`."""
        self._servers_file.unlink(missing_ok=True)

    def join(self) -> dict[str, str] | None:
        """Become a guest of the keeper's servers, waiting while they start, or become the keeper.

        Returns:
            The variables that lead to the servers, which now stay until this process ends; None
            where there was no keeper, and this process is the keeper now.

        Raises:
            LauncherError: there is a keeper, but its servers do not come up.
        """
        deadline = time.monotonic() + _SECONDS_FOR_A_START
        while time.monotonic() < deadline:
            if self.become_keeper():
                return None
            lock = self._open_guests_lock()
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                # Read under the lock: a keeper withdraws this file before it waits for guests.
                found: dict[str, str] = json.loads(self._servers_file.read_text())
                return found
            os.close(lock)
            time.sleep(0.1)
        raise LauncherError(f"The servers of {self.data} do not start; see its *.log files.")

    def wait_for_guests(self) -> None:
        """Return when no command uses the servers any more."""
        lock = self._open_guests_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            os.close(lock)

    @property
    def _servers_file(self) -> Path:
        return self.data / "servers.json"

    def _open_guests_lock(self) -> int:
        return os.open(self.data / "guests.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _secret_key(self) -> str:
        """The key of this data directory, made on first use."""
        path = self.data / "secret_key"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(_SECRET_KEY_CHARACTERS))
        return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.rename(path)
