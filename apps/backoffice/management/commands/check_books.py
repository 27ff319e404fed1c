"""manage.py check_books: list every row that must not exist."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.backoffice.books import breaches, rules
from apps.backoffice.management.arguments import add_tenant, tenant_named
from apps.core.clock import now
from apps.core.web.fields import instant_text


class Command(BaseCommand):
    """Recompute every derived figure and list what does not agree; changes nothing.

    Exits with 1 if anything was found.
    """

    help = "List every row of the books that must not exist; exit with 1 if there is one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_tenant(parser)
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        began = time.monotonic()
        total, turn = len(rules()), 0

        def progress(name: str) -> None:
            nonlocal turn
            turn += 1
            self.stderr.write(f"[{turn}/{total}] {name}")

        at = now()
        found = list(breaches(tenant.id if tenant else None, before=progress))
        if options["json"]:
            answer = {
                "checked_at": instant_text(at),
                "tenant": tenant.public_id if tenant else None,
                "rules": total,
                "breaches": [{"rule": one.rule, "detail": one.detail} for one in found],
            }
            self.stdout.write(json.dumps(answer, indent=2))
        else:
            for one in found:
                self.stdout.write(f"{one.rule}: {one.detail}")
            seconds = time.monotonic() - began
            self.stdout.write(f"{total} rules, {len(found)} breaches, {seconds:.1f} s")
        if found:
            raise CommandError(f"The books have {len(found)} breaches.", returncode=1)
