"""How parts of periods are told: by the tenant, and by a charge for itself."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from apps.catalog.models import Charge
from apps.invoicing.models import InvoiceLine
from apps.invoicing.operations.billing import close_due
from tests.make.api import Api
from tests.make.catalog import make_plan
from tests.make.customers import make_customer
from tests.make.tenants import ACTOR, make_key, make_tenant

pytestmark = pytest.mark.django_db

START = "2026-03-01T00:00:00Z"


def billed(basis: str | None, own: str | None, **charge: Any) -> tuple[Decimal, Any]:
    """Return what March costs whose price doubles on the 16th at noon, and an explanation."""
    with time_machine.travel(datetime(2026, 3, 1, tzinfo=UTC), tick=False):
        tenant = make_tenant()
        api = Api(make_key(tenant))
        if basis is not None:
            assert api.patch("/tenant", {"proration_basis": basis}).status_code == 200
        pricing = {"model": "per_unit", "unit_price": "744.00"}
        seats = {
            "key": "seats",
            "timing": "arrears",
            "pricing": pricing,
            "proration": own,
            **charge,
        }
        make_plan(tenant, [seats], key="plan")
        make_customer(tenant, external_id="acme", zone="UTC")
        body = {"customer": "acme", "plan": "plan", "external_id": "s", "started_at": START}
        api.post("/subscriptions", body)
        change = {
            "verb": "change_quantity",
            "quantity": "2",
            "effective_at": "2026-03-16T12:00:00Z",
        }
        assert api.post("/subscriptions/s/changes", change).status_code == 200
    when = datetime(2026, 4, 1, tzinfo=UTC)
    close_due(when, actor=ACTOR)
    lines = list(InvoiceLine.objects.order_by("service_start"))
    with time_machine.travel(when, tick=False):
        path = f"/invoices/{lines[0].invoice.public_id}/lines/{lines[0].public_id}"
        explained = api.get(f"{path}/explain").json()
        assert api.get(f"{path}/verify").json()["verified"] is True
    return sum((one.amount for one in lines), Decimal(0)), explained


@pytest.mark.parametrize(
    ("basis", "own", "amount", "share", "said"),
    [
        # 372 of 744 hours at one seat; 15 of 31 days; 15 of 30
        (None, None, "1116.00", (1, 2), "For 50 % of the period, by the second: 372.00 USD."),
        ("day", None, "1128.00", (15, 31), "For 48.3871 % of the period, by days: 360.00 USD."),
        (None, "day", "1128.00", (15, 31), "For 48.3871 % of the period, by days: 360.00 USD."),
        ("day", "second", "1116.00", (1, 2), "For 50 % of the period, by the second: 372.00 USD."),
        ("second", "month_30", "1116.00", (1, 2), "For 50 % of the period, by months of 30 days: 372.00 USD."),
    ],
)  # fmt: skip
def test_a_part_of_a_month_is_told_as_was_chosen(
    basis: str | None, own: str | None, amount: str, share: tuple[int, int], said: str
) -> None:
    total, explained = billed(basis, own)
    assert total == Decimal(amount)
    assert explained["share"] == {"numerator": share[0], "denominator": share[1]}
    assert explained["basis"] == (own or basis or "second")
    assert said in explained["sentences"]


@pytest.mark.parametrize(
    ("charge", "status", "code"),
    [
        ({"proration": "week"}, 400, "unknown_choice"),
        ({"proration": "day", "prorated": False}, 422, "not_prorated"),
        ({"proration": "day", "kind": "fixed", "period": None}, 422, "not_prorated"),
    ],
)
def test_a_basis_that_cannot_be_is_refused(charge: dict[str, Any], status: int, code: str) -> None:
    api = Api(make_key(make_tenant()))
    seats = {"key": "seats", "pricing": {"model": "flat", "amount": "1.00"}, **charge}
    body = {"key": "p", "currency": "USD", "billing_period": "monthly", "charges": [seats]}
    refused = api.post("/plans", body)
    assert refused.status_code == status, refused.json()
    assert [(one["field"], one["code"]) for one in refused.json()["errors"]] == [
        ("charges[0].proration", code)
    ]
    assert Charge.objects.count() == 0
