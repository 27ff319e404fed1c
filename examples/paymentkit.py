"""Credits that an event burns at once: a bonus of 1,000, a call of 10 sent twice, 990 left.

    python examples/paymentkit.py http://127.0.0.1:8000 sk_test_…

The event carries a key of its own, so sending it again counts nothing. (A key made from the clock
would be a new one each time.)
"""

import sys

from client import JSON, Client


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


def run(api: Client, *, expires_at: str = "2099-01-01T00:00:00Z", at: str = "") -> dict[str, JSON]:
    """Tell the story against an empty tenant; return what its steps answered."""
    meter = api.post(
        "/meters",
        {
            "key": "api-calls",
            "name": "API Calls",
            "event_name": "api.calls.invoked",
            "aggregation": "sum",
            "unit": "calls",
            "description": "Tracks the number of API calls made by a customer.",
        },
    )
    api.post("/credit-units", {"key": "api-credits", "name": "API credits", "rate": "0.001"})
    api.post("/credit-prices", {"meter": "api-calls", "unit": "api-credits", "price": "1"})
    customer = api.post("/customers", {"external_id": "cus-1", "name": "Jane Doe"})
    grant = api.post(
        "/credit-grants",
        {
            "customer": "cus-1",
            "unit": "api-credits",
            "amount": "1000",
            "category": "promotional",
            "name": "New user bonus credits",
            "expires_at": expires_at,
        },
    )
    tell(f"granted: {grant['amount']} {grant['unit']}")
    event = {
        "event_name": "api.calls.invoked",
        "customer": "cus-1",
        "value": "10",
        "idempotency_key": "unique-event-1",
        **({"timestamp": at} if at else {}),
    }
    receipts = [api.post("/events", event) for _ in range(2)]
    summary = api.until(
        "/customers/cus-1/credit-summary", lambda found: found["credits"][0]["available"] != "1000"
    )
    tell(f"available: {summary['credits'][0]['available']}")
    transactions = api.get(f"/credit-transactions?customer={customer['id']}&limit=10")
    tell(f"found {transactions['total']} transactions:")
    for one in transactions["data"]:
        tell(f"- {one['id']} {one['type']} {one['amount']}")
    return {
        "meter": meter,
        "grant": grant,
        "receipts": receipts,
        "summary": summary,
        "transactions": transactions,
    }


if __name__ == "__main__":
    run(Client(sys.argv[1], sys.argv[2]))
