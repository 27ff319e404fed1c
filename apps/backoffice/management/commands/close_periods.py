"""manage.py close_periods: bill whatever has come due."""

import json
import time
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.backoffice.management.arguments import (
    add_as_of,
    add_tenant,
    instant_given,
    tenant_named,
)
from apps.core.clock import now
from apps.core.web.fields import instant_text
from apps.invoicing.operations.billing import RunSummary, close_due

_ACTOR = "system:close_periods"


class Command(BaseCommand):
    """Bill every customer on real time for whom something came due; each period once.

    The same run that beat starts every minute; a repeat finds nothing. Customers on a test clock
    are left alone: their clock bills them. Exits with 1 if a customer had to be parked.
    """

    help = "Bill every period that has ended and is not billed yet."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_tenant(parser)
        add_as_of(parser)
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        wall = now()
        at = instant_given(options["as_of"], default=wall)
        if at > wall:
            raise CommandError("--as-of lies in the future; use a test clock to look ahead.")
        began = time.monotonic()

        def progress(summary: RunSummary) -> None:
            self.stderr.write(f"{summary.customers} customers, {summary.documents} documents")

        summary = close_due(
            at, actor=_ACTOR, tenant_id=tenant.id if tenant else None, progress=progress
        )
        if options["json"]:
            answer = {"as_of": instant_text(at), **asdict(summary)}
            self.stdout.write(json.dumps(answer, indent=2))
        else:
            seconds = time.monotonic() - began
            self.stdout.write(
                f"As of {instant_text(at)}: {summary.customers} customers billed,"
                f" {summary.documents} documents, {summary.parked} parked, {seconds:.1f} s"
            )
        if summary.parked:
            raise CommandError(
                f"{summary.parked} customers could not be billed; the desk lists why.",
                returncode=1,
            )
