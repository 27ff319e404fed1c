"""Metered usages with quantity, price point and memo; then a stream of the caller's own JSON.

    python examples/maxio.py http://127.0.0.1:8000 sk_test_…

First half: usages are reported against a subscription that is found by the caller's own account
id. Second half: a stream is told where subject, time, value and key lie in JSON that the caller
has anyway; clicks are priced by a matrix over country and device.
"""

import sys
from typing import Any

from client import JSON, Client

ACCOUNT = "acct_123456"
JULY = "2026-07-01T00:00:00Z"


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


def prepare(api: Client) -> None:
    """Define what is measured, what it costs, and who pays for it."""
    api.post(
        "/meters",
        {
            "key": "messages",
            "name": "Messages",
            "event_name": "message.sent",
            "aggregation": "sum",
            "unit": "messages",
        },
    )
    api.post(
        "/meters",
        {
            "key": "clicks",
            "name": "Clicks",
            "event_name": "click",
            "aggregation": "sum",
            "unit": "clicks",
            "group_by": ["country", "device"],
        },
    )
    api.post("/price-lists", {"key": "149416", "name": "Loyal customers"})
    api.post(
        "/plans",
        {
            "key": "messaging",
            "name": "Messaging",
            "currency": "USD",
            "billing_period": "monthly",
            "charges": [
                {
                    "key": "messages",
                    "name": "Messages",
                    "meter": "messages",
                    "prices": [
                        {
                            "currency": "USD",
                            "pricing": {"model": "per_unit", "unit_price": "0.01"},
                        },
                        {
                            "currency": "USD",
                            "price_list": "149416",
                            "pricing": {"model": "per_unit", "unit_price": "0.008"},
                        },
                    ],
                },
                {
                    "key": "clicks",
                    "name": "Clicks",
                    "meter": "clicks",
                    "pricing": {
                        "model": "matrix",
                        "dimensions": ["country", "device"],
                        "prices": [
                            {"values": ["US", "mobile"], "unit_price": "0.05"},
                            {"values": ["US", "desktop"], "unit_price": "0.04"},
                            {"values": ["DE", "mobile"], "unit_price": "0.03"},
                        ],
                        "default_unit_price": "0.02",
                    },
                },
            ],
        },
    )
    customer = api.post(
        "/customers", {"external_id": "globex", "name": "Globex", "currency": "USD"}
    )
    api.post(
        "/subscriptions",
        {
            "customer": customer["id"],
            "plan": "messaging",
            "external_id": ACCOUNT,
            "started_at": "2026-06-01T00:00:00Z",
        },
    )
    api.post(
        "/streams",
        {
            "handle": "website",
            "event_name": "click",
            "subject_path": "account_id",
            "timestamp_path": "meta.at",
            "value_path": "clicks",
            "key_path": "meta.id",
        },
    )


def click(number: int, country: str, device: str, clicks: int = 1) -> dict[str, Any]:
    """Return JSON as the caller's website logs it."""
    return {
        "account_id": ACCOUNT,
        "clicks": clicks,
        "country": country,
        "device": device,
        "meta": {"id": f"click-{number}", "at": "2026-06-10T17:45:50-05:00"},
    }


def run(api: Client) -> dict[str, JSON]:
    """Tell the whole story against an empty tenant; return what its steps answered."""
    prepare(api)
    usages = [
        api.post(
            f"/subscriptions/{ACCOUNT}/usages",
            {
                "meter": "messages",
                "quantity": "1000",
                "memo": "My memo",
                "timestamp": "2026-06-05T10:00:00Z",
            },
        ),
        api.post(
            f"/subscriptions/{ACCOUNT}/usages",
            {
                "meter": "messages",
                "quantity": "500",
                "price_point": "149416",
                "timestamp": "2026-06-06T10:00:00Z",
            },
        ),
    ]
    tell(f"usages: {[usage['quantity'] for usage in usages]}")

    single = api.post("/streams/website/events", click(0, "US", "mobile", 100))
    tell(f"one of the caller's own events: {single['status']}")
    shapes = [("US", "mobile"), ("US", "desktop"), ("DE", "mobile"), ("FR", "desktop")]
    bulk = [click(number, *shapes[number % 4]) for number in range(1, 1001)]
    answers = [api.post("/streams/website/events/bulk", bulk) for _ in range(2)]
    for answer in answers:
        tell(f"bulk: {answer['accepted']} accepted, {answer['duplicate']} duplicates")

    made = api.post("/invoices", {"customer": "globex", "cutoff": JULY})["data"]
    invoice = api.get(f"/invoices/{made[0]['id']}")
    for line in invoice["lines"]:
        tell(f"  {line['description']}: {line['quantity']} -> {line['amount']} {line['currency']}")
    verifications = [
        api.get(f"/invoices/{invoice['id']}/lines/{line['id']}/verify") for line in invoice["lines"]
    ]
    return {
        "usages": usages,
        "single": single,
        "bulk": answers,
        "invoice": invoice,
        "verifications": verifications,
    }


if __name__ == "__main__":
    run(Client(sys.argv[1], sys.argv[2]))
