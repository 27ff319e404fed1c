"""manage.py rotate_secrets: encrypt what is stored with the newest of the ENCRYPTION_KEYS."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.sealing import SealBroken, reseal, sealed_fields


class Command(BaseCommand):
    """Encrypt every stored secret with the newest key; a repeat finds nothing to do."""

    help = (
        "Encrypt every stored secret with the first of the ENCRYPTION_KEYS. When it has ended"
        " without error, the other keys are no longer needed. It may run while work goes on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        """Go through the columns; a secret that no key opens is an error."""
        done = {}
        for model, field in sealed_fields():
            place = f"{model._meta.label_lower}.{field}"
            try:
                done[place] = reseal(model, field)
            except SealBroken as error:
                raise CommandError(str(error)) from error
            if not options["json"]:
                self.stdout.write(f"{place}: {done[place]} encrypted anew")
        if options["json"]:
            self.stdout.write(json.dumps(done))
