"""manage.py adopt_cluster: go on in a cluster into which a dump was restored."""

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from apps.backoffice.operations.clusters import adopt_cluster

_OWNER: Final = "owner"


class Command(BaseCommand):
    """Let transactions of a new cluster count as later than all that came with the dump.

    Once, before anything serves; where there is nothing to do it says so and changes nothing.
    """

    help = "After a dump was restored into a new cluster: go on behind what it remembers."

    def handle(self, *_args: str, **_options: Any) -> None:
        """Adopt it; refuse where nobody has said how to connect as the owner."""
        if _OWNER not in connections:
            raise CommandError(
                "Set DATABASE_OWNER_URL to the role that owns the tables; see docs/running.md."
            )
        found = adopt_cluster(database=_OWNER)
        if found.was_to_come:
            self.stdout.write(f"Adopted: transactions count on from {found.remembered + 1:,}.")
        else:
            self.stdout.write("Nothing to do: the cluster has counted further than is remembered.")
