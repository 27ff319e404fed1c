"""The stories of other billing systems' own quickstarts, with the right figures."""

import abaxus
import kill_bill_aviate
import maxio
import paymentkit
from client import Client

from apps.backoffice.books import breaches
from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant
from tests.make.tenants import PASSWORD, make_operator


def test_abaxus(api: Client) -> None:
    told = abaxus.run(api)
    assert [receipt["status"] for receipt in told["receipts"]] == ["accepted", "duplicate"]
    assert [
        (answer["accepted"], answer["duplicate"], answer["conflict"], answer["rejected"])
        for answer in told["batches"]
    ] == [(1000, 0, 0, 0), (200, 0, 0, 0), (0, 1000, 0, 0)]
    assert told["subscription"]["plan_version"] == 1
    invoice = told["invoice"]
    assert (invoice["total"], invoice["currency"], invoice["status"]) == ("149.00", "USD", "paid")
    assert [
        (line["description"], line["quantity"], line["amount"]) for line in invoice["lines"]
    ] == [("API calls", "1200000", "100.00"), ("Growth base fee", "1", "49.00")]
    assert (invoice["period_start"], invoice["period_end"]) == (
        "2026-04-01T00:00:00Z",
        "2026-05-01T00:00:00Z",
    )
    assert [check["verified"] for check in told["verifications"]] == [True, True]
    assert told["charged"]["status"] == "paid"
    types = [entry["type"] for entry in told["log"]]
    assert types[-1] == "invoice.drafted"
    assert {"invoice.issued", "invoice.paid"} <= set(types)
    assert told["second"]["number"] == 2
    assert told["following"]["total"] == "149.00"


def test_maxio(api: Client) -> None:
    told = maxio.run(api)
    assert [usage["quantity"] for usage in told["usages"]] == ["1000", "500"]
    assert told["usages"][0]["memo"] == "My memo"
    assert told["usages"][1]["price_point"] == "149416"
    assert told["single"]["status"] == "accepted"
    assert [(answer["accepted"], answer["duplicate"]) for answer in told["bulk"]] == [
        (1000, 0),
        (0, 1000),
    ]
    # 1000 × 0.01; 500 × 0.008; 350 × 0.05 + 250 × 0.04 + 250 × 0.03 + 250 × 0.02
    assert sorted((line["description"], line["amount"]) for line in told["invoice"]["lines"]) == [
        ("Clicks", "40.00"),
        ("Messages", "10.00"),
        ("Messages (149416)", "4.00"),
    ]
    assert told["invoice"]["total"] == "54.00"
    assert all(check["verified"] for check in told["verifications"])


def test_paymentkit(api: Client) -> None:
    told = paymentkit.run(api)
    assert [receipt["status"] for receipt in told["receipts"]] == ["accepted", "duplicate"]
    (credit,) = told["summary"]["credits"]
    assert (credit["unit_or_currency"], credit["available"], credit["promotional"]) == (
        "api-credits",
        "990",
        "990",
    )
    assert told["transactions"]["total"] == 2
    assert [
        (one["type"], one["amount"], one["balance_after"]) for one in told["transactions"]["data"]
    ] == [("consume", "-10", "990"), ("grant", "1000", "1000")]
    # the consumption leads to the event, which was counted once
    consumed = told["transactions"]["data"][0]
    assert (consumed["meter"], consumed["used_at"]) == ("api-calls", paymentkit.TODAY)
    assert consumed["event"] is not None
    assert told["summary"]["credits"][0]["next_expiry"] == {
        "amount": "990",
        "expires_at": paymentkit.IN_30_DAYS,
    }
    left = [told[when]["credits"][0]["available"] for when in ("before", "after")]
    assert left == ["990", "0"]
    assert told["last"]["total"] == 3
    expired = told["last"]["data"][0]
    assert (expired["type"], expired["amount"], expired["at"]) == (
        "expire",
        "-990",
        paymentkit.IN_30_DAYS,
    )


def test_kill_bill_aviate(served: str, worker: None) -> None:
    operator = make_operator(is_superuser=True)
    entry = {"email": operator.email, "password": PASSWORD}
    told = kill_bill_aviate.run(
        Client(served, Client(served, "").post("/auth/login", entry)["token"])
    )
    for tenant in Tenant.objects.all():
        with tenant_scope(tenant.id):
            assert list(breaches(tenant.id)) == []
    assert told["preview"][0]["total"] == "2.00"
    assert told["tokens"] == "2000001"
    assert told["invoice"]["total"] == "6.00"
    assert told["unpaid"]["status"] == 409
    assert told["paid"]["status"] == "paid"
    assert (told["failed"]["available"], told["failed"]["pending"]) == ("0", "10")
    assert told["failed"]["grants"][0]["status"] == "payment_failed"
    assert (told["credited"]["status"], told["credited"]["available"]) == ("active", "10")
    covered = told["covered"]
    assert (covered["total"], covered["credit_applied"], covered["status"]) == (
        "6.00",
        "6.00",
        "paid",
    )
    assert sorted(
        (one["source"], one["remaining"], one["expires_at"] is not None)
        for one in told["topped"]["grants"]
    ) == [("purchase", "4", True), ("top_off", "6", True)]
