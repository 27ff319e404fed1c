"""Input tokens in blocks of a million at 2.00 USD, billed for May by an invoice run.

    python examples/kill_bill_aviate.py http://127.0.0.1:8000 EMAIL PASSWORD

An operator of the installation logs in and creates the tenant; its twin in test mode gets a key, and
with that everything else is done.

A block that is begun is paid in full: 100,000 tokens are one block, 2.00 USD; 2,000,001 tokens
are three, 6.00 USD. The payment method is not the default one until it is made so, and until then
the credit that a wallet buys is not there. June's three blocks are paid with it; that leaves less
than 5.00, so the wallet fills itself up to 10.00.
"""

import sys
from uuid import uuid4

from client import JSON, Client, Refused


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


def found_tenant(root: Client) -> Client:
    """Create a company as an operator of the installation; return a caller of its test twin."""
    slug = f"aviate-{uuid4().hex[:8]}"
    company = {"slug": slug, "name": "Aviate demo", "legal_name": "Aviate demo", "currency": "USD"}
    tenant = root.post("/tenants", {**company, "zone": "UTC"})
    tell(f"tenant: {tenant['slug']}")
    there = Client(root.url, root.key, {"X-Tenant": slug, "X-Mode": "test"})
    key = there.post("/api-keys", {"name": "the story", "scopes": ["*:write"]})
    return Client(root.url, key["secret"])


def run(root: Client) -> dict[str, JSON]:
    """Tell the whole story from the tenant on; return what its steps answered."""
    api = found_tenant(root)
    catalog = api.post(
        "/catalog",
        {
            "products": [{"key": "usage-demo", "kind": "base"}],
            "meters": [
                {
                    "key": "input-m-tokens",
                    "name": "Input Tokens (per Million)",
                    "event_name": "input.tokens",
                    "aggregation": "sum",
                    "unit": "tokens",
                }
            ],
            "plans": [
                {
                    "key": "usage-monthly",
                    "name": "Usage Monthly Scenario",
                    "product": "usage-demo",
                    "phases": [
                        {
                            "kind": "evergreen",
                            "charges": [
                                {
                                    "key": "usage-monthly-1",
                                    "name": "Input tokens",
                                    "meter": "input-m-tokens",
                                    "period": {"unit": "month", "count": 1},
                                    "prices": [
                                        {
                                            "currency": "USD",
                                            "pricing": {
                                                "model": "tiered_blocks",
                                                "policy": "all_tiers",
                                                "tiers": [
                                                    {
                                                        "block_size": "1000000",
                                                        "max_blocks": None,
                                                        "block_price": "2.00",
                                                    }
                                                ],
                                            },
                                        }
                                    ],
                                }
                            ],
                        }
                    ],
                }
            ],
        },
    )
    account = api.post(
        "/customers", {"name": "John Doe", "email": "john@example.com", "currency": "USD"}
    )
    method = api.post(
        f"/customers/{account['id']}/payment-methods",
        {"provider": "sandbox", "provider_ref": "sandbox_ok", "default": False},
    )
    subscription = api.post(
        "/subscriptions",
        {
            "customer": account["id"],
            "plan": "usage-monthly",
            "started_at": "2026-05-01T00:00:00Z",
        },
    )

    wallet = api.post(
        "/wallets",
        {
            "customer": account["id"],
            "currency": "USD",
            "initial_credit": {
                "kind": "paid",
                "amount": "10.00",
                "expires_at": "2099-12-31T00:00:00Z",
            },
            "top_off": {
                "kind": "target",
                "low_watermark": "5.00",
                "amount": "10.00",
                "expires_after": {"unit": "month", "count": 3},
            },
        },
    )
    failed = api.until(f"/wallets/{wallet['id']}", lambda it: it["status"] == "payment_failed")
    tell(f"wallet: {failed['status']}, {failed['available']} available")

    def use(key: str, tokens: int, at: str = "2026-05-01T05:30:00.000Z") -> JSON:
        return api.post(
            "/events/batch",
            {
                "events": [
                    {
                        "meter": "input-m-tokens",
                        "subscription": subscription["id"],
                        "timestamp": at,
                        "value": tokens,
                        "idempotency_key": key,
                    }
                ]
            },
        )

    use("points-1", 100_000)
    june = {"customer": account["id"], "target_date": "2026-06-01"}
    preview = api.post("/invoices/preview", june)["data"]
    tell(f"100,000 tokens: {preview[0]['total']} {preview[0]['currency']}")

    use("points-2", 1_900_001)
    usage = api.get(
        f"/subscriptions/{subscription['id']}/usage?meter=input-m-tokens"
        "&start=2026-05-01T00:00:00Z&end=2026-06-01T00:00:00Z"
    )
    tokens = usage["meters"][0]["buckets"][0]["quantity"]
    tell(f"usage of May: {tokens}")

    made = api.post("/invoices", june)["data"]
    invoice = api.get(f"/invoices/{made[0]['id']}")
    tell(f"2,000,001 tokens: {invoice['total']} {invoice['currency']}")
    unpaid = None
    try:
        api.post(f"/invoices/{invoice['id']}/pay")
    except Refused as refused:
        unpaid = refused.problem
        tell(f"paying without a default method: {refused.status} {unpaid['reason']}")
    api.post(f"/payment-methods/{method['id']}/set-default")
    api.post(f"/invoices/{invoice['id']}/pay")
    paid = api.get(f"/invoices/{invoice['id']}")
    tell(f"with the method made default: {paid['status']}")

    bought = failed["grants"][0]["invoice"]
    api.post(f"/invoices/{bought}/pay")
    credited = api.until(f"/wallets/{wallet['id']}", lambda it: it["available"] != "0")
    tell(f"wallet: {credited['status']}, {credited['available']} available")

    use("points-3", 2_500_000, "2026-06-01T05:30:00.000Z")
    made = api.post("/invoices", {**june, "target_date": "2026-07-01"})["data"]
    covered = api.get(f"/invoices/{made[0]['id']}")
    tell(f"June: {covered['total']}, of which credit paid {covered['credit_applied']}")
    topped = api.until(f"/wallets/{wallet['id']}", lambda it: it["available"] == "10")
    tell(f"wallet: topped off to {topped['available']}")
    return {
        "catalog": catalog,
        "preview": preview,
        "tokens": tokens,
        "invoice": invoice,
        "unpaid": unpaid,
        "paid": paid,
        "failed": failed,
        "credited": credited,
        "covered": covered,
        "topped": topped,
    }


if __name__ == "__main__":
    url, email, password = sys.argv[1:]
    login = Client(url, "").post("/auth/login", {"email": email, "password": password})
    run(Client(url, login["token"]))
