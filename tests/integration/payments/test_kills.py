"""A process that dies in the middle of a charge: whatever it was doing, there is one charge."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
from django.db import connection

from apps.core.ids import new_id
from apps.invoicing.models import Invoice
from apps.payments.models import Allocation, Payment, SandboxCharge
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.resolving import resolve_unknown
from tests.make.invoicing import fresh
from tests.make.payments import broken_rules, make_owing, taken
from tests.make.tenants import ACTOR, AT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

_DYING = """
import os, signal, sys, uuid
from datetime import datetime

import django
django.setup()

from apps.core.tenancy import enter_tenant
from apps.payments.operations import attempts, booking
from apps.payments.providers.sandbox import Sandbox

where, invoice, payment, tenant, at = sys.argv[1:]

def die(*_args, **_values):
    os.kill(os.getpid(), signal.SIGKILL)

charge = Sandbox.charge
if where == "before the call":
    Sandbox.charge = die
elif where == "behind the call":
    Sandbox.charge = lambda self, request: (charge(self, request), die())
else:
    booking.post_all = die

enter_tenant(uuid.UUID(tenant))
attempts.charge_invoice(
    uuid.UUID(invoice), id=uuid.UUID(payment), tenant_id=uuid.UUID(tenant),
    actor="system:test", at=datetime.fromisoformat(at),
)
"""
PLACES = ["before the call", "behind the call", "while settling"]


def die_charging(invoice: Invoice, where: str) -> Payment:
    """Charge the invoice in a process that is killed there; return what it left behind."""
    payment_id = new_id()
    url = urlsplit(os.environ["DATABASE_URL"])
    name = connection.settings_dict["NAME"]
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            _DYING,
            where,
            str(invoice.id),
            str(payment_id),
            str(invoice.tenant_id),
            AT.isoformat(),
        ],
        env={
            **os.environ,
            "DATABASE_URL": url._replace(path=f"/{name}").geturl(),
            "DJANGO_SETTINGS_MODULE": "billing_project.settings",
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr.decode()
    return Payment.objects.get(id=payment_id)


@pytest.mark.parametrize("where", PLACES)
def test_the_sweep_finds_out_and_the_invoice_is_charged_once(where: str) -> None:
    invoice = make_owing("sandbox_ok")

    left = die_charging(invoice, where)

    assert left.status == "sent"
    assert fresh(invoice).status == "issued"
    assert not Allocation.objects.exists()
    for minutes in (5, 65):
        resolve_unknown(AT + timedelta(minutes=minutes))
    left.refresh_from_db()
    if where == "before the call":
        assert (left.status, left.failure_code) == ("failed", "never_arrived")
        charge_invoice(
            invoice.id,
            id=new_id(),
            tenant_id=invoice.tenant_id,
            actor=ACTOR,
            at=AT + timedelta(hours=2),
        )
    else:
        assert left.status == "succeeded"
    assert fresh(invoice).status == "paid"
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []


@pytest.mark.parametrize("where", PLACES)
def test_the_callers_retry_carries_on_and_charges_once(where: str) -> None:
    invoice = make_owing("sandbox_ok")
    left = die_charging(invoice, where)

    payment = charge_invoice(
        invoice.id, id=left.id, tenant_id=invoice.tenant_id, actor=ACTOR, at=AT
    )

    assert (payment.id, payment.status) == (left.id, "succeeded")
    assert fresh(invoice).status == "paid"
    assert SandboxCharge.objects.get().calls == (1 if where == "before the call" else 2)
    assert taken(invoice) == Decimal(149)
    assert broken_rules() == []
