"""The demo company: made by the operations, so its books are right; once, and only when alone."""

import json
import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from apps.backoffice.books import breaches
from apps.backoffice.demo.people import BUYERS
from apps.core.models import Job
from apps.core.tenancy import enter_tenant, tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice, InvoiceLine, ParkedCustomer
from apps.metering.domain import OrphanReason
from apps.metering.models import OrphanEvent
from apps.payments.domain import PaymentStatus
from apps.payments.models import Payment
from apps.tenants.domain import Role
from apps.tenants.models import Membership, Tenant
from tests.make.api import Api
from tests.make.tenants import make_tenant


def load() -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("load_demo", stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.django_db
def test_where_there_is_a_tenant_nothing_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BILLING_DATA_DIR", str(tmp_path))
    make_tenant()
    out, err = load()
    assert (out, Customer.objects.count(), list(tmp_path.iterdir())) == ("", 0, [])
    assert err == "There is a tenant already; the demo company is for an empty house.\n"


@pytest.fixture
def told(
    transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("BILLING_DATA_DIR", str(tmp_path))
    out, err = load()
    assert "Northwind Cloud:" in out
    assert len(err.splitlines()) == 7
    path = tmp_path / "demo.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    yield json.loads(path.read_text())
    assert [one.name for one in tmp_path.iterdir()] == ["demo.json"]


@pytest.mark.slow
def test_the_demo_company_is_whole_and_its_books_are_right(told: dict[str, Any]) -> None:
    live, test = Tenant.objects.order_by("mode")
    assert (live.slug, test.slug, told["tenant"]) == ("demo", "demo", test.public_id)
    assert list(breaches(None)) == []

    # everybody is there, in real time, and nobody is stuck
    assert test.test_clock is None
    with tenant_scope(live.id):
        assert not Customer.objects.exists()
    enter_tenant(test.id)
    assert Customer.objects.filter(test_clock=None).count() == len(BUYERS)
    assert ParkedCustomer.objects.count() == 0
    assert set(Job.objects.values_list("state", flat=True)) == {Job.State.DONE}

    # something of everything is to be seen
    statuses = {
        InvoiceStatus(one)
        for one in Invoice.objects.filter(kind=DocumentKind.INVOICE).values_list(
            "status", flat=True
        )
    }
    assert {InvoiceStatus.PAID, InvoiceStatus.OVERDUE, InvoiceStatus.WRITTEN_OFF} <= statuses
    assert Invoice.objects.filter(kind=DocumentKind.CREDIT_MEMO).exists()
    assert set(Invoice.objects.values_list("currency", flat=True)) == {"USD", "EUR"}
    assert InvoiceLine.objects.exclude(corrects=None).exists()
    assert set(Payment.objects.values_list("status", flat=True)) >= {
        PaymentStatus.SUCCEEDED,
        PaymentStatus.FAILED,
    }
    assert set(OrphanEvent.objects.values_list("reason", flat=True)) == {
        OrphanReason.UNKNOWN_METER,
        OrphanReason.UNKNOWN_SUBJECT,
        OrphanReason.OUTSIDE_SUBSCRIPTION,
    }

    # the logins and the key work
    roles = {one["email"]: one["role"] for one in told["logins"]}
    assert roles == {one.operator.email: one.role for one in Membership.objects.all()}
    for one in told["logins"]:
        client = Client()
        assert client.login(username=one["email"], password=one["password"])
        assert client.get("/admin/").context["tenant"] == test
        assert client.get("/admin/invoicing/invoice/").status_code == 200
    assert Role.OWNER in roles.values()
    api = Api(told["api_key"])
    assert api.get("/invoices").json()["data"][0]["object"] == "invoice"

    # once is enough
    before = Invoice.objects.count()
    assert load()[0] == ""
    assert Invoice.objects.count() == before
