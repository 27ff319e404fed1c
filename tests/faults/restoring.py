"""What children of the forker do to an installation whose database comes from a dump."""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import Any
from uuid import UUID

from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client

from apps.backoffice.books import breaches
from apps.backoffice.management.commands.doctor import check_cluster
from apps.core.clock import now
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.metering.models import Meter
from apps.metering.operations import roll_up
from apps.wallets.domain import Settlement
from apps.wallets.models import Wallet
from apps.wallets.operations.burning import burn_usage
from tests.make.wallets import make_grant, make_price, make_wallet


def give_credit(tenant: str) -> None:
    """Give the only customer 10.00 of credit, from which each call burns a cent as it comes in."""
    with tenant_scope(UUID(tenant)):
        customer, meter = Customer.objects.get(), Meter.objects.get()
    wallet = make_wallet(customer, at=now(), settlement=Settlement.ON_EVENT)
    make_grant(wallet, "10.00", at=now())
    make_price(meter, "0.01")


def read_usage() -> list[str]:
    """Let both readers come past everything that is committed; return who refused."""
    readers = {"roll_up": partial(roll_up), "burn": partial(burn_usage, wall=now())}
    return [name for name, read in readers.items() if _refuses(read)]


def _refuses(read: Callable[[], int]) -> bool:
    try:
        read()
    except OperationalError:
        return True
    return False


def seen(tenant: str) -> dict[str, Any]:
    """Return what a company's events have come to, and what the installation says of itself.

    Raises ``CommandError`` if the audit trail is not as it was written.
    """
    ready = Client().get("/health/ready")
    with tenant_scope(UUID(tenant)), connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM metering_usageevent),"
            " (SELECT sum(total) FROM metering_usagerollup WHERE grain = 'd'),"
            " (SELECT sum(amount) FROM invoicing_invoiceline WHERE kind = 'usage')"
        )
        events, rolled, billed = cursor.fetchone()
        credit = Wallet.objects.get().balance
        call_command("verify_audit", stdout=StringIO())
    return {
        "ready": ready.status_code,
        "cluster": ready.json()["dependencies"]["cluster"],
        "doctor": check_cluster().status,
        "broken": sorted({one.rule for one in breaches(None)}),
        "events": events,
        "rolled up": int(rolled),
        "burned": str(Decimal(10) - credit.normalize()),
        "billed": str(billed.normalize()),
    }
