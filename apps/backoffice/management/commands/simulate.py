"""manage.py simulate: months of billing in virtual time, judged by other arithmetic."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from celery import current_app
from django.core.management.base import BaseCommand, CommandError

from apps.backoffice.bench.scratch import NoScratchDatabase, Scratch
from apps.backoffice.simulation.run import Verdict, simulate
from apps.core.clock import now


class Command(BaseCommand):
    """Bill invented customers through months of virtual time, with everything that goes wrong.

    Plans, usage, changes, payments and faults are drawn from the seed, so the same seed does the
    same again; several seeds are lived through one after the other. At the end every line, every balance and every end of a subscription is reckoned
    anew from the raw facts by code that shares nothing with the product, and the books are checked.
    Each happens in a database of its own on the server of ``DATABASE_URL``, which is dropped. Exits
    with 1 if anything differs.
    """

    help = "Simulate months of billing in a database of its own; exit with 1 if anything differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--months", type=int, default=18)
        parser.add_argument("--customers", type=int, default=200)
        parser.add_argument("--seed", type=int, help="one seed; 1 if no seeds are given")
        parser.add_argument("--seeds", type=_seeds, help="several seeds, such as 1-5 or 1,4,7-9")
        parser.add_argument("--json", action="store_true", help="answer as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        current_app.conf.update(broker_url="memory://localhost")  # nobody is to be called for this
        seeds = [*(options["seeds"] or ()), *([options["seed"]] if options["seed"] else ())] or [1]
        verdicts = []
        try:
            for seed in seeds:
                with Scratch():
                    verdict = simulate(
                        months=options["months"],
                        customers=options["customers"],
                        seed=seed,
                        wall=now(),
                        say=self.stderr.write,
                    )
                verdicts.append(verdict)
                if not options["json"]:
                    self.stdout.write("\n".join(_told(verdict)))
        except NoScratchDatabase as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            found = [asdict(one) for one in verdicts]
            self.stdout.write(json.dumps(found[0] if len(found) == 1 else found, indent=2))
        elif len(verdicts) > 1:
            self.stdout.write("\n".join(_in_short(one) for one in verdicts))
        differences = sum(len(one.differences) for one in verdicts)
        if differences:
            raise CommandError(f"{differences} differences.", returncode=1)


def _seeds(text: str) -> list[int]:
    """Return the seeds that ``1,4,7-9`` means."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _in_short(verdict: Verdict) -> str:
    return (
        f"seed {verdict.seed}: {len(verdict.differences)} differences,"
        f" {verdict.cpu_seconds} s of CPU"
    )


def _told(verdict: Verdict) -> list[str]:
    figures = {
        name: value
        for name, value in asdict(verdict).items()
        if name not in {"differences", "fingerprint"}
    }
    return [
        ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in figures.items()),
        f"fingerprint of the lines {verdict.fingerprint}",
        *verdict.differences,
    ]
