"""Looking at the machine's processes."""

from contextlib import suppress
from pathlib import Path


def mentioning(path: Path) -> list[int]:
    """The ids of the processes whose command line or first environment names this path."""
    wanted = str(path).encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            said = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if wanted in said:
                found.append(int(process.name))
    return found
