"""manage.py close_periods bills what is due, once."""

import json
from datetime import UTC, datetime
from io import StringIO

import pytest
import time_machine
from django.core.management import CommandError, call_command

from apps.invoicing.models import Invoice
from apps.tenants.models import Tenant
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_tenant

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
LATER = datetime(2026, 6, 15, tzinfo=UTC)


@pytest.fixture
def tenant(db: None) -> Tenant:
    tenant = make_tenant(slug="acme")
    plan = make_plan(tenant, at=APRIL)
    make_subscription(make_customer(tenant, at=APRIL), plan, at=APRIL)
    return tenant


def run(*arguments: str) -> str:
    out = StringIO()
    with time_machine.travel(LATER, tick=False):
        call_command("close_periods", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def documents() -> int:
    return Invoice.objects.count()


def test_what_was_missed_is_billed_once(tenant: Tenant) -> None:
    first = json.loads(run("--json"))
    billed = documents()
    assert (first["as_of"], first["documents"], first["parked"]) == (
        "2026-06-15T00:00:00Z",
        billed,
        0,
    )
    assert billed > 0
    assert json.loads(run("--json"))["documents"] == 0
    assert documents() == billed


def test_as_of_bills_only_what_was_due_by_then(tenant: Tenant) -> None:
    run("--as-of", "2026-03-31T00:00:00Z")
    assert documents() == 0
    run("--as-of", "2026-04-02T00:00:00Z")
    assert documents() == 1


def test_only_the_named_tenant_is_billed(tenant: Tenant) -> None:
    make_tenant(slug="other")
    run("--tenant", "other")
    assert documents() == 0


def test_the_future_is_refused(tenant: Tenant) -> None:
    with pytest.raises(CommandError, match="lies in the future"):
        run("--as-of", "2026-06-16T00:00:00Z")


def test_an_instant_needs_its_zone(tenant: Tenant) -> None:
    with pytest.raises(CommandError, match="2026-05-01T00:00:00Z"):
        run("--as-of", "2026-04-02T00:00:00")
