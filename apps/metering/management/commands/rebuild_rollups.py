"""manage.py rebuild_rollups: recompute what the rollups say from the events."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import BillingError
from apps.metering.operations import rebuild_rollups, roll_up
from apps.tenants.domain import Mode
from apps.tenants.queries import tenant_named


class Command(BaseCommand):
    """Count what is not counted yet, then recompute every rollup and mend those that are wrong.

    A repeat finds nothing wrong. What retention has dropped stays as it was counted.
    """

    help = "Recompute usage rollups from the events and mend those that are wrong."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--tenant",
            metavar="NAME",
            help="only this tenant: its id, or its slug and mode, such as acme/live",
        )
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rebuild, telling of each meter version on the way."""
        tenant_id = None
        if options["tenant"]:
            name, _, mode = options["tenant"].partition("/")
            try:
                tenant_id = tenant_named(name, Mode(mode) if mode else None).id
            except (BillingError, ValueError) as error:
                raise CommandError(f"There is no tenant {options['tenant']!r}.") from error
        counted = roll_up()
        rebuilt = []
        for one in rebuild_rollups(tenant_id):
            rebuilt.append(one)
            self.stderr.write(f"{one.name}: {one.buckets:,} buckets, {one.wrong:,} were wrong")
        wrong = sum(one.wrong for one in rebuilt)
        if options["json"]:
            document = {
                "events_counted": counted,
                "meter_versions": len(rebuilt),
                "buckets": sum(one.buckets for one in rebuilt),
                "wrong": wrong,
            }
            self.stdout.write(json.dumps(document))
        else:
            self.stdout.write(f"{len(rebuilt)} meter versions, {wrong:,} buckets mended")
