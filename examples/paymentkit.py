"""Credits that an event burns at once: a bonus of 1,000, a call of 10 sent twice, 990 left.

    python examples/paymentkit.py http://127.0.0.1:8000 sk_test_…

The event carries a key of its own, so sending it again counts nothing. (A key made from the clock
would be a new one each time.) The bonus is for 30 days; the customer lives on a test clock, and
when that has come so far, what is left is gone.
"""

import sys

from client import JSON, Client

TODAY = "2026-01-01T09:00:00Z"
LAST_SECOND = "2026-01-31T08:59:59Z"
IN_30_DAYS = "2026-01-31T09:00:00Z"


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


def run(api: Client) -> dict[str, JSON]:
    """Tell the whole story against an empty tenant in test mode; return what its steps answered."""
    # step 1: a meter
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
    clock = api.post("/test-clocks", {"name": "30 days", "now": TODAY})["id"]
    customer = api.post(
        "/customers", {"external_id": "cus-1", "name": "Jane Doe", "test_clock": clock}
    )

    # step 2: promotional credit that expires in 30 days
    grant = api.post(
        "/credit-grants",
        {
            "customer": "cus-1",
            "unit": "api-credits",
            "amount": "1000",
            "category": "promotional",
            "name": "New user bonus credits",
            "expires_at": IN_30_DAYS,
        },
    )
    tell(f"granted: {grant['amount']} {grant['unit']}")

    # step 3: the same event twice
    event = {
        "event_name": "api.calls.invoked",
        "customer": "cus-1",
        "value": "10",
        "idempotency_key": "unique-event-1",
        "timestamp": TODAY,
    }
    receipts = [api.post("/events", event) for _ in range(2)]

    # step 4: the balance, and what moved
    path = "/customers/cus-1/credit-summary"
    summary = api.until(path, lambda found: found["credits"][0]["available"] != "1000")
    tell(f"available: {summary['credits'][0]['available']}")
    list_path = f"/credit-transactions?customer={customer['id']}&limit=10"
    transactions = api.get(list_path)
    tell(f"found {transactions['total']} transactions:")
    for one in transactions["data"]:
        tell(f"- {one['id']} {one['type']} {one['amount']}")

    api.advance(clock, LAST_SECOND)
    before = api.get(path)
    api.advance(clock, IN_30_DAYS)
    after = api.get(path)
    last = api.get(list_path)
    tell(f"after 30 days: {after['credits'][0]['available']} available")
    return {
        "meter": meter,
        "grant": grant,
        "receipts": receipts,
        "summary": summary,
        "transactions": transactions,
        "before": before,
        "after": after,
        "last": last,
    }


if __name__ == "__main__":
    run(Client(sys.argv[1], sys.argv[2]))
