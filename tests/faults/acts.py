"""Things that children of the forker do to an installation, one function each."""

from datetime import timedelta
from http import HTTPStatus
from typing import Any

import time_machine
from django.db import OperationalError, connections

from apps.core.clock import now
from apps.invoicing.tasks import close_periods
from apps.tenants.domain import LateUsagePolicy, Mode
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.metering import make_meter
from tests.make.payments import make_method
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_key, make_tenant


def found_company(
    slug: str,
    *,
    customers: int = 1,
    method: str | None = "sandbox_ok",
    owes: bool = True,
    days: int = 40,
    uses: bool = False,
) -> dict[str, Any]:
    """Make a company on real time, and return what its client needs.

    Its customers, c-0 and so on, have been customers for so many days, at 49.00 USD a month; unless
    they owe nothing, the next run of the billing bills the months behind them. Where they use
    something, each call costs a cent, and late usage is billed at once.
    """
    tenant = make_tenant(slug=slug, mode=Mode.TEST)
    key = make_key(tenant)
    make_meter(tenant, key="calls", at=now() - timedelta(days=60))
    fee = {"key": "base", "name": "Base", "timing": "arrears"}
    charges: list[dict[str, Any]] = [{**fee, "pricing": {"model": "flat", "amount": "49.00"}}]
    if uses:
        tenant.late_usage = LateUsagePolicy.CREDIT_MEMO
        tenant.save()
        price = {"model": "per_unit", "unit_price": "0.01"}
        charges.append({"key": "calls", "name": "Calls", "meter": "calls", "pricing": price})
    plan = make_plan(tenant, charges)
    since = now() - timedelta(days=days)
    names = [f"c-{number}" for number in range(customers)]
    ids = {}
    for name in names:
        customer = make_customer(tenant, external_id=name, at=since)
        ids[name] = customer.public_id
        if method is not None:
            make_method(customer, method)
        if owes:
            make_subscription(customer, plan, at=since, external_id=f"{name}-1")
    return {
        "key": key,
        "tenant": str(tenant.id),
        "customers": ids,
    }


def post(key: str, path: str, body: Any, once: str) -> list[Any]:
    """Ask the API inside this process; return the answer's status, body and headers."""
    api = Api(key)
    answer = api.post(path, body, key=once)
    return [answer.status_code, answer.json(), dict(answer.headers)]


def close() -> int:
    """Bill what is due, as the worker does; return how many documents that made."""
    found: int = close_periods()
    return found


def close_in(minutes: int) -> int:
    """Bill what is due on a machine whose clock is ahead by so many minutes."""
    with time_machine.travel(now() + timedelta(minutes=minutes), tick=True):
        return close()


def send_events(key: str, customer: str, name: str, count: int, since: str) -> int:
    """Send events of one call each, one request after another; return how many were accepted."""
    api = Api(key)
    accepted = 0
    for number in range(count):
        event = {
            "idempotency_key": f"{name}-{number}",
            "event_name": "calls",
            "customer": customer,
            "timestamp": since,
            "value": 1,
        }
        accepted += api.post("/events", event, key=None).status_code == HTTPStatus.ACCEPTED
    return accepted


def change_a_table() -> str:
    """Add a column as a migration does; return what stood against it."""
    try:
        with connections["owner"].cursor() as cursor:
            cursor.execute("ALTER TABLE customers_customer ADD COLUMN probe integer")
            cursor.execute("ALTER TABLE customers_customer DROP COLUMN probe")
    except OperationalError as error:
        return type(error.__cause__).__name__
    return ""
