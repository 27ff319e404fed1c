"""Known vulnerabilities of what the lock files pin, as the advisory service tells them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from launcher.venv import DEV_LOCK

_SECONDS: Final = 60


def check(lock: Path = DEV_LOCK) -> int:
    """Return 1 if something in the lock file has a known vulnerability, and print which.

    Where the service does not answer, that is printed and 0 returned: a gate that fails without a
    network would be switched off.
    """
    command = [str(Path(sys.executable).with_name("pip-audit"))]
    command += ["--requirement", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", "10", "--format", "json"]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        return judge("", f"no answer within {_SECONDS} s")
    return judge(done.stdout, done.stderr)


def judge(report: str, said: str) -> int:
    """Return what the gate makes of pip-audit's JSON, and of what else it said."""
    try:
        packages = json.loads(report)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        print(f"     advisories not reached: {_last_line(said)}")
        return 0
    known = [one for one in packages if "vulns" in one]
    if not known:
        print(f"     advisories not reached: the service knows none of {len(packages)} packages")
        return 0
    found = [line for one in known for line in _lines(one)]
    print("\n".join(found) or f"     {len(known)} of {len(packages)} packages looked up")
    return 1 if found else 0


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no report"])[-1]


def _lines(package: Any) -> Sequence[str]:
    return [
        f"{package['name']} {package['version']}: {one['id']}"
        f" (mended in {', '.join(one['fix_versions']) or 'no version yet'})"
        for one in package["vulns"]
    ]
