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
    same again. At the end every line, every balance and every end of a subscription is reckoned
    anew from the raw facts by code that shares nothing with the product, and the books are checked.
    Happens in a database of its own on the server of ``DATABASE_URL``, which is dropped. Exits with
    1 if anything differs.
    """

    help = "Simulate months of billing in a database of its own; exit with 1 if anything differs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--months", type=int, default=18)
        parser.add_argument("--customers", type=int, default=200)
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        current_app.conf.update(broker_url="memory://localhost")  # nobody is to be called for this
        try:
            with Scratch():
                verdict = simulate(
                    months=options["months"],
                    customers=options["customers"],
                    seed=options["seed"],
                    wall=now(),
                    say=self.stderr.write,
                )
        except NoScratchDatabase as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(asdict(verdict), indent=2))
        else:
            self.stdout.write("\n".join(_told(verdict)))
        if verdict.differences:
            raise CommandError(f"{len(verdict.differences)} differences.", returncode=1)


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
