"""Makes .venv from a lock file with hashes; standard library only, Python 3.11 or newer."""

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from launcher.system import ROOT, LauncherError, apt_install

RUNTIME_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"  # holds everything that the runtime lock holds

_NO_VENV = """\
This Python cannot make virtual environments: its venv module has no pip to put into them.
  Debian, Ubuntu:  apt-get install python3-venv
  anywhere else:   install uv, which ./dev uses when it is on PATH"""


def ensure(*, tools: bool) -> Path:
    """Make or refresh .venv where its lock file changed, and return the path of its Python.

    With `tools` it holds the test and lint tools too; without, an environment that has them will
    also do. Two calls at the same time do the work once.

    Raises:
        LauncherError: it could not be made; the message says what is missing.
    """
    folder = ROOT / ".venv"
    python = folder / "bin" / "python"
    stamp = folder / ".lock"
    lock = DEV_LOCK if tools else RUNTIME_LOCK
    good = {_stamp(DEV_LOCK)} if tools else {_stamp(DEV_LOCK), _stamp(RUNTIME_LOCK)}
    with _one_at_a_time():
        found = stamp.read_text() if python.exists() and stamp.exists() else ""
        if found in good:
            return python
        print(f"Installing {lock.name} into .venv (once, about a minute)...", file=sys.stderr)
        stamp.unlink(missing_ok=True)
        if not found.endswith(_python_stamp()):
            shutil.rmtree(folder, ignore_errors=True)  # another Python's, or half made
        if not _install_with_uv(folder, python, lock):
            _install_with_pip(folder, python, lock)
        stamp.write_text(_stamp(lock))
    return python


def _python_stamp() -> str:
    return f" {platform.python_version()}\n"


def _stamp(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest() + _python_stamp()


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _base_python() -> str:
    """The interpreter itself, also when this process runs inside a virtual environment."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _install_with_uv(folder: Path, python: Path, lock: Path) -> bool:
    uv = shutil.which("uv")
    if uv is None:
        return False
    make = [uv, "venv", "-q", "--allow-existing", "--python", _base_python(), str(folder)]
    fill = [uv, "pip", "sync", "-q", "--require-hashes", "--python", str(python), str(lock)]
    for command in (make, fill):
        if subprocess.run(command, check=False).returncode:
            print("uv could not do it; trying pip.", file=sys.stderr)
            return False
    return True


def _install_with_pip(folder: Path, python: Path, lock: Path) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        if not apt_install([f"python{version}-venv"]):
            raise LauncherError(_NO_VENV)
    make = [_base_python(), "-m", "venv", str(folder)]
    fill = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    fill += ["--require-hashes", "-r", str(lock)]
    for command in (make, fill):
        if subprocess.run(command, check=False).returncode:
            raise LauncherError(f"Making .venv failed at: {' '.join(command)}")
