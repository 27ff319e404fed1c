"""A metric, a tiered plan with a base fee, a pinned subscription, events, an invoice, money.

    python examples/abaxus.py http://127.0.0.1:8000 sk_test_…

1,200,000 calls cost 100.00 USD (100,000 free, 900,000 at 0.0001, 200,000 at 0.00005) beside the
base fee of 49.00: the invoice is 149.00 USD.
"""

import sys
from typing import Any
from uuid import uuid4

from client import JSON, Client, Refused

MAY, JUNE = "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z"


def tiers(*prices: str) -> list[dict[str, Any]]:
    """Return tiers up to 100,000, up to 1,000,000 and beyond at the given unit prices."""
    return [
        {"up_to": bound, "unit_price": price}
        for bound, price in zip(("100000", "1000000", None), prices, strict=True)
    ]


def plan(fee: str, *prices: str) -> dict[str, Any]:
    """Return what a version of the Growth plan charges, at each month's end."""
    return {
        "currency": "USD",
        "billing_period": "monthly",
        "charges": [
            {
                "key": "api_calls",
                "name": "API calls",
                "metric_key": "api_calls",
                "pricing": {"model": "graduated", "tiers": tiers(*prices)},
            },
            {
                "key": "base_fee",
                "name": "Growth base fee",
                "timing": "arrears",
                "pricing": {"model": "flat", "amount": fee},
            },
        ],
    }


def event(key: str, at: str, value: int) -> dict[str, Any]:
    """Return one event of the customer, as a product would send it."""
    return {
        "customer_id": "cust_acme",
        "metric_key": "api_calls",
        "value": value,
        "timestamp": at,
        "idempotency_key": key,
    }


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


def run(api: Client) -> dict[str, JSON]:
    """Tell the whole story against an empty tenant; return what its steps answered."""
    meter = api.post(
        "/meters",
        {
            "key": "api_calls",
            "name": "API Calls",
            "event_name": "api_calls",
            "aggregation": "sum",
            "unit": "calls",
            "description": "Total API calls made during the billing period",
        },
    )
    tell(f"meter {meter['key']}: {meter['id']}")

    growth = api.post(
        "/plans",
        {"key": "plan_growth", "name": "Growth", **plan("49.00", "0", "0.0001", "0.00005")},
    )
    tell(f"plan {growth['key']}, version {growth['versions'][-1]['number']}")

    customer = api.post(
        "/customers",
        {
            "external_id": "cust_acme",
            "name": "Acme Corp",
            "email": "billing@acme.example",
            "currency": "USD",
            "payment_provider": "sandbox",
            "payment_provider_customer_id": "cus_acme123",
        },
    )
    subscription = api.post(
        "/subscriptions",
        {"customer": "cust_acme", "plan": "plan_growth", "started_at": "2026-04-01T00:00:00Z"},
    )
    tell(f"subscription {subscription['id']} is pinned to version {subscription['plan_version']}")

    single = event(f"req_{uuid4().hex}", "2026-04-03T09:30:00Z", 1)
    receipts = [api.post("/events", single), api.post("/events", single)]
    tell(f"the same event twice: {receipts[0]['status']}, then {receipts[1]['status']}")

    batch = [
        event(f"day-{day}-{part}", f"2026-04-{day:02}T{part % 24:02}:00:00Z", 1000)
        for day in range(1, 31)
        for part in range(40)
    ]
    # 1,199 thousands, 999 and the single one: 1,200,000 calls
    batch = [*batch[:1199], event("rest", "2026-04-30T23:59:59.999999Z", 999)]
    batches = [
        api.post("/events/batch", {"events": batch[first : first + 1000]})
        for first in (0, 1000, 0)  # the first thousand is sent again, as a retry would
    ]
    for answer in batches:
        tell(f"batch: {answer['accepted']} accepted, {answer['duplicate']} duplicates")

    invoices = api.post("/invoices", {"customer": "cust_acme", "cutoff_date": MAY})["data"]
    invoice = api.get(f"/invoices/{invoices[0]['id']}")
    for line in invoice["lines"]:
        tell(f"  {line['description']}: {line['quantity']} -> {line['amount']} {line['currency']}")
    tell(f"invoice {invoice['number']}: {invoice['total']} {invoice['currency']}")
    verifications = [
        api.get(f"/invoices/{invoice['id']}/lines/{line['id']}/verify") for line in invoice["lines"]
    ]

    api.post(
        f"/customers/{customer['id']}/payment-methods",
        {"provider": "sandbox", "provider_ref": "sandbox_ok", "default": True},
    )
    charged = api.post(f"/invoices/{invoice['id']}/charge")
    tell(f"charged: {charged['status']}")
    log = api.get(f"/invoices/{invoice['id']}/events")["data"]
    tell(f"event log: {', '.join(entry['type'] for entry in log)}")

    second = api.post("/plans/plan_growth/versions", plan("99.00", "0.01", "0.01", "0.01"))
    api.post("/events", event("may", "2026-05-15T12:00:00Z", 1_200_000))
    following = api.post("/invoices", {"customer": "cust_acme", "cutoff_date": JUNE})["data"]
    tell(
        f"version {second['number']} is published; the next invoice is still"
        f" {following[0]['total']} {following[0]['currency']}"
    )
    try:
        api.post(f"/invoices/{invoice['id']}/charge")
    except Refused as refused:
        tell(f"charging a paid invoice: {refused.status} {refused.problem['reason']}")
    return {
        "receipts": receipts,
        "batches": batches,
        "subscription": subscription,
        "invoice": api.get(f"/invoices/{invoice['id']}"),
        "verifications": verifications,
        "charged": charged,
        "log": log,
        "second": second,
        "following": following[0],
    }


if __name__ == "__main__":
    run(Client(sys.argv[1], sys.argv[2]))
