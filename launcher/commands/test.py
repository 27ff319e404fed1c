"""./dev test: the whole suite, in parallel, on throw-away servers."""

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
    parallel = [] if alone else ["-n", str(min(_processors(), _MOST_WORKERS))]
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *parallel, *arguments])


def _processors() -> int:
    """How many processors this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(allowed(0)) if allowed else os.cpu_count() or 1
