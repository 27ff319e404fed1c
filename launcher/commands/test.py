"""./dev test: the whole suite, in parallel, on throw-away servers.

With --faults, instead: every fault that the program must survive, each by its name.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

from launcher import pango

_MOST_WORKERS: Final = 8


def main(arguments: Sequence[str]) -> int:
    """Become pytest, with one worker per processor unless `-n` or a debugger says otherwise."""
    pango.ensure()
    alone = any(a.startswith(("-n", "--numprocesses", "--pdb", "--trace")) for a in arguments)
    faults = "--faults" in arguments
    # what takes long tells how far it is
    wanted = ["--verbose", "tests/faults"] if faults and not _names_tests(arguments) else []
    parallel = [] if alone else ["-n", str(min(_processors(), _MOST_WORKERS))]
    if faults and not alone:  # some take a second, some a minute
        parallel += ["--dist", "worksteal"]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *parallel, *wanted, *arguments])


def _names_tests(arguments: Sequence[str]) -> bool:
    return any(argument.startswith("tests/") for argument in arguments)


def _processors() -> int:
    """How many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1
