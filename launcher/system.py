"""What the launcher asks of the operating system."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_PR_SET_PDEATHSIG = 1


class LauncherError(RuntimeError):
    """Something is missing or in the way; the message says what and how to mend it."""


def is_root() -> bool:
    """Whether this process has user id 0."""
    return os.geteuid() == 0


def die_with_parent(sig: int) -> None:
    """Ask the kernel for `sig` when the parent dies, however it dies (Linux; elsewhere nothing).

    To be called in the child, after its user id is final: changing it clears the request.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sig))


def interrupt_with_parent() -> None:
    """`die_with_parent` in the form that `subprocess` wants for its children."""
    die_with_parent(signal.SIGINT)


def reachable_by_others(path: Path) -> bool:
    """Whether any user may pass through every existing folder from / down to `path`."""
    return all(p.stat().st_mode & 0o001 for p in (path, *path.parents) if p.exists())


def own_folder(path: Path, *, mode: int) -> Path:
    """Return `path`, made with `mode` if missing; refuse one that another user controls.

    For folders with a predictable name in a place where everybody may write.

    Raises:
        LauncherError: it is no folder, belongs to somebody else, or others may write in it.
    """
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)
    except FileExistsError:
        found = path.lstat()
        ours = path.is_dir() and not path.is_symlink() and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o022:
            raise LauncherError(f"{path} was made by somebody else; remove it") from None
    return path


def make_data_folder(path: Path) -> None:
    """Make a data directory and what is missing above it; one that exists is left as it is.

    It is private, except that root's lets `nobody` pass through to what is its own in there.
    """
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o711 if is_root() else 0o700)


def alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def apt_get() -> str | None:
    """The path of apt-get where this process may install with it, else None."""
    return shutil.which("apt-get") if is_root() else None


def apt_install(packages: Sequence[str]) -> bool:
    """Install Debian or Ubuntu packages, refreshing the package lists if need be.

    Returns:
        Whether all of them are installed now. False where apt-get is missing or not permitted.
    """
    apt = apt_get()
    if apt is None:
        return False
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = [apt, "install", "-qq", "-y", "--no-install-recommends", *packages]
    for command in (install, [apt, "update", "-qq"], install):
        done = subprocess.run(command, env=environment, check=False, capture_output=True)
        if command is install and done.returncode == 0:
            return True
    return False
