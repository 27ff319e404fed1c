"""A company on the installation of real processes, seen by its client and by its books."""

import time
from decimal import Decimal
from itertools import count
from typing import Any

import requests

from tests.faults.cluster import Cluster, until
from tests.faults.forker import Forker

_numbers = count(1)
_PAUSE = 4.0  # seconds that the processes get for what has come due


class Company:
    """Customers that owe 49.00 USD each for a month behind them, unless said otherwise."""

    def __init__(self, cluster: Cluster, forker: Forker, **terms: Any) -> None:
        """Make it; ``terms`` as of ``acts.found_company``."""
        self.cluster = cluster
        made: dict[str, Any] = forker.call(
            "tests.faults.acts:found_company",
            cluster.database,
            slug=f"company-{next(_numbers)}",
            **terms,
        )
        self.id: str = made["tenant"]
        self.key: str = made["key"]
        self.customers: dict[str, str] = made["customers"]

    def get(self, path: str) -> requests.Response:
        """Read once."""
        return self.cluster.request("GET", path, key=self.key)

    def post(self, path: str, body: Any, key: str | None = None) -> requests.Response:
        """Write once; raise where no answer comes."""
        return self.cluster.request("POST", path, body, key=self.key, idempotency_key=key)

    def insist(self, path: str, body: Any, key: str) -> requests.Response:
        """Write, and repeat with the same key until there is an answer that is no "try again"."""

        def answered() -> requests.Response | None:
            answer = self.post(path, body, key)
            if answer.status_code == 503:
                return None
            if answer.status_code == 409 and answer.json()["reason"] == "idempotency_in_progress":
                self.cluster.pass_time()
                return None
            return answer

        found: requests.Response = until(answered, what=f"an answer to {path}")
        return found

    def count(self, table: str, where: str = "true") -> int:
        """How many rows of the company a table has."""
        query = f"SELECT count(*) FROM {table} WHERE tenant_id = %s AND {where}"  # noqa: S608
        found: int = self.cluster.one(query, self.id)
        return found

    def bill(self, months: int = 1) -> dict[str, Any]:
        """Wait until everybody is billed and has paid, letting hours and days pass."""
        passed = 0.0
        wanted = months * len(self.customers)

        def is_done() -> bool:
            nonlocal passed
            if self.count("invoicing_invoice", "status = 'paid'") >= wanted:
                return True
            if time.monotonic() - passed > _PAUSE:
                self.cluster.pass_time()
                passed = time.monotonic()
            return False

        until(is_done, what="everybody has paid")
        return self.account()

    def account(self) -> dict[str, Any]:
        """What became of the company's money."""
        settled = "SELECT count(*) FROM ledger_journalentry WHERE tenant_id = %s AND kind = %s"
        taken = (
            "SELECT coalesce(sum(amount), 0) FROM payments_sandboxcharge"
            " WHERE tenant_id = %s AND outcome = 'succeeded'"
        )
        return {
            "invoices": self.count("invoicing_invoice"),
            "lines": self.count("invoicing_invoiceline"),
            "numbers": self.count("invoicing_invoice", "number IS NOT NULL"),
            "paid": self.count("invoicing_invoice", "status = 'paid'"),
            "payments": self.count("payments_payment", "status = 'succeeded'"),
            "allocations": self.count("payments_allocation"),
            "issued": self.cluster.one(settled, self.id, "invoice_issued"),
            "settled": self.cluster.one(settled, self.id, "payment_settled"),
            "taken": self.cluster.one(taken, self.id),
        }

    def paid_once(self, months: int = 1) -> dict[str, Any]:
        """What the account must be when everybody was billed and paid once for every month."""
        each = months * len(self.customers)
        names = ("invoices", "lines", "numbers", "paid", "payments", "allocations")
        counts = dict.fromkeys((*names, "issued", "settled"), each)
        return {**counts, "taken": Decimal(49 * each)}
