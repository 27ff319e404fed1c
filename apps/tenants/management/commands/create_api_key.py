"""manage.py create_api_key: a key for a tenant, made by whoever sits at the server."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.core.clock import now
from apps.core.errors import BillingError
from apps.core.ids import new_id
from apps.core.tenancy import tenant_scope
from apps.tenants.domain import Mode
from apps.tenants.operations import create_api_key
from apps.tenants.queries import tenant_named


class Command(BaseCommand):
    """Create an API key and print its secret, which cannot be shown again."""

    help = "Create an API key of a tenant and print its secret, which cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--tenant", required=True, help="its slug or id")
        parser.add_argument(
            "--mode", choices=[str(mode) for mode in Mode], help="live if not given"
        )
        parser.add_argument("--name", default="made at the server")
        parser.add_argument(
            "--scopes", default="*:read,*:write", help="separated by commas; all if not given"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, **options: Any) -> None:
        """Create the key; a wrong tenant or scope is an error."""
        mode = Mode(options["mode"]) if options["mode"] else None
        scopes = [scope.strip() for scope in options["scopes"].split(",")]
        try:
            tenant = tenant_named(options["tenant"], mode)
            with tenant_scope(tenant.id):
                key, secret = create_api_key(
                    tenant.id,
                    id=new_id(),
                    name=options["name"],
                    scopes=scopes,
                    actor="system:create_api_key",
                    at=now(),
                )
        except BillingError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            shown = {
                "id": key.public_id,
                "tenant": tenant.public_id,
                "slug": tenant.slug,
                "mode": tenant.mode,
                "name": key.name,
                "scopes": key.scopes,
                "secret": secret,
            }
            self.stdout.write(json.dumps(shown))
        else:
            self.stdout.write(f"{key.public_id} of {tenant}: {', '.join(key.scopes)}")
            self.stdout.write(secret)
