"""manage.py load_demo: a company to look at."""

import json
import os
import secrets
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from apps.backoffice.demo.story import Told, tell
from apps.core.clock import now
from apps.tenants.models import Tenant


class Command(BaseCommand):
    """Load the demo company into an installation that has no tenant yet.

    A few dozen customers and half a year of usage, invoices and payments, made by the operations
    on a test clock, so that the books are right. The logins, with a password made for this
    installation, and an API key go to ``demo.json`` in BILLING_DATA_DIR, which only its owner may
    read. Where there is a tenant already nothing is done.
    """

    help = "Load the demo company into an installation without tenants."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="answer as one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        if Tenant.objects.exists():
            self.stderr.write("There is a tenant already; the demo company is for an empty house.")
            return
        began = time.monotonic()
        password = secrets.token_urlsafe(12)
        told = tell(password=password, until=now(), say=self.stderr.write)
        answer = _answer(told, password)
        folder = os.environ.get("BILLING_DATA_DIR")
        if folder:
            _write_private(Path(folder) / "demo.json", json.dumps(answer, indent=2) + "\n")
        seconds = time.monotonic() - began
        if options["json"]:
            self.stdout.write(json.dumps(answer, indent=2))
            return
        self.stdout.write(
            f"{told.tenant.name}: {told.documents} invoices, {told.events:,} usage events,"
            f" {seconds:.0f} s"
        )
        if not folder:  # nobody else will tell
            for login in answer["logins"]:
                self.stdout.write("  ".join(login.values()))
            self.stdout.write(f"API key  {told.api_key}")


def _answer(told: Told, password: str) -> dict[str, Any]:
    return {
        "tenant": told.tenant.public_id,
        "logins": [
            {"role": role, "email": email, "password": password} for role, email in told.logins
        ],
        "api_key": told.api_key,
    }


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    unfinished.rename(path)
