"""manage.py scenario run FILE…: tell stories by date to an installation, and compare."""

import json
import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.backoffice.scenarios.reading import Scenario, ScenarioInvalid, read_scenario
from apps.backoffice.scenarios.telling import Caller, Told, tell


class Command(BaseCommand):
    """Take the steps of scenario files over HTTP; exit with 1 if anything is not as expected."""

    help = (
        "Tell scenario files to an installation through its API, with a key of a tenant in test"
        " mode; exit with 1 if anything is not as they expect. docs/scenarios.md says how they are"
        " written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        run = verbs.add_parser("run", help="tell scenario files")
        run.add_argument("files", nargs="+", type=Path, metavar="FILE")
        run.add_argument("--url", default=settings.PUBLIC_URL, help="default: PUBLIC_URL")
        run.add_argument(
            "--key",
            default=os.environ.get("COUNTINGHOUSE_KEY", ""),
            help="an API key of a tenant in test mode; default: COUNTINGHOUSE_KEY",
        )
        run.add_argument(
            "--patience",
            type=float,
            default=20.0,
            help="seconds within which a read must become what is expected (20)",
        )
        run.add_argument("--json", action="store_true", help="answer as one JSON array")

    def handle(self, *args: Any, **options: Any) -> None:
        scenarios = _read(options["files"])
        if not options["key"].startswith("sk_test_"):
            raise CommandError("A key of a tenant in test mode is needed: --key sk_test_…")
        caller = Caller(options["url"], options["key"])
        answers = []
        for path, scenario in scenarios:
            if not options["json"]:
                self.stdout.write(f"{scenario.name} ({path})")
            told = []
            try:
                for step in tell(scenario, caller.send, patience=options["patience"]):
                    told.append(step)
                    self._show(step, len(scenario.steps), quiet=options["json"])
            except OSError as error:
                raise CommandError(f"{caller.url} does not answer: {error}") from error
            answers.append(_answer(path, scenario, told))
        if options["json"]:
            self.stdout.write(json.dumps(answers, indent=2, ensure_ascii=False))
        failed = sum(not one["as_expected"] for one in answers)
        if failed:
            raise CommandError(
                f"{failed} of {len(answers)} scenarios went otherwise.", returncode=1
            )

    def _show(self, step: Told, total: int, *, quiet: bool) -> None:
        if quiet:
            self.stderr.write(f"[{step.number}/{total}] {step.step}")
            return
        self.stdout.write(f"  {'FAIL' if step.differences else 'ok  '} {step.number} {step.step}")
        for difference in step.differences:
            self.stdout.write(f"       {difference}")


def _read(paths: list[Path]) -> list[tuple[Path, Scenario]]:
    """Return all scenarios; raise with the problems of all files before anything is called."""
    scenarios, problems = [], []
    for path in paths:
        try:
            scenarios.append((path, read_scenario(path.read_text(encoding="utf-8"))))
        except ScenarioInvalid as error:
            problems += [f"{path}: {problem}" for problem in error.problems]
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: {error}")
    if problems:
        raise CommandError("\n".join(problems))
    return scenarios


def _answer(path: Path, scenario: Scenario, told: list[Told]) -> dict[str, Any]:
    return {
        "file": str(path),
        "name": scenario.name,
        "steps": len(scenario.steps),
        "taken": len(told),
        "as_expected": not any(one.differences for one in told),
        "differences": [
            {"step": one.number, "what": one.step, "differences": list(one.differences)}
            for one in told
            if one.differences
        ],
    }
