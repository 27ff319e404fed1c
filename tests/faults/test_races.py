"""F35, F36, F70: processes that do the same at the same time."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest

from apps.core.clock import now
from tests.faults.cluster import Cluster, until
from tests.faults.company import Company
from tests.faults.forker import Forker

Found = Callable[..., Company]
pytestmark = [pytest.mark.slow, pytest.mark.whole]


@pytest.mark.holds("F35")
def test_f35_four_processes_close_the_same_periods(
    cluster: Cluster, found: Found, forker: Forker
) -> None:
    """Each period is closed by one of them."""
    cluster.stop("beat")
    company = found(customers=8)
    closers = [forker.start("tests.faults.acts:close", cluster.database) for _ in range(4)]
    documents = [closer.wait().answer for closer in closers]
    assert sum(documents) == company.count("invoicing_invoice") == 8
    cluster.start("beat")
    cluster.hurry()
    assert company.bill() == company.paid_once()


@pytest.mark.holds("F36")
def test_f36_events_come_in_while_their_period_is_closed(
    cluster: Cluster, found: Found, forker: Forker
) -> None:
    """Each event is billed once: with its period, or as late usage."""
    company = found(uses=True)
    # of the period that the first run closes
    order = {"key": company.key, "customer": "c-0", "count": 60}
    order["since"] = (now() - timedelta(days=20)).isoformat()
    senders = [
        forker.start("tests.faults.acts:send_events", cluster.database, name=name, **order)
        for name in ("left", "right")
    ]
    assert sum(sender.wait().answer for sender in senders) == 120
    billed = (
        "SELECT coalesce(sum(l.amount), 0) FROM invoicing_invoiceline l"
        " JOIN invoicing_invoice i ON i.id = l.invoice_id"
        " WHERE i.tenant_id = %s AND l.description LIKE '%%Calls' AND i.number IS NOT NULL"
    )
    until(lambda: cluster.one(billed, company.id) == Decimal("1.20"), what="120 calls are billed")
    assert company.count("metering_usageevent") == 120


@pytest.mark.holds("F70")
def test_f70_orphans_are_attached_once_and_billed(cluster: Cluster, found: Found) -> None:
    """Usage of somebody unknown is kept, shown with its reason, and billed once he is known."""
    company = found(owes=False)
    at = (now() - timedelta(hours=1)).isoformat()
    event = {"event_name": "calls", "customer": "nobody-yet", "timestamp": at, "value": 1}
    events = [{**event, "idempotency_key": f"early-{number}"} for number in range(30)]
    assert company.post("/events/batch", {"events": events}).status_code == 202
    shown = company.get("/orphan-events").json()["data"]
    assert {one["reason"] for one in shown} == {"unknown_subject"}
    assert company.count("metering_orphanevent", "status = 'open'") == 30

    body = {"external_id": "nobody-yet", "name": "New", "currency": "USD"}
    assert company.post("/customers", body, "known").status_code == 201
    again = {"filter": {"event_name": "calls"}}
    for number in range(3):
        assert company.post("/orphan-events/reattach", again, f"again-{number}").ok
    until(lambda: company.count("metering_orphanevent", "status = 'attached'") == 30)
    assert company.count("metering_usageevent") == 30
