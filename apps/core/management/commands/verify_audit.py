"""manage.py verify_audit: whether the audit trail is as it was written."""

import json
import sys
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.audit import chain_end, seal_events, verify_chain
from apps.core.errors import Invalid
from apps.core.ids import decode, encode
from apps.core.tenancy import tenant_scope, tenants_by


class Command(BaseCommand):
    """Seal what is due, recompute every chain, and say where one is broken."""

    help = (
        "Recompute the hash chains of the audit trail. Exit code 1 if one is broken. Keep the"
        " printed ends elsewhere: with them, even a rewritten chain shows."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", help="only this tenant: ten_…")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        """Verify; end with exit code 1 if a chain is broken."""
        seal_events()
        only = _tenant_id(options["tenant"])
        found = []
        for tenant_id in [only] if only else tenants_by("core_tenants_with_chain"):
            with tenant_scope(tenant_id):
                end = chain_end(tenant_id)
                problems = list(verify_chain(tenant_id))
            if end is None:
                continue
            number, digest = end
            tenant = encode("ten", tenant_id)
            found.append(
                {"tenant": tenant, "events": number, "end": digest.hex(), "problems": problems}
            )
            if not options["json"]:
                said = "; ".join(problems) or "holds"
                self.stdout.write(f"{tenant}: {number} events, end {digest.hex()}: {said}")
        broken = any(one["problems"] for one in found)
        if options["json"]:
            self.stdout.write(json.dumps({"holds": not broken, "chains": found}))
        if broken:
            sys.exit(1)


def _tenant_id(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return decode("ten", text)
    except Invalid as error:
        raise CommandError(error.detail) from error
