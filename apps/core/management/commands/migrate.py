"""Changing the tables, as the role that owns them."""

from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import connections

_OWNER: Final = "owner"


class Command(migrate.Command):
    """Django's own; it connects by ``DATABASE_OWNER_URL`` unless told otherwise."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database=_OWNER)

    def handle(self, *args: Any, **options: Any) -> None:
        """Migrate; refuse where nobody has said how to connect as the owner."""
        if options["database"] not in connections:
            raise CommandError(
                "Set DATABASE_OWNER_URL to the role that owns the tables; see docs/running.md."
            )
        super().handle(*args, **options)
