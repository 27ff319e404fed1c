"""manage.py bench: what this installation does per second, by what it could do."""

import json
import signal
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from apps.backoffice.bench.benches import BENCHES
from apps.backoffice.bench.report import as_document, as_table, server_settings
from apps.backoffice.bench.scratch import NoScratchDatabase, Scratch
from apps.backoffice.bench.sizes import Sizes
from apps.core.clock import now
from apps.metering.queries.usage import month_around


class Command(BaseCommand):
    """Measure ingestion, single events, closing a month, backtests, reading usage, and credit.

    Everything happens in scratch databases on the server of ``DATABASE_URL``, which are dropped at
    the end; the installation's own database is left alone. The role of
    ``DATABASE_OWNER_URL`` needs the rights to make databases and checkpoints. What else the machine does shows in the rates, and much less in the ratios.
    """

    help = "Measure what this installation does per second, in databases of its own."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("bench", choices=[*BENCHES, "all"])
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")
        for size in fields(Sizes):
            parser.add_argument(
                f"--{size.name.replace('_', '-')}",
                type=_count,
                default=size.default,
                metavar="N",
                help=f"default: {size.default}",
            )

    def handle(self, *args: Any, **options: Any) -> None:
        sizes = Sizes(**{size.name: options[size.name] for size in fields(Sizes)})
        month = month_around(month_around(now(), "UTC").start - timedelta(days=1), "UTC")
        names = list(BENCHES) if options["bench"] == "all" else [options["bench"]]
        server = server_settings()
        try:
            with _terminated_like_interrupted(), Scratch() as scratch:
                found = [BENCHES[name](scratch, sizes, month, self.stderr.write) for name in names]
        except NoScratchDatabase as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            document = {"server": server, "benches": [as_document(one) for one in found]}
            self.stdout.write(json.dumps(document, indent=2))
        else:
            self.stdout.write(", ".join(f"{name} {value}" for name, value in server.items()))
            for one in found:
                self.stdout.write("\n".join(as_table(one)))


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Clean up also when the process is told to end."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
