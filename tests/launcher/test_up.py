"""./dev up and ./dev manage, told as one story on a data directory of its own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from django.conf import settings

from launcher.embedded import places
from tests.launcher.processes import mentioning

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


class Installation:
    """A copy of the program with its own data, and what it printed."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "up.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        own = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ALLOWED_HOSTS", "PUBLIC_URL"}
        self.environ = {name: value for name, value in os.environ.items() if name not in own}
        self.environ |= {"BILLING_DATA_DIR": str(self.data), "WEB_WORKERS": "1"}
        self.up: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        with self.log.open("wb") as log:
            self.up = subprocess.Popen(
                self._command(["up", "--no-demo", "--port", str(self.port)]),
                cwd=settings.BASE_DIR,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while b"Countinghouse is ready" not in self.log.read_bytes():
            assert self.up.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def end(self, sig: signal.Signals) -> int:
        """Send a signal, wait until it and all it started are gone, return its exit code."""
        assert self.up is not None
        self.up.send_signal(sig)
        code = self.up.wait(60)
        deadline = time.monotonic() + 30
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        return code

    def wait_until_gone(self) -> None:
        """Wait for what ends by itself after its parent was killed: not at the same instant."""
        end = time.monotonic() + 60
        while self.processes():
            assert time.monotonic() < end, self.processes()
            time.sleep(0.1)

    def processes(self) -> list[int]:
        return mentioning(self.data) + mentioning(places(self.data).sockets)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(arguments),
            cwd=settings.BASE_DIR,
            env=self.environ,
            check=False,
            capture_output=True,
            text=True,
        )

    @staticmethod
    def _command(arguments: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "launcher", *arguments]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    if made.up is not None and made.up.poll() is None:
        made.end(signal.SIGKILL)
    where = places(made.data)
    for left in (where.clusters, where.sockets):
        shutil.rmtree(left, ignore_errors=True)


def test_up_starts_everything_keeps_its_data_and_leaves_nothing_running(
    installation: Installation,
) -> None:
    installation.start()
    page = requests.get(f"http://127.0.0.1:{installation.port}/admin/login/", timeout=10)
    assert page.status_code == 200
    said = installation.log.read_text()
    assert f"http://127.0.0.1:{installation.port}/admin/" in said
    assert {
        line.split(" |")[0].strip() for line in re.findall(r"^ *\w+ \|", said, re.MULTILINE)
    } >= {"web"}

    second = installation.run("up", "--no-demo")
    assert second.returncode == 1
    assert "Another ./dev already runs" in second.stderr

    joined = installation.run("manage", "shell", "-v", "0", "-c", remember("joined"))
    assert (joined.returncode, joined.stderr) == (0, "")
    key = (installation.data / "secret_key").read_text()

    assert installation.end(signal.SIGTERM) == 0
    assert installation.processes() == []
    assert installation.log.read_text().endswith("Stopped.\n")

    alone = installation.run("manage", "shell", "-v", "0", "-c", RECALL)
    assert (alone.stdout, alone.returncode) == ("['joined']\n", 0)
    assert installation.processes() == []

    installation.start()
    assert "Migrating" not in installation.log.read_text()
    assert (installation.data / "secret_key").read_text() == key
    assert installation.end(signal.SIGKILL) == -signal.SIGKILL
    installation.wait_until_gone()

    installation.start()
    assert installation.end(signal.SIGINT) == 0


def test_a_port_that_is_taken_is_said_before_anything_starts(installation: Installation) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        refused = installation.run("up", "--port", taken)
    assert refused.returncode == 1
    assert f"Cannot listen on 127.0.0.1 port {taken}" in refused.stderr
    assert not places(installation.data).sockets.exists()


def remember(text: str) -> str:
    """Code that leaves a row in the database."""
    return (
        "from django.contrib.sessions.models import Session; from apps.core.clock import now;"
        f" Session.objects.create(session_key='{text}', expire_date=now())"
    )


RECALL = (
    "from django.contrib.sessions.models import Session;"
    " print(list(Session.objects.values_list('session_key', flat=True)))"
)
