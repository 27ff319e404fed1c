"""Beat's way in: what is due is done, for everybody on real time."""

from datetime import UTC, datetime, timedelta

import pytest

from apps.core.models import AuditEvent
from apps.invoicing import tasks
from apps.invoicing.models import Invoice
from apps.tenants.domain import Mode
from tests.make.catalog import BASE_FEE, make_plan
from tests.make.customers import make_customer
from tests.make.invoicing import fresh, make_issued, make_waiting
from tests.make.subscriptions import make_subscription
from tests.make.tenants import AT, make_clock, make_tenant

pytestmark = pytest.mark.django_db

APRIL = datetime(2026, 4, 1, tzinfo=UTC)


def actor_of(event: str) -> str:
    return AuditEvent.objects.values_list("actor", flat=True).get(type=event)


def test_periods_that_are_over_are_closed() -> None:
    customer = make_customer()
    make_subscription(
        customer, make_plan(customer.tenant, [{**BASE_FEE, "timing": "arrears"}]), at=APRIL
    )
    closed = tasks.close_periods()
    assert closed == Invoice.objects.filter(customer=customer).count() > 0
    assert tasks.close_periods() == 0
    assert set(
        AuditEvent.objects.filter(type="invoice.issued").values_list("actor", flat=True)
    ) == {"system:close_periods"}


def test_drafts_are_issued_and_late_invoices_marked() -> None:
    customer = make_customer()
    draft = make_waiting(customer, issue_after=AT)
    late = make_issued(make_customer(customer.tenant), at=APRIL)
    tenant = make_tenant(mode=Mode.TEST)
    clock = make_clock(tenant, at=APRIL)
    elsewhere = make_waiting(make_customer(tenant, test_clock_id=clock.id), issue_after=AT)
    assert (tasks.issue_drafts(), tasks.issue_drafts()) == (1, 0)
    assert fresh(draft).status == "issued"
    assert fresh(elsewhere).status == "draft"
    assert (tasks.mark_overdue(), tasks.mark_overdue()) == (1, 0)
    assert fresh(late).status == "overdue"
    assert fresh(draft).due_at > AT + timedelta(days=30)  # type: ignore[operator]  # it is issued
    assert actor_of("invoice.overdue") == "system:mark_overdue"
