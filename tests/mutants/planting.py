"""Planting one bug in a copy of the tree, and asking its test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.mutants.plants import Plant

ROOT: Final = Path(__file__).parents[2]
FAILED: Final = 1  # pytest's exit code for tests that ran and failed
_LIMIT: Final = 600  # seconds; a bug that hangs its test is found, too


def copy_tree(into: Path) -> None:
    """Copy what git knows of the tree, as it is now, and link the environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    (into / ".venv").symlink_to((ROOT / ".venv").resolve())


def plant(one: Plant, tree: Path) -> str:
    """Put the bug into the tree; return what was there."""
    path = tree / one.path
    whole = path.read_text()
    if whole.count(one.good) != 1:
        raise ValueError(f"{one.name}: its line is {whole.count(one.good)} times in {one.path}")
    path.write_text(whole.replace(one.good, one.bad))
    return whole


def passes(test: str, tree: Path) -> tuple[int, str]:
    """Run a test in the tree; return pytest's exit code, and what it said."""
    environ = {
        **os.environ,
        "BILLING_DATA_DIR": os.environ.get("BILLING_DATA_DIR", str(ROOT / ".data")),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-p", "no:cacheprovider", test],
            cwd=tree,
            env=environ,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired:
        return FAILED, "it took too long"
    return done.returncode, done.stdout.decode(errors="replace")
