"""./dev check: the gate. Every step in turn, stopping at the first that fails."""

import argparse
import difflib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from launcher import advisories, pango
from launcher.system import ROOT
from launcher.throwaway import Throwaway

_OPENAPI: Final = ROOT / "docs" / "openapi.yaml"
_MANAGE: Final = (sys.executable, "manage.py")
_LINES_SHOWN: Final = 60

# What an installation behind HTTPS sets; nothing here is ever used outside the gate.
_PRODUCTION: Final = {
    "SECRET_KEY": "for-the-gate-only-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJ",
    "ALLOWED_HOSTS": "billing.example.com",
    "PUBLIC_URL": "https://billing.example.com",
    "DJANGO_SETTINGS_MODULE": "billing_project.settings",
}

Step = Callable[[], int]


def main(arguments: Sequence[str]) -> int:
    """Run the gate and return 0 if every step passed, else the exit code of the one that did not.

    With --only NAME just that step; with --write-openapi only docs/openapi.yaml is written.
    """
    parser = argparse.ArgumentParser(prog="./dev check")
    parser.add_argument("--write-openapi", action="store_true")
    parser.add_argument("--only", metavar="STEP")
    options = parser.parse_args(arguments)
    pango.ensure()
    servers = Throwaway()
    environ = {
        **os.environ,
        **_PRODUCTION,
        "DATABASE_URL": servers.database_url,
        "DATABASE_OWNER_URL": servers.owner_url,
        "REDIS_URL": servers.redis_url,
    }
    try:
        if options.write_openapi:
            return _write_openapi(_OPENAPI, environ)
        steps = _steps(environ, servers)
        if options.only and options.only not in steps:
            parser.error(f"the steps are {', '.join(steps)}")
        return _run_all({n: s for n, s in steps.items() if options.only in (None, n)})
    finally:
        servers.remove()


def _run_all(steps: Mapping[str, Step]) -> int:
    for name, step in steps.items():
        began = time.monotonic()
        code = step()
        seconds = time.monotonic() - began
        print(f"{'ok  ' if code == 0 else 'FAIL'} {name:<12} {seconds:5.1f} s", flush=True)
        if code:
            return code
    return 0


def _steps(environ: Mapping[str, str], servers: Throwaway) -> dict[str, Step]:
    """The gate, in order: what is fast and often wrong comes first."""

    def tool(program: str, *arguments: str) -> Step:
        path = str(Path(sys.executable).with_name(program))
        return lambda: _run([path, *arguments], environ)

    def migrations() -> int:
        try:
            servers.start(lambda: _migrate(environ))
        except subprocess.CalledProcessError as error:
            return error.returncode
        return _run([*_MANAGE, "makemigrations", "--check", "--dry-run"], environ)

    def deployed() -> int:
        return _run([*_MANAGE, "check", "--deploy", "--fail-level", "WARNING"], environ)

    return {
        "format": tool("ruff", "format", "--check", "--output-format", "concise", "."),
        "style": tool("ruff", "check", "--quiet", "--output-format", "concise", "."),
        "layers": tool("lint-imports"),
        "rules": tool("pytest", "-q", "-n0", "tests/architecture/test_rules.py"),
        "types": tool("mypy"),
        "templates": tool("djlint", "--lint", "--check", "templates"),
        "dependencies": tool("deptry", "."),
        "migrations": migrations,
        "settings": deployed,
        "openapi": lambda: _compare_openapi(environ),
        "advisories": advisories.check,
    }


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command in the project; show what it said only if it failed."""
    done = subprocess.run(
        command,
        env=environ,
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        print(done.stdout.decode(errors="replace"))
    return done.returncode


def _migrate(environ: Mapping[str, str]) -> None:
    command = [*_MANAGE, "migrate", "--no-input", "--verbosity", "0"]
    subprocess.run(command, env=environ, cwd=ROOT, check=True)


def _write_openapi(path: Path, environ: Mapping[str, str]) -> int:
    """Write the schema of the API; a warning about it is a failure."""
    command = [*_MANAGE, "spectacular", "--validate", "--fail-on-warn", "--file", str(path)]
    return _run(command, environ)


def _compare_openapi(environ: Mapping[str, str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "openapi.yaml"
        code = _write_openapi(written, environ)
        if code:
            return code
        now = written.read_text().splitlines()
    committed = _OPENAPI.read_text().splitlines() if _OPENAPI.exists() else []
    if now == committed:
        return 0
    changes = difflib.unified_diff(committed, now, "docs/openapi.yaml", "the code", lineterm="")
    print("\n".join(list(changes)[:_LINES_SHOWN]))
    print("\nIf that is meant: ./dev check --write-openapi, and commit docs/openapi.yaml.")
    return 1
