"""Things that children of the forker do to an installation, one function each."""

from datetime import timedelta
from typing import Any

from apps.core.clock import now
from apps.tenants.domain import Mode
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
    mode: str = Mode.TEST,
) -> dict[str, Any]:
    """Make a company on real time, and return what its client needs.

    Its customers, c-0 and so on, have a month behind them that cost 49.00 USD; unless they owe
    nothing, the next run of the billing bills it.
    """
    tenant = make_tenant(slug=slug, mode=Mode(mode))
    key = make_key(tenant)
    make_meter(tenant, key="calls", at=now() - timedelta(days=60))
    fee = {"key": "base", "name": "Base", "timing": "arrears"}
    plan = make_plan(tenant, [{**fee, "pricing": {"model": "flat", "amount": "49.00"}}])
    since = now() - timedelta(days=40)
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
        "slug": slug,
        "customers": ids,
        "plan": plan.plan.public_id,
    }
