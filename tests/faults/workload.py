"""The work that the crash sweep interrupts: a small company's winter, told over the API.

Every step has a name, which is its idempotency key, and a journal remembers the steps that were
answered: what a careful client of the API does. After a crash the same call goes on where the
journal ends, repeating the step whose answer never came.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from uuid import UUID

from apps.backoffice.models import ClockAdvance
from apps.backoffice.operations.clocks import continue_advance
from apps.core import tasks
from apps.core.clock import now
from apps.core.tenancy import tenant_scope
from apps.invoicing.operations import backtesting
from apps.metering import tasks as metering
from apps.metering.operations.partitions import keep_partitions
from apps.tenants.domain import Mode
from tests.faults.state import is_any, lapse_leases
from tests.make.api import Api
from tests.make.metering import count_all
from tests.make.neighbours import outlive_neighbours
from tests.make.tenants import make_clock, make_key, make_tenant
from tests.make.wallets import burn_all

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
CALLS: Final = "api_calls"
# January is billed, late usage comes, and February is billed after a day of grace
CHAPTERS: Final = (
    "offer",
    "sign_up",
    "prepay",
    "hold",
    "use_in_january",
    "go_to_february",
    "use_in_february",
    "go_to_march",
    "settle_by_hand",
    "give_back",
    "go_to_april",
    "look_back",
    "keep_house",
)
JSON = Any
Journal = dict[str, JSON]


def prepare() -> dict[str, str]:
    """Make the company before its winter, and return what its client needs."""
    tenant = make_tenant(slug="winter", mode=Mode.TEST)
    clock = make_clock(tenant, at=START + timedelta(days=22, hours=12), attach=True)
    return {"tenant": str(tenant.id), "key": make_key(tenant), "clock": clock.public_id}


def work(journal: str, tenant: str, key: str, clock: str, *, chapters: int = len(CHAPTERS)) -> None:
    """Do what the journal does not hold yet of the first so many chapters."""
    with tenant_scope(UUID(tenant)):
        winter = _Winter(Path(journal), key, clock)
        for number, name in enumerate(CHAPTERS[:chapters], 1):
            Path(journal).with_name("chapter").write_text(str(number))
            getattr(winter, name)()


def drain(journal: str, tenant: str, key: str, clock: str, *, chapters: int) -> None:
    """After a crash: let the dead one's claims lapse, go on, and work off all that is left."""
    lapse_leases()
    work(journal, tenant, key, clock, chapters=chapters)
    with patch.object(backtesting, "CHUNK", 2):
        while is_any("SELECT FROM core_job WHERE state IN ('pending', 'running')"):
            lapse_leases()
            tasks.run_due_jobs()
    _seal()


class _Winter:
    def __init__(self, journal: Path, key: str, clock: str) -> None:
        self.path, self.clock = journal, clock
        self.journal: Journal = json.loads(journal.read_text()) if journal.exists() else {}
        self.api = Api(key)
        self.api.client.raise_request_exception = False

    def offer(self) -> None:
        self.post("meter", "/meters", {"key": CALLS, "name": "Calls", "aggregation": "sum"})
        charges = [
            {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": "49.00"}},
            {
                "key": "calls",
                "name": "Calls",
                "meter": CALLS,
                "pricing": {"model": "per_unit", "unit_price": "0.015"},
            },
        ]
        plan = {"key": "growth", "name": "Growth", "currency": "USD", "charges": charges}
        self.post("plan", "/plans", {**plan, "billing_period": "monthly"})
        charges = [{**charges[1], "billing_threshold": "20.00"}]
        plan = {"key": "metered", "name": "Metered", "currency": "USD", "charges": charges}
        self.post("a plan of usage", "/plans", {**plan, "billing_period": "monthly"})
        welcome = {"key": "welcome", "name": "Welcome", "percentage": "10", "duration": "forever"}
        self.post("a coupon", "/coupons", welcome)
        self.send("notices", "PATCH", "/tenant", {"term_notice_days": 7})

    def sign_up(self) -> None:
        self.customer("acme", "sandbox_ok", term={"unit": "month", "count": 1})
        self.customer("beta", "sandbox_declined_once")
        self.customer("gamma", None)
        self.customer("delta", "sandbox_timeout")
        self.customer("eta", "sandbox_ok", plan="metered")
        self.agree()

    def agree(self) -> None:
        """Gamma has a discount and a contract for a while."""
        redeemed = {"code": "welcome", "subscription": "gamma-1"}
        self.post("gamma redeems", "/coupon-redemptions", redeemed)
        ramp = [{"starts_at": "2026-03-01T00:00:00Z", "quantity": "2"}]
        agreed = {"subscription": "gamma-1", "name": "Gamma 2026"}
        self.post("gamma agrees", "/contracts", {**agreed, "quantities": ramp})

    def prepay(self) -> None:
        """Zeta buys credit that fills itself up, and is given tokens that events burn."""
        self.customer("zeta", "sandbox_ok")
        tokens = {"key": "tokens", "name": "Tokens", "currency": "USD", "rate": "0.01"}
        self.post("tokens", "/credit-units", tokens)
        self.post(
            "a token a call", "/credit-prices", {"meter": CALLS, "unit": "tokens", "price": 1}
        )
        bonus = {"customer": "zeta", "unit": "tokens", "amount": "500"}
        self.post("a bonus", "/credit-grants", {**bonus, "expires_at": "2026-02-20T00:00:00Z"})
        filled = {"kind": "target", "amount": "30.00", "low_watermark": "10.00"}
        bought = {"kind": "paid", "amount": "30.00"}
        wallet = {"customer": "zeta", "initial_credit": bought, "top_off": filled}
        self.post("a wallet", "/wallets", {**wallet, "external_id": "zeta-usd"})
        self.do("sell the credit", _outside(tasks.run_due_jobs))

    def hold(self) -> None:
        """Once the credit is paid, with the second attempt at the latest, Zeta reserves some."""
        self.advance("until it is paid", START + timedelta(days=30, hours=12))
        worst = {"wallet": "zeta-usd", "amount": "4.00", "ttl": 3600}
        for name, end, body in (("one", "capture", {"amount": "1.50"}), ("two", "release", None)):
            hold = self.post(f"hold {name}", "/holds", worst)
            self.post(f"end {name}", f"/holds/{hold['id']}/{end}", body)
        self.post("a third hold", "/holds", worst)

    @staticmethod
    def dearer() -> JSON:
        """Return the charges of the plan's second version."""
        flat, calls = (
            {"model": "flat", "amount": "59.00"},
            {"model": "per_unit", "unit_price": "0.02"},
        )
        return {
            "currency": "USD",
            "billing_period": "monthly",
            "charges": [
                {"key": "base", "name": "Base", "pricing": flat},
                {"key": "calls", "name": "Calls", "meter": CALLS, "pricing": calls},
            ],
        }

    def customer(self, name: str, method: str | None, **terms: Any) -> None:
        body = {"external_id": name, "name": name.title(), "currency": "USD"}
        self.post(f"{name}", "/customers", body)
        if method is not None:
            paying = {"provider": "sandbox", "provider_ref": method, "default": True}
            self.post(f"{name} pays", f"/customers/{name}/payment-methods", paying)
        subscribed = {
            "customer": name,
            "plan": "growth",
            "external_id": f"{name}-1",
            "started_at": "2026-01-01T00:00:00Z",
            **terms,
        }
        self.post(f"{name} subscribes", "/subscriptions", subscribed)

    def use_in_january(self) -> None:
        names = ["acme", "beta", "gamma", "delta", "eta", "omega"]  # omega is unknown as yet
        batch = [used(name, day, 10 + day) for name in names for day in (0, 0, 0)]
        batch += [used(name, day, 100 + day) for name in names for day in (3, 9, 20)]
        batch += [used("zeta", day, 700) for day in (2, 12, 22)]
        self.post("a batch that repeats itself", "/events/batch", {"events": [*batch, *batch]})
        self.post("one event", "/events", used("acme", 1, 7))
        self.do("count January", count_all)
        most = {"key": "most", "name": "Most", "event_name": CALLS, "aggregation": "max"}
        self.post("another meter", "/meters", most)
        self.customer("omega", "sandbox_ok")
        self.do("attach what omega used", _outside(metering.roll_up))
        self.do("count what omega used", count_all)
        self.do("burn what zeta used", _outside(burn_all))

    def go_to_february(self) -> None:
        self.advance("to February", START + timedelta(days=46))

    def use_in_february(self) -> None:
        late = [used(name, 25, 1000) for name in ("acme", "gamma")]
        batch = [used(name, day, day) for name in ("acme", "beta", "delta") for day in (31, 40)]
        batch.append(used("eta", 41, 2000))
        self.post("late usage", "/events/batch", {"events": late})
        self.post("February", "/events/batch", {"events": [*batch, *late]})
        void = {"action": "void", "reason": "counted twice", "keys": ["acme-3", "beta-31"]}
        self.post("correct January", "/event-amendments", void)
        self.do("count February", count_all)
        self.post(
            "no discount", f"/coupon-redemptions/{self.journal['gamma redeems']['id']}/end", None
        )
        self.post("no contract", f"/contracts/{self.journal['gamma agrees']['id']}/end", None)
        self.send("grace", "PATCH", "/tenant", {"grace_period_hours": 24})

    def go_to_march(self) -> None:
        self.advance("to March", START + timedelta(days=68))

    def settle_by_hand(self) -> None:
        found = self.api.get("/invoices", limit=100).json()["data"]
        gamma = self.journal["gamma"]["id"]
        open_ = [one["id"] for one in reversed(found) if one["customer"] == gamma]
        money = {"amount": "60.00", "currency": "USD", "reference": "bank 1"}
        first, second = self.remember("gamma owes", lambda: open_[:2])
        self.post("gamma transfers", f"/invoices/{first}/pay", money)
        self.post("version", "/plans/growth/versions", self.dearer())
        moved = {"plan": "growth", "from_version": 1, "to_version": 2, "batch_size": 2}
        self.post("move them", "/plan-migrations", moved)
        self.do("move the rest", _outside(tasks.run_due_jobs))
        self.post("gamma complains", f"/invoices/{second}/cancel", None)
        self.post("gamma leaves", "/subscriptions/gamma-1/cancel", {"mode": "now"})
        key = self.post("a spare key", "/api-keys", {"name": "spare", "scopes": ["events:write"]})
        self.post("rotate it", f"/api-keys/{key['id']}/rotate", {"overlap_hours": 1})

    def give_back(self) -> None:
        found = self.api.get("/payments", limit=100).json()["data"]
        acme = self.journal["acme"]["id"]
        paid = [
            one["id"]
            for one in reversed(found)
            if one["customer"] == acme and one["status"] == "succeeded"
        ]
        (first,) = self.remember("acme paid", lambda: paid[:1])
        why = {"amount": "10.00", "reason": "The service was down."}
        self.post("acme complains", f"/payments/{first}/refunds", why)
        leaves = {"mode": "now", "settlement": "refund"}
        self.post("acme leaves", "/subscriptions/acme-1/cancel", leaves)
        claim = {"reference": "case 1", "amount": "20.00", "fee": "15.00"}
        case = self.post("acme disputes", f"/payments/{first}/disputes", claim)
        self.post("acme is right", f"/disputes/{case['id']}/lose", {"reason": "no evidence"})
        self.dispute_credit()

    def dispute_credit(self) -> None:
        """Zeta disputes the credit that it bought, in vain."""
        zeta = self.journal["zeta"]["id"]
        found = self.api.get("/payments", customer=zeta, limit=100).json()["data"]
        bought = [
            one["id"]
            for one in reversed(found)
            if one["status"] == "succeeded" and one["amount"] == "30.00"
        ]
        (first,) = self.remember("zeta bought", lambda: bought[:1])
        case = self.post("zeta disputes", f"/payments/{first}/disputes", {"reference": "case 2"})
        self.do("take the credit", _outside(tasks.run_due_jobs))
        self.post("zeta is wrong", f"/disputes/{case['id']}/win", {"reason": "it was used"})
        self.do("give the credit back", _outside(tasks.run_due_jobs))

    def go_to_april(self) -> None:
        self.advance("to April", START + timedelta(days=95))

    def look_back(self) -> None:
        """What the winter would have come to at other prices, two customers at a time."""
        fee = {"key": "base", "name": "Base", "pricing": {"model": "flat", "amount": "39.00"}}
        draft = {"currency": "USD", "billing_period": "monthly", "publish": False}
        self.post("a draft", "/plans/growth/versions", {**draft, "charges": [fee]})
        with patch.object(backtesting, "CHUNK", 2):
            self.post("look back", "/backtests", {"plan": "growth", "periods": 3})
            self.do("work that off", _outside(tasks.run_due_jobs))

    def keep_house(self) -> None:
        self.do("partitions", lambda: keep_partitions(datetime(2027, 6, 1, tzinfo=UTC)))
        self.do("run what is due", _outside(tasks.run_due_jobs))
        self.do("seal", _seal)

    # --- the client's side ------------------------------------------------------------------------

    def post(self, step: str, path: str, body: JSON) -> JSON:
        return self.send(step, "POST", path, body)

    def send(self, step: str, method: str, path: str, body: JSON) -> JSON:
        def ask() -> JSON:
            answer = self.api.send(method, path, body, key=step)
            assert answer.status_code < 300, (step, answer.status_code, answer.content)
            return answer.json()

        return self.remember(step, ask)

    def do(self, step: str, action: Callable[[], object]) -> None:
        self.remember(step, lambda: bool(action()))

    def remember(self, step: str, action: Callable[[], JSON]) -> JSON:
        if step not in self.journal:
            self.journal[step] = action()
            unfinished = self.path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(self.journal))
            unfinished.rename(self.path)
        return self.journal[step]

    def advance(self, step: str, to: datetime) -> None:
        body = {"to": to.isoformat().replace("+00:00", "Z")}
        self.post(step, f"/test-clocks/{self.clock}/advance", body)
        for advance in ClockAdvance.objects.filter(ended_at=None):
            continue_advance(advance.id, actor="system:test", wall=now)
        failed = list(ClockAdvance.objects.exclude(failure="").values_list("failure", flat=True))
        assert failed == []


def used(name: str, day: int, value: int) -> dict[str, Any]:
    """Return one event of a customer on a day of the winter."""
    at = START + timedelta(days=day, hours=9)
    return {
        "idempotency_key": f"{name}-{day}",
        "event_name": CALLS,
        "customer": name,
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "value": value,
    }


def _outside(task: Callable[[], object]) -> Callable[[], object]:
    """Return a task as the worker runs it, in nobody's scope."""

    def run() -> object:
        with tenant_scope(None):
            return task()

    return run


def _seal() -> None:
    outlive_neighbours()
    _outside(tasks.seal_audit)()
    assert not is_any("SELECT FROM core_auditpending")
