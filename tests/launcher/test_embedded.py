"""PostgreSQL and Valkey as children: for root, for others, and gone with their parent."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.conf import settings

from launcher import system
from launcher.embedded import Servers, places
from launcher.system import LauncherError, is_root, own_folder, reachable_by_others
from tests.launcher.processes import mentioning

pytestmark = pytest.mark.slow

HOLD_SERVERS = """
import sys, time
from pathlib import Path
from launcher.embedded import Servers
with Servers(Path(sys.argv[1]), volatile=True):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["open", "closed"])
def data(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A data directory that does not exist yet, in a folder that others may or may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="launcher-"))
    folder.chmod(0o711 if request.param == "open" else 0o700)
    yield folder / "data"
    where = places(folder / "data")
    for left in (where.clusters, where.sockets, folder):
        shutil.rmtree(left, ignore_errors=True)


def modes(path: Path) -> dict[Path, int]:
    return {above: stat.S_IMODE(above.stat().st_mode) for above in path.parents}


def test_both_servers_answer_and_the_folders_above_keep_their_modes(data: Path) -> None:
    before = modes(data)
    with Servers(data, volatile=True) as servers:
        with psycopg.connect(servers.places.database_url) as connection:
            row = connection.execute("select current_user, version()").fetchone()
        assert row is not None
        assert row[0] == "billing"
        assert stat.S_IMODE(servers.places.sockets.stat().st_mode) == 0o700
        assert len(mentioning(servers.places.sockets)) == 2
    assert modes(data) == before
    assert mentioning(servers.places.sockets) == []


def test_a_second_start_finds_the_data_of_the_first(data: Path) -> None:
    for expected in ([], [(1,)]):
        with (
            Servers(data, valkey=False, volatile=True) as servers,
            psycopg.connect(servers.places.owner_url) as connection,
        ):
            connection.execute("create table if not exists kept (n int)")
            assert connection.execute("select n from kept").fetchall() == expected
            connection.execute("insert into kept values (1)")


def test_nothing_survives_a_parent_that_is_killed(data: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", HOLD_SERVERS, str(data)],
        cwd=settings.BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while mentioning(places(data).sockets) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mentioning(places(data).sockets) == []


def test_an_ordinary_user_can_start_them() -> None:
    if not is_root():
        pytest.skip("every test here runs as an ordinary user already")
    python = python_for_everybody()
    folder = Path(tempfile.mkdtemp(prefix="launcher-"))
    try:
        shutil.chown(folder, "nobody")
        script = HOLD_SERVERS.replace("time.sleep(60)", "time.sleep(0)")
        done = subprocess.run(
            [python, "-B", "-c", script, str(folder / "data")],
            env={
                "PYTHONPATH": f"{settings.BASE_DIR}:{sysconfig.get_path('purelib')}",
                "PATH": os.defpath,
            },
            user="nobody",
            cwd="/",
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("ready\n", "", 0)
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    finally:
        shutil.rmtree(folder)


def python_for_everybody() -> str:
    """An interpreter of this version that any user may run, with a project that they may read."""
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{wanted}"):
        path = Path(candidate)
        if path.exists() and reachable_by_others(path.resolve().parent):
            break
    else:
        pytest.skip(f"no {wanted} that other users can run")
    if not reachable_by_others(Path(settings.BASE_DIR)):
        pytest.skip("the project lies where other users cannot read it")
    return candidate


def test_a_long_path_gets_a_short_folder_for_its_sockets(data: Path) -> None:
    long = data / ("long" * 30)
    where = places(long)
    try:
        with Servers(long, postgres=False):
            assert (where.sockets / "valkey.sock").is_socket()
        assert len(str(where.sockets / ".s.PGSQL.5432")) < 104
    finally:
        for left in (where.clusters, where.sockets):
            shutil.rmtree(left, ignore_errors=True)


def test_data_of_another_postgresql_is_refused(data: Path) -> None:
    servers = Servers(data, valkey=False)
    servers.make_folders()
    (servers.places.clusters / "pg9").mkdir()
    with pytest.raises(LauncherError, match="is of PostgreSQL 9"):
        servers.start()


def test_a_folder_that_somebody_else_prepared_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.symlink_to(tmp_path)
    with pytest.raises(LauncherError, match="made by somebody else"):
        own_folder(trap, mode=0o700)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(LauncherError, match="made by somebody else"):
        own_folder(open_to_all, mode=0o700)


def test_no_program_is_said_clearly(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.embedded._wheel_folder", lambda _package: None)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(LauncherError, match="REDIS_URL"):
        Servers(data, postgres=False).start()


def test_apt_is_left_alone_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_root", lambda: False)
    assert system.apt_get() is None
    assert not system.apt_install(["anything"])
