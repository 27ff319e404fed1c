"""Twelve months of an AI product that is paid ahead, told by date on a test clock.

    python examples/prepaid_year.py http://127.0.0.1:8000 sk_test_…

A studio pays 20.00 a month ahead, 10.00 per million tokens and 0.04 per image. Two wallets pay for
that: ``money`` pays usage when it is invoiced and fills itself up to 50.00 below 20.00, and
``images`` holds image credits, worth 0.04 each, that images burn as they are made. Credit is given,
bought, scheduled, held, refunded, charged back, and expires; once a card is declined.
"""

import sys
from collections.abc import Callable

from client import JSON, Client

TOKENS = 1_000_000
TOP_OFF: JSON = {
    "kind": "target",
    "amount": "50.00",
    "low_watermark": "20.00",
    "expires_after": {"unit": "month", "count": 12},
}


def tell(text: str) -> None:
    """Say what happened."""
    sys.stdout.write(f"{text}\n")


class Year:
    """The studio, and what its year is told with; ``check`` is called after every step."""

    def __init__(self, api: Client, check: Callable[[], None]) -> None:
        self.api, self.check = api, check
        self.told: dict[str, JSON] = {}
        self.number = 0

    def run(self) -> dict[str, JSON]:
        """Tell the year against an empty tenant in test mode; return what there was at its dates."""
        self.offer()
        self.sign_up()
        self.january()
        self.february()
        self.march()
        self.april()
        self.may()
        self.june()
        self.july()
        self.rest()
        return self.told

    def offer(self) -> None:
        """Meters, a plan, and a unit of credit that one image takes."""
        for key in ("tokens", "images"):
            self.api.post("/meters", {"key": key, "name": key.title(), "aggregation": "sum"})
        charges = [
            {
                "key": "base",
                "name": "Base fee",
                "timing": "advance",
                "pricing": {"model": "flat", "amount": "20.00"},
            },
            {
                "key": "tokens",
                "name": "Tokens",
                "meter": "tokens",
                "pricing": {"model": "per_unit", "unit_price": "0.00001"},
            },
            {
                "key": "images",
                "name": "Images",
                "meter": "images",
                "pricing": {"model": "per_unit", "unit_price": "0.04"},
            },
        ]
        plan = {"key": "studio", "name": "Studio", "currency": "USD", "charges": charges}
        self.api.post("/plans", {**plan, "billing_period": "monthly"})
        self.api.post("/credit-units", {"key": "img", "name": "Image credits", "rate": "0.04"})
        self.api.post("/credit-prices", {"meter": "images", "unit": "img", "price": "1"})

    def sign_up(self) -> None:
        """1 January: a card that works, 50.00 bought, and two welcome presents."""
        self.clock = self.api.post(
            "/test-clocks", {"name": "a year", "now": "2026-01-01T00:00:00Z"}
        )["id"]
        customer = {"external_id": "studio", "name": "Studio", "currency": "USD", "zone": "UTC"}
        self.api.post("/customers", {**customer, "test_clock": self.clock})
        self.card("sandbox_ok")
        money = self.api.post(
            "/wallets",
            {
                "customer": "studio",
                "external_id": "money",
                "initial_credit": {
                    "kind": "paid",
                    "amount": "50.00",
                    "expires_at": "2026-12-31T00:00:00Z",
                },
                "top_off": TOP_OFF,
            },
        )
        images = {"customer": "studio", "external_id": "images", "unit": "img"}
        self.api.post(
            "/wallets",
            {**images, "settlement": "on_event", "scope": {"meters": ["images"]}},
        )
        self.grant("money", "10.00", "2026-03-01T00:00:00Z", scope={"meters": ["tokens"]})
        self.grant("images", "100", "2026-02-01T00:00:00Z")
        self.api.post(
            "/subscriptions",
            {"customer": "studio", "plan": "studio", "started_at": "2026-01-01T00:00:00Z"},
        )
        self.api.until(f"/wallets/{money['id']}", lambda found: found["available"] == "60")
        self.look("1 January")

    def january(self) -> None:
        """Tokens for 30.00, forty images; what is left of the images' present expires."""
        self.use("2026-01-10", tokens=3 * TOKENS, images=40)
        self.to("2026-01-31T23:59:59Z")
        self.look("31 January")
        self.to("2026-02-01T00:00:00Z")
        self.look("1 February")

    def february(self) -> None:
        """250 image credits are bought for half a year; below 20.00 the money fills itself up."""
        self.to("2026-02-10T00:00:00Z")
        lasts = {"unit": "month", "count": 6}
        self.api.post("/wallets/images/purchases", {"amount": "250", "expires_after": lasts})
        self.api.until("/wallets/images", lambda found: found["available"] == "250")
        self.use("2026-02-20", tokens=2 * TOKENS, images=100)
        self.to("2026-03-01T00:00:00Z")
        self.look("1 March")

    def march(self) -> None:
        """The card expires: what the invoice leaves to money is not paid, nor is a top-off."""
        self.card("sandbox_declined")
        self.use("2026-03-15", tokens=4_500_000)
        self.to("2026-04-01T00:00:00Z")
        self.look("1 April")

    def april(self) -> None:
        """A new card pays what is open. One job is held for and captured, another is forgotten."""
        self.to("2026-04-10T00:00:00Z")
        self.card("sandbox_ok")
        open_ = self.api.get("/invoices?customer=studio&limit=100")["data"]
        for invoice in reversed(open_):
            if invoice["status"] in {"issued", "overdue"}:
                self.api.post(f"/invoices/{invoice['id']}/pay")
        self.api.until("/wallets/money", lambda found: found["status"] == "active")
        self.look("10 April")
        week = 7 * 86_400
        job = {"wallet": "money", "amount": "12.00", "meter": "tokens", "ttl": week}
        held = self.api.post("/holds", {**job, "external_id": "job-1"})
        self.told["authorized"] = [
            self.api.post("/authorize", {"wallet": "money", "amount": amount})["authorized"]
            for amount in ("38.00", "38.01")
        ]
        self.api.post(f"/holds/{held['id']}/capture", {"amount": "5.00"})
        self.api.post("/holds", {**job, "amount": "8.00", "external_id": "job-2"})
        self.look("10 April, jobs")
        self.use("2026-04-12", tokens=TOKENS)
        self.to("2026-04-17T00:00:00Z")
        self.look("17 April")
        self.to("2026-05-01T00:00:00Z")
        self.look("1 May")

    def may(self) -> None:
        """A present for June's base fee: it begins in June, and is for nothing else.

        Before, 10.00 are bought by mistake and paid back, and 8.00 are bought that the studio has its
        bank take back; both times the credit goes with its money.
        """
        mistake = self.purchase("10.00", "45")
        self.told["paid back"] = self.api.post(
            f"/payments/{mistake}/refunds", {"reason": "bought by mistake"}
        )
        self.api.until("/wallets/money", lambda found: found["available"] == "35")
        self.look("1 May, money back")
        case = self.api.post(
            f"/payments/{self.purchase('8.00', '43')}/disputes", {"reference": "case 1"}
        )
        self.api.until("/wallets/money", lambda found: found["available"] == "35")
        self.told["paused"] = self.api.get("/wallets/money")["top_off"]["paused_by"]
        self.told["disputed"] = self.api.post(
            f"/disputes/{case['id']}/lose", {"reason": "so be it"}
        )
        self.look("1 May, a chargeback")
        self.api.patch("/wallets/money", {"top_off": TOP_OFF})
        self.grant(
            "money",
            "15.00",
            "2026-07-01T00:00:00Z",
            scope={"charges": ["base"]},
            effective_at="2026-06-01T00:00:00Z",
        )
        self.look("1 May, a present")
        self.to("2026-06-01T00:00:00Z")
        self.look("1 June")

    def june(self) -> None:
        """200 images with 150 credits: the rest is asked for by the invoice, and paid by money."""
        self.use("2026-06-20", images=200)
        self.to("2026-07-01T00:00:00Z")
        self.look("1 July")

    def july(self) -> None:
        """The studio stops topping off and wants back what is left: a memo, which August uses.

        It buys 5.00 more and forgets them.
        """
        self.api.patch("/wallets/money", {"top_off": None})
        latest = self.api.get("/credit-grants?source=top_off&status=available")["data"][0]
        self.told["refunded"] = self.api.post(
            f"/credit-grants/{latest['id']}/refund", {"reason": "less is needed"}
        )
        memos = "/invoices?customer=studio&kind=credit_memo"
        self.api.until(memos, lambda found: len(found["data"]) == 1)
        self.look("1 July, a refund")
        five = {"amount": "5.00", "expires_at": "2026-09-01T00:00:00Z"}
        self.api.post("/wallets/money/purchases", five)
        self.api.until("/wallets/money", lambda found: found["available"] == "5")

    def rest(self) -> None:
        """Nothing is used any more; what is not used by its end is gone."""
        for month in ("2026-08", "2026-12"):
            self.to(f"{month}-01T00:00:00Z")
            self.look(month)
        self.to("2027-01-01T00:00:00Z")
        self.look("1 January 2027")
        self.told["transactions"] = self.api.get(
            "/credit-transactions?customer_external_id=studio&limit=100"
        )["data"]

    # --- with what it is told -----------------------------------------------------------------

    def card(self, reference: str) -> None:
        """Give the studio another card, from now on the default."""
        self.api.post(
            "/customers/studio/payment-methods",
            {"provider": "sandbox", "provider_ref": reference, "default": True},
        )
        self.check()

    def grant(self, wallet: str, amount: str, expires_at: str, **terms: JSON) -> None:
        """Give credit away."""
        given = {"wallet": wallet, "amount": amount, "expires_at": expires_at}
        self.api.post("/credit-grants", {**given, "reason": "a present", **terms})
        self.check()

    def purchase(self, amount: str, then: str) -> str:
        """Buy credit for a year, and return the payment once the wallet of money has it."""
        lasts = {"unit": "month", "count": 12}
        bought = {"amount": amount, "expires_after": lasts}
        self.api.post("/wallets/money/purchases", bought)
        self.api.until("/wallets/money", lambda found: found["available"] == then)
        self.check()
        newest: str = self.api.get("/payments?limit=1")["data"][0]["id"]
        return newest

    def use(self, day: str, **used: int) -> None:
        """Send what was used on a day, twice, as a careless client does."""
        events = []
        for meter, value in used.items():
            self.number += 1
            events.append(
                {
                    "idempotency_key": f"use-{self.number}",
                    "meter": meter,
                    "customer": "studio",
                    "timestamp": f"{day}T12:00:00Z",
                    "value": value,
                }
            )
        self.to(f"{day}T12:00:00Z")
        for _ in range(2):
            self.api.post("/events/batch", {"events": events})
        self.check()

    def to(self, instant: str) -> None:
        """Let time pass."""
        self.api.advance(self.clock, instant)
        self.check()

    def look(self, when: str) -> None:
        """Note what the wallets have, and what the newest invoice came to."""
        found: dict[str, JSON] = {
            name: {
                one: wallet[one] for one in ("status", "available", "held", "pending", "shortfall")
            }
            for name in ("money", "images")
            for wallet in [self.api.get(f"/wallets/{name}")]
        }
        invoices = self.api.get("/invoices?customer=studio&limit=1")["data"]
        figures = ("total", "credit_applied", "balance_applied", "amount_due", "status")
        found["invoice"] = {one: invoices[0][one] for one in figures} if invoices else None
        self.told[when] = found
        tell(
            f"{when}: {found['money']['available']} USD, {found['images']['available']} images;"
            f" {found['money']['status']}"
        )
        self.check()


def run(api: Client, check: Callable[[], None] = lambda: None) -> dict[str, JSON]:
    """Tell the whole year against an empty tenant in test mode."""
    return Year(api, check).run()


if __name__ == "__main__":
    run(Client(sys.argv[1], sys.argv[2]))
