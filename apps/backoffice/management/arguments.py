"""Arguments that several commands take."""

from argparse import ArgumentParser
from datetime import datetime

from django.core.management.base import CommandError

from apps.core.errors import Invalid
from apps.core.ids import decode, is_id
from apps.core.tenancy import enter_tenant
from apps.core.web.views import instant
from apps.tenants.models import Tenant


def add_tenant(parser: ArgumentParser) -> None:
    """Let the command take ``--tenant``."""
    parser.add_argument(
        "--tenant",
        metavar="NAME",
        help="only this tenant: its id, or its slug and mode, such as acme/live",
    )


def tenant_named(name: str | None) -> Tenant | None:
    """Return the tenant of that name, whose scope the command is in from now on; None for no name.

    Raises ``CommandError`` if there is none.
    """
    if name is None:
        return None
    rows = Tenant.objects.all()
    if is_id("ten", name):
        found = rows.filter(pk=decode("ten", name)).first()
    else:
        slug, _, mode = name.partition("/")
        found = rows.filter(slug=slug, mode=mode or "live").first()
    if found is None:
        raise CommandError(f"There is no tenant {name!r}; name it as acme/live or acme/test.")
    enter_tenant(found.id)
    return found


def add_as_of(parser: ArgumentParser) -> None:
    """Let the command take ``--as-of``."""
    parser.add_argument(
        "--as-of",
        metavar="INSTANT",
        help="as if it were this instant, such as 2026-05-01T00:00:00Z; the default is now",
    )


def instant_given(text: str | None, *, default: datetime) -> datetime:
    """Return the instant in an RFC 3339 text; ``CommandError`` if it is none."""
    if text is None:
        return default
    try:
        return instant(text)
    except Invalid as error:
        raise CommandError(error.detail) from error
